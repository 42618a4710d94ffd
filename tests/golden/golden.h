/*
 * golden.h
 *	  Golden files: reading them, and comparing the engine with them.
 *
 * A golden file holds what an independent reference computed for some texts
 * under some instructions: embeddings, and for a few texts the states after
 * every layer.  reference.py writes it and describes the format.
 *
 * Functions print the reason when they return false.
 */
#ifndef GOLDEN_H
#define GOLDEN_H

#include "instemb.h"
#include "base/file.h"

#define GOLDEN_MAX_INSTRUCTIONS 8
#define GOLDEN_MAX_TRACES 8

/* malloc() and free() */
extern const ie_host golden_host;

/* All states of one text under one instruction */
typedef struct golden_trace
{
	uint32_t	text;
	uint32_t	instruction;
	uint32_t	n_rows;			/* positions, look-ahead included */
	uint32_t	first_row;		/* those before it are not in the file */
	const uint8_t *states;		/* f16 [2 + 2 L][n_rows - first_row][C] */
} golden_trace;

typedef struct golden_file
{
	ie_mapping	map;
	char		sha256[65];		/* of the model file, before an adapter is merged */
	uint32_t	n_embd;
	uint32_t	n_layer;
	uint32_t	n_instructions;
	uint32_t	n_texts;
	uint32_t	n_traces;
	ie_text		instructions[GOLDEN_MAX_INSTRUCTIONS];
	ie_text    *texts;			/* [n_texts] */
	const uint8_t *means[GOLDEN_MAX_INSTRUCTIONS];	/* f32 [C] each */
	const uint8_t *vectors[GOLDEN_MAX_INSTRUCTIONS];	/* f16 [n_texts][C] each, less the mean */
	golden_trace traces[GOLDEN_MAX_TRACES];
} golden_file;

bool		golden_open(const char *path, golden_file *golden);
void		golden_close(golden_file *golden);

/* What to run */
typedef struct golden_run
{
	const char *model_path;
	ie_compute	compute;
	uint32_t	n_threads;
	uint32_t	max_texts;		/* only so many of the texts; 0 = all */
} golden_run;

/* How well one instruction's embeddings agree */
typedef struct golden_scores
{
	double		cos_min;
	double		cos_mean;
	double		centred_min;	/* each side less the reference's mean vector */
	double		neighbours;		/* share of the 10 nearest ones that both sides name */
	size_t		worst;			/* text of cos_min */
	size_t		worst_centred;
} golden_scores;

/* A state is named as in ie_trace: "embd", "l3.attn_out", "l3.out", "norm". */
typedef struct golden_result
{
	golden_scores scores[GOLDEN_MAX_INSTRUCTIONS];
	double		state_error;	/* largest |engine - reference| / |reference| of a state's row */
	char		state_worst[32];	/* where */
	char		state_wrong[32];	/* first state over bounds->state, "" if none */
} golden_result;

typedef struct golden_bounds
{
	double		cos_min;
	double		cos_mean;
	double		centred_min;
	double		neighbours;
	double		state;
} golden_bounds;

extern const golden_bounds golden_bounds_f32;
extern const golden_bounds golden_bounds_quantized;

/* False if the engine fails or has other shapes or token counts than the reference. */
bool		golden_compare(const golden_file *golden, const golden_run *run,
						   const golden_bounds *bounds, golden_result *result);

/* Do all bounds hold?  Print the figures under a title (NULL: print nothing). */
bool		golden_judge(const golden_file *golden, const golden_run *run,
						 const golden_bounds *bounds, const golden_result *result,
						 const char *title);

/* Ways to spoil a model so that it still opens: what the comparison must notice */
typedef enum golden_damage
{
	GOLDEN_ROPE,				/* another rotary base */
	GOLDEN_LAYERS,				/* two neighbouring layers swapped */
	GOLDEN_N_DAMAGES
} golden_damage;

/*
 * Write a spoiled copy of a model, and into first_wrong[32] the name of the
 * first state that must differ.
 */
bool		golden_spoil(const char *model_path, golden_damage damage, const char *out_path,
						 char *first_wrong);

#endif							/* GOLDEN_H */
