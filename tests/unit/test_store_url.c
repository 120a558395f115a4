/* SPDX-License-Identifier: GPL-3.0-only */
/* test_store_url.c: URLs of remote stores, and that no secret in one is ever repeated. */
#include "store/store_url.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *const known[] = { "endpoint", "region", "style", "auth", "user", "passwd_file", "session_key" };

#define KNOWN (sizeof known / sizeof known[0])

static int parse(const char *url, struct store_url *out, struct error *err)
{
	return store_url_parse(url, known, KNOWN, out, err);
}

static void assert_parts(const char *url, const char *scheme, const char *container, const char *prefix)
{
	struct store_url u;
	struct error err = { 0 };

	if (parse(url, &u, &err) != 0)
		fail_msg("%s: %s", url, err.text);
	assert_string_equal(u.scheme, scheme);
	assert_string_equal(u.container, container);
	assert_string_equal(u.prefix, prefix);
}

/* Refused, with a text that has `word` in it; whatever is called SENTINEL in the URL is not repeated. */
static void assert_refused(const char *url, const char *word)
{
	struct store_url u;
	struct error err = { 0 };

	assert_int_equal(parse(url, &u, NULL), -EINVAL);
	assert_int_equal(parse(url, &u, &err), -EINVAL);
	assert_int_equal(err.code, -EINVAL);
	if (!strstr(err.text, word))
		fail_msg("for %s: '%s' does not say '%s'", url, err.text, word);
	if (strcasestr(err.text, "SENTINEL"))
		fail_msg("for %s: '%s' shows what it must not", url, err.text);
	assert_string_equal(u.container, "");
	assert_string_equal(store_url_show(&u), "");
	assert_null(store_url_parameter(&u, "endpoint"));
}

static void a_url_is_taken_apart(void **state)
{
	struct store_url u, copy;

	(void)state;
	assert_int_equal(
		parse("s3://my-bucket/vm/disks?endpoint=http://127.0.0.1:7480&region=us-east-1&style=path", &u, NULL),
		0);
	copy = u;
	memset(&u, 'x', sizeof u);
	assert_string_equal(copy.scheme, "s3");
	assert_string_equal(copy.container, "my-bucket");
	assert_string_equal(copy.prefix, "vm/disks");
	assert_string_equal(store_url_parameter(&copy, "endpoint"), "http://127.0.0.1:7480");
	assert_string_equal(store_url_parameter(&copy, "region"), "us-east-1");
	assert_string_equal(store_url_parameter(&copy, "style"), "path");
	assert_null(store_url_parameter(&copy, "auth"));
	assert_null(store_url_parameter(&copy, ""));
	assert_null(store_url_parameter(&copy, "Region"));
}

static void the_prefix_may_be_missing_and_has_no_slash_around_it(void **state)
{
	(void)state;
	assert_parts("s3://bucket", "s3", "bucket", "");
	assert_parts("s3://bucket/", "s3", "bucket", "");
	assert_parts("s3://bucket?region=x", "s3", "bucket", "");
	assert_parts("s3://bucket/?region=x", "s3", "bucket", "");
	assert_parts("s3://bucket/a", "s3", "bucket", "a");
	assert_parts("s3://bucket/a/?", "s3", "bucket", "a");
	assert_parts("s3://bucket/A_1/b.c/-d/", "s3", "bucket", "A_1/b.c/-d");
	assert_parts("swift://Pool_1.x/...", "swift", "Pool_1.x", "...");
	assert_parts("swift://c/.a/b", "swift", "c", ".a/b");
}

static void what_is_shown_means_the_same(void **state)
{
	static const struct {
		const char *url, *shown;
	} cases[] = {
		{ "s3://bucket/", "s3://bucket" },
		{ "s3://bucket/a/?", "s3://bucket/a" },
		{ "swift://c/a/?user=p%3Ame&region=%20", "swift://c/a?user=p%3Ame&region=%20" },
		{ "s3://bucket/?style=path", "s3://bucket?style=path" },
	};
	struct store_url u;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(parse(cases[i].url, &u, NULL), 0);
		assert_string_equal(store_url_show(&u), cases[i].shown);
		assert_int_equal(parse(cases[i].shown, &u, NULL), 0);
		assert_string_equal(store_url_show(&u), cases[i].shown);
	}
}

