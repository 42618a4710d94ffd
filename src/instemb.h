/*
 * instemb.h
 *	  The engine's one public header: instruction-conditioned text embeddings.
 *
 * The engine knows nothing of PostgreSQL.  It is built as a module of its own
 * (instemb_engine.so) that exports the single symbol ie_engine(); the SQL face
 * in src/pg opens it at first use and calls it through the table ie_api.
 * Unit tests link the objects and call the functions directly.
 *
 * Vocabulary
 *	  model		an opened GGUF file: configuration, weights, vocabulary and model
 *				definition (template, pooling).  Immutable after open; its weights
 *				are borrowed from a read-only shared mapping of the file.
 *	  session	all mutable state of one caller: scratch arena, prefix cache.
 *				One thread at a time uses a session.
 *	  trainer	an adapter in the making: its rows, parameters, optimiser state.
 *	  host		what the caller lends: allocator, interrupt poll.
 *
 * Verbs: open/close = resource of the operating system, create/free = heap.
 * Every function that can fail returns an ie_code and fills the caller's
 * ie_error; out-parameters are written only on IE_OK, unless stated.
 *
 * Shape letters used throughout the engine: B sequences of a pass, T tokens,
 * C n_embd, H n_head, G n_head_kv, D head_dim, F n_ff, V n_vocab, L n_layer,
 * K look-ahead tokens.
 */
#ifndef INSTEMB_H
#define INSTEMB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---------------------------------------------------------------- errors */

typedef enum ie_code
{
	IE_OK = 0,
	IE_NOMEM,					/* the host's allocator returned NULL */
	IE_IO,						/* a system call failed; sys_errno is set */
	IE_FORMAT,					/* a file's content is corrupt */
	IE_UNSUPPORTED,				/* valid, but this engine cannot do it */
	IE_INVALID,					/* an argument is not acceptable */
	IE_LIMIT,					/* a stated limit would be exceeded */
	IE_CANCELED,				/* the host's should_stop() said so */
	IE_NUMERIC,					/* a result would not be finite */
	IE_INTERNAL					/* a bug in the engine */
} ie_code;

/* Texts are in PostgreSQL's message style; detail and hint may be empty. */
typedef struct ie_error
{
	ie_code		code;
	int			sys_errno;		/* errno of the failed call, IE_IO only */
	char		message[384];
	char		detail[512];
	char		hint[256];
} ie_error;

/* ------------------------------------------------------------------ host */

/*
 * The caller's services; outlives everything created with it.
 *
 * alloc returns at least 8-byte aligned memory or NULL, and never does
 * anything else (no exception, no jump).  should_stop may be NULL; it is
 * polled only by the thread that called the engine, between tiles of work
 * (at most some milliseconds apart).  No callback is used on another thread.
 */
typedef struct ie_host
{
	void	   *arg;
	void	   *(*alloc) (void *arg, size_t size);
	void		(*free) (void *arg, void *ptr);
	bool		(*should_stop) (void *arg);
} ie_host;

/* ---------------------------------------------------------------- models */

typedef struct ie_model ie_model;

/*
 * What a model is; strings are borrowed from the model, valid until
 * ie_model_close().  A string that the file does not state is "".
 */
typedef struct ie_model_info
{
	const char *architecture;	/* general.architecture */
	const char *name;			/* general.name */
	const char *license;		/* general.license */
	const char *quantization;	/* tensor type of most weights, e.g. "Q4_1", "Q8_0 packed" */
	const char *pre_type;		/* tokenizer.ggml.pre */
	const char *pooling;		/* last, mean, lookahead, daap, generate, generate_mean */
	const char *template_prefix;	/* with {instruction}, or the suffix has it */
	const char *template_prefix_empty;	/* used when the instruction is '' */
	const char *template_body;	/* with {input} */
	const char *template_suffix;
	const char *template_suffix_empty;	/* used when the instruction is '' */
	const char *base_sha256;	/* merged models: hash of the base file */
	const char *adapter_sha256; /* merged models: hash of the adapter file */
	uint32_t	n_vocab;
	uint32_t	n_embd;			/* also the dimension of an embedding */
	uint32_t	n_layer;
	uint32_t	n_head;
	uint32_t	n_head_kv;
	uint32_t	head_dim;
	uint32_t	n_ff;
	uint32_t	n_ctx;
	uint32_t	lookahead_count;
	uint64_t	n_params;
	uint64_t	file_bytes;
} ie_model_info;

