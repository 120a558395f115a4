/* SPDX-License-Identifier: GPL-3.0-only */
/* test_object.c: small objects come back as they went, or are refused with a reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "seal/object.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct seal_key plain_key = { .plain = true };
static const struct seal_key secret_key = { .bytes = { 9, 8, 7 } };
static const struct seal_key other_key = { .bytes = { 9, 8, 6 } };

#define KEY "names/0000000000000001/abc"

static void encode(const struct fields *f, enum object_kind kind, const struct seal_key *key, uint8_t **bytes,
                   size_t *len)
{
	assert_int_equal(object_encode(f, kind, KEY, key, bytes, len), 0);
}

/* Makes an object of the given text, as a careless or malicious writer might. */
static void encode_text(const char *text, size_t text_len, uint8_t **bytes, size_t *len)
{
	struct sealer *s = sealer_new(0);
	struct seal_box box;
	uint8_t *out = malloc(68 + text_len), ad[16 + sizeof KEY - 1];

	assert_non_null(s);
	assert_non_null(out);
	memcpy(out, "GARNOBJ1", 8);
	put_le32(out + 8, 1);
	put_le32(out + 12, OBJECT_ENTRY);
	memcpy(ad, out, 16);
	memcpy(ad + 16, KEY, sizeof KEY - 1);
	assert_int_equal(seal(s, &plain_key, ad, sizeof ad, text, text_len, out + 68, &box), 0);
	seal_box_encode(&box, out + 16);
	sealer_free(s);
	*bytes = out;
	*len = 68 + box.stored_length;
}

static int decode_text(const char *text, struct fields **f)
{
	uint8_t *bytes;
	size_t len;
	int rc;

	*f = NULL;
	encode_text(text, strlen(text), &bytes, &len);
	rc = object_decode(bytes, len, OBJECT_ENTRY, KEY, &plain_key, f, NULL);
	free(bytes);
	return rc;
}

static struct fields *sample(void)
{
	struct fields *f = fields_new();

	assert_non_null(f);
	fields_add_text(f, "name", "vm1.raw");
	fields_add_u64(f, "mode", 420);
	fields_add_hex64(f, "image", 0xdeadbeef);
	fields_add_bytes(f, "salt", "\x00\xff\x10", 3);
	return f;
}

static void fields_come_back_as_they_went(void **state)
{
	const struct seal_key *keys[] = { &plain_key, &secret_key };

	(void)state;
	for (int k = 0; k < 2; k++) {
		struct fields *f = sample(), *back = NULL;
		uint8_t *bytes, salt[3];
		uint64_t n;
		size_t len;

		encode(f, OBJECT_ENTRY, keys[k], &bytes, &len);
		assert_int_equal(object_decode(bytes, len, OBJECT_ENTRY, KEY, keys[k], &back, NULL), 0);
		assert_string_equal(fields_text(back, "name", 0), "vm1.raw");
		assert_string_equal(fields_text(back, "image", 0), "00000000deadbeef");
		assert_int_equal(fields_u64(back, "mode", &n), 0);
		assert_int_equal(n, 420);
		assert_int_equal(fields_hex64(back, "image", &n), 0);
		assert_int_equal(n, 0xdeadbeef);
		assert_int_equal(fields_bytes(back, "salt", salt, 3), 0);
		assert_memory_equal(salt, "\x00\xff\x10", 3);
		fields_free(f);
		fields_free(back);
		free(bytes);
	}
}

static void every_byte_but_nul_survives_in_a_text(void **state)
{
	struct fields *f = fields_new(), *back = NULL;
	char all[256];
	uint8_t *bytes;
	size_t len;

	(void)state;
	for (int i = 1; i < 256; i++)
		all[i - 1] = (char)i;
	all[255] = '\0';
	fields_add_text(f, "all", all);
	fields_add_text(f, "empty", "");
	fields_add_text(f, "spaces", "  a  ");
	fields_add_text(f, "lines", "x\ny z\n\\0a");
	encode(f, OBJECT_ENTRY, &plain_key, &bytes, &len);
	assert_int_equal(object_decode(bytes, len, OBJECT_ENTRY, KEY, &plain_key, &back, NULL), 0);
	assert_string_equal(fields_text(back, "all", 0), all);
	assert_string_equal(fields_text(back, "empty", 0), "");
	assert_string_equal(fields_text(back, "spaces", 0), "  a  ");
	assert_string_equal(fields_text(back, "lines", 0), "x\ny z\n\\0a");
	fields_free(f);
	fields_free(back);
	free(bytes);
}