static void parameters_are_decoded_once(void **state)
{
	struct store_url u;

	(void)state;
	assert_int_equal(parse("swift://c?user=a%3ab%2541+%26c=?/d&%72egion=%C3%A4%20", &u, NULL), 0);
	assert_string_equal(store_url_parameter(&u, "user"), "a:b%41+&c=?/d");
	assert_string_equal(store_url_parameter(&u, "region"), "ä ");
}

static void another_scheme_or_none_is_refused_with_examples(void **state)
{
	static const char *const cases[] = { "",          "s3",          "s3:",      "s3:/bucket",
		                             "s3:bucket", "S3://bucket", "swift://", "http://bucket",
		                             "/bucket",   "s33://bucket" };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_refused(cases[i], "://my-");
}

static void the_names_of_buckets_follow_their_rules(void **state)
{
	static const char *const good[] = {
		"abc",     "0a0",  "my.bucket-1", "a23456789012345678901234567890123456789012345678901234567890123",
		"1.2.3.a", "1.2.3"
	};
	static const char *const bad[] = {
		"",        "ab",
		"Bucket",  "my_bucket",
		"-abc",    "abc-",
		".abc",    "abc.",
		"a..b",    "1.2.3.4",
		"b%61d",   "a+b-c-d",
		"a=b-c-d", "a234567890123456789012345678901234567890123456789012345678901234"
	};

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		char url[100];

		(void)snprintf(url, sizeof url, "s3://%s/p", good[i]);
		assert_parts(url, "s3", good[i], "p");
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char url[100];

		(void)snprintf(url, sizeof url, "s3://%s/p", bad[i]);
		assert_refused(url, "example: s3://");
	}
}

static void the_names_of_containers_follow_theirs(void **state)
{
	char url[400], name[260];

	(void)state;
	memset(name, 'c', sizeof name);
	name[256] = '\0';
	(void)snprintf(url, sizeof url, "swift://%s", name);
	assert_parts(url, "swift", name, "");
	name[256] = 'c';
	name[257] = '\0';
	(void)snprintf(url, sizeof url, "swift://%s", name);
	assert_refused(url, "at most 256");
	assert_parts("swift://a", "swift", "a", "");
	assert_refused("swift://", "names no container");
	assert_refused("swift:///p", "names no container");
	assert_refused("swift://.", "'.'");
	assert_refused("swift://../p", "'..'");
	assert_refused("swift://a%2fb", "'%'");
	assert_refused("swift://a~b", "'~'");
}

static void components_that_mean_something_else_are_refused_in_a_prefix(void **state)
{
	static const char *const cases[] = { "//",    "//a",    "/a//b",  "/a//", "/.",    "/..",  "/./a", "/a/../b",
		                             "/a/..", "/a/../", "/a%20b", "/a+b", "/a\\b", "/a:b", "/a*b", "/a=b" };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char url[100];

		(void)snprintf(url, sizeof url, "s3://bucket%s?region=x", cases[i]);
		assert_refused(url, "prefix");
	}
	assert_refused("s3://bucket/a//b", "two '/' in a row");
	assert_refused("s3://bucket/a/../b", "'.' or '..'");
}

static void an_unknown_parameter_is_refused_with_those_there_are(void **state)
{
	struct store_url u;
	struct error err = { 0 };

	(void)state;
	assert_refused("s3://bucket?regoin=SENTINEL", "'regoin'; those there are: endpoint, region, style, auth");
	assert_refused("s3://bucket?region=a&Region=b", "'Region'");
	assert_int_equal(store_url_parse("s3://bucket?region=a", NULL, 0, &u, &err), -EINVAL);
	assert_non_null(strstr(err.text, "none"));
	assert_int_equal(store_url_parse("s3://bucket?", NULL, 0, &u, &err), 0);
	/* What does not look like a name is not repeated. */
	assert_refused("s3://bucket?SENTINEL/+x=1", "endpoint, region");
	assert_refused("s3://bucket?a%20SENTINEL=1", "endpoint, region");
	assert_refused("s3://bucket?SENTINELaaaaaaaaaaaaaaaaaaaaaaaaaaaa=1", "endpoint, region");
}

static void a_repeated_parameter_is_refused(void **state)
{
	(void)state;
	assert_refused("s3://bucket?region=a&style=path&region=a", "two parameters 'region'");
	assert_refused("s3://bucket?region=a&%72egion=b", "two parameters 'region'");
}

