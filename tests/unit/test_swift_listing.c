/* SPDX-License-Identifier: GPL-3.0-only */
/* test_swift_listing.c: the listings of Swift servers: ordinary, odd and hostile. */
#include "store/swift_listing.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HASH "70ee1738b6b21e2c8a43f3a5ab0eee71"
#define TIME "2024-02-29T23:59:59.123456"

static void listing_of(const char *body, struct swift_listing *listing)
{
	struct error err = { 0 };

	if (swift_listing_parse(body, strlen(body), listing, &err) != 0)
		fail_msg("%s", err.text);
}

static void assert_refused(const char *body, size_t len, const char *word)
{
	struct swift_listing listing;
	struct error err = { 0 };

	assert_int_equal(swift_listing_parse(body, len, &listing, NULL), -EBADMSG);
	assert_int_equal(swift_listing_parse(body, len, &listing, &err), -EBADMSG);
	assert_int_equal(err.code, -EBADMSG);
	if (!strstr(err.text, word))
		fail_msg("for %.200s: '%s' does not say '%s'", body, err.text, word);
	assert_null(listing.objects.list);
	assert_int_equal(listing.objects.count, 0);
	assert_int_equal(listing.entries, 0);
}

static void assert_no_listing(const char *body, const char *word)
{
	assert_refused(body, strlen(body), word);
}

static void a_page_is_read_and_what_is_no_object_is_passed_over(void **state)
{
	static const char body[] = "[{\"bytes\": 434234, \"last_modified\": \"" TIME "\", \"hash\": \"" HASH
				   "\", \"name\": \"p/images/a\", "
				   "\"content_type\": \"application/octet-stream\"},\n {\"subdir\": \"p/q/\"}, "
				   "{\"name\": \"p/\\u00e4\\\"\\\\ [{\", \"bytes\": 0, \"hash\": \"x\", "
				   "\"last_modified\": \"t\", \"x\": [[{}]]}]";
	struct swift_listing listing;

	(void)state;
	listing_of(body, &listing);
	assert_int_equal(listing.entries, 3);
	assert_int_equal(listing.objects.count, 2);
	assert_string_equal(listing.objects.list[0].key, "p/images/a");
	assert_int_equal(listing.objects.list[0].size, 434234);
	assert_int_equal(listing.objects.list[0].version, listed_version(HASH " " TIME));
	assert_string_equal(listing.objects.list[1].key, "p/ä\"\\ [{");
	assert_int_equal(listing.objects.list[1].size, 0);
	assert_int_equal(listing.objects.list[1].version, listed_version("x t"));
	swift_listing_destroy(&listing);
	assert_null(listing.objects.list);
	swift_listing_destroy(&listing);
}

static void an_empty_page_is_read(void **state)
{
	struct swift_listing listing;

	(void)state;
	listing_of("[]", &listing);
	assert_int_equal(listing.entries, 0);
	assert_int_equal(listing.objects.count, 0);
	swift_listing_destroy(&listing);
}

static void the_version_changes_with_the_hash_and_with_the_time(void **state)
{
	static const char body[] = "[{\"name\":\"a\",\"bytes\":1,\"hash\":\"h\",\"last_modified\":\"1\"},"
				   "{\"name\":\"b\",\"bytes\":1,\"hash\":\"i\",\"last_modified\":\"1\"},"
				   "{\"name\":\"c\",\"bytes\":1,\"hash\":\"h\",\"last_modified\":\"2\"},"
				   "{\"name\":\"d\",\"bytes\":1,\"hash\":\"h\",\"last_modified\":\"1\"},"
				   "{\"name\":\"e\",\"bytes\":1,\"last_modified\":\"1\"},"
				   "{\"name\":\"f\",\"bytes\":1,\"hash\":\"h\"}]";
	struct swift_listing l;

	(void)state;
	listing_of(body, &l);
	assert_int_equal(l.objects.count, 6);
	assert_int_not_equal(l.objects.list[0].version, l.objects.list[1].version);
	assert_int_not_equal(l.objects.list[0].version, l.objects.list[2].version);
	assert_int_equal(l.objects.list[0].version, l.objects.list[3].version);
	assert_int_equal(l.objects.list[4].version, 0);
	assert_int_not_equal(l.objects.list[5].version, 0);
	swift_listing_destroy(&l);
}

static void what_is_no_listing_is_refused(void **state)
{
	static const char whole[] = "[{\"name\":\"a\",\"bytes\":1,\"hash\":\"h\",\"last_modified\":\"1\"}]";
	static const char *const bodies[] = { "",    " ",    "[",    "[]]",   "[] x",   "]",           "[,]", "{]",
		                              "[{]", "[{\"", "\"\\", "[\"\\", "<html>", "[\"a\xff\"]", "nul", "[1 2]" };

	(void)state;
	for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
		assert_no_listing(bodies[i], "not JSON");
	assert_refused(NULL, 0, "not JSON");
	assert_refused("[\0]", 3, "not JSON");
	for (size_t len = 0; len < strlen(whole); len++)
		assert_refused(whole, len, "not JSON");
	assert_no_listing("{}", "no array");
	assert_no_listing("{\"name\":\"a\",\"bytes\":1}", "no array");
	assert_no_listing("[1]", "entry");
	assert_no_listing("[null]", "entry");
	assert_no_listing("[[]]", "entry");
}

