/* SPDX-License-Identifier: GPL-3.0-only */
/* test_object_wire.c: what is said of objects in headers: written, read again, and refused when it makes no sense. */
#include "node/object_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NEW_VERSION "0000000000000007.00000000000000ff"
#define DIGEST "0101010101010101010101010101010101010101010101010101010101010101"

static struct message_head head;

/* A request's head with these lines of headers. */
static const struct message_head *head_of(const char *lines)
{
	char text[2048];
	struct error err = { 0 };
	int n = snprintf(text, sizeof text, "%s /v1/replica/p/a HTTP/1.1\r\nHost: n\r\n%s\r\n",
	                 strstr(lines, "Content-Length") ? "PUT" : "GET", lines);

	message_head_init(&head, MESSAGE_REQUEST);
	if (message_head_feed(&head, text, (size_t)n, &err) < 0)
		fail_msg("%s", error_text(&err));
	assert_true(head.complete);
	return &head;
}

static void a_meta_is_read_as_it_was_written(void **state)
{
	static const unsigned flags[] = { 0,
		                          OBJECT_CLAIMED,
		                          OBJECT_TOMBSTONE,
		                          OBJECT_CLAIMED | OBJECT_TOMBSTONE,
		                          OBJECT_DAMAGED,
		                          OBJECT_CLAIMED | OBJECT_DAMAGED };
	struct object_meta meta = { .version = { 7, 255 }, .length = 12345 }, back;
	char text[WIRE_META_TEXT];

	(void)state;
	memset(meta.digest, 1, sizeof meta.digest);
	for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
		meta.flags = flags[i];
		wire_meta_format(&meta, text);
		assert_int_equal(wire_meta_parse(text, &back), 0);
		assert_int_equal(object_version_compare(meta.version, back.version), 0);
		assert_int_equal(back.length, meta.length);
		assert_int_equal(back.flags, flags[i]);
		assert_memory_equal(back.digest, meta.digest, sizeof meta.digest);
	}
	meta.flags = OBJECT_CLAIMED | OBJECT_CONFIRMED;
	wire_meta_format(&meta, text);
	assert_string_equal(text, NEW_VERSION " 12345 " DIGEST " claimed");
}

static void what_is_no_meta_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		NEW_VERSION,
		NEW_VERSION " 5 " DIGEST,
		NEW_VERSION " 5 " DIGEST " ",
		NEW_VERSION " 5 " DIGEST " claimed,",
		NEW_VERSION " 5 " DIGEST " confirmed",
		NEW_VERSION " 5 " DIGEST " - -",
		NEW_VERSION " -5 " DIGEST " -",
		NEW_VERSION " 999999999999 " DIGEST " -",
		NEW_VERSION "  5 " DIGEST " -",
		"7.ff 5 " DIGEST " -",
		NEW_VERSION " 5 " DIGEST "0 -",
	};
	struct object_meta meta;
	char long_text[400];

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(wire_meta_parse(bad[i], &meta), -EINVAL);
	memset(long_text, 'a', sizeof long_text - 1);
	long_text[sizeof long_text - 1] = '\0';
	assert_int_equal(wire_meta_parse(long_text, &meta), -EINVAL);
}

static void a_put_says_what_it_brings(void **state)
{
	struct object_meta meta;
	struct error err = { 0 };

	(void)state;
	head_of("Content-Length: 5\r\nX-Garner-Version: " NEW_VERSION "\r\nX-Garner-Digest: " DIGEST
	        "\r\nX-Garner-Flags: claimed,damaged\r\n");
	assert_int_equal(wire_put_meta(&head, &meta, &err), 0);
	assert_int_equal(meta.length, 5);
	assert_int_equal(meta.version.counter, 7);
	assert_int_equal(meta.flags, OBJECT_CLAIMED); /* the rest is not for others to say */
	assert_int_equal(wire_put_meta(head_of("Content-Length: 5\r\nX-Garner-Digest: " DIGEST "\r\n"), &meta, &err),
	                 -EINVAL);
	assert_int_equal(
		wire_put_meta(head_of("Content-Length: 5\r\nX-Garner-Version: " NEW_VERSION "\r\n"), &meta, &err),
		-EINVAL);
	assert_int_equal(wire_put_meta(head_of("X-Garner-Version: " NEW_VERSION "\r\nX-Garner-Digest: " DIGEST "\r\n"),
	                               &meta, &err),
	                 -EINVAL);
	assert_int_equal(wire_put_meta(head_of("Content-Length: 0\r\nX-Garner-Version: " NEW_VERSION
	                                       "\r\nX-Garner-Digest: " DIGEST "\r\nX-Garner-Flags: best\r\n"),
	                               &meta, &err),
	                 -EINVAL);
}

static void rules_have_names(void **state)
{
	enum object_rule rule;
	char line[64];

	(void)state;
	for (enum object_rule r = OBJECT_RULE_NEWER; r <= OBJECT_RULE_COPY; r++) {
		snprintf(line, sizeof line, "X-Garner-Rule: %s\r\n", wire_rule_name(r));
		assert_int_equal(wire_rule(head_of(line), &rule), 0);
		assert_int_equal(rule, r);
	}
	assert_int_equal(wire_rule(head_of(""), &rule), 0);
	assert_int_equal(rule, OBJECT_RULE_NEWER);
	assert_int_equal(wire_rule(head_of("X-Garner-Rule: any\r\n"), &rule), -EINVAL);
}

static void names_are_taken_from_paths_and_maps_from_heads(void **state)
{
	(void)state;
	assert_string_equal(wire_name("/v1/object/p/a/b", "/v1/object/"), "p/a/b");
	assert_null(wire_name("/v1/object/p", "/v1/object/"));
	assert_null(wire_name("/v1/object/p/../b", "/v1/object/"));
	assert_null(wire_name("/v1/replica/p/a", "/v1/object/"));
	assert_int_equal(wire_map_version(head_of("X-Garner-Map: 12\r\n")), 12);
	assert_int_equal(wire_map_version(head_of("X-Garner-Map: x\r\n")), 0);
	assert_int_equal(wire_map_version(head_of("")), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_meta_is_read_as_it_was_written),
		cmocka_unit_test(what_is_no_meta_is_refused),
		cmocka_unit_test(a_put_says_what_it_brings),
		cmocka_unit_test(rules_have_names),
		cmocka_unit_test(names_are_taken_from_paths_and_maps_from_heads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
