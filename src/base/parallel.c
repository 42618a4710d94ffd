/*
 * parallel.c
 *	  OpenMP team of a process: see parallel.h.
 */
#include "base/parallel.h"

#include <omp.h>
#include <pthread.h>
#include <signal.h>

/*
 * The team's size, fixed by the first parallel call: a process-wide fact about
 * libgomp's pool, hence a static.  A session with another thread count starts
 * a new team, again under the mask.
 */
static int	team_size = 1;

static void
start_team(int n_threads)
{
	sigset_t	all;
	sigset_t	saved;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	omp_set_dynamic(0);
#pragma omp parallel num_threads(n_threads)
	{
		/* only brings the threads to life; gcc would drop an empty region */
		__asm__ volatile ("");
	}
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	team_size = n_threads;
}

void
ie_parallel_for(int n_threads, size_t n_tasks, ie_task_fn fn, void *arg)
{
	size_t		per_thread;

	if (n_threads <= 1 || n_tasks <= 1)
	{
		fn(arg, 0, n_tasks, 0);
		return;
	}
	if (n_threads != team_size)
		start_team(n_threads);
	per_thread = (n_tasks + (size_t) n_threads - 1) / (size_t) n_threads;
#pragma omp parallel num_threads(n_threads)
	{
		size_t		thread = (size_t) omp_get_thread_num();
		size_t		begin = thread * per_thread;
		size_t		end = begin + per_thread;

		if (end > n_tasks)
			end = n_tasks;
		/* libgomp may give fewer threads than asked for: take their share too */
		if (thread == (size_t) omp_get_num_threads() - 1)
			end = n_tasks;
		if (begin < end)
			fn(arg, begin, end, (int) thread);
	}
}
