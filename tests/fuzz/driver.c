/*
 * driver.c
 *	  Run a fuzz target over files and folders, without libFuzzer:
 *
 *		fuzz_gguf tests/fuzz/corpus/gguf crash-1234
 *
 * Every file is given whole, and cut at half its size.  Output is
 * "ok NAME (N checks)"; a finding ends the process.
 */
#include "fuzz.h"

#include <dirent.h>
#include <sys/stat.h>

static long n_inputs;

static void
fail(const char *path)
{
	perror(path);
	printf("FAILED %s\n", path);
	exit(1);
}

static void
run_file(const char *path, size_t size)
{
	uint8_t    *bytes = malloc(size > 0 ? size : 1);
	uint8_t    *half = malloc(size / 2 > 0 ? size / 2 : 1);
	FILE	   *f = fopen(path, "rb");

	if (bytes == NULL || half == NULL || f == NULL || fread(bytes, 1, size, f) != size)
		fail(path);
	fclose(f);
	memcpy(half, bytes, size / 2);
	LLVMFuzzerTestOneInput(bytes, size);
	LLVMFuzzerTestOneInput(half, size / 2);
	n_inputs += 2;
	free(bytes);
	free(half);
}

static void
run_path(const char *path)
{
	struct stat st;
	struct dirent *entry;
	DIR		   *dir;

	if (stat(path, &st) != 0)
		fail(path);
	if (S_ISREG(st.st_mode))
		run_file(path, (size_t) st.st_size);
	if (!S_ISDIR(st.st_mode))
		return;
	dir = opendir(path);
	if (dir == NULL)
		fail(path);
	while ((entry = readdir(dir)) != NULL)
	{
		char		inner[1024];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(inner, sizeof(inner), "%s/%s", path, entry->d_name);
		run_path(inner);
	}
	closedir(dir);
}

int
main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/');

	for (int i = 1; i < argc; i++)
		run_path(argv[i]);
	if (n_inputs == 0)
		fail("no inputs");
	printf("ok %s (%ld checks)\n", slash != NULL ? slash + 1 : argv[0], n_inputs);
	return 0;
}
