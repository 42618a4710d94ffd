/*
 * parallel.h
 *	  The only file with threads.
 *
 * A process has one team, born under a full signal mask, so that its threads
 * never run a handler of the host.  Never before fork().  One thread at a time
 * may call.
 *
 * Rules for a body: no allocation, no host callback, no errno, no input or
 * output, no integer division by a run-time value (SIGFPE would be raised in
 * the wrong thread).  Work is split over outputs, never over a reduction, so
 * results do not depend on the number of threads.
 */
#ifndef IE_PARALLEL_H
#define IE_PARALLEL_H

#include <stddef.h>

#define IE_MAX_THREADS 64

/* Do tasks begin <= i < end; thread is 0 .. n_threads - 1, its own scratch's index. */
typedef void (*ie_task_fn) (void *arg, size_t begin, size_t end, int thread);

/*
 * Run fn over 0 .. n_tasks - 1 in one contiguous range per thread.  With
 * n_threads == 1, or a single task, it is an ordinary call on this thread.  While
 * others take this thread's processor, it does the ranges itself, one after the
 * other.
 */
void		ie_parallel_for(int n_threads, size_t n_tasks, ie_task_fn fn, void *arg);

#endif							/* IE_PARALLEL_H */
