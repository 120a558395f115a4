/* SPDX-License-Identifier: GPL-3.0-only */
/* test_file_list.c: a walk of directories gives what sorting all keys would give. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "store/file_list.h"
#include "lib/remove_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char root[256];
static uint64_t seed;

static unsigned next_random(unsigned below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed >> 16) % below;
}

static bool make_file(const char *key)
{
	char path[600];
	int fd;

	snprintf(path, sizeof path, "%s/%s", root, key);
	for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')) != NULL; p++) {
		*p = '\0';
		mkdir(path, 0700); /* when it is in the way, the open fails */
		*p = '/';
	}
	fd = open(path, O_CREAT | O_WRONLY | O_EXCL, 0600);
	if (fd < 0)
		return false;
	assert_int_equal(write(fd, key, strlen(key)), (ssize_t)strlen(key));
	assert_int_equal(close(fd), 0);
	return true;
}

static void expect(const char *prefix, const char *after, size_t max, const char *const *keys, size_t count, bool more)
{
	struct store_entry *entries;
	struct error err = { 0 };
	bool has_more;
	size_t n;

	assert_int_equal(file_list(root, prefix, after, max, &entries, &n, &has_more, &err), 0);
	for (size_t i = 0; i < n && i < count; i++) {
		if (strcmp(entries[i].key, keys[i]) != 0)
			fail_msg("prefix '%s' after '%s' max %zu: entry %zu is %s and not %s", prefix,
			         after ? after : "-", max, i, entries[i].key, keys[i]);
		assert_int_equal(entries[i].size, strlen(keys[i]));
	}
	if (n != count || has_more != more)
		fail_msg("prefix '%s' after '%s' max %zu: %zu entries, more %d, and not %zu, %d", prefix,
		         after ? after : "-", max, n, has_more, count, more);
	free(entries);
}

static void keys_come_in_byte_order_as_wholes(void **state)
{
	static const char *const sorted[] = { "a-b", "a.b", "a/b", "a/c/d", "a0", "aA", "ab", "b" };

	(void)state;
	for (size_t i = 8; i-- > 0;)
		assert_true(make_file(sorted[i]));
	expect("", NULL, 100, sorted, 8, false);
	expect("", NULL, 8, sorted, 8, false);
	expect("", NULL, 7, sorted, 7, true);
	expect("", "a/b", 2, sorted + 3, 2, true);
	expect("", "a/", 2, sorted + 2, 2, true);
	expect("", "a", 1, sorted, 1, true);
	expect("a/", NULL, 10, sorted + 2, 2, false);
	expect("a/", "a/c/d", 10, NULL, 0, false);
	expect("a/c", "a/c", 10, sorted + 3, 1, false);
	expect("a", "a/c/d", 10, sorted + 4, 3, false);
	expect("zzz/", NULL, 10, NULL, 0, false);
	expect("b/", NULL, 10, NULL, 0, false);
}

static void what_is_no_object_is_passed_over(void **state)
{
	static const char *const only[] = { "k", "link", "way/k" };
	char path[600];

	(void)state;
	assert_true(make_file("k"));
	assert_true(make_file(".tmp/1-2-3"));
	assert_true(make_file("lost+found/x"));
	assert_true(make_file(".hidden"));
	assert_true(make_file("with space"));
	assert_true(make_file("sub/.hidden"));
	snprintf(path, sizeof path, "%s/pipe", root);
	assert_int_equal(mkfifo(path, 0600), 0);
	snprintf(path, sizeof path, "%s/dangling", root);
	assert_int_equal(symlink("nowhere", path), 0);
	/* Links are followed, as a put and a get follow them. */
	snprintf(path, sizeof path, "%s/link", root);
	assert_int_equal(symlink("with space", path), 0);
	assert_true(make_file(".real/k"));
	snprintf(path, sizeof path, "%s/way", root);
	assert_int_equal(symlink(".real", path), 0);
	struct store_entry *entries;
	bool more;
	size_t n;
	assert_int_equal(file_list(root, "", NULL, 10, &entries, &n, &more, NULL), 0);
	assert_int_equal(n, 3);
	for (size_t i = 0; i < 3; i++)
		assert_string_equal(entries[i].key, only[i]);
	free(entries);
}

static void a_link_back_to_the_top_ends_with_the_longest_key(void **state)
{
	struct store_entry *entries;
	char path[600];
	bool more;
	size_t n;

	(void)state;
	assert_true(make_file("k"));
	snprintf(path, sizeof path, "%s/loop", root);
	assert_int_equal(symlink(".", path), 0);
	assert_int_equal(file_list(root, "", NULL, 1000, &entries, &n, &more, NULL), 0);
	assert_in_range(n, 30, 41);
	free(entries);
}