static void a_text_with_line_breaks_adds_no_field(void **state)
{
	struct fields *f = fields_new(), *back = NULL;
	uint8_t *bytes;
	size_t len;

	(void)state;
	fields_add_text(f, "name", "a\nowner 0");
	encode(f, OBJECT_ENTRY, &plain_key, &bytes, &len);
	assert_int_equal(object_decode(bytes, len, OBJECT_ENTRY, KEY, &plain_key, &back, NULL), 0);
	assert_null(fields_text(back, "owner", 0));
	fields_free(f);
	fields_free(back);
	free(bytes);
}

static void a_name_given_several_times_is_a_list(void **state)
{
	struct fields *f = fields_new(), *back = NULL;
	char text[24];
	uint8_t *bytes;
	size_t len;

	(void)state;
	for (int i = 0; i < 100; i++) {
		fields_add_u64(f, "n", (uint64_t)i);
		fields_add_text(f, "other", "x");
	}
	encode(f, OBJECT_TERM, &plain_key, &bytes, &len);
	assert_int_equal(object_decode(bytes, len, OBJECT_TERM, KEY, &plain_key, &back, NULL), 0);
	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof text, "%d", i);
		assert_string_equal(fields_text(back, "n", (size_t)i), text);
	}
	assert_null(fields_text(back, "n", 100));
	assert_null(fields_text(back, "other_", 0));
	fields_free(f);
	fields_free(back);
	free(bytes);
}

static void an_object_without_fields_is_an_object(void **state)
{
	struct fields *f = fields_new(), *back = NULL;
	uint8_t *bytes;
	size_t len;

	(void)state;
	encode(f, OBJECT_EPOCH, &secret_key, &bytes, &len);
	assert_int_equal(object_decode(bytes, len, OBJECT_EPOCH, KEY, &secret_key, &back, NULL), 0);
	assert_null(fields_text(back, "x", 0));
	fields_free(f);
	fields_free(back);
	free(bytes);
}

static void numbers_and_bytes_of_another_form_are_refused(void **state)
{
	static const char *const not_u64[] = {
		"", "-1", "+1", " 1", "1 ", "0x10", "18446744073709551616", "99999999999999999999999", "1.5"
	};
	static const char *const not_hex64[] = {
		"", "123", "00000000DEADBEEF", "00000000deadbee", "00000000deadbeef0", "00000000deadbeeg"
	};
	static const char *const not_bytes[] = { "", "0", "00f", "0ff", "00fF", "00ff00", "zz00" };
	uint64_t n = 77;
	uint8_t two[2];

	(void)state;
	for (size_t i = 0; i < sizeof not_u64 / sizeof not_u64[0]; i++) {
		struct fields *f = fields_new();

		fields_add_text(f, "v", not_u64[i]);
		assert_int_equal(fields_u64(f, "v", &n), -EBADMSG);
		fields_free(f);
	}
	for (size_t i = 0; i < sizeof not_hex64 / sizeof not_hex64[0]; i++) {
		struct fields *f = fields_new();

		fields_add_text(f, "v", not_hex64[i]);
		assert_int_equal(fields_hex64(f, "v", &n), -EBADMSG);
		fields_free(f);
	}
	for (size_t i = 0; i < sizeof not_bytes / sizeof not_bytes[0]; i++) {
		struct fields *f = fields_new();

		fields_add_text(f, "v", not_bytes[i]);
		assert_int_equal(fields_bytes(f, "v", two, 2), -EBADMSG);
		fields_free(f);
	}
	assert_int_equal(n, 77);
	struct fields *f = fields_new();
	fields_add_u64(f, "v", UINT64_MAX);
	assert_int_equal(fields_u64(f, "v", &n), 0);
	assert_true(n == UINT64_MAX);
	assert_int_equal(fields_u64(f, "w", &n), -ENOENT);
	assert_int_equal(fields_hex64(f, "w", &n), -ENOENT);
	assert_int_equal(fields_bytes(f, "w", two, 2), -ENOENT);
	fields_free(f);
}

static void an_object_at_another_key_or_of_another_kind_is_refused(void **state)
{
	struct fields *f = sample(), *back = NULL;
	struct error err = { 0 };
	uint8_t *bytes;
	size_t len;

	(void)state;
	encode(f, OBJECT_ENTRY, &secret_key, &bytes, &len);
	assert_int_equal(object_decode(bytes, len, OBJECT_ENTRY, KEY "d", &secret_key, &back, &err), -EBADMSG);
	assert_non_null(strstr(err.text, KEY "d"));
	assert_int_equal(object_decode(bytes, len, OBJECT_HEAD, KEY, &secret_key, &back, &err), -EBADMSG);
	put_le32(bytes + 12, OBJECT_HEAD); /* relabelled: the tag covers it */
	assert_int_equal(object_decode(bytes, len, OBJECT_HEAD, KEY, &secret_key, &back, &err), -EBADMSG);
	assert_null(back);
	fields_free(f);
	free(bytes);
}

