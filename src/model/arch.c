/*
 * arch.c
 *	  The table of architectures: see arch.h.
 */
#include "model/arch.h"

#include <stdio.h>

static const ie_arch *const archs[] = {&ie_arch_llama};

const ie_arch *
ie_arch_find(ie_text name)
{
	for (size_t i = 0; i < IE_LENGTH(archs); i++)
		if (ie_text_is(name, archs[i]->name))
			return archs[i];
	return NULL;
}

void
ie_arch_list(char *buf, size_t size)
{
	size_t		used = 0;

	for (size_t i = 0; i < IE_LENGTH(archs) && used < size; i++)
		used += (size_t) snprintf(buf + used, size - used, "%s%s", i > 0 ? ", " : "",
								  archs[i]->name);
}
