/* SPDX-License-Identifier: GPL-3.0-only */
/* test_cmd_keys.c: options that say how a store is opened are refused by commands that open none, rather than ignored. */
#include "cli/command.h"
#include "ctl/ctl.h"
#include "lib/remove_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[256], image[300];

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");
	int fd;

	(void)state;
	snprintf(dir, sizeof dir, "%.200s/garner-keys.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(dir));
	snprintf(image, sizeof image, "%s/image", dir);
	fd = open(image, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	close(fd);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return remove_tree(dir);
}

/* Runs it with up to three words and `option` (NULL: none), to no terminal. Its exit code. */
static int run(int (*command)(const struct command *c, int argc, char **argv), const char *option,
               const char *const *words)
{
	static const struct command c = { "command", "", "do something", "", NULL };
	int quiet = open("/dev/null", O_WRONLY), out = dup(STDOUT_FILENO), errors = dup(STDERR_FILENO), argc = 0, code;
	char *argv[8];

	assert_true(quiet >= 0 && out >= 0 && errors >= 0);
	argv[argc++] = (char *)"command";
	if (option) {
		argv[argc++] = (char *)option;
		argv[argc++] = (char *)"/nowhere/key";
	}
	while (*words)
		argv[argc++] = (char *)*words++;
	argv[argc] = NULL;
	fflush(stdout);
	dup2(quiet, STDOUT_FILENO);
	dup2(quiet, STDERR_FILENO);
	code = command(&c, argc, argv);
	fflush(stdout);
	dup2(out, STDOUT_FILENO);
	dup2(errors, STDERR_FILENO);
	close(out);
	close(errors);
	close(quiet);
	return code;
}

static const char *const key_options[] = { "--key-file", "--passphrase-file", "--passwd-file" };

static void files_and_mounts_have_no_key(void **state)
{
	const struct {
		int (*command)(const struct command *c, int argc, char **argv);
		const char *words[4];
	} cases[] = {
		{ cmd_import, { image, "copy" } },
		{ cmd_import, { "--onto", image, image } },
		{ cmd_export, { image, "copy" } },
		{ cmd_export, { "--stream", image, "stream" } },
		{ cmd_export, { "--since=yesterday", image, "stream" } },
		{ cmd_takeover, { image } },
	};

	(void)state;
	for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
		for (size_t o = 0; o < 3; o++)
			assert_int_equal(run(cases[k].command, key_options[o], cases[k].words), EXIT_USAGE);
		/* Without it, it is only that this is no mount. */
		assert_int_equal(run(cases[k].command, NULL, cases[k].words), EXIT_FAILED);
	}
}

/* A word that may be either is looked at first. */
static void what_is_in_a_mount_has_no_key(void **state)
{
	const char *const of_mount[] = { dir, NULL }, *const of_image[] = { image, NULL };

	(void)state;
	if (setxattr(dir, CTL_XATTR_SOCKET, "/nowhere", 8, 0) || setxattr(image, CTL_XATTR_SOCKET, "/nowhere", 8, 0)) {
		assert_int_equal(errno, ENOTSUP);
		print_message("needs user attributes in %s\n", dir);
		skip();
	}
	for (size_t o = 0; o < 3; o++) {
		assert_int_equal(run(cmd_ls, key_options[o], of_mount), EXIT_USAGE);
		assert_int_equal(run(cmd_ls, key_options[o], of_image), EXIT_USAGE);
		assert_int_equal(run(cmd_info, key_options[o], of_image), EXIT_USAGE);
	}
	assert_int_equal(run(cmd_ls, NULL, of_mount), EXIT_DONE);
	assert_int_equal(run(cmd_info, NULL, of_image), EXIT_FAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(files_and_mounts_have_no_key, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_in_a_mount_has_no_key, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