/*
 * Open a model file: map it read-only and shared, check header, metadata,
 * tensor directory and bounds (not the tensors' bodies), build the vocabulary.
 *
 * Errors: IE_IO (open, fstat, mmap), IE_FORMAT, IE_UNSUPPORTED (architecture,
 * tensor type, tokenizer; the detail lists what is supported), IE_NOMEM.
 */
ie_code		ie_model_open(const ie_host *host, const char *path,
						  ie_model **model, ie_error *err);
void		ie_model_close(ie_model *model);	/* NULL is allowed */

void		ie_model_get_info(const ie_model *model, ie_model_info *info);

/*
 * Read the whole file: SHA-256 of its bytes as 64 lower-case hex digits and a
 * terminating NUL into hex[65].  Where the file records a checksum of its
 * tensor data (instemb.data_sha256, written by ie_install()), that is compared
 * too; and every block scale must be finite.
 *
 * Errors: IE_FORMAT (checksum differs, or a scale is not finite), IE_CANCELED.
 */
ie_code		ie_model_verify(const ie_model *model, char *hex, ie_error *err);

/* SHA-256 of a file's bytes as hex, without opening it as a model. */
ie_code		ie_file_sha256(const ie_host *host, const char *path, char *hex,
						   ie_error *err);

/*
 * Write a packed model file, which holds base + adapter: each adapted matrix
 * becomes W + (alpha/r) B A, computed in fp32; all matrices of the layers are
 * quantised to 8 bits (Q8_0) and laid as the kernels want them; with the
 * vocabulary's tables, the adapter's definition metadata and look-ahead
 * vectors, source hashes and a checksum of the tensor data.  With adapter_path
 * NULL the base alone is packed; a file that is packed already is copied.
 *
 * out_path must not exist; it is created with mode 0600, written and fsynced,
 * and removed again on failure.  The caller renames it into place.
 *
 * Errors: as ie_model_open() and ie_model_verify(), for the base and for the
 * result; IE_INVALID when the adapter belongs to another base, its shapes
 * differ, the base is a file that was installed, or the definition does not fit; IE_LIMIT
 * (max_bytes, both numbers in the message); IE_NUMERIC (a merged weight is not
 * finite); IE_IO; IE_CANCELED.
 */
#define IE_DEFINITION_MAX 8

typedef struct ie_metadata
{
	const char *key;
	const char *text;			/* NULL: the number */
	uint32_t	number;
} ie_metadata;

typedef struct ie_install_request
{
	const char *base_path;
	const char *adapter_path;	/* NULL = none */
	const ie_metadata *definition;	/* [n_definition] keys of the model definition (instemb.pooling,
									 * instemb.template.*, ...) in place of the files' own */
	size_t		n_definition;	/* at most IE_DEFINITION_MAX */
	const char *out_path;
	size_t		max_bytes;		/* limit for scratch memory, 0 = none */
} ie_install_request;

ie_code		ie_install(const ie_host *host, const ie_install_request *request,
					   ie_error *err);

/* -------------------------------------------------------------- tokenizer */

/* A text in UTF-8, not terminated. */
typedef struct ie_text
{
	const char *data;
	size_t		len;			/* bytes */
} ie_text;

/*
 * Token ids of a text as the model's tokenizer gives them, without template
 * and without BOS.  Control tokens spelled out in the text are plain
 * characters.  *tokens is allocated with the model's host and owned by the
 * caller (host->free), NULL when *n_tokens is 0.  Invalid UTF-8 is IE_INVALID.
 */
ie_code		ie_tokenize(const ie_model *model, ie_text text,
						int32_t **tokens, size_t *n_tokens, ie_error *err);

