/*
 * test_base.c
 *	  The layer below everything: errors, sizes and readers, arena, processor
 *	  levels, files.
 */
#include "base/arena.h"
#include "base/bytes.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/host.h"
#include "scratch.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>

/* ------------------------------------------------------------------- status */

static ie_code
fails(ie_error *err)
{
	return ie_fail(err, IE_LIMIT, "text has %d tokens, at most %d fit", 9, 8);
}

static ie_code
passes_on(ie_error *err)
{
	IE_TRY(fails(err));
	return IE_OK;
}

static void
test_status(void)
{
	ie_error	err;
	char		long_text[1000];

	memset(&err, 0x55, sizeof(err));
	CHECK_INT(passes_on(&err), IE_LIMIT);
	CHECK_INT(err.code, IE_LIMIT);
	CHECK_INT(err.sys_errno, 0);
	CHECK_STR(err.message, "text has 9 tokens, at most 8 fit");
	CHECK_STR(err.detail, "");
	CHECK_STR(err.hint, "");
	CHECK_INT(ie_detail(&err, "Detail %d.", 1), IE_LIMIT);
	CHECK_INT(ie_hint(&err, "Hint %d.", 2), IE_LIMIT);
	CHECK_STR(err.detail, "Detail 1.");
	CHECK_STR(err.hint, "Hint 2.");

	errno = ENOSPC;
	CHECK_INT(ie_fail_errno(&err, "could not write"), IE_IO);
	CHECK_INT(err.sys_errno, ENOSPC);
	CHECK_STR(err.detail, "");
	CHECK_INT(ie_nomem(&err, 77), IE_NOMEM);
	CHECK_STR(err.detail, "Failed on a request of 77 bytes.");

	/* what is too long is cut, not written over the end */
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	ie_fail(&err, IE_FORMAT, "%s", long_text);
	CHECK_INT(strlen(err.message), sizeof(err.message) - 1);
	ie_detail(&err, "%s", long_text);
	CHECK_INT(strlen(err.detail), sizeof(err.detail) - 1);
	ie_hint(&err, "%s", long_text);
	CHECK_INT(strlen(err.hint), sizeof(err.hint) - 1);

	for (int code = IE_OK; code <= IE_INTERNAL; code++)
		CHECK(strcmp(ie_code_name((ie_code) code), "?") != 0);
	CHECK_STR(ie_code_name((ie_code) (IE_INTERNAL + 1)), "?");
}

/* --------------------------------------------------------------------- host */

static void
test_host_services(void)
{
	test_host_state state;
	ie_host		host = test_host(&state);
	ie_error	err;
	uint8_t    *p = ie_alloc0(&host, 100);

	for (int i = 0; i < 100; i++)
		CHECK_INT(p[i], 0);
	ie_release(&host, p);
	ie_release(&host, NULL);
	CHECK_INT(state.n_live, 0);
	ie_release(&host, ie_alloc(&host, 0));
	state.fail_at = state.n_allocs + 1;
	CHECK(ie_alloc0(&host, 8) == NULL);
	CHECK_INT(state.n_live, 0);

	CHECK_INT(ie_poll(&host, &err), IE_OK);
	state.stop_after = 2;
	CHECK_INT(ie_poll(&host, &err), IE_CANCELED);
	CHECK_STR(err.message, "canceled");
	host.should_stop = NULL;
	CHECK_INT(ie_poll(&host, &err), IE_OK);
}

/* -------------------------------------------------------------------- bytes */

static void
test_sizes(void)
{
	size_t		r = 1;

	CHECK(ie_size_add(SIZE_MAX - 1, 1, &r) && r == SIZE_MAX);
	CHECK(!ie_size_add(SIZE_MAX, 1, &r));
	CHECK(ie_size_mul(SIZE_MAX / 3, 3, &r) && r == SIZE_MAX / 3 * 3);
	CHECK(!ie_size_mul(SIZE_MAX / 2, 3, &r));
	CHECK(ie_size_mul(0, SIZE_MAX, &r) && r == 0);
	CHECK_INT(ie_round_up(0, 64), 0);
	CHECK_INT(ie_round_up(1, 64), 64);
	CHECK_INT(ie_round_up(64, 64), 64);
	CHECK_INT(ie_round_up(65, 64), 128);
}

