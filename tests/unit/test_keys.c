/* SPDX-License-Identifier: GPL-3.0-only */
/* test_keys.c: the right secret opens the master key; careless files and wrong secrets do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "seal/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static char dir[256];
static char file[300];

static void write_secret_file(const void *bytes, size_t len, mode_t mode)
{
	int fd;

	unlink(file);
	fd = open(file, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	assert_int_equal(fchmod(fd, mode), 0);
	assert_int_equal(close(fd), 0);
}

static struct secret *passphrase(const char *text)
{
	struct secret *s = NULL;
	struct error err = { 0 };

	write_secret_file(text, strlen(text), 0600);
	assert_int_equal(secret_from_passphrase_file(file, &s, &err), 0);
	return s;
}

/* Whether two secrets are the same, as far as anybody can tell: one opens what the other wrapped. */
static int opens(const struct secret *wrapper, const struct secret *unwrapper)
{
	struct seal_key master, back;
	struct wrapped_key wrapped;
	int rc;

	master_key_new(&master);
	assert_int_equal(master_key_wrap(&master, wrapper, &wrapped, NULL), 0);
	rc = master_key_unwrap(&wrapped, unwrapper, &back, NULL);
	if (rc == 0)
		assert_memory_equal(master.bytes, back.bytes, SEAL_KEY_BYTES);
	return rc;
}

static void the_same_secret_unwraps_the_master_key(void **state)
{
	struct secret *s = passphrase("correct horse");
	struct seal_key master, back;
	struct wrapped_key wrapped;

	(void)state;
	master_key_new(&master);
	assert_false(master.plain);
	assert_int_equal(master_key_wrap(&master, s, &wrapped, NULL), 0);
	assert_int_equal(wrapped.ops_limit, 2);
	assert_int_equal(wrapped.mem_limit, 64 << 20);
	for (size_t i = 0; i + SEAL_KEY_BYTES <= sizeof wrapped.bytes; i++)
		assert_memory_not_equal(wrapped.bytes + i, master.bytes, SEAL_KEY_BYTES);
	assert_int_equal(master_key_unwrap(&wrapped, s, &back, NULL), 0);
	assert_false(back.plain);
	assert_memory_equal(master.bytes, back.bytes, SEAL_KEY_BYTES);
	secret_free(s);
}

static void a_wrong_passphrase_is_refused_in_words(void **state)
{
	struct secret *right = passphrase("correct horse"), *wrong = passphrase("correct horsf");
	struct seal_key master, back;
	struct wrapped_key wrapped;
	struct error err = { 0 };
	static const uint8_t zeros[SEAL_KEY_BYTES];

	(void)state;
	master_key_new(&master);
	assert_int_equal(master_key_wrap(&master, right, &wrapped, NULL), 0);
	assert_int_equal(master_key_unwrap(&wrapped, wrong, &back, &err), -EKEYREJECTED);
	assert_string_equal(err.text, "wrong passphrase or key file");
	assert_memory_equal(back.bytes, zeros, sizeof zeros);
	wrapped.salt[0] ^= 1;
	assert_int_equal(master_key_unwrap(&wrapped, right, &back, &err), -EKEYREJECTED);
	wrapped.salt[0] ^= 1;
	wrapped.bytes[KEYS_WRAPPED_BYTES - 1] ^= 1;
	assert_int_equal(master_key_unwrap(&wrapped, right, &back, &err), -EKEYREJECTED);
	secret_free(right);
	secret_free(wrong);
}

static void wrapping_again_uses_another_salt(void **state)
{
	struct secret *s = passphrase("correct horse");
	struct seal_key master;
	struct wrapped_key a, b;

	(void)state;
	master_key_new(&master);
	assert_int_equal(master_key_wrap(&master, s, &a, NULL), 0);
	assert_int_equal(master_key_wrap(&master, s, &b, NULL), 0);
	assert_memory_not_equal(a.salt, b.salt, sizeof a.salt);
	assert_memory_not_equal(a.bytes, b.bytes, sizeof a.bytes);
	secret_free(s);
}