/* -------------------------------------------------------------- embedding */

typedef struct ie_session ie_session;

typedef enum ie_compute
{
	IE_COMPUTE_AUTO = 0,		/* integer dot products where weights are quantised */
	IE_COMPUTE_F32				/* dequantise and multiply in fp32 */
} ie_compute;

typedef struct ie_session_config
{
	ie_compute	compute;
	uint32_t	n_threads;		/* 1..64 */
	size_t		max_bytes;		/* limit of the session's memory, 0 = none */
	size_t		prefix_cache_bytes; /* limit of the prefix cache, 0 = no cache */
} ie_session_config;

/*
 * A session borrows the model, which must outlive it.  Its scratch is
 * allocated by ie_embed(), in one piece, sized before the pass.
 */
ie_code		ie_session_create(const ie_model *model, const ie_session_config *config,
							  ie_session **session, ie_error *err);
void		ie_session_free(ie_session *session);	/* NULL is allowed */

/* Bytes now held by the session: scratch arena and prefix cache. */
size_t		ie_session_bytes(const ie_session *session);

/* Release scratch beyond keep_bytes. */
void		ie_session_trim(ie_session *session, size_t keep_bytes);

typedef struct ie_embed_request
{
	ie_text		instruction;	/* len 0 = plain embedding */
	const ie_text *inputs;		/* [n_inputs], none empty */
	size_t		n_inputs;
	bool		truncate;		/* cut texts that do not fit n_ctx at a token
								 * boundary, instead of IE_LIMIT */
} ie_embed_request;

typedef struct ie_embed_stats
{
	uint64_t	n_tokens;		/* positions computed, look-ahead included */
	uint64_t	n_tokens_reused;	/* prefix positions that a text had for free: from the cache, or
								 * computed for an earlier text of the call */
	size_t		n_truncated;	/* texts that were cut, or 1: did not fit (IE_LIMIT) */
	size_t		first_truncated;	/* index of the first of them */
	size_t		truncated_tokens;	/* its token count before the cut */
	size_t		truncated_limit;	/* and the count it was cut to */
} ie_embed_stats;

/*
 * Embed n_inputs texts under one instruction.
 *
 * vectors: [n_inputs, n_embd] f32 row-major, caller's storage; every row has
 * unit L2 norm and no NaN.  The bits of a row do not depend on the other rows,
 * their order, the number of threads or the state of the prefix cache.
 * stats may be NULL; it is written also on failure as far as known.
 *
 * Errors: IE_INVALID (empty text, not UTF-8), IE_LIMIT (text over the context,
 * both numbers in the message; or max_bytes, before anything is allocated),
 * IE_NOMEM, IE_CANCELED (nothing is lost, the call may be repeated),
 * IE_NUMERIC.
 */
ie_code		ie_embed(ie_session *session, const ie_embed_request *request,
					 float *vectors, ie_embed_stats *stats, ie_error *err);

/* ------------------------------------------------------------- generation */

typedef struct ie_generate_request
{
	ie_text		instruction;	/* len 0 = template without one */
	ie_text		input;			/* not empty */
	uint32_t	max_tokens;		/* 1 .. 4096; they share the context with the text */
	bool		truncate;		/* cut a text that does not fit, instead of IE_LIMIT */
} ie_generate_request;

typedef struct ie_generated
{
	char	   *text;			/* UTF-8, not terminated, without NUL; as generated, so it often
								 * begins with a space */
	size_t		len;			/* bytes, may be 0 */
	size_t		n_tokens;		/* generated, the end not counted */
	bool		ended;			/* the model ended it; else it was cut at max_tokens */
} ie_generated;

/*
 * What the model answers: instruction and text in the model's template, without
 * look-ahead vectors, then greedy decoding up to max_tokens or the end of the
 * answer.  generated->text is allocated with the model's host and owned by the
 * caller (host->free).  Same bits as for ie_embed(); stats as there.
 *
 * Errors: as ie_embed(); IE_INVALID also for max_tokens out of range.
 */