static void
test_reader(void)
{
	static const uint8_t data[] = {
		0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
		0x00, 0x00, 0x80, 0xbf
	};
	ie_reader	r = {data, sizeof(data), 0};
	uint8_t		u8 = 0;
	uint16_t	u16 = 0;
	uint32_t	u32 = 0;
	uint64_t	u64 = 0;
	float		f32 = 0.0f;
	const uint8_t *bytes = NULL;

	CHECK(ie_read_u8(&r, &u8) && u8 == 0x01);
	CHECK(ie_read_u16(&r, &u16) && u16 == 0x0302);
	CHECK(ie_read_u32(&r, &u32) && u32 == 0x07060504);
	CHECK(ie_read_u64(&r, &u64) && u64 == 0x0f0e0d0c0b0a0908);
	CHECK(ie_read_f32(&r, &f32) && f32 == -1.0f);
	CHECK_INT(ie_reader_left(&r), 0);

	/* with n bytes left, whatever needs more fails and moves nothing */
	for (size_t left = 0; left <= 8; left++)
	{
		r = (ie_reader) {data, 8, 8 - left};
		CHECK(ie_read_u8(&r, &u8) == (left >= 1));
		r.pos = 8 - left;
		CHECK(ie_read_u16(&r, &u16) == (left >= 2));
		r.pos = 8 - left;
		CHECK(ie_read_u32(&r, &u32) == (left >= 4));
		r.pos = 8 - left;
		CHECK(ie_read_f32(&r, &f32) == (left >= 4));
		r.pos = 8 - left;
		CHECK(ie_read_u64(&r, &u64) == (left >= 8));
		r.pos = 8 - left;
		CHECK(!ie_read_bytes(&r, left + 1, &bytes));
		CHECK(!ie_read_bytes(&r, SIZE_MAX, &bytes));
		CHECK_INT(r.pos, 8 - left);
		CHECK(ie_read_bytes(&r, left, &bytes) && bytes == data + 8 - left);
	}
}

/* -------------------------------------------------------------------- arena */

typedef struct layout
{
	char	   *c;
	double	   *d;
	uint32_t   *none;
	float	   *f;
} layout;

static layout
lay_out(ie_arena *arena)
{
	layout		l;

	l.c = IE_TAKE(arena, 3, char);
	l.d = IE_TAKE(arena, 100, double);
	l.none = IE_TAKE(arena, 0, uint32_t);
	l.f = IE_TAKE(arena, 17, float);
	return l;
}

static void
test_arena(void)
{
	ie_arena	plan = {0};
	ie_arena	arena;
	layout		l = lay_out(&plan);
	uint8_t    *block = aligned_alloc(64, plan.used);

	CHECK(l.c == NULL && l.d == NULL && l.f == NULL);
	CHECK(!plan.overflow);
	for (int round = 0; round < 2; round++)
	{
		arena = (ie_arena) {block, plan.used, 0, false};
		l = lay_out(&arena);
		CHECK(!arena.overflow);
		CHECK_INT(arena.used, plan.used);
		CHECK((uintptr_t) l.c % 64 == 0 && (uintptr_t) l.d % 64 == 0 && (uintptr_t) l.f % 64 == 0);
		CHECK((char *) l.d >= l.c + 3 && (char *) l.f >= (char *) (l.d + 100));
		CHECK((uint8_t *) (l.f + 17) <= block + plan.used);
		memset(l.c, 1, 3);
		memset(l.d, 2, 100 * sizeof(double));
		memset(l.f, 3, 17 * sizeof(float));
		CHECK(l.c[2] == 1);
		ie_arena_reset(&arena);
		CHECK_INT(arena.used, 0);
	}

	/* one byte too small: found out, and nothing is given out after that */
	arena = (ie_arena) {block, plan.used - 1, 0, false};
	l = lay_out(&arena);
	CHECK(arena.overflow && l.f == NULL);
	CHECK(IE_TAKE(&arena, 1, char) == NULL);
	ie_arena_reset(&arena);
	CHECK(!arena.overflow);
	free(block);
}

static void
test_arena_overflow(void)
{
	static const struct
	{
		size_t		n;
		size_t		unit;
	}			cases[] = {
		{SIZE_MAX, 2}, {SIZE_MAX / 2 + 1, 2}, {SIZE_MAX, 1}, {SIZE_MAX - 63, 1}, {2, SIZE_MAX}
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		ie_arena	plan = {0};

		CHECK(ie_arena_take(&plan, cases[i].n, cases[i].unit) == NULL);
		CHECK(plan.overflow);
	}
	/* pieces that fit alone but not together */
	{
		ie_arena	plan = {0};

		ie_arena_take(&plan, SIZE_MAX / 2, 1);
		CHECK(!plan.overflow);
		ie_arena_take(&plan, SIZE_MAX / 2, 1);
		CHECK(plan.overflow);
	}
}

/* ---------------------------------------------------------------------- cpu */