static void a_prefix_that_no_key_has_is_refused(void **state)
{
	static const char *const bad[] = { "../", "/", "/etc/", "a//", "a/../b", ".tmp/", "./" };

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct store_entry *entries;
		struct error err = { 0 };
		bool more;
		size_t n;

		assert_int_equal(file_list(root, bad[i], NULL, 10, &entries, &n, &more, &err), -EINVAL);
		assert_non_null(strstr(err.text, bad[i]));
	}
}

/* An unreadable neighbour is not noticed when its keys are not wanted: nothing opened it. */
static void a_directory_outside_the_range_is_not_opened(void **state)
{
	static const char *const mine[] = { "images/2/x" }, *const last[] = { "images/4/x" };
	struct store_entry *entries;
	struct error err = { 0 };
	char path[600];
	bool more;
	size_t n;
	int rc;

	(void)state;
	assert_true(make_file("images/1/x"));
	assert_true(make_file("images/2/x"));
	assert_true(make_file("images/4/x"));
	snprintf(path, sizeof path, "%s/images/1", root);
	assert_int_equal(chmod(path, 0), 0);
	if (geteuid() == 0) {
		/* Everything but that directory is open to the other user. */
		assert_int_equal(chmod(root, 0755), 0);
		snprintf(path, sizeof path, "%s/images", root);
		assert_int_equal(chmod(path, 0755), 0);
		snprintf(path, sizeof path, "%s/images/2", root);
		assert_int_equal(chmod(path, 0755), 0);
		snprintf(path, sizeof path, "%s/images/4", root);
		assert_int_equal(chmod(path, 0755), 0);
		assert_int_equal(seteuid(12345), 0);
	}
	rc = file_list(root, "", NULL, 10, &entries, &n, &more, &err);
	if (rc == -EACCES) {
		expect("images/2", NULL, 10, mine, 1, false);
		expect("images/", "images/2/x", 10, last, 1, false);
	}
	if (getuid() == 0)
		assert_int_equal(seteuid(0), 0);
	snprintf(path, sizeof path, "%s/images/1", root);
	assert_int_equal(chmod(path, 0700), 0);
	assert_int_equal(rc, -EACCES);
	assert_non_null(strstr(err.text, "images/1"));
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void random_text(char *out, unsigned max)
{
	static const char letters[] = "ab-./0Z";
	unsigned n = next_random(max + 1);

	for (unsigned i = 0; i < n; i++)
		out[i] = letters[next_random(sizeof letters - 1)];
	out[n] = '\0';
}

/* Whether all before the last '/' is a key, as a prefix needs. */
static bool prefix_usable(const char *prefix)
{
	char dir[20];
	const char *slash = strrchr(prefix, '/');

	if (!slash)
		return true;
	snprintf(dir, sizeof dir, "%.*s", (int)(slash - prefix), prefix);
	return store_key_valid(dir);
}

static void any_listing_is_the_sorted_keys_cut_to_the_range(void **state)
{
	char *keys[120], text[20], after[20];
	const char *wanted[120];
	size_t count = 0;

	(void)state;
	while (count < 120) {
		random_text(text, 9);
		if (store_key_valid(text) && make_file(text))
			keys[count++] = strdup(text);
	}
	qsort(keys, count, sizeof *keys, compare);
	for (int round = 0; round < 2000; round++) {
		size_t max = 1 + next_random(40), n = 0;
		bool has_after = next_random(3);

		random_text(text, round % 5);
		if (!prefix_usable(text))
			continue;
		random_text(after, 6);
		if (next_random(2))
			snprintf(after, sizeof after, "%s", keys[next_random((unsigned)count)]);
		for (size_t i = 0; i < count; i++)
			if (strncmp(keys[i], text, strlen(text)) == 0 && (!has_after || strcmp(keys[i], after) > 0))
				wanted[n++] = keys[i];
		expect(text, has_after ? after : NULL, max, wanted, n < max ? n : max, n > max);
	}
	for (size_t i = 0; i < count; i++)
		free(keys[i]);
}

static int make_root(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(root, sizeof root, "%s/garner-list-XXXXXX", tmp ? tmp : "/tmp");
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	(void)state;
	if (getuid() == 0 && seteuid(0) < 0) /* a test that failed may have left it */
		return -1;
	return remove_tree(root);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(keys_come_in_byte_order_as_wholes),
		TEST(what_is_no_object_is_passed_over),
		TEST(a_link_back_to_the_top_ends_with_the_longest_key),
		TEST(a_prefix_that_no_key_has_is_refused),
		TEST(a_directory_outside_the_range_is_not_opened),
		TEST(any_listing_is_the_sorted_keys_cut_to_the_range),
	};
	const char *given = getenv("GARNER_TEST_SEED");

	seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
	if (seed == 0)
		seed = 1;
	printf("GARNER_TEST_SEED=%llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests_name("file_list", tests, NULL, NULL);
}
