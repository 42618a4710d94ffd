/*
 * engine.c
 *	  The face of instemb_engine.so: one exported symbol, one table.
 */
#include "instemb.h"
#include "math/kernels.h"

const ie_api *ie_engine(void) __attribute__((visibility("default")));

const char *
ie_cpu_level(void)
{
	return ie_cpu_level_name(ie_kernels_select()->level);
}

const ie_api *
ie_engine(void)
{
	static const ie_api api = {
		.version = IE_API_VERSION,
		.model_open = ie_model_open,
		.model_close = ie_model_close,
		.model_get_info = ie_model_get_info,
		.model_verify = ie_model_verify,
		.file_sha256 = ie_file_sha256,
		.install = ie_install,
		.tokenize = ie_tokenize,
		.session_create = ie_session_create,
		.session_free = ie_session_free,
		.session_bytes = ie_session_bytes,
		.session_trim = ie_session_trim,
		.embed = ie_embed,
		.generate = ie_generate,
		.cpu_level = ie_cpu_level,
		.train_config_default = ie_train_config_default,
		.trainer_create = ie_trainer_create,
		.trainer_free = ie_trainer_free,
		.trainer_steps_done = ie_trainer_steps_done,
		.trainer_bytes = ie_trainer_bytes,
		.trainer_add = ie_trainer_add,
		.trainer_step = ie_trainer_step,
		.trainer_save = ie_trainer_save,
		.trainer_load = ie_trainer_load,
		.trainer_read_adapter = ie_trainer_read_adapter,
		.trainer_write_adapter = ie_trainer_write_adapter
	};

	return &api;
}