ie_code		ie_generate(ie_session *session, const ie_generate_request *request,
						ie_generated *generated, ie_embed_stats *stats, ie_error *err);

/* --------------------------------------------------------------- distance */

/*
 * These four live in src/math/distance.c, which is linked into the SQL face as
 * well, so that a distance needs no engine.  a, b: [n] f32, aligned as floats are.
 * The reduction order is the same on every instruction set: 16 lanes of fp32
 * fused multiply-adds, lane i % 16, then a fixed tree.
 *
 * Cosine distance is 1 - cos clamped to [0, 2], NaN if a norm is 0.
 */
double		ie_inner_product(const float *a, const float *b, size_t n);
double		ie_cosine_similarity(const float *a, const float *b, size_t n);
double		ie_cosine_distance(const float *a, const float *b, size_t n);

/* Scale to unit L2 norm in place; false (unchanged) if the norm is 0 or not finite. */
bool		ie_normalize(float *x, size_t n);

/* --------------------------------------------------------------- training */

/*
 * Trains an adapter: low-rank deltas (LoRA) on the seven linear layers of every
 * block and K look-ahead vectors, over the frozen base (InstEmb; DESIGN.md 1).
 *
 *		ie_train_config_default(&config);
 *		ie_trainer_create(host, model, &config, &trainer, err);
 *		ie_trainer_add(trainer, rows, n, NULL, err);	-- as often as wanted
 *		while (progress.step < progress.n_steps)
 *			ie_trainer_step(trainer, &progress, err);
 *		ie_trainer_write_adapter(trainer, path, err);	-- for ie_install()
 *
 * The losses, each with a weight (0 switches it off).  q is a row's pooled
 * state under its instruction, a that of its answer alone, both unit vectors;
 * rows whose answers are equal but for ASCII case, spaces and full stops around
 * them are never each other's negatives.
 *		answer	InfoNCE of q against the batch's distinct answers
 *		back	the same from the answer's side
 *		group	InfoNCE of q against the q of the other rows; positive: same
 *				answer under the same instruction
 *		view	InfoNCE of q against itself under another dropout mask (SimCSE)
 *		teacher InfoNCE of the state at the last input token against the frozen
 *				base's state there when the gold answer follows
 *		mse		states at the look-ahead vectors against the frozen base's states
 *				over the answer's tokens: squared error over their mean square
 *		kl		the same by KL divergence of next-token distributions
 *		ce		cross-entropy of the k-th look-ahead state with the answer's k-th
 *				token
 *		generation	cross-entropy of the answer's tokens and its end when they
 *				follow the input, without look-ahead vectors: next-token
 *				fine-tuning, which makes a model for InBedder's poolings (Peng et
 *				al., ACL 2024, section 3); the mean over all such tokens
 */
typedef struct ie_trainer ie_trainer;

/* Poolings that the contrastive losses see, added where there are several */
enum
{
	IE_CONTRAST_LAST = 1,
	IE_CONTRAST_LOOKAHEAD = 2,
	IE_CONTRAST_DAAP = 4
};

typedef struct ie_train_config
{
	uint32_t	n_steps;
	uint32_t	batch_size;		/* rows of a step, at least 2; fewer if there are fewer rows */
	uint32_t	rank;			/* r of the deltas, 1..256 */
	float		alpha;			/* a delta is (alpha / rank) B A */
	uint32_t	lookahead_count;	/* K, 0..64 */
	const char *pooling;		/* what the adapter's definition will say: last, mean, lookahead,
								 * daap, generate, generate_mean; borrowed until create returns */
	unsigned	contrast;		/* IE_CONTRAST_... */

	double		learning_rate;	/* the highest */
	double		warmup;			/* share of the steps with a rising rate, then cosine to 2 % */
	double		weight_decay;	/* AdamW */
	double		clip_norm;		/* of the gradient of all parameters, 0 = none */
	double		temperature;	/* of InfoNCE */
	double		dropout;		/* of attention's and feed-forward's outputs, 0 <= p < 1 */

	double		weight_answer;
	double		weight_back;
	double		weight_group;
	double		weight_view;	/* needs dropout */
	double		weight_teacher;
	double		weight_mse;		/* this and the following need look-ahead vectors */
	double		weight_kl;
	double		weight_ce;
	double		weight_generation;	/* alone, it needs lookahead_count 0 */

	uint32_t	max_row_tokens;	/* with template and look-ahead, at most n_ctx; 0 = n_ctx */
	uint32_t	max_answer_tokens;	/* longer answers are cut to these */
	bool		truncate;		/* cut texts that are longer, instead of IE_LIMIT */

	uint64_t	seed;
	size_t		max_bytes;		/* limit of the trainer's memory, whatever the batch size */
	uint32_t	n_threads;		/* 1..64; the bits of the result depend on it */
} ie_train_config;