static void
test_cpu(void)
{
	static const char *const names[IE_CPU_N_LEVELS] = {
		"ref", "avx2", "avxvnni", "avx512vnni", "amx", "dotprod"
	};
	ie_cpu_level_id highest = IE_CPU_REF;
	ie_cpu_level_id best;

	unsetenv("INSTEMB_CPU");
	best = ie_cpu_detect();
	CHECK(ie_cpu_has(IE_CPU_REF));
	for (int level = 0; level < IE_CPU_N_LEVELS; level++)
	{
		/* the highest up to here */
		if (ie_cpu_has((ie_cpu_level_id) level))
			highest = (ie_cpu_level_id) level;
		CHECK_STR(ie_cpu_level_name((ie_cpu_level_id) level), names[level]);
		setenv("INSTEMB_CPU", names[level], 1);
		CHECK_INT(ie_cpu_detect(), highest);
	}
	CHECK_INT(best, highest);
	setenv("INSTEMB_CPU", "z80", 1);
	CHECK_INT(ie_cpu_detect(), best);
	setenv("INSTEMB_CPU", "", 1);
	CHECK_INT(ie_cpu_detect(), best);
	unsetenv("INSTEMB_CPU");
}

/* --------------------------------------------------------------------- files */

static void
test_map_errors(scratch *dir)
{
	const char *empty = scratch_path(dir, "empty");
	const char *fifo = scratch_path(dir, "fifo");
	ie_mapping	map = {0};
	ie_error	err;

	CHECK_INT(ie_map_file(scratch_path(dir, "missing"), &map, &err), IE_IO);
	CHECK_INT(err.sys_errno, ENOENT);
	CHECK(strstr(err.message, "could not open file \"") == err.message);
	CHECK_INT(ie_map_file(dir->dir, &map, &err), IE_FORMAT);
	CHECK(strstr(err.message, "is not a regular file") != NULL);
	fclose(fopen(empty, "w"));
	CHECK_INT(ie_map_file(empty, &map, &err), IE_FORMAT);
	CHECK(strstr(err.message, "is empty") != NULL);
	/* a FIFO without a writer must not block */
	CHECK(mkfifo(fifo, 0600) == 0);
	CHECK_INT(ie_map_file(fifo, &map, &err), IE_FORMAT);
	CHECK(map.data == NULL);
}

static void
test_write_and_map(scratch *dir)
{
	const char *path = scratch_path(dir, "file");
	ie_mapping	map = {0};
	ie_writer	w;
	ie_error	err;
	struct stat st;

	CHECK_INT(ie_writer_open(&w, path, &err), IE_OK);
	CHECK_INT(ie_writer_write(&w, "hello, ", 7, &err), IE_OK);
	CHECK_INT(ie_writer_write(&w, "world", 5, &err), IE_OK);
	CHECK_INT(w.offset, 12);
	CHECK_INT(ie_writer_patch(&w, 0, "J", 1, &err), IE_OK);
	CHECK_INT(w.offset, 12);
	CHECK_INT(ie_writer_write(&w, "!", 1, &err), IE_OK);
	CHECK_INT(ie_writer_finish(&w, &err), IE_OK);
	CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);

	CHECK_INT(ie_map_file(path, &map, &err), IE_OK);
	CHECK(map.size == 13 && memcmp(map.data, "Jello, world!", 13) == 0);
	ie_unmap_file(&map);
	ie_unmap_file(&map);
	CHECK(map.data == NULL && map.size == 0);

	/* what exists is neither written over nor removed */
	CHECK_INT(ie_writer_open(&w, path, &err), IE_IO);
	CHECK_INT(err.sys_errno, EEXIST);
	ie_writer_abandon(&w);
	CHECK(access(path, F_OK) == 0);
}

static void
test_abandon(scratch *dir)
{
	const char *path = scratch_path(dir, "abandoned");
	ie_writer	w;
	ie_error	err;

	CHECK_INT(ie_writer_open(&w, path, &err), IE_OK);
	CHECK_INT(ie_writer_write(&w, "x", 1, &err), IE_OK);
	ie_writer_abandon(&w);
	CHECK(access(path, F_OK) != 0);
	/* a full disk */
	w = (ie_writer) {open("/dev/full", O_WRONLY | O_CLOEXEC), path, 0};
	if (w.fd >= 0)
	{
		CHECK_INT(ie_writer_write(&w, "x", 1, &err), IE_IO);
		CHECK_INT(err.sys_errno, ENOSPC);
		CHECK_INT(w.offset, 0);
		ie_writer_abandon(&w);
	}
}

int
main(void)
{
	scratch		dir;

	scratch_open(&dir);
	test_status();
	test_host_services();
	test_sizes();
	test_reader();
	test_arena();
	test_arena_overflow();
	test_cpu();
	test_map_errors(&dir);
	test_write_and_map(&dir);
	test_abandon(&dir);
	scratch_close(&dir);
	return test_end("base");
}
