/*
 * guc.h
 *	  The parameters instemb.*.
 */
#ifndef INSTEMB_GUC_H
#define INSTEMB_GUC_H

typedef enum OverflowAction
{
	OVERFLOW_ERROR,
	OVERFLOW_TRUNCATE
} OverflowAction;

extern char *guc_model_dir;
extern char *guc_data_model_dir;
extern char *guc_model;
extern char *guc_preload;
extern int	guc_threads;
extern int	guc_max_threads;
extern int	guc_on_overflow;	/* an OverflowAction */
extern int	guc_max_model_memory;	/* MB, 0 = no limit */
extern int	guc_cache_size;		/* kB, 0 = no cache */
extern int	guc_queue_attempts;
extern int	guc_log_min_duration;	/* ms, -1 = never */
extern double guc_similarity_threshold;

extern void guc_init(void);

/* Threads a session may use now. */
extern int	guc_thread_count(void);

/* instemb.max_model_memory in bytes, 0 = no limit. */
extern size_t guc_memory_limit(void);

#endif							/* INSTEMB_GUC_H */