static void an_absurd_cost_is_refused_before_it_is_paid(void **state)
{
	static const struct {
		uint64_t ops, mem;
	} costs[] = {
		{ 101, 64 << 20 }, { UINT64_MAX, 64 << 20 },
		{ 0, 64 << 20 },   { 2, ((uint64_t)4 << 30) + 1 },
		{ 2, UINT64_MAX }, { 2, 0 },
		{ 2, 8191 },
	};
	struct secret *s = passphrase("correct horse");
	struct wrapped_key wrapped = { 0 };
	struct seal_key back;
	struct timespec before, after;

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &before);
	for (size_t i = 0; i < sizeof costs / sizeof costs[0]; i++) {
		struct error err = { 0 };

		wrapped.ops_limit = costs[i].ops;
		wrapped.mem_limit = costs[i].mem;
		assert_int_equal(master_key_unwrap(&wrapped, s, &back, &err), -EBADMSG);
		assert_non_null(strstr(err.text, "absurd"));
	}
	clock_gettime(CLOCK_MONOTONIC, &after);
	assert_true(after.tv_sec - before.tv_sec < 5);
	secret_free(s);
}

static void a_file_that_others_can_use_is_refused(void **state)
{
	static const mode_t refused[] = { 0640, 0604, 0644, 0620, 0601, 0700, 0666 };
	struct secret *s = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		struct error err = { 0 };

		write_secret_file("0123456789abcdef", 16, refused[i]);
		assert_int_equal(secret_from_key_file(file, &s, &err), -EACCES);
		assert_non_null(strstr(err.text, "chmod 600"));
		assert_non_null(strstr(err.text, file));
		assert_null(strstr(err.text, "0123456789"));
		assert_int_equal(secret_from_passphrase_file(file, &s, &err), -EACCES);
		assert_null(s);
	}
	write_secret_file("0123456789abcdef", 16, 0400);
	assert_int_equal(secret_from_key_file(file, &s, NULL), 0);
	secret_free(s);
}

static void a_file_of_another_user_is_refused(void **state)
{
	struct secret *s = NULL;
	struct error err = { 0 };

	(void)state;
	if (geteuid() != 0) {
		print_message("skipped: only root can give a file away\n");
		skip();
	}
	write_secret_file("0123456789abcdef", 16, 0600);
	assert_int_equal(chown(file, 12345, 12345), 0);
	assert_int_equal(secret_from_key_file(file, &s, &err), -EACCES);
	assert_non_null(strstr(err.text, "another user"));
}

static void what_is_missing_or_no_file_is_refused(void **state)
{
	struct secret *s = NULL;
	struct error err = { 0 };

	(void)state;
	unlink(file);
	assert_int_equal(secret_from_key_file(file, &s, &err), -ENOENT);
	assert_non_null(strstr(err.text, file));
	assert_int_equal(secret_from_passphrase_file(dir, &s, &err), -EINVAL);
	assert_null(s);
}

static void a_key_file_holds_16_to_4096_bytes(void **state)
{
	static const struct {
		size_t length;
		int rc;
	} cases[] = { { 0, -EINVAL }, { 15, -EINVAL }, { 16, 0 }, { 4096, 0 }, { 4097, -EINVAL } };
	uint8_t bytes[4097];

	(void)state;
	memset(bytes, 'k', sizeof bytes);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct secret *s = NULL;
		struct error err = { 0 };

		write_secret_file(bytes, cases[i].length, 0600);
		assert_int_equal(secret_from_key_file(file, &s, &err), cases[i].rc);
		if (cases[i].rc < 0)
			assert_non_null(strstr(err.text, cases[i].length > 4096 ? "long" : "short"));
		secret_free(s);
	}
}

static void every_byte_of_a_key_file_counts(void **state)
{
	struct secret *a = NULL, *b = NULL;
	uint8_t bytes[4096];

	(void)state;
	memset(bytes, '\n', sizeof bytes);
	write_secret_file(bytes, sizeof bytes, 0600);
	assert_int_equal(secret_from_key_file(file, &a, NULL), 0);
	bytes[4095] = 0;
	write_secret_file(bytes, sizeof bytes, 0600);
	assert_int_equal(secret_from_key_file(file, &b, NULL), 0);
	assert_int_equal(opens(a, b), -EKEYREJECTED);
	assert_int_equal(opens(b, b), 0);
	secret_free(a);
	secret_free(b);
}

