/*
 * test_sha256.c
 *	  SHA-256 against the published vectors, at every length around the block
 *	  size and cut at every place.
 */
#include "test.h"
#include "base/sha256.h"

static void
hash(const void *data, size_t size, size_t cut, char *hex)
{
	ie_sha256	s;

	ie_sha256_init(&s);
	ie_sha256_update(&s, data, cut);
	ie_sha256_update(&s, (const char *) data + cut, size - cut);
	ie_sha256_final_hex(&s, hex);
}

/* FIPS 180-4 examples, and one million letters */
static void
test_vectors(void)
{
	static const struct
	{
		const char *text;
		const char *hex;
	}			vectors[] = {
		{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
		{"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
			"hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
		"cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
	};
	char		hex[IE_SHA256_HEX_SIZE];
	ie_sha256	s;

	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
	{
		hash(vectors[i].text, strlen(vectors[i].text), 0, hex);
		CHECK_STR(hex, vectors[i].hex);
	}
	ie_sha256_init(&s);
	for (int i = 0; i < 100000; i++)
		ie_sha256_update(&s, "aaaaaaaaaa", 10);
	ie_sha256_final_hex(&s, hex);
	CHECK_STR(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* The hash of all hashes of 0 .. 199 bytes is known; cutting changes none of them. */
static void
test_lengths(void)
{
	unsigned char data[200];
	char		hex[IE_SHA256_HEX_SIZE];
	char		whole[IE_SHA256_HEX_SIZE];
	ie_sha256	all;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char) i;
	ie_sha256_init(&all);
	for (size_t size = 0; size < sizeof(data); size++)
	{
		hash(data, size, 0, whole);
		ie_sha256_update(&all, whole, IE_SHA256_HEX_SIZE - 1);
		for (size_t cut = 1; cut <= size; cut++)
		{
			hash(data, size, cut, hex);
			CHECK_STR(hex, whole);
		}
	}
	ie_sha256_final_hex(&all, hex);
	CHECK_STR(hex, "7a38a844c9e159de39f0862ee2e28569a8250831150a3fbf0a59c001129b2fb2");
}

int
main(void)
{
	test_vectors();
	test_lengths();
	return test_end("test_sha256");
}
