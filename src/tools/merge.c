/*
 * merge.c
 *	  instemb_install() without a server:  merge BASE ADAPTER OUT
 *
 * Leaves OUT alone when it can be opened and was made of these very files, so
 * that a repeated "make model" costs two hashes.  The new file is moved into
 * place by rename: servers may have the old one mapped.
 */
#include "instemb.h"
#include "tools/heap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHA256_HEX_SIZE 65

static int
fail(const ie_error *err)
{
	fprintf(stderr, "merge: %s\n", err->message);
	if (err->detail[0] != '\0')
		fprintf(stderr, "DETAIL:  %s\n", err->detail);
	if (err->hint[0] != '\0')
		fprintf(stderr, "HINT:  %s\n", err->hint);
	return 1;
}

/* Is the file at path a model of these two hashes, in a format that opens? */
static bool
is_made_of(const ie_host *host, const char *path, const char *base, const char *adapter)
{
	ie_model   *model;
	ie_model_info info;
	ie_error	err;
	bool		same;

	if (ie_model_open(host, path, &model, &err) != IE_OK)
		return false;
	ie_model_get_info(model, &info);
	same = strcmp(info.base_sha256, base) == 0 && strcmp(info.adapter_sha256, adapter) == 0;
	ie_model_close(model);
	return same;
}

static int
install(const ie_host *host, const char *base, const char *adapter, const char *out)
{
	const size_t size = strlen(out) + sizeof(".new");
	char	   *temp = malloc(size);
	const ie_install_request request = {.base_path = base, .adapter_path = adapter,
	.out_path = temp};
	ie_error	err = {0};
	int			status = 1;

	if (temp == NULL)
	{
		fprintf(stderr, "merge: out of memory\n");
		return 1;
	}
	snprintf(temp, size, "%s.new", out);
	unlink(temp);				/* left by a run that was killed */
	if (ie_install(host, &request, &err) != IE_OK)
		status = fail(&err);
	else if (chmod(temp, 0644) != 0 || rename(temp, out) != 0)
	{
		perror(out);
		unlink(temp);
	}
	else
	{
		printf("installed %s\n", out);
		status = 0;
	}
	free(temp);
	return status;
}

int
main(int argc, char **argv)
{
	const ie_host host = {.alloc = heap_alloc, .free = heap_free};
	char		base[SHA256_HEX_SIZE];
	char		adapter[SHA256_HEX_SIZE];
	ie_error	err = {0};

	if (argc != 4)
	{
		fprintf(stderr, "usage: %s BASE ADAPTER OUT\n", argv[0]);
		return 2;
	}
	if (ie_file_sha256(&host, argv[1], base, &err) != IE_OK ||
		ie_file_sha256(&host, argv[2], adapter, &err) != IE_OK)
		return fail(&err);
	if (is_made_of(&host, argv[3], base, adapter))
		return 0;
	return install(&host, argv[1], argv[2], argv[3]);
}