static void another_key_does_not_open_an_object(void **state)
{
	struct fields *f = sample(), *back = NULL;
	struct error err = { 0 };
	uint8_t *bytes;
	size_t len;

	(void)state;
	encode(f, OBJECT_ENTRY, &secret_key, &bytes, &len);
	assert_int_equal(object_decode(bytes, len, OBJECT_ENTRY, KEY, &other_key, &back, &err), -EBADMSG);
	assert_int_equal(object_decode(bytes, len, OBJECT_ENTRY, KEY, &plain_key, &back, &err), -EBADMSG);
	assert_non_null(strstr(err.text, KEY));
	fields_free(f);
	free(bytes);
}

static void the_pool_object_opens_without_its_key(void **state)
{
	struct fields *f = sample(), *back = NULL;
	uint8_t *bytes;
	size_t len;

	(void)state;
	encode(f, OBJECT_POOL, &secret_key, &bytes, &len);
	assert_int_equal(object_decode(bytes, len, OBJECT_POOL, KEY, &plain_key, &back, NULL), 0);
	assert_string_equal(fields_text(back, "name", 0), "vm1.raw");
	fields_free(f);
	fields_free(back);
	free(bytes);
}

static void a_newer_version_is_refused_with_advice(void **state)
{
	struct fields *f = sample(), *back = NULL;
	struct error err = { 0 };
	uint8_t *bytes;
	size_t len;

	(void)state;
	encode(f, OBJECT_ENTRY, &plain_key, &bytes, &len);
	put_le32(bytes + 8, OBJECT_VERSION + 1);
	assert_int_equal(object_decode(bytes, len, OBJECT_ENTRY, KEY, &plain_key, &back, &err), -EPROTONOSUPPORT);
	assert_non_null(strstr(err.text, "upgrade"));
	assert_non_null(strstr(err.text, KEY));
	/* A newer format may have another header: only magic and version are looked at. */
	assert_int_equal(object_decode(bytes, 16, OBJECT_ENTRY, KEY, &plain_key, &back, &err), -EPROTONOSUPPORT);
	put_le32(bytes + 8, 0);
	assert_int_equal(object_decode(bytes, len, OBJECT_ENTRY, KEY, &plain_key, &back, &err), -EBADMSG);
	fields_free(f);
	free(bytes);
}

static void every_truncation_and_every_changed_byte_is_refused(void **state)
{
	const struct seal_key *keys[] = { &plain_key, &secret_key };

	(void)state;
	for (int k = 0; k < 2; k++) {
		struct fields *f = sample(), *back = NULL;
		uint8_t *bytes;
		size_t len;

		encode(f, OBJECT_ENTRY, keys[k], &bytes, &len);
		for (size_t cut = 0; cut < len; cut++) {
			uint8_t *part = malloc(cut ? cut : 1);

			memcpy(part, bytes, cut);
			assert_int_equal(object_decode(part, cut, OBJECT_ENTRY, KEY, keys[k], &back, NULL), -EBADMSG);
			free(part);
		}
		for (size_t i = 0; i < len; i++) {
			int rc;

			bytes[i] ^= 0x40;
			rc = object_decode(bytes, len, OBJECT_ENTRY, KEY, keys[k], &back, NULL);
			assert_int_equal(rc, i >= 8 && i < 12 ? -EPROTONOSUPPORT : -EBADMSG);
			bytes[i] ^= 0x40;
		}
		assert_null(back);
		fields_free(f);
		free(bytes);
	}
}

static void an_object_with_bytes_behind_it_is_refused(void **state)
{
	struct fields *f = sample(), *back = NULL;
	uint8_t *bytes, *more;
	size_t len;

	(void)state;
	encode(f, OBJECT_ENTRY, &plain_key, &bytes, &len);
	more = calloc(1, len + 1);
	memcpy(more, bytes, len);
	assert_int_equal(object_decode(more, len + 1, OBJECT_ENTRY, KEY, &plain_key, &back, NULL), -EBADMSG);
	free(more);
	free(bytes);
	fields_free(f);
}