static void an_object_needs_a_name_and_a_size(void **state)
{
	static const char *const names[] = { "", "\"name\":\"\",", "\"name\":1,", "\"name\":null,",
		                             "\"name\":[\"a\"]," };
	static const char *const sizes[] = { "",
		                             "\"bytes\":-1,",
		                             "\"bytes\":1.5,",
		                             "\"bytes\":\"1\",",
		                             "\"bytes\":null,",
		                             "\"bytes\":1e3,",
		                             "\"bytes\":true," };
	char body[200];

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		(void)snprintf(body, sizeof body, "[{%s\"bytes\":1,\"hash\":\"h\"}]", names[i]);
		assert_no_listing(body, "name");
	}
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		(void)snprintf(body, sizeof body, "[{%s\"name\":\"a\",\"hash\":\"h\"}]", sizes[i]);
		assert_no_listing(body, "size");
	}
	/* Larger than any number, a 0 in a name, a name said twice: no JSON that we take. */
	assert_no_listing("[{\"name\":\"a\",\"bytes\":9223372036854775808}]", "not JSON");
	assert_no_listing("[{\"name\":\"a\\u0000b\",\"bytes\":1}]", "not JSON");
	assert_no_listing("[{\"name\":\"a\",\"name\":\"b\",\"bytes\":1}]", "not JSON");
}

static void hash_and_time_are_texts_of_some_length(void **state)
{
	char body[400], text[200];

	(void)state;
	assert_no_listing("[{\"name\":\"a\",\"bytes\":1,\"hash\":1}]", "hash");
	assert_no_listing("[{\"name\":\"a\",\"bytes\":1,\"hash\":\"h\",\"last_modified\":1}]", "time");
	memset(text, 'h', 129);
	text[129] = '\0';
	(void)snprintf(body, sizeof body, "[{\"name\":\"a\",\"bytes\":1,\"hash\":\"%s\"}]", text);
	assert_no_listing(body, "hash");
	text[65] = '\0';
	(void)snprintf(body, sizeof body, "[{\"name\":\"a\",\"bytes\":1,\"last_modified\":\"%s\"}]", text);
	assert_no_listing(body, "time");
}

static void a_name_has_up_to_1024_bytes(void **state)
{
	char body[2000], name[LISTED_KEY_MAX + 2];
	struct swift_listing listing;

	(void)state;
	memset(name, 'n', sizeof name);
	name[LISTED_KEY_MAX] = '\0';
	(void)snprintf(body, sizeof body, "[{\"name\":\"%s\",\"bytes\":9223372036854775807}]", name);
	listing_of(body, &listing);
	assert_string_equal(listing.objects.list[0].key, name);
	assert_int_equal(listing.objects.list[0].size, INT64_MAX);
	swift_listing_destroy(&listing);
	name[LISTED_KEY_MAX] = 'n';
	name[LISTED_KEY_MAX + 1] = '\0';
	(void)snprintf(body, sizeof body, "[{\"name\":\"%s\",\"bytes\":1}]", name);
	assert_no_listing(body, "1024");
}

/* `count` times `piece` between `head` and `tail`, to be freed. */
static char *repeat(const char *head, const char *piece, size_t count, const char *tail)
{
	size_t len = strlen(piece), from = strlen(head);
	char *body = malloc(from + len * count + strlen(tail) + 1);

	assert_non_null(body);
	strcpy(body, head);
	for (size_t i = 0; i < count; i++)
		memcpy(body + from + len * i, piece, len);
	strcpy(body + from + len * count, tail);
	return body;
}

static void a_page_has_up_to_1000_entries(void **state)
{
	static const char one[] = "{\"name\":\"a\",\"bytes\":1},", last[] = "{\"name\":\"z\",\"bytes\":2}]";
	struct swift_listing listing;
	char *body = repeat("[", one, LISTED_MAX - 1, last);

	(void)state;
	listing_of(body, &listing);
	assert_int_equal(listing.objects.count, LISTED_MAX);
	assert_string_equal(listing.objects.list[LISTED_MAX - 1].key, "z");
	swift_listing_destroy(&listing);
	free(body);
	body = repeat("[", one, LISTED_MAX, last);
	assert_no_listing(body, "more than the 1000");
	free(body);
	body = repeat("[", "{\"subdir\":\"a\"},", LISTED_MAX, last);
	assert_no_listing(body, "more than the 1000");
	free(body);
}

static void what_would_cost_much_memory_is_refused_before_it_does(void **state)
{
	static const char *const pieces[] = { "0,", "{},", "[],", "{\"a\":{}}," };
	char *body;

	(void)state;
	for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
		body = repeat("[", pieces[i], 500000, "0]");
		assert_no_listing(body, "more than 32000 values");
		free(body);
	}
	body = repeat("[{\"a\":", "[", 1000000, "");
	assert_no_listing(body, "nested");
	free(body);
	body = repeat("[", " ", SWIFT_BODY_MAX, "]");
	assert_no_listing(body, "longer than 8388608");
	free(body);
	/* In a name they are only characters. */
	body = repeat("[{\"bytes\":1,\"name\":\"\\\"", "[{,", LISTED_KEY_MAX / 3, "\"}]");
	struct swift_listing listing;
	listing_of(body, &listing);
	assert_int_equal(listing.objects.count, 1);
	swift_listing_destroy(&listing);
	free(body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_is_read_and_what_is_no_object_is_passed_over),
		cmocka_unit_test(an_empty_page_is_read),
		cmocka_unit_test(the_version_changes_with_the_hash_and_with_the_time),
		cmocka_unit_test(what_is_no_listing_is_refused),
		cmocka_unit_test(an_object_needs_a_name_and_a_size),
		cmocka_unit_test(hash_and_time_are_texts_of_some_length),
		cmocka_unit_test(a_name_has_up_to_1024_bytes),
		cmocka_unit_test(a_page_has_up_to_1000_entries),
		cmocka_unit_test(what_would_cost_much_memory_is_refused_before_it_does),
	};

	return cmocka_run_group_tests_name("swift_listing", tests, NULL, NULL);
}
