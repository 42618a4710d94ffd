/*
 * test_gguf_get.c
 *	  Typed look-ups in a GGUF file, and its texts in messages.
 */
#include "test.h"
#include "gguf_builder.h"

static void
test_getters(void)
{
	static const struct
	{
		const char *key;
		uint32_t	type;
		uint64_t	bits;
		size_t		n_bytes;
		ie_code		code;		/* of gguf_get_u32() */
		uint32_t	value;
	}			integers[] = {
		{"u8", GGUF_U8, 200, 1, IE_OK, 200},
		{"i8", GGUF_I8, 100, 1, IE_OK, 100},
		{"i8-", GGUF_I8, 0xff, 1, IE_FORMAT, 0},
		{"u16", GGUF_U16, 65535, 2, IE_OK, 65535},
		{"i16", GGUF_I16, 32767, 2, IE_OK, 32767},
		{"i16-", GGUF_I16, 0x8000, 2, IE_FORMAT, 0},
		{"u32", GGUF_U32, 4294967295, 4, IE_OK, 4294967295},
		{"i32", GGUF_I32, 2147483647, 4, IE_OK, 2147483647},
		{"i32-", GGUF_I32, 0xfffffffe, 4, IE_FORMAT, 0},
		{"u64", GGUF_U64, 4294967295, 8, IE_OK, 4294967295},
		{"u64+", GGUF_U64, 4294967296, 8, IE_FORMAT, 0},
		{"i64", GGUF_I64, 77, 8, IE_OK, 77},
		{"i64-", GGUF_I64, (uint64_t) -5, 8, IE_FORMAT, 0},
		{"bool", GGUF_BOOL, 1, 1, IE_FORMAT, 0},
	};
	const double numbers[] = {0.1, 1e300, NAN};
	test_host_state state;
	ie_host		host = test_host(&state);
	gguf_builder b;
	gguf_file	file;
	ie_error	err;
	const gguf_kv *kv;
	ie_text		text = {"default", 7};
	uint32_t	u32 = 42;
	float		f32 = 42;
	bool		flag = true;
	bool		found = true;

	gb_begin(&b, 3);
	for (size_t i = 0; i < sizeof(integers) / sizeof(integers[0]); i++)
	{
		gb_kv(&b, integers[i].key, integers[i].type);
		gb_uint(&b, integers[i].bits, integers[i].n_bytes);
	}
	gb_kv_f32(&b, "f32", 0.25f);
	gb_kv_f32(&b, "f32inf", INFINITY);
	for (size_t i = 0; i < 3; i++)
	{
		gb_kv(&b, (const char *[]) {"f64", "f64big", "f64nan"}[i], GGUF_F64);
		gb_bytes(&b, &numbers[i], 8);
	}
	gb_kv_text(&b, "text", "value");
	gb_kv_array(&b, "array", GGUF_U32, 0);
	gb_end(&b);
	CHECK_INT(gguf_parse(&host, b.data, b.size, &file, &err), IE_OK);

	for (size_t i = 0; i < sizeof(integers) / sizeof(integers[0]); i++)
	{
		u32 = 42;
		CHECK_INT(gguf_get_u32(&file, integers[i].key, &u32, NULL, &err), integers[i].code);
		CHECK_INT(u32, integers[i].code == IE_OK ? integers[i].value : 42);
	}
	gguf_get_u32(&file, "i64-", &u32, NULL, &err);
	CHECK_STR(err.detail, "It is -5, 0 to 4294967295 is allowed.");
	gguf_get_u32(&file, "bool", &u32, NULL, &err);
	CHECK_STR(err.message, "metadata key \"bool\" has type bool, expected an integer");

	CHECK_INT(gguf_get_f32(&file, "f32", &f32, &found, &err), IE_OK);
	CHECK(f32 == 0.25f && found);
	CHECK_INT(gguf_get_f32(&file, "f64", &f32, NULL, &err), IE_OK);
	CHECK(f32 == 0.1f);
	CHECK_INT(gguf_get_f32(&file, "f32inf", &f32, NULL, &err), IE_FORMAT);
	CHECK_INT(gguf_get_f32(&file, "f64big", &f32, NULL, &err), IE_FORMAT);
	CHECK_INT(gguf_get_f32(&file, "f64nan", &f32, NULL, &err), IE_FORMAT);
	CHECK_INT(gguf_get_f32(&file, "u32", &f32, NULL, &err), IE_FORMAT);

	CHECK_INT(gguf_get_bool(&file, "bool", &flag, NULL, &err), IE_OK);
	CHECK(flag);
	CHECK_INT(gguf_get_bool(&file, "u8", &flag, NULL, &err), IE_FORMAT);
	CHECK_INT(gguf_get_text(&file, "text", &text, NULL, &err), IE_OK);
	CHECK(ie_text_is(text, "value"));
	CHECK_INT(gguf_get_text(&file, "array", &text, NULL, &err), IE_FORMAT);
	CHECK_INT(gguf_get_array(&file, "array", GGUF_I32, &kv, NULL, &err), IE_FORMAT);
	CHECK_STR(err.message, "metadata key \"array\" is an array of u32, expected of i32");
	CHECK_INT(gguf_get_array(&file, "array", GGUF_U32, &kv, NULL, &err), IE_OK);
	CHECK_INT(kv->n_elems, 0);
	CHECK_INT(gguf_get_array(&file, "text", GGUF_U32, &kv, NULL, &err), IE_FORMAT);
	CHECK_STR(err.message, "metadata key \"text\" has type string, expected array");

	/* absent: an error where required, else *value is left alone */
	u32 = 42;
	CHECK_INT(gguf_get_u32(&file, "none", &u32, NULL, &err), IE_FORMAT);
	CHECK_STR(err.message, "metadata key \"none\" is missing");
	CHECK_INT(gguf_get_u32(&file, "none", &u32, &found, &err), IE_OK);
	CHECK(u32 == 42 && !found);
	f32 = 42;
	found = true;
	CHECK_INT(gguf_get_f32(&file, "none", &f32, &found, &err), IE_OK);
	CHECK(f32 == 42 && !found);
	flag = found = true;
	CHECK_INT(gguf_get_bool(&file, "none", &flag, &found, &err), IE_OK);
	CHECK(flag && !found);
	text = (ie_text) {"default", 7};
	found = true;
	CHECK_INT(gguf_get_text(&file, "none", &text, &found, &err), IE_OK);
	CHECK(ie_text_is(text, "default") && !found);
	CHECK_INT(gguf_get_array(&file, "none", GGUF_U32, &kv, &found, &err), IE_OK);
	CHECK(kv == NULL);
	CHECK_INT(gguf_get_array(&file, "none", GGUF_U32, &kv, NULL, &err), IE_FORMAT);

	gguf_free(&file);
	CHECK_INT(state.n_live, 0);
	gb_free(&b);
}

static void
test_show(void)
{
	char		shown[GGUF_SHOWN_SIZE];
	char		longest[100];

	CHECK_STR(gguf_show((ie_text) {"blk.0.attn_q.weight", 19}, shown), "blk.0.attn_q.weight");
	CHECK_STR(gguf_show((ie_text) {"", 0}, shown), "");
	CHECK_STR(gguf_show((ie_text) {"a\0\"\\\n\xc3\xa4", 7}, shown),
			  "a\\x00\\x22\\x5c\\x0a\\xc3\\xa4");
	memset(longest, 'x', sizeof(longest));
	for (size_t len = 0; len <= sizeof(longest); len++)
	{
		gguf_show((ie_text) {longest, len}, shown);
		CHECK_INT(strlen(shown), len <= 64 ? len : 67);
	}
	memset(longest, '\1', sizeof(longest));
	for (size_t len = 0; len <= sizeof(longest); len++)
		CHECK_INT(strlen(gguf_show((ie_text) {longest, len}, shown)), len <= 16 ? 4 * len : 67);
}

int
main(void)
{
	test_getters();
	test_show();
	return test_end("test_gguf_get");
}