void		ie_train_config_default(ie_train_config *config);

/*
 * A trainer borrows host and model, which must outlive it.  The base model's
 * file is read once for its SHA-256.
 *
 * Errors: IE_INVALID (a setting out of range, named with its range; the model
 * is an installed one), IE_UNSUPPORTED (OpenBLAS is not installed),
 * IE_LIMIT (max_bytes cannot hold base and parameters; both numbers are told),
 * IE_NOMEM, IE_CANCELED.
 */
ie_code		ie_trainer_create(const ie_host *host, const ie_model *model,
							  const ie_train_config *config, ie_trainer **trainer,
							  ie_error *err);
void		ie_trainer_free(ie_trainer *trainer);	/* NULL is allowed */

/* Steps done, those before a checkpoint included */
uint32_t	ie_trainer_steps_done(const ie_trainer *trainer);

/* Bytes now held by the trainer, the most that it has held in *peak (may be NULL) */
size_t		ie_trainer_bytes(const ie_trainer *trainer, size_t *peak);

/* A row: "for input, the instruction's answer is output" */
typedef struct ie_triple
{
	ie_text		instruction;	/* len 0 = none: then output is a text near to input */
	ie_text		input;
	ie_text		output;
} ie_triple;

/*
 * Add rows; they are tokenised at once and kept as tokens, equal texts once.
 * Rows can be added before the first step only.  On failure the rows before the
 * one refused stay added, and *n_added (may be NULL) tells how many of this call.
 *
 * Errors: IE_INVALID (input or output empty or without tokens, not UTF-8),
 * IE_LIMIT (too long, both numbers in the message; max_bytes), each with the
 * row's number, which counts all rows from 1; IE_INVALID (training has begun),
 * IE_NOMEM, IE_CANCELED.
 */
ie_code		ie_trainer_add(ie_trainer *trainer, const ie_triple *rows, size_t n,
						   size_t *n_added, ie_error *err);

/* Losses are as defined above, not yet weighted; those switched off are 0. */
typedef struct ie_train_progress
{
	uint32_t	step;			/* steps done */
	uint32_t	n_steps;
	double		loss;			/* weighted sum */
	double		answer;
	double		back;
	double		group;
	double		view;
	double		teacher;
	double		mse;
	double		kl;
	double		ce;
	double		generation;
	double		accuracy;		/* share of rows whose nearest answer of the batch is theirs; of
								 * generation alone, of tokens that were the likeliest */
	double		gradient_norm;	/* before clipping */
	double		learning_rate;
	uint64_t	n_rows;			/* of this step */
	uint64_t	n_tokens;		/* positions of its sequences, template and look-ahead included */
} ie_train_progress;

/*
 * One whole step of the optimiser, whose batch depends on seed and step alone.
 * After any error the trainer is as it was after the last whole step.
 *
 * Errors: IE_INVALID (fewer than 2 rows, or all steps are done), IE_LIMIT
 * (max_bytes), IE_NOMEM, IE_NUMERIC (loss or gradient is not finite),
 * IE_CANCELED (within 500 ms for models up to some 300 million weights).
 */
ie_code		ie_trainer_step(ie_trainer *trainer, ie_train_progress *progress, ie_error *err);