static void of_a_passphrase_file_the_first_line_counts(void **state)
{
	struct secret *a = passphrase("password1"), *b = passphrase("password1\n"),
		      *c = passphrase("password1\nsecond line\n"), *d = passphrase("password1 \n");

	(void)state;
	assert_int_equal(opens(a, b), 0);
	assert_int_equal(opens(a, c), 0);
	assert_int_equal(opens(a, d), -EKEYREJECTED);
	secret_free(a);
	secret_free(b);
	secret_free(c);
	secret_free(d);
}

static void a_passphrase_has_8_characters_in_one_line(void **state)
{
	static const char *const refused[] = { "", "\n", "1234567", "1234567\n12345678",
		                               "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4" };
	char longest[5001];
	struct secret *s = NULL;
	struct error err = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		write_secret_file(refused[i], strlen(refused[i]), 0600);
		assert_int_equal(secret_from_passphrase_file(file, &s, &err), -EINVAL);
		assert_null(strstr(err.text, "1234567"));
	}
	s = passphrase("12345678");
	secret_free(s);
	s = NULL;
	memset(longest, 'x', 5000);
	write_secret_file(longest, 5000, 0600);
	assert_int_equal(secret_from_passphrase_file(file, &s, &err), -EINVAL);
	longest[4000] = '\n';
	write_secret_file(longest, 5000, 0600);
	assert_int_equal(secret_from_passphrase_file(file, &s, &err), 0);
	secret_free(s);
}

static void derived_keys_differ_by_image_and_use_and_repeat(void **state)
{
	struct seal_key master = { .bytes = { 7 } }, one, again, two, catalog;

	(void)state;
	image_key(&master, 1, &one);
	image_key(&master, 1, &again);
	image_key(&master, 2, &two);
	catalog_key(&master, &catalog);
	assert_false(one.plain);
	assert_memory_equal(one.bytes, again.bytes, SEAL_KEY_BYTES);
	assert_memory_not_equal(one.bytes, two.bytes, SEAL_KEY_BYTES);
	assert_memory_not_equal(one.bytes, catalog.bytes, SEAL_KEY_BYTES);
	assert_memory_not_equal(one.bytes, master.bytes, SEAL_KEY_BYTES);
}

static void keys_below_a_plain_master_are_plain(void **state)
{
	struct seal_key master = { .plain = true }, out = { 0 };

	(void)state;
	image_key(&master, 1, &out);
	assert_true(out.plain);
	out.plain = false;
	catalog_key(&master, &out);
	assert_true(out.plain);
}

/* ---- on a terminal ---- */

/* What the child does on its terminal: 0 when it got the passphrase "typed phrase", else the errno. */
static int child_asks(bool confirm)
{
	struct secret *s = NULL, *expected = NULL;
	int rc;

	rc = secret_from_terminal("Passphrase: ", confirm, &s, NULL);
	if (rc < 0)
		return -rc;
	if (secret_from_passphrase_file(file, &expected, NULL) < 0)
		return 100;
	rc = opens(expected, s);
	secret_free(s);
	secret_free(expected);
	return rc < 0 ? 101 : 0;
}

static pid_t child_on_terminal(int *master, bool confirm)
{
	const char *name;
	pid_t pid;

	*master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(*master >= 0);
	assert_int_equal(grantpt(*master), 0);
	assert_int_equal(unlockpt(*master), 0);
	name = ptsname(*master);
	assert_non_null(name);
	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(60);
		if (setsid() < 0 || open(name, O_RDWR) < 0)
			_exit(102);
		_exit(child_asks(confirm));
	}
	return pid;
}

/* Reads what the terminal shows until `text` is among it. */
static void expect_shown(int master, const char *text, char *seen, size_t room)
{
	size_t used = strlen(seen);

	while (!strstr(seen, text)) {
		struct pollfd p = { .fd = master, .events = POLLIN };
		ssize_t n;

		assert_int_equal(poll(&p, 1, 30000), 1);
		n = read(master, seen + used, room - 1 - used);
		assert_true(n > 0);
		used += (size_t)n;
		seen[used] = '\0';
	}
}