static void content_that_is_no_lines_of_fields_is_refused(void **state)
{
	static const char *const bad[] = { "a b",       "a",        "a\n",     " b\n",     "A b\n",     "a-b c\n",
		                           "a b\nc",    "a b\tc\n", "a b\\\n", "a b\\0\n", "a b\\zz\n", "a b\\0A\n",
		                           "a b\\00\n", "a \x7f\n", "a b\r\n", "\xff b\n" };
	static const char *const good[] = { "\n",       "a \n",     "a b\n", "a b\n\nc d\n",
		                            "a \\5c\n", "a \\41\n", "a  \n", "_9 x\n" };
	struct fields *f;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(decode_text(bad[i], &f), -EBADMSG);
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		assert_int_equal(decode_text(good[i], &f), 0);
		fields_free(f);
	}
	assert_int_equal(decode_text("a \\41\\5c\\0a\nzz 1\n", &f), 0);
	assert_string_equal(fields_text(f, "a", 0), "A\\\n");
	fields_free(f);
}

static void a_raw_nul_is_refused(void **state)
{
	struct fields *f = NULL;
	uint8_t *bytes;
	size_t len;

	(void)state;
	encode_text("a b\0c\n", 6, &bytes, &len);
	assert_int_equal(object_decode(bytes, len, OBJECT_ENTRY, KEY, &plain_key, &f, NULL), -EBADMSG);
	free(bytes);
}

static void an_object_over_64_kib_is_refused_both_ways(void **state)
{
	struct fields *f = fields_new(), *back = NULL;
	char *text = malloc(OBJECT_BYTES_MAX + 1);
	uint8_t *bytes;
	size_t len;

	(void)state;
	memset(text, 'x', OBJECT_BYTES_MAX);
	text[OBJECT_BYTES_MAX] = '\0';
	fields_add_text(f, "t", text);
	assert_int_equal(object_encode(f, OBJECT_ENTRY, KEY, &plain_key, &bytes, &len), -EFBIG);
	fields_free(f);
	/* "t " and the newline leave that much. */
	f = fields_new();
	text[OBJECT_BYTES_MAX - 3] = '\0';
	fields_add_text(f, "t", text);
	encode(f, OBJECT_ENTRY, &plain_key, &bytes, &len);
	assert_int_equal(object_decode(bytes, len, OBJECT_ENTRY, KEY, &plain_key, &back, NULL), 0);
	assert_string_equal(fields_text(back, "t", 0), text);
	fields_free(back);
	fields_free(f);
	free(bytes);
	/* What compresses to little may still be too large when it is open. */
	back = NULL;
	char *huge = malloc(OBJECT_BYTES_MAX + 4);
	memset(huge, 'x', OBJECT_BYTES_MAX + 4);
	memcpy(huge, "t ", 2);
	huge[OBJECT_BYTES_MAX + 3] = '\n';
	encode_text(huge, OBJECT_BYTES_MAX + 4, &bytes, &len);
	assert_true(len < OBJECT_BYTES_MAX);
	assert_int_equal(object_decode(bytes, len, OBJECT_ENTRY, KEY, &plain_key, &back, NULL), -EBADMSG);
	free(bytes);
	free(huge);
	free(text);
}

static void unknown_fields_are_ignored(void **state)
{
	struct fields *f;
	uint64_t n;

	(void)state;
	assert_int_equal(decode_text("from_the_future \\01\nmode 420\n", &f), 0);
	assert_int_equal(fields_u64(f, "mode", &n), 0);
	assert_int_equal(n, 420);
	fields_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_come_back_as_they_went),
		cmocka_unit_test(every_byte_but_nul_survives_in_a_text),
		cmocka_unit_test(a_text_with_line_breaks_adds_no_field),
		cmocka_unit_test(a_name_given_several_times_is_a_list),
		cmocka_unit_test(an_object_without_fields_is_an_object),
		cmocka_unit_test(numbers_and_bytes_of_another_form_are_refused),
		cmocka_unit_test(an_object_at_another_key_or_of_another_kind_is_refused),
		cmocka_unit_test(another_key_does_not_open_an_object),
		cmocka_unit_test(the_pool_object_opens_without_its_key),
		cmocka_unit_test(a_newer_version_is_refused_with_advice),
		cmocka_unit_test(every_truncation_and_every_changed_byte_is_refused),
		cmocka_unit_test(an_object_with_bytes_behind_it_is_refused),
		cmocka_unit_test(content_that_is_no_lines_of_fields_is_refused),
		cmocka_unit_test(a_raw_nul_is_refused),
		cmocka_unit_test(an_object_over_64_kib_is_refused_both_ways),
		cmocka_unit_test(unknown_fields_are_ignored),
	};

	return cmocka_run_group_tests_name("object", tests, NULL, NULL);
}
