/* SPDX-License-Identifier: GPL-3.0-only */
/* test_target.c: what a word on the command line names, where there is no mount. (With mounts: tests/system.) */
#include "cli/target.h"
#include "lib/remove_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
	char dir[256], pool[300], file[300], key[300];
};

static void touch(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(close(fd), 0);
}

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");
	struct place *p = calloc(1, sizeof *p);

	assert_non_null(p);
	snprintf(p->dir, sizeof p->dir, "%.200s/garner-target.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(p->dir));
	snprintf(p->pool, sizeof p->pool, "%s/store", p->dir);
	snprintf(p->file, sizeof p->file, "%s/file", p->dir);
	snprintf(p->key, sizeof p->key, "%s/key", p->dir);
	touch(p->file, "");
	touch(p->key, "correct horse battery staple");
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;
	int rc = remove_tree(p->dir);

	free(p);
	return rc;
}

static void a_url_is_a_store_and_is_not_looked_for(void **state)
{
	enum target_kind kind;

	(void)state;
	assert_int_equal(target_find("file:///no/such/place", &kind, NULL), 0);
	assert_int_equal(kind, TARGET_STORE);
}

static void a_directory_with_a_pool_is_a_store(void **state)
{
	struct place *p = *state;
	enum target_kind kind;

	assert_int_equal(pool_init(p->pool, NULL, NULL, 0, NULL), 0);
	assert_int_equal(target_find(p->pool, &kind, NULL), 0);
	assert_int_equal(kind, TARGET_STORE);
}

static void what_is_neither_is_named_and_refused(void **state)
{
	struct place *p = *state;
	struct error err = { 0 };
	enum target_kind kind;

	assert_int_equal(target_find(p->dir, &kind, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, p->dir));
	assert_int_equal(target_find(p->file, &kind, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, p->file));
	assert_int_equal(target_find(p->pool, &kind, &err), -ENOENT);
	assert_non_null(strstr(err.text, p->pool));
}

static void commands_on_images_refuse_stores_and_places_outside_of_mounts(void **state)
{
	struct place *p = *state;
	struct error err = { 0 };

	assert_int_equal(target_want_image("file:///srv/pool", &err), -ENOTSUP);
	assert_int_equal(target_want_mount("file:///srv/pool", &err), -ENOTSUP);
	assert_int_equal(target_want_place("file:///srv/pool", &err), -ENOTSUP);
	assert_int_equal(target_want_image(p->file, &err), -ENOTSUP);
	assert_int_equal(target_want_mount(p->dir, &err), -ENOTSUP);
	assert_int_equal(target_want_place(p->file, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, p->dir));
	assert_int_equal(target_want_place("/no/such/directory/file", &err), -ENOENT);
}

static void the_parent_is_what_stands_before_the_last_slash(void **state)
{
	static const char *const cases[][2] = {
		{ "a", "." }, { "a/b", "a" }, { "/a", "/" }, { "/a/b/c", "/a/b" }, { "../x", ".." }, { "a//b", "a/" },
	};
	char *far = malloc(PATH_MAX + 10);
	char out[PATH_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(target_parent(cases[i][0], out, NULL), 0);
		assert_string_equal(out, cases[i][1]);
	}
	assert_non_null(far);
	memset(far, 'x', PATH_MAX + 8);
	strcpy(far + PATH_MAX + 6, "/y");
	assert_int_equal(target_parent(far, out, NULL), -ENAMETOOLONG);
	free(far);
}

static void a_relative_path_becomes_an_absolute_store(void **state)
{
	char out[PATH_MAX], here[PATH_MAX - 10], wanted[PATH_MAX];

	(void)state;
	assert_non_null(getcwd(here, sizeof here));
	snprintf(wanted, sizeof wanted, "%s/pool", here);
	assert_int_equal(target_url("pool", out, NULL), 0);
	assert_string_equal(out, wanted);
	assert_int_equal(target_url("/srv/pool", out, NULL), 0);
	assert_string_equal(out, "/srv/pool");
	assert_int_equal(target_url("file:///srv/pool", out, NULL), 0);
	assert_string_equal(out, "file:///srv/pool");
}

static void the_mount_point_is_the_highest_directory_of_the_same_file_system(void **state)
{
	char out[PATH_MAX];

	(void)state;
	assert_int_equal(target_mount_point("/proc/self/status", out, NULL), 0);
	assert_string_equal(out, "/proc");
	assert_int_equal(target_mount_point("/", out, NULL), 0);
	assert_string_equal(out, "/");
	assert_int_equal(target_mount_point("/proc/nothing/here", out, NULL), -ENOENT);
}

static void a_sealed_pool_opens_with_its_key_only(void **state)
{
	struct place *p = *state;
	const struct target_key right = { .key_file = p->key }, wrong = { .passphrase_file = p->key };
	struct secret *secret = NULL;
	struct pool *pool = NULL;
	struct error err = { 0 };

	assert_int_equal(pool_secret(p->key, NULL, &secret, NULL), 0);
	assert_int_equal(pool_init(p->pool, NULL, secret, 0, NULL), 0);
	secret_free(secret);
	assert_int_equal(target_open_pool(p->pool, &right, &pool, &err), 0);
	assert_true(pool->sealed);
	pool_close(pool);
	pool = NULL;
	touch(p->key, "another passphrase");
	assert_int_equal(target_open_pool(p->pool, &wrong, &pool, &err), -EKEYREJECTED);
	assert_null(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_url_is_a_store_and_is_not_looked_for, setup, teardown),
		cmocka_unit_test_setup_teardown(a_directory_with_a_pool_is_a_store, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_neither_is_named_and_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(commands_on_images_refuse_stores_and_places_outside_of_mounts, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(the_parent_is_what_stands_before_the_last_slash, setup, teardown),
		cmocka_unit_test_setup_teardown(a_relative_path_becomes_an_absolute_store, setup, teardown),
		cmocka_unit_test_setup_teardown(the_mount_point_is_the_highest_directory_of_the_same_file_system, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_sealed_pool_opens_with_its_key_only, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