static void type(int master, const char *text)
{
	assert_int_equal(write(master, text, strlen(text)), (ssize_t)strlen(text));
}

static int child_status(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static bool echoes(int master)
{
	struct termios t;

	assert_int_equal(tcgetattr(master, &t), 0);
	return t.c_lflag & ECHO;
}

static void a_passphrase_is_typed_twice_and_never_shown(void **state)
{
	char seen[1000] = "";
	int master, status;
	pid_t pid;

	(void)state;
	write_secret_file("typed phrase", 12, 0600);
	pid = child_on_terminal(&master, true);
	expect_shown(master, "Passphrase: ", seen, sizeof seen);
	assert_false(echoes(master));
	type(master, "typed phrase\n");
	expect_shown(master, "Again: ", seen, sizeof seen);
	type(master, "typed phrase\n");
	status = child_status(pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_null(strstr(seen, "phrase\r"));
	assert_null(strstr(seen, "typed"));
	close(master);
}

static void two_different_passphrases_are_refused(void **state)
{
	char seen[1000] = "";
	int master, status;
	pid_t pid;

	(void)state;
	pid = child_on_terminal(&master, true);
	expect_shown(master, "Passphrase: ", seen, sizeof seen);
	type(master, "typed phrase\n");
	expect_shown(master, "Again: ", seen, sizeof seen);
	type(master, "typed phrasf\n");
	status = child_status(pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), EINVAL);
	close(master);
}

static void an_interrupt_gives_the_terminal_back_as_it_was(void **state)
{
	char seen[1000] = "";
	int master, slave, status;
	pid_t pid;

	(void)state;
	pid = child_on_terminal(&master, false);
	/* Keeps the terminal's settings alive after the child. */
	slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(slave >= 0);
	expect_shown(master, "Passphrase: ", seen, sizeof seen);
	assert_false(echoes(master));
	type(master, "half a ph\x03");
	status = child_status(pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGINT);
	assert_true(echoes(slave));
	close(slave);
	close(master);
}

static void without_a_terminal_nothing_is_asked(void **state)
{
	pid_t pid;
	int status;

	(void)state;
	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct secret *s = NULL;

		if (setsid() < 0)
			_exit(102);
		_exit(-secret_from_terminal("Passphrase: ", false, &s, NULL));
	}
	status = child_status(pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), ENOTTY);
}

static int make_dir(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof dir, "%s/garner-keys-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	snprintf(file, sizeof file, "%s/secret", dir);
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
		cmocka_unit_test(the_same_secret_unwraps_the_master_key),
		cmocka_unit_test(a_wrong_passphrase_is_refused_in_words),
		cmocka_unit_test(wrapping_again_uses_another_salt),
		cmocka_unit_test(an_absurd_cost_is_refused_before_it_is_paid),
		cmocka_unit_test(a_file_that_others_can_use_is_refused),
		cmocka_unit_test(a_file_of_another_user_is_refused),
		cmocka_unit_test(what_is_missing_or_no_file_is_refused),
		cmocka_unit_test(a_key_file_holds_16_to_4096_bytes),
		cmocka_unit_test(every_byte_of_a_key_file_counts),
		cmocka_unit_test(of_a_passphrase_file_the_first_line_counts),
		cmocka_unit_test(a_passphrase_has_8_characters_in_one_line),
		cmocka_unit_test(derived_keys_differ_by_image_and_use_and_repeat),
		cmocka_unit_test(keys_below_a_plain_master_are_plain),
		cmocka_unit_test(a_passphrase_is_typed_twice_and_never_shown),
		cmocka_unit_test(two_different_passphrases_are_refused),
		cmocka_unit_test(an_interrupt_gives_the_terminal_back_as_it_was),
		cmocka_unit_test(without_a_terminal_nothing_is_asked),
	};

	return cmocka_run_group_tests_name("keys", tests, make_dir, remove_dir);
}
