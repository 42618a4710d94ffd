/*
 * cache.c
 *	  The per-backend cache of embeddings.
 *
 * A hash table over a 64-bit hash of the whole key; the key itself is kept and
 * compared, so that a collision is a miss and never another text's embedding.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "lib/ilist.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "pg/cache.h"
#include "pg/guc.h"

/* Behind the struct: vector [n] f32, instruction, input. */
typedef struct Body
{
	FileKey		model;
	size_t		instruction_len;
	size_t		input_len;
	Cut			cut;
	int			n;
} Body;

typedef struct Entry
{
	uint64		hash;			/* must be first */
	dlist_node	node;			/* most recently used first */
	Body	   *body;
	Size		bytes;			/* charged to the cache */
} Entry;

static HTAB *table;
static MemoryContext cache_context;
static dlist_head entries = DLIST_STATIC_INIT(entries);
static Size cache_bytes;

static uint64
key_hash(const CacheKey *key)
{
	uint64		hash;

	hash = hash_bytes_extended((const unsigned char *) key->model, sizeof(FileKey), 0);
	hash = hash_bytes_extended((const unsigned char *) key->instruction.data,
							   (int) key->instruction.len, hash);
	return hash_bytes_extended((const unsigned char *) key->input.data,
							   (int) key->input.len, hash);
}

static float *
body_vector(Body *body)
{
	return (float *) (body + 1);
}

static char *
body_text(Body *body)
{
	return (char *) (body_vector(body) + body->n);
}

static Size
body_size(const CacheKey *key, int n)
{
	return sizeof(Body) + sizeof(float) * n + key->instruction.len + key->input.len;
}

static bool
body_matches(Body *body, const CacheKey *key, int n)
{
	return body->n == n && file_key_equal(&body->model, key->model) &&
		body->instruction_len == key->instruction.len &&
		body->input_len == key->input.len &&
		memcmp(body_text(body), key->instruction.data, body->instruction_len) == 0 &&
		memcmp(body_text(body) + body->instruction_len, key->input.data, body->input_len) == 0;
}

static void
body_fill(Body *body, const CacheKey *key, const float *vector, int n)
{
	body->model = *key->model;
	body->instruction_len = key->instruction.len;
	body->input_len = key->input.len;
	body->n = n;
	memcpy(body_vector(body), vector, sizeof(float) * n);
	memcpy(body_text(body), key->instruction.data, key->instruction.len);
	memcpy(body_text(body) + key->instruction.len, key->input.data, key->input.len);
}

static void
drop_all(void)
{
	if (table == NULL)
		return;
	table = NULL;
	dlist_init(&entries);
	cache_bytes = 0;
	MemoryContextDelete(cache_context);
	cache_context = NULL;
}

static void
drop(Entry *entry)
{
	cache_bytes -= entry->bytes;
	dlist_delete(&entry->node);
	pfree(entry->body);
	hash_search(table, &entry->hash, HASH_REMOVE, NULL);
}

static void
create_table(void)
{
	HASHCTL		control = {0};
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "instemb embeddings",
												  ALLOCSET_DEFAULT_SIZES);

	control.keysize = sizeof(uint64);
	control.entrysize = sizeof(Entry);
	control.hcxt = context;
	table = hash_create("instemb embeddings", 256, &control,
						HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	MemoryContextSetParent(context, TopMemoryContext);
	cache_context = context;
}

bool
cache_get(const CacheKey *key, float *vector, int n, Cut *cut)
{
	uint64		hash;
	Entry	   *entry;

	if (guc_cache_size == 0)
		drop_all();
	if (table == NULL)
		return false;
	hash = key_hash(key);
	entry = hash_search(table, &hash, HASH_FIND, NULL);
	if (entry == NULL || !body_matches(entry->body, key, n))
		return false;
	dlist_move_head(&entries, &entry->node);
	memcpy(vector, body_vector(entry->body), sizeof(float) * n);
	*cut = entry->body->cut;
	return true;
}

void
cache_put(const CacheKey *key, const float *vector, int n, Cut cut)
{
	Size		limit = (Size) guc_cache_size * 1024;
	Size		bytes = sizeof(Entry) + body_size(key, n);
	uint64		hash = key_hash(key);
	Body	   *body;
	Entry	   *entry;

	if (bytes > limit || !AllocSizeIsValid(bytes))
		return;
	if (table == NULL)
		create_table();
	entry = hash_search(table, &hash, HASH_FIND, NULL);
	if (entry != NULL)
		drop(entry);
	while (cache_bytes + bytes > limit)
		drop(dlist_tail_element(Entry, node, &entries));

	entry = hash_search(table, &hash, HASH_ENTER, NULL);
	body = MemoryContextAllocExtended(cache_context, body_size(key, n), MCXT_ALLOC_NO_OOM);
	if (body == NULL)
	{
		/* no reason to fail a query that has its result */
		hash_search(table, &hash, HASH_REMOVE, NULL);
		return;
	}
	body_fill(body, key, vector, n);
	body->cut = cut;
	entry->body = body;
	entry->bytes = bytes;
	dlist_push_head(&entries, &entry->node);
	cache_bytes += bytes;
}
