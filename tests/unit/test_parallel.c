/*
 * test_parallel.c
 *	  Every task is done exactly once, whatever the numbers of tasks and
 *	  threads; and the threads are born with all signals blocked.
 */
#include "base/parallel.h"
#include "test.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#define MAX_TASKS 130

typedef struct task_log
{
	int			done[MAX_TASKS];
	int			ranges[IE_MAX_THREADS];	/* calls by thread */
	int			bad;			/* arguments that must not be */
	int			n_threads;
	size_t		n_tasks;
} task_log;

static void
body(void *arg, size_t begin, size_t end, int thread)
{
	task_log   *l = arg;

	if (thread < 0 || thread >= l->n_threads || begin > end || end > l->n_tasks)
	{
		__atomic_fetch_add(&l->bad, 1, __ATOMIC_RELAXED);
		return;
	}
	__atomic_fetch_add(&l->ranges[thread], 1, __ATOMIC_RELAXED);
	for (size_t i = begin; i < end; i++)
		__atomic_fetch_add(&l->done[i], 1, __ATOMIC_RELAXED);
}

static void
test_cover(int n_threads, size_t n_tasks)
{
	task_log	l = {.n_threads = n_threads, .n_tasks = n_tasks};

	ie_parallel_for(n_threads, n_tasks, body, &l);
	CHECK_INT(l.bad, 0);
	for (size_t i = 0; i < n_tasks; i++)
		CHECK_INT(l.done[i], 1);
	for (int t = 0; t < n_threads; t++)
		CHECK(l.ranges[t] <= 1);
}

/* One thread, or one task, runs on the caller */
static void
who(void *arg, size_t begin, size_t end, int thread)
{
	(void) begin;
	(void) end;
	(void) thread;
	*(pthread_t *) arg = pthread_self();
}

static void
test_caller(void)
{
	pthread_t	runner;

	memset(&runner, 0, sizeof(runner));
	ie_parallel_for(1, 100, who, &runner);
	CHECK(pthread_equal(runner, pthread_self()));
	memset(&runner, 0, sizeof(runner));
	ie_parallel_for(4, 1, who, &runner);
	CHECK(pthread_equal(runner, pthread_self()));
}

/* ------------------------------------------------------------------ signals */

/* The line "SigBlk:" of a thread's status file; all bits for one that has just ended */
static uint64_t
blocked_signals(const char *tid)
{
	char		path[128];
	char		line[256];
	unsigned long long mask = ~0ULL;
	FILE	   *f;

	snprintf(path, sizeof(path), "/proc/self/task/%.32s/status", tid);
	f = fopen(path, "r");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "SigBlk: %llx", &mask) == 1)
			break;
	if (f != NULL)
		fclose(f);
	return mask;
}

/* Checks the threads other than this one and returns how many there are */
static int
check_masks(void)
{
	/* 1 to 31 without SIGKILL and SIGSTOP, which cannot be blocked */
	const uint64_t wanted = 0x7fffffff & ~(1ULL << (SIGKILL - 1)) & ~(1ULL << (SIGSTOP - 1));
	DIR		   *dir = opendir("/proc/self/task");
	struct dirent *entry;
	int			n = 0;

	CHECK(dir != NULL);
	while (dir != NULL && (entry = readdir(dir)) != NULL)
	{
		if (entry->d_name[0] == '.' || atoi(entry->d_name) == (int) getpid())
			continue;
		n++;
		CHECK_INT(blocked_signals(entry->d_name) & wanted, wanted);
	}
	if (dir != NULL)
		closedir(dir);
	return n;
}

static volatile sig_atomic_t handled_elsewhere;
static volatile sig_atomic_t handled;
static pthread_t main_thread;

static void
handler(int signo)
{
	(void) signo;
	handled++;
	if (!pthread_equal(pthread_self(), main_thread))
		handled_elsewhere++;
}

static void
busy(void *arg, size_t begin, size_t end, int thread)
{
	volatile double x = 1.0;

	(void) thread;
	for (size_t i = begin; i < end; i++)
		for (int j = 0; j < 20000; j++)
			x = x * 1.0000001;
	__atomic_fetch_add((long *) arg, (long) (end - begin), __ATOMIC_RELAXED);
}

/* A signal sent to the process waits until this thread takes it */
static void
test_signal_waits(void)
{
	struct sigaction action = {.sa_handler = handler};
	sigset_t	usr1;
	long		n = 0;

	main_thread = pthread_self();
	sigaction(SIGUSR1, &action, NULL);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, NULL);
	for (int i = 0; i < 50; i++)
	{
		kill(getpid(), SIGUSR1);
		ie_parallel_for(4, 8, busy, &n);
	}
	CHECK_INT(handled, 0);
	pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
	CHECK_INT(handled, 1);
	CHECK_INT(handled_elsewhere, 0);
	CHECK_INT(n, 400);
}

static void
test_signals(void)
{
	sigset_t	before;
	sigset_t	after;
	/* larger, smaller and larger again: each change makes threads anew */
	static const int teams[] = {2, 4, 3, 8, 2, 4};

	sigemptyset(&before);
	sigaddset(&before, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	for (size_t i = 0; i < sizeof(teams) / sizeof(teams[0]); i++)
	{
		test_cover(teams[i], 100);
		CHECK(check_masks() >= teams[i] - 1);
		/* the caller's own mask is as before */
		pthread_sigmask(SIG_SETMASK, NULL, &after);
		for (int s = 1; s < 32; s++)
			CHECK_INT(sigismember(&after, s), s == SIGUSR2);
	}
	test_signal_waits();
}

int
main(void)
{
	test_cover(1, 0);
	test_caller();
	CHECK_INT(check_masks(), 0);	/* no thread before the first region */
	for (int n_threads = 1; n_threads <= 9; n_threads++)
		for (size_t n_tasks = 0; n_tasks <= MAX_TASKS; n_tasks += n_tasks < 40 ? 1 : 9)
			test_cover(n_threads, n_tasks);
	test_cover(IE_MAX_THREADS, 65);
	test_signals();
	return test_end("parallel");
}
