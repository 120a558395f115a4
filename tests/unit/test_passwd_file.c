/* SPDX-License-Identifier: GPL-3.0-only */
/* test_passwd_file.c: who logs in is read from a file that only its owner can use, in the forms that people write. */
#include "store/passwd_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[256];
static char file[300];
static struct passwd_entry entry;
static struct error err;

static void write_file(const void *bytes, size_t length, mode_t mode)
{
	int fd;

	unlink(file);
	fd = open(file, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, length), (ssize_t)length);
	assert_int_equal(fchmod(fd, mode), 0);
	assert_int_equal(close(fd), 0);
}

static int read_text(const char *text, const char *known)
{
	memset(&err, 0, sizeof err);
	write_file(text, strlen(text), 0600);
	return passwd_file_read(file, known, &entry, &err);
}

static void the_usual_forms_are_read(void **state)
{
	static const struct {
		const char *text, *known, *name, *secret;
	} cases[] = {
		{ "AKIAEXAMPLE:wJalrXUtnFEMI/K7MDENG", NULL, "AKIAEXAMPLE", "wJalrXUtnFEMI/K7MDENG" },
		{ "name:secret\n", NULL, "name", "secret" },
		{ "name:secret\r\n", NULL, "name", "secret" },
		{ "# comment: with colon\n\n  name:secret  \n\n", NULL, "name", "secret" },
		{ "test:tester:testing\n", NULL, "test:tester", "testing" },
		{ "name\nsecret\n", NULL, "name", "secret" },
		{ "test:tester\ntes:ting\n", NULL, "test:tester", "tes:ting" },
		{ "test:tester:testing\n", "test:tester", "test:tester", "testing" },
		{ "test:tester:tes:ting\n", "test:tester", "test:tester", "tes:ting" },
		{ "testing\n", "test:tester", "test:tester", "testing" },
		{ "tes:ting\n", "test:tester", "test:tester", "tes:ting" },
		{ "test:tester\ntesting\n", "test:tester", "test:tester", "testing" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		if (read_text(cases[i].text, cases[i].known) != 0)
			fail_msg("'%s': %s", cases[i].text, err.text);
		assert_string_equal(entry.name, cases[i].name);
		assert_string_equal(entry.secret, cases[i].secret);
	}
}

static void anything_else_is_refused_and_not_shown(void **state)
{
	static const char *const texts[] = {
		"",          "\n\n",      "# hidden:hidden\n",   "hidden\n",
		"hidden:\n", ":hidden\n", "hidden:hid\001den\n", "hidden\nhidden\nhidden\n"
	};
	char longest[1100];

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		assert_int_equal(read_text(texts[i], NULL), -EINVAL);
		assert_non_null(strstr(err.text, file));
		assert_null(strstr(err.text, "hid"));
		assert_string_equal(entry.secret, "");
	}
	assert_int_equal(read_text("hidden\nhidden\n", "another"), -EINVAL);
	memset(longest, 'x', sizeof longest);
	longest[1] = ':';
	longest[2 + PASSWD_FIELD_MAX] = '\0';
	assert_int_equal(read_text(longest, NULL), 0);
	longest[2 + PASSWD_FIELD_MAX] = 'x';
	longest[3 + PASSWD_FIELD_MAX] = '\0';
	assert_int_equal(read_text(longest, NULL), -EINVAL);
}

static void a_file_that_others_can_use_is_refused(void **state)
{
	static const mode_t refused[] = { 0640, 0604, 0644, 0620, 0601, 0666 };

	(void)state;
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		memset(&err, 0, sizeof err);
		write_file("name:hidden", 11, refused[i]);
		assert_int_equal(passwd_file_read(file, NULL, &entry, &err), -EACCES);
		assert_non_null(strstr(err.text, "chmod 600"));
		assert_non_null(strstr(err.text, file));
		assert_null(strstr(err.text, "hidden"));
	}
	write_file("name:hidden", 11, 0400);
	assert_int_equal(passwd_file_read(file, NULL, &entry, &err), 0);
}

static void a_file_of_another_user_is_refused(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		print_message("skipped: only root can give a file away\n");
		skip();
	}
	write_file("name:hidden", 11, 0600);
	assert_int_equal(chown(file, 12345, 12345), 0);
	assert_int_equal(passwd_file_read(file, NULL, &entry, &err), -EACCES);
	assert_non_null(strstr(err.text, "chown"));
}

static void what_is_no_text_file_is_refused(void **state)
{
	static char large[5000];
	bool others;
	char text[100];

	(void)state;
	unlink(file);
	assert_int_equal(passwd_file_read(file, NULL, &entry, &err), -ENOENT);
	assert_int_equal(passwd_file_read(dir, NULL, &entry, &err), -EINVAL);
	assert_int_equal(mkfifo(file, 0600), 0);
	assert_int_equal(passwd_file_read(file, NULL, &entry, &err), -EINVAL);
	write_file("a\0b:c", 5, 0600);
	assert_int_equal(passwd_file_read(file, NULL, &entry, &err), -EINVAL);
	memset(large, '\n', sizeof large);
	write_file(large, sizeof large, 0600);
	assert_int_equal(passwd_file_read(file, NULL, &entry, &err), -EFBIG);
	write_file(large, 99, 0644);
	assert_int_equal(passwd_file_load(file, text, sizeof text, &others, &err), 0);
	assert_true(others);
	write_file(large, 100, 0600);
	assert_int_equal(passwd_file_load(file, text, sizeof text, &others, &err), -EFBIG);
}

static int make_dir(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	(void)snprintf(dir, sizeof dir, "%s/garner-passwd-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(file, sizeof file, "%s/passwd", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	unlink(file);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_usual_forms_are_read),
		cmocka_unit_test(anything_else_is_refused_and_not_shown),
		cmocka_unit_test(a_file_that_others_can_use_is_refused),
		cmocka_unit_test(a_file_of_another_user_is_refused),
		cmocka_unit_test(what_is_no_text_file_is_refused),
	};

	return cmocka_run_group_tests_name("passwd_file", tests, make_dir, remove_dir);
}
