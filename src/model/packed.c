/*
 * packed.c
 *	  Versions of packed model files: see packed.h.
 */
#include "model/packed.h"
#include "math/kernels.h"

bool
ie_is_packed(const gguf_file *file)
{
	return gguf_find(file, IE_PACKED_VERSION_KEY) != NULL;
}

ie_code
ie_packed_check(const gguf_file *file, ie_error *err)
{
	uint32_t	version;
	uint32_t	panels;
	ie_text		sha256;

	if (!ie_is_packed(file))
		return IE_OK;
	IE_TRY(gguf_get_u32(file, IE_PACKED_VERSION_KEY, &version, NULL, err));
	IE_TRY(gguf_get_u32(file, IE_PACKED_PANELS_KEY, &panels, NULL, err));
	if (version != IE_PACKED_VERSION || panels != IE_PANEL_LAYOUT)
	{
		ie_fail(err, IE_UNSUPPORTED, "file was packed by another version of instemb");
		ie_detail(err, "It has version %u of the packed format and %u of the panels; "
				  "%d and %d are read here.", version, panels, IE_PACKED_VERSION, IE_PANEL_LAYOUT);
		return ie_hint(err, "Install the model again from its base and adapter, "
					   "with instemb_install().");
	}
	return gguf_get_text(file, IE_DATA_SHA256_KEY, &sha256, NULL, err);
}