/*
 * Parameters, optimiser state and step, to go on from with the same bits.
 * ie_trainer_save() writes a file that must not exist, mode 0600, fsynced, and
 * removes it again on failure.  ie_trainer_load() comes after the rows were
 * added, before the first step; after a failure load again, or free the trainer.
 *
 * Errors: IE_IO; IE_FORMAT (not a checkpoint, or damaged), IE_INVALID (made with
 * another base, other settings or other rows: says which), IE_NOMEM, IE_CANCELED.
 */
ie_code		ie_trainer_save(const ie_trainer *trainer, const char *path, ie_error *err);
ie_code		ie_trainer_load(ie_trainer *trainer, const char *path, ie_error *err);

/*
 * Begin with the deltas and look-ahead vectors of an adapter file instead of
 * random ones, before the first step.  It must be for this base, have the
 * configuration's rank, alpha and look-ahead count, and a delta on every linear
 * layer.  Errors: as ie_install(); IE_INVALID (those differ).
 */
ie_code		ie_trainer_read_adapter(ie_trainer *trainer, const char *path, ie_error *err);

/*
 * The adapter's file, with F16 tensors: what ie_install() takes.  path must not
 * exist; mode 0600, fsynced, removed again on failure.
 * Errors: IE_IO, IE_NUMERIC (a value does not fit F16).
 */
ie_code		ie_trainer_write_adapter(const ie_trainer *trainer, const char *path, ie_error *err);

/* ------------------------------------------------------------------ module */

/* Kernel level in use: "ref", "avx2", "avx512vnni", ... */
const char *ie_cpu_level(void);
const char *ie_code_name(ie_code code);

#define IE_API_VERSION 3

/* The engine as the SQL face sees it. */
typedef struct ie_api
{
	uint32_t	version;		/* IE_API_VERSION */
	ie_code		(*model_open) (const ie_host *, const char *, ie_model **, ie_error *);
	void		(*model_close) (ie_model *);
	void		(*model_get_info) (const ie_model *, ie_model_info *);
	ie_code		(*model_verify) (const ie_model *, char *, ie_error *);
	ie_code		(*file_sha256) (const ie_host *, const char *, char *, ie_error *);
	ie_code		(*install) (const ie_host *, const ie_install_request *, ie_error *);
	ie_code		(*tokenize) (const ie_model *, ie_text, int32_t **, size_t *, ie_error *);
	ie_code		(*session_create) (const ie_model *, const ie_session_config *,
								   ie_session **, ie_error *);
	void		(*session_free) (ie_session *);
	size_t		(*session_bytes) (const ie_session *);
	void		(*session_trim) (ie_session *, size_t);
	ie_code		(*embed) (ie_session *, const ie_embed_request *, float *,
						  ie_embed_stats *, ie_error *);
	ie_code		(*generate) (ie_session *, const ie_generate_request *, ie_generated *,
							 ie_embed_stats *, ie_error *);
	const char *(*cpu_level) (void);
	void		(*train_config_default) (ie_train_config *);
	ie_code		(*trainer_create) (const ie_host *, const ie_model *, const ie_train_config *,
								   ie_trainer **, ie_error *);
	void		(*trainer_free) (ie_trainer *);
	uint32_t	(*trainer_steps_done) (const ie_trainer *);
	size_t		(*trainer_bytes) (const ie_trainer *, size_t *);
	ie_code		(*trainer_add) (ie_trainer *, const ie_triple *, size_t, size_t *, ie_error *);
	ie_code		(*trainer_step) (ie_trainer *, ie_train_progress *, ie_error *);
	ie_code		(*trainer_save) (const ie_trainer *, const char *, ie_error *);
	ie_code		(*trainer_load) (ie_trainer *, const char *, ie_error *);
	ie_code		(*trainer_read_adapter) (ie_trainer *, const char *, ie_error *);
	ie_code		(*trainer_write_adapter) (const ie_trainer *, const char *, ie_error *);
} ie_api;

/* The only symbol that instemb_engine.so exports. */
typedef const ie_api *(*ie_engine_fn) (void);
#define IE_ENGINE_SYMBOL "ie_engine"

#endif							/* INSTEMB_H */
