/*
 * parallel.c
 *	  The team of a process: see parallel.h.
 *
 * A pass has some two hundred parallel regions of a tenth of a millisecond and
 * more, with less between them.  Putting a thread to sleep and waking it takes
 * as long, so a thread looks for its next work for a while before it sleeps.
 * Where that is in vain, because the processors are busy with others or the
 * caller with something else, it stops looking for some time.
 *
 * (libgomp sleeps at once or spins for long.  Matrix products of 16 rows, 2
 * threads on 2 processors, tokens/s: 1 thread 1,711, libgomp 1,592, this 2,764;
 * of 128 rows 2,463, 2,869 and 4,130.)
 */
#define _GNU_SOURCE				/* RUSAGE_THREAD */

#include "base/parallel.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

#define PATIENCE 4000			/* looks, about 40 microseconds */
#define SULK 64					/* waits without looking after one in vain */

#define CROWD_EVERY 16			/* regions from one look at the processors to the next */
#define CROWD_TURN 20000			/* put off more often than once in so many microseconds */
#define CROWD_PAUSE 100000		/* microseconds done alone after that */

/* A number that threads wait for to change */
typedef struct signpost
{
	uint32_t	value;
	uint32_t	n_sleepers;
} signpost;

typedef struct task_range
{
	ie_task_fn	fn;
	void	   *arg;
	size_t		n_tasks;
	size_t		per_thread;
} task_range;

/*
 * The team, its size fixed by the first parallel call: a process-wide fact,
 * hence static.  A session with another thread count starts a new team.
 */
static struct
{
	pthread_t	threads[IE_MAX_THREADS];
	int			n_threads;		/* with the caller; 0: none was started */
	bool		stop;
	task_range	work;
	signpost	number;			/* of the work */
	signpost	n_busy;			/* threads that have not finished it */
	pthread_mutex_t mutex;
	pthread_cond_t changed;
}			team = {
	.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER
};

static inline uint32_t
look(const signpost *s)
{
	return __atomic_load_n(&s->value, __ATOMIC_SEQ_CST);
}

static inline void
relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile ("yield");
#endif
}

/* Wait until the value is another.  *sulk: waits to come that will not look for long */
static void
wait_for_change(signpost *s, uint32_t value, int *sulk)
{
	const int	patience = *sulk > 0 ? 0 : PATIENCE;

	for (int i = 0; i < patience; i++)
	{
		if (look(s) != value)
			return;
		relax();
	}
	*sulk = *sulk > 0 ? *sulk - 1 : SULK;
	pthread_mutex_lock(&team.mutex);
	__atomic_add_fetch(&s->n_sleepers, 1, __ATOMIC_SEQ_CST);
	while (look(s) == value)
		pthread_cond_wait(&team.changed, &team.mutex);
	__atomic_sub_fetch(&s->n_sleepers, 1, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&team.mutex);
}

/* After a change: whoever sleeps must learn of it */
static void
wake(const signpost *s)
{
	if (__atomic_load_n(&s->n_sleepers, __ATOMIC_SEQ_CST) == 0)
		return;
	pthread_mutex_lock(&team.mutex);
	pthread_cond_broadcast(&team.changed);
	pthread_mutex_unlock(&team.mutex);
}

static void
do_share(int thread)
{
	const size_t begin = (size_t) thread * team.work.per_thread;
	size_t		end = begin + team.work.per_thread;

	/* what threads that could not be started would have done is the last one's */
	if (end > team.work.n_tasks || thread == team.n_threads - 1)
		end = team.work.n_tasks;
	if (begin < end)
		team.work.fn(team.work.arg, begin, end, thread);
}

static void *
serve(void *arg)
{
	const int	thread = (int) (intptr_t) arg;
	uint32_t	number = 0;
	int			sulk = 0;

	for (;;)
	{
		wait_for_change(&team.number, number, &sulk);
		number++;
		if (team.stop)
			return NULL;
		do_share(thread);
		if (__atomic_sub_fetch(&team.n_busy.value, 1, __ATOMIC_SEQ_CST) == 0)
			wake(&team.n_busy);
	}
}

/* Number the next work, which is described, and let all begin with it. */
static void
begin_work(void)
{
	__atomic_store_n(&team.n_busy.value, (uint32_t) team.n_threads - 1, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&team.number.value, 1, __ATOMIC_SEQ_CST);
	wake(&team.number);
}

static void
end_team(void)
{
	team.stop = true;
	begin_work();
	for (int i = 1; i < team.n_threads; i++)
		pthread_join(team.threads[i], NULL);
	team.stop = false;
}

/* n_threads, or fewer if the system does not give as many */
static void
start_team(int n_threads)
{
	sigset_t	all;
	sigset_t	saved;

	if (team.n_threads > 1)
		end_team();
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	team.n_threads = 1;
	team.number.value = 0;
	while (team.n_threads < n_threads &&
		   pthread_create(&team.threads[team.n_threads], NULL, serve,
						  (void *) (intptr_t) team.n_threads) == 0)
		team.n_threads++;
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
}

static int64_t
microseconds(const struct timeval *time)
{
	return (int64_t) time->tv_sec * 1000000 + time->tv_usec;
}

/*
 * Do more threads want to run than there are processors?  Then this one is put
 * off its own at every turn, and a team would wait for its turns: 8 sessions of 2
 * threads on 2 processors did 0.86 of what 8 sessions of 1 thread do.  Now and
 * then every thread is put off, so that it is the rate that tells.
 */
static bool
crowded(void)
{
	static long n_put_off;		/* of the calling thread, so far */
	static int64_t looked_at;	/* these in microseconds that it ran */
	static int64_t alone_until;
	static unsigned int n_regions;
	static bool alone;
	struct rusage usage;

	if (n_regions++ % CROWD_EVERY == 0 && getrusage(RUSAGE_THREAD, &usage) == 0)
	{
		const int64_t now = microseconds(&usage.ru_utime) + microseconds(&usage.ru_stime);

		if (looked_at > 0 && (usage.ru_nivcsw - n_put_off) * CROWD_TURN > now - looked_at)
			alone_until = now + CROWD_PAUSE;
		n_put_off = usage.ru_nivcsw;
		looked_at = now;
		alone = now < alone_until;
	}
	return alone;
}

void
ie_parallel_for(int n_threads, size_t n_tasks, ie_task_fn fn, void *arg)
{
	static int	wanted;			/* threads of the team that was started */
	static int	sulk;
	uint32_t	n_busy;

	if (n_threads <= 1 || n_tasks <= 1)
	{
		fn(arg, 0, n_tasks, 0);
		return;
	}
	if (n_threads != wanted)
	{
		start_team(n_threads);
		wanted = n_threads;
	}
	team.work = (task_range)
	{
		fn, arg, n_tasks, (n_tasks + (size_t) n_threads - 1) / (size_t) n_threads
	};
	if (crowded())
	{
		for (int thread = 0; thread < team.n_threads; thread++)
			do_share(thread);
		return;
	}
	begin_work();
	do_share(0);
	while ((n_busy = look(&team.n_busy)) != 0)
		wait_for_change(&team.n_busy, n_busy, &sulk);
}
