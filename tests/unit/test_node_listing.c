/* SPDX-License-Identifier: GPL-3.0-only */
/* test_node_listing.c: pages of a storage node's listing: what is read of them, and what is refused. */
#include "store/node_listing.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ONE_VERSION "0000000000000001.0000000000000001"
#define SOME_VERSION "\"version\":\"" ONE_VERSION "\""
#define GOOD "{\"key\":\"a\",\"size\":1," SOME_VERSION "}"

static int parse(const char *text, struct listed_objects *objects, bool *more)
{
	struct error err = { 0 };
	int rc = node_listing_parse(text, strlen(text), objects, more, &err);

	if (rc)
		assert_int_equal(err.code, rc);
	return rc;
}

static void a_page_is_read(void **state)
{
	struct listed_objects objects;
	bool more;

	(void)state;
	assert_int_equal(parse("{\"more\":true,\"objects\":[" GOOD
	                       ",{\"size\":9223372036854775807,\"key\":\"b/c\",\"version\":"
	                       "\"0000000000000002.0000000000000001\",\"later\":null}],\"later\":{}}",
	                       &objects, &more),
	                 0);
	assert_int_equal(objects.count, 2);
	assert_string_equal(objects.list[0].key, "a");
	assert_int_equal(objects.list[0].size, 1);
	assert_int_equal(objects.list[0].version, listed_version(ONE_VERSION));
	assert_string_equal(objects.list[1].key, "b/c");
	assert_true(objects.list[1].version != objects.list[0].version);
	assert_true(more);
	listed_objects_destroy(&objects);
	assert_int_equal(parse("{\"objects\":[],\"more\":false}", &objects, &more), 0);
	assert_int_equal(objects.count, 0);
	assert_false(more);
	listed_objects_destroy(&objects);
}

static void what_is_no_page_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"[]",
		"{}",
		"nonsense",
		"{\"objects\":[]}",
		"{\"more\":false}",
		"{\"objects\":{},\"more\":false}",
		"{\"objects\":[],\"more\":0}",
		"{\"objects\":[7],\"more\":false}",
		"{\"objects\":[[]],\"more\":false}",
		"{\"objects\":[" GOOD ",{\"key\":\"../x\",\"size\":1," SOME_VERSION "}],\"more\":false}",
		"{\"objects\":[{\"key\":\"\",\"size\":1," SOME_VERSION "}],\"more\":false}",
		"{\"objects\":[{\"key\":\"x\\u0000y\",\"size\":1," SOME_VERSION "}],\"more\":false}",
		"{\"objects\":[{\"key\":7,\"size\":1," SOME_VERSION "}],\"more\":false}",
		"{\"objects\":[{\"key\":\"x\",\"size\":-1," SOME_VERSION "}],\"more\":false}",
		"{\"objects\":[{\"key\":\"x\",\"size\":1.5," SOME_VERSION "}],\"more\":false}",
		"{\"objects\":[{\"key\":\"x\",\"size\":\"1\"," SOME_VERSION "}],\"more\":false}",
		"{\"objects\":[{\"key\":\"x\"," SOME_VERSION "}],\"more\":false}",
		"{\"objects\":[{\"key\":\"x\",\"size\":1,\"version\":\"1\"}],\"more\":false}",
		"{\"objects\":[{\"key\":\"x\",\"size\":1}],\"more\":false}",
		"{\"objects\":[],\"objects\":[],\"more\":false}",
		"{\"objects\":[],\"more\":false} and more",
		"[[[[[[[[[]]]]]]]]]",
	};
	struct listed_objects objects;
	bool more;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		if (parse(bad[i], &objects, &more) != -EBADMSG)
			fail_msg("'%s' is taken", bad[i]);
		listed_objects_destroy(&objects);
	}
}

/* A page of `count` objects; the caller frees. */
static char *page_of(unsigned count)
{
	char *text = malloc(200 + count * 100ul);
	size_t used = (size_t)sprintf(text, "{\"objects\":[");

	for (unsigned i = 0; i < count; i++)
		used += (size_t)sprintf(text + used, "%s{\"key\":\"k%04u\",\"size\":%u," SOME_VERSION "}", i ? "," : "",
		                        i, i);
	sprintf(text + used, "],\"more\":false}");
	return text;
}

static void a_page_has_no_more_objects_than_were_asked_for(void **state)
{
	struct listed_objects objects;
	char *full = page_of(LISTED_MAX), *overfull = page_of(LISTED_MAX + 1);
	bool more;

	(void)state;
	assert_int_equal(parse(full, &objects, &more), 0);
	assert_int_equal(objects.count, LISTED_MAX);
	listed_objects_destroy(&objects);
	assert_int_equal(parse(overfull, &objects, &more), -EBADMSG);
	listed_objects_destroy(&objects);
	free(full);
	free(overfull);
}

static void a_body_that_is_longer_than_any_page_is_not_looked_at(void **state)
{
	struct listed_objects objects;
	char *text = calloc(1, NODE_LISTING_MAX + 2);
	bool more;

	(void)state;
	memset(text, ' ', NODE_LISTING_MAX + 1);
	assert_int_equal(parse(text, &objects, &more), -EBADMSG);
	listed_objects_destroy(&objects);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_is_read),
		cmocka_unit_test(what_is_no_page_is_refused),
		cmocka_unit_test(a_page_has_no_more_objects_than_were_asked_for),
		cmocka_unit_test(a_body_that_is_longer_than_any_page_is_not_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
