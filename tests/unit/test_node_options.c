/* SPDX-License-Identifier: GPL-3.0-only */
/* test_node_options.c: the command line of garnerd: what it takes, and that whatever else is refused by name. */
#include "node/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS_MAX 16

static struct node_options o;
static struct error err;

/* Reads a line of words with single spaces between. */
static int parse(const char *line)
{
	char copy[512], *rest = copy, *argv[WORDS_MAX + 1];
	int argc = 0;

	strcpy(copy, line);
	while (argc < WORDS_MAX && (argv[argc] = strsep(&rest, " ")))
		argc++;
	argv[argc] = NULL;
	memset(&err, 0, sizeof err);
	return node_options_parse(argc, argv, &o, &err);
}

static void a_whole_line_is_taken(void **state)
{
	(void)state;
	assert_int_equal(
		parse("garnerd --data /a,/b --listen h1:7070 --cluster /c -f --node 3 --memory 64M --scrub-rate 0 "
	              "--heal-every 30s"),
		0);
	assert_int_equal(o.action, NODE_SERVE);
	assert_int_equal(o.drive_count, 2);
	assert_string_equal(o.drive[0], "/a");
	assert_string_equal(o.drive[1], "/b");
	assert_string_equal(o.host, "h1");
	assert_int_equal(o.port, 7070);
	assert_int_equal(o.node, 3);
	assert_true(o.foreground);
	assert_int_equal(o.memory, 64 << 20);
	assert_int_equal(o.scrub_rate, 0);
	assert_int_equal(o.heal_ms, 30000);
	node_options_free(&o);
	assert_int_equal(parse("garnerd --data /a --listen [fd00::1]:7070 --cluster c"), 0);
	assert_string_equal(o.host, "fd00::1");
	node_options_free(&o);
}

static void names_become_absolute(void **state)
{
	char *here = getcwd(NULL, 0), want[4096];

	(void)state;
	assert_int_equal(parse("garnerd --data a,/b --listen h:1 --cluster c"), 0);
	assert_int_equal(node_options_make_absolute(&o, &err), 0);
	snprintf(want, sizeof want, "%s/a", here);
	assert_string_equal(o.drive[0], want);
	assert_string_equal(o.drive[1], "/b");
	snprintf(want, sizeof want, "%s/c", here);
	assert_string_equal(o.cluster_file, want);
	node_options_free(&o);
	free(here);
}

static void what_is_wrong_is_named(void **state)
{
	static const struct {
		const char *line, *says;
	} bad[] = {
		{ "garnerd", "--data" },
		{ "garnerd --data /a --cluster c", "--listen" },
		{ "garnerd --data /a --listen h:1", "--cluster" },
		{ "garnerd --data /a --listen h --cluster c", "HOST:PORT" },
		{ "garnerd --data /a --listen :7070 --cluster c", "HOST:PORT" },
		{ "garnerd --data /a --listen h:0 --cluster c", "port" },
		{ "garnerd --data /a --listen h:70000 --cluster c", "70000" },
		{ "garnerd --data /a,,/b --listen h:1 --cluster c", "empty" },
		{ "garnerd --data /a,/a --listen h:1 --cluster c", "twice" },
		{ "garnerd --data /a --listen h:1 --cluster c more", "too many" },
		{ "garnerd --data /a --listen h:1 --cluster c --memory 1K", "--memory" },
		{ "garnerd --data /a --listen h:1 --cluster c --memory much", "much" },
		{ "garnerd --data /a --listen h:1 --cluster c --node 0", "--node" },
		{ "garnerd --data /a --listen h:1 --cluster c --tombstones 1ms", "--tombstones" },
		{ "garnerd --date /a", "--date" },
		{ "garnerd --data", "--data" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(parse(bad[i].line), -EINVAL);
		if (!strstr(error_text(&err), bad[i].says))
			fail_msg("%s: %s", bad[i].line, error_text(&err));
		node_options_free(&o);
	}
}

static void help_and_version_need_nothing_else(void **state)
{
	(void)state;
	assert_int_equal(parse("garnerd --help"), 0);
	assert_int_equal(o.action, NODE_HELP);
	node_options_free(&o);
	assert_int_equal(parse("garnerd -V"), 0);
	assert_int_equal(o.action, NODE_VERSION);
	node_options_free(&o);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_line_is_taken),
		cmocka_unit_test(names_become_absolute),
		cmocka_unit_test(what_is_wrong_is_named),
		cmocka_unit_test(help_and_version_need_nothing_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