static void parameters_without_name_or_value_are_refused(void **state)
{
	(void)state;
	assert_refused("s3://bucket?region", "name=value");
	assert_refused("s3://bucket?SENTINEL", "name=value");
	assert_refused("s3://bucket?=SENTINEL", "name=value");
	assert_refused("s3://bucket?&region=a", "name=value");
	assert_refused("s3://bucket?region=a&", "name=value");
	assert_refused("s3://bucket?region=a&&style=path", "name=value");
	assert_refused("s3://bucket?region=", "no value");
}

static void bad_encoding_is_refused(void **state)
{
	static const char *const values[] = { "%", "%4", "%zz", "%4g", "a%", "%00", "%0a", "%1F", "%7f", "%%34" };

	(void)state;
	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
		char url[100];

		(void)snprintf(url, sizeof url, "s3://bucket?region=%s", values[i]);
		assert_refused(url, "'region'");
		(void)snprintf(url, sizeof url, "s3://bucket?%s=x", values[i]);
		assert_refused(url, "name=value");
		(void)snprintf(url, sizeof url, "s3://bucket?region=%s&style=path", values[i]);
		assert_refused(url, "'region'");
	}
}

static void secrets_are_refused_unseen_and_told_where_they_belong(void **state)
{
	static const char *const s3[] = {
		"s3://bucket?secret_access_key=SENTINEL",
		"s3://bucket?AccessKey=SENTINEL",
		"s3://bucket?region=x&PASSWORD=SENTINEL",
		"s3://bucket?SECRET=",
		"s3://bucket?s%65cret=SENTINEL",
		"s3://bucket?%53ECRET=SENTINEL%zz",
		"s3://bucket?session_token=SENTINEL",
		"s3://bucket?passphrase=SENTINEL",
		"s3://bucket?key",
		"s3://bucket?session_key=SENTINEL", /* known, and yet refused */
		"s3://SENTINEL:SENTINEL@bucket/p",
		"s3://SENTINEL@bucket/p",
		"s3://sentinel:80/p",
		"s3://bucket?endpoint=http://me:SENTINEL@127.0.0.1:7480",
		"s3://bucket?endpoint=http:%2f%2fme%3aSENTINEL%40127.0.0.1",
		"s3://bucket?endpoint=http://me:SENT/INEL@127.0.0.1:7480",
	};

	(void)state;
	for (size_t i = 0; i < sizeof s3 / sizeof s3[0]; i++) {
		assert_refused(s3[i], "AWS_SECRET_ACCESS_KEY");
		assert_refused(s3[i], "passwd_file");
	}
	assert_refused("swift://c?password=SENTINEL", "ST_KEY");
	assert_refused("swift://c?auth=http://me:SENTINEL@host/v3", "ST_KEY");
	/* The file is named, not shown; and a user may be an address. */
	assert_parts("swift://c?passwd_file=/etc/garner.passwd&user=p:me@example.org", "swift", "c", "");
}

static void a_secret_in_the_wrong_place_is_not_repeated(void **state)
{
	(void)state;
	assert_refused("s3://bucket&secret_key=SENTINEL", "'&'");
	assert_refused("s3://bucket/p&secret_key=SENTINEL", "'&'");
	assert_refused("s3://bucket/p;SENTINEL", "';'");
	assert_refused("s3://SENTINEL/p", "cannot contain 'S'");
	assert_refused("s4://bucket?secret=SENTINEL", "s3://");
	assert_refused("s3://bucket?region=a#SENTINEL", "'#'");
	assert_refused("s3://bucket?region=SENTINEL%zz", "'region'");
}

static void bytes_that_no_url_has_are_refused(void **state)
{
	(void)state;
	assert_refused("s3://bucket/a b", "space");
	assert_refused("s3://bucket/a\n", "control");
	assert_refused("s3://bucket/\x7f", "control");
	assert_refused("s3://bucket/ä", "non-ASCII");
	assert_refused("s3://bucket?region=ä", "%XX");
	assert_refused(" s3://bucket", "space");
}

