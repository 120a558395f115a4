/* SPDX-License-Identifier: GPL-3.0-only */
/* test_body_digest.c: the digests of request bodies, against the published ones. */
#include "store/body_digest.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
	const char *text;
	const char *sha256, *md5, *md5_base64;
} known[] = {
	{ "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "d41d8cd98f00b204e9800998ecf8427e",
	  "1B2M2Y8AsgTpgAmY7PhCfg==" },
	{ "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "900150983cd24fb0d6963f7d28e17f72",
	  "kAFQmDzST7DWlj99KOF/cg==" },
};

static void digests_are_the_published_ones(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
		char text[16], hex[BODY_SHA256_HEX_ROOM];
		struct body_md5 md5;

		strcpy(text, known[i].text);
		struct iovec iov = { .iov_base = text, .iov_len = strlen(text) };
		assert_int_equal(body_sha256(&iov, 1, hex, NULL), 0);
		assert_string_equal(hex, known[i].sha256);
		assert_int_equal(body_md5(&iov, 1, &md5, NULL), 0);
		assert_string_equal(md5.hex, known[i].md5);
		assert_string_equal(md5.base64, known[i].md5_base64);
	}
}

static void a_body_without_parts_is_empty(void **state)
{
	struct iovec nothing = { .iov_base = NULL, .iov_len = 0 };
	char hex[BODY_SHA256_HEX_ROOM];
	struct body_md5 md5;

	(void)state;
	assert_int_equal(body_sha256(NULL, 0, hex, NULL), 0);
	assert_string_equal(hex, known[0].sha256);
	assert_int_equal(body_md5(NULL, 0, &md5, NULL), 0);
	assert_string_equal(md5.base64, known[0].md5_base64);
	assert_int_equal(body_sha256(&nothing, 1, hex, NULL), 0);
	assert_string_equal(hex, known[0].sha256);
}

static void how_a_body_is_cut_into_parts_makes_no_difference(void **state)
{
	enum { LENGTH = 1000000 };
	static const size_t cuts[] = { 0, 1, 64, 65, 4096, 99999, 99999, LENGTH };
	struct iovec iov[sizeof cuts / sizeof cuts[0] - 1];
	char *body = malloc(LENGTH), hex[BODY_SHA256_HEX_ROOM];
	struct body_md5 md5;
	size_t parts = sizeof iov / sizeof iov[0];

	(void)state;
	assert_non_null(body);
	memset(body, 'a', LENGTH);
	for (size_t i = 0; i < parts; i++)
		iov[i] = (struct iovec){ .iov_base = body + cuts[i], .iov_len = cuts[i + 1] - cuts[i] };
	assert_int_equal(body_sha256(iov, (int)parts, hex, NULL), 0);
	assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	assert_int_equal(body_md5(iov, (int)parts, &md5, NULL), 0);
	assert_string_equal(md5.hex, "7707d6ae4e027c70eea2a935c2296f21");

	/* The order of the parts, and the last byte, count. */
	body[LENGTH - 1] = 'b';
	assert_int_equal(body_md5(iov, (int)parts, &md5, NULL), 0);
	assert_string_not_equal(md5.hex, "7707d6ae4e027c70eea2a935c2296f21");
	free(body);
}

/* The beginning of what the reference code gives. */
static void blake2bp_is_the_published_one(void **state)
{
	struct iovec iov[] = { { (char[]){ "a" }, 1 }, { NULL, 0 }, { (char[]){ "bc" }, 2 } };
	char hex[BODY_BLAKE2BP_HEX_ROOM];

	(void)state;
	assert_int_equal(body_blake2bp(iov, 3, hex, NULL), 0);
	assert_string_equal(hex, "b91a6b66ae87526c400b0a8b53774dc65284ad8f6575f8148ff93dff943a6ecd");
	assert_int_equal(body_blake2bp(NULL, 0, hex, NULL), 0);
	assert_string_equal(hex, "b5ef811a8038f70b628fa8b294daae7492b1ebe343a80eaabbf1f6ae664dd67b");
	assert_int_equal(body_blake2bp(NULL, -1, hex, NULL), -EINVAL);
}

static void a_negative_number_of_parts_is_refused(void **state)
{
	char hex[BODY_SHA256_HEX_ROOM];
	struct body_md5 md5;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(body_sha256(NULL, -1, hex, &err), -EINVAL);
	assert_int_equal(err.code, -EINVAL);
	assert_int_equal(body_md5(NULL, -1, &md5, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(digests_are_the_published_ones),
		cmocka_unit_test(a_body_without_parts_is_empty),
		cmocka_unit_test(how_a_body_is_cut_into_parts_makes_no_difference),
		cmocka_unit_test(blake2bp_is_the_published_one),
		cmocka_unit_test(a_negative_number_of_parts_is_refused),
	};

	return cmocka_run_group_tests_name("body_digest", tests, NULL, NULL);
}
