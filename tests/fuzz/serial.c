/*
 * serial.c
 *	  Stands in for base/parallel.c in a build without threads.
 */
#include "base/parallel.h"

void
ie_parallel_for(int n_threads, size_t n_tasks, ie_task_fn fn, void *arg)
{
	(void) n_threads;
	fn(arg, 0, n_tasks, 0);
}