static void lengths_and_numbers_are_bounded(void **state)
{
	static char names[STORE_URL_PARAMETERS_MAX + 1][8];
	const char *many[STORE_URL_PARAMETERS_MAX + 1];
	char url[STORE_URL_MAX + 2] = "s3://bucket/";
	struct store_url u;
	struct error err = { 0 };

	(void)state;
	memset(url + 12, 'p', sizeof url - 13);
	url[STORE_URL_MAX + 1] = '\0';
	assert_refused(url, "longer than 511");
	url[STORE_URL_MAX] = '\0';
	assert_int_equal(parse(url, &u, NULL), 0);
	assert_int_equal(strlen(u.prefix), STORE_URL_MAX - 12);
	assert_string_equal(store_url_show(&u), url);

	/* As many parameters as there may be, and one more. */
	strcpy(url, "s3://bucket?");
	for (size_t i = 0; i <= STORE_URL_PARAMETERS_MAX; i++) {
		(void)snprintf(names[i], sizeof names[i], "p%zu", i);
		many[i] = names[i];
		(void)snprintf(url + strlen(url), sizeof url - strlen(url), "%s%s=v%zu", i ? "&" : "", names[i], i);
		assert_int_equal(store_url_parse(url, many, i + 1, &u, &err),
		                 i < STORE_URL_PARAMETERS_MAX ? 0 : -EINVAL);
		if (i == STORE_URL_PARAMETERS_MAX - 1) {
			assert_string_equal(store_url_parameter(&u, "p0"), "v0");
			assert_string_equal(store_url_parameter(&u, "p31"), "v31");
		}
	}
	assert_non_null(strstr(err.text, "more than 32"));
}

static void nodes_stand_before_their_pool(void **state)
{
	struct store_url u;

	(void)state;
	assert_parts("node://h1:7070,h2:7070/my-pool", "node", "my-pool", "");
	assert_int_equal(parse("node://h1:7070,10.0.0.2:1,[fd00::2]:65535/p_1?region=x", &u, NULL), 0);
	assert_string_equal(u.hosts, "h1:7070,10.0.0.2:1,[fd00::2]:65535");
	assert_string_equal(store_url_show(&u), "node://h1:7070,10.0.0.2:1,[fd00::2]:65535/p_1?region=x");
	assert_int_equal(parse("node:///pool/", &u, NULL), 0);
	assert_string_equal(u.hosts, "");
	assert_string_equal(store_url_show(&u), "node:///pool");
	assert_int_equal(parse("s3://bucket/h1:7070", &u, NULL), -EINVAL);
	assert_refused("node://h1:7070", "no pool");
	assert_refused("node://h1:7070/", "no pool");
	assert_refused("node://h1:7070?region=x", "no pool");
	assert_refused("node://h1:7070/a/b", "more than a pool");
	assert_refused("node://h1:7070/Pool", "a-z");
	assert_refused("node://h1:7070/.pool", "a-z");
	for (size_t i = 0; i < 12; i++) {
		static const char *const bad[] = { "h1",         "h1:",      ":7070",       "h1:0",
			                           "h1:65536",   "h1:07070", "h1:7070,",    ",h1:7070",
			                           "h1:1,,h2:1", "[::g]:1",  "fd00::2:70x", "h 1:1" };
		char url[64];

		snprintf(url, sizeof url, "node://%s/pool", bad[i]);
		assert_int_equal(parse(url, &u, NULL), -EINVAL);
	}
	assert_refused("node://SENTINEL:SENTINEL@h1:7070/pool", "cluster.key");
	assert_refused("node://h1:7070/pool?session_key=SENTINEL", "cluster.key");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_stand_before_their_pool),
		cmocka_unit_test(a_url_is_taken_apart),
		cmocka_unit_test(the_prefix_may_be_missing_and_has_no_slash_around_it),
		cmocka_unit_test(what_is_shown_means_the_same),
		cmocka_unit_test(parameters_are_decoded_once),
		cmocka_unit_test(another_scheme_or_none_is_refused_with_examples),
		cmocka_unit_test(the_names_of_buckets_follow_their_rules),
		cmocka_unit_test(the_names_of_containers_follow_theirs),
		cmocka_unit_test(components_that_mean_something_else_are_refused_in_a_prefix),
		cmocka_unit_test(an_unknown_parameter_is_refused_with_those_there_are),
		cmocka_unit_test(a_repeated_parameter_is_refused),
		cmocka_unit_test(parameters_without_name_or_value_are_refused),
		cmocka_unit_test(bad_encoding_is_refused),
		cmocka_unit_test(secrets_are_refused_unseen_and_told_where_they_belong),
		cmocka_unit_test(a_secret_in_the_wrong_place_is_not_repeated),
		cmocka_unit_test(bytes_that_no_url_has_are_refused),
		cmocka_unit_test(lengths_and_numbers_are_bounded),
	};

	return cmocka_run_group_tests_name("store_url", tests, NULL, NULL);
}
