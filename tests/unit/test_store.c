/* SPDX-License-Identifier: GPL-3.0-only */
/* test_store.c: which keys and URLs are taken, and the calls that wait, over a store that answers what the test says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void keys_that_are_taken(void **state)
{
	static const char *const good[] = {
		"pool", "names/0000000000000001/abc", "images/0123/segments/00-11", "a", "A.b_c-D/9", "a..b/c.", "-/_"
	};
	char key[STORE_KEY_MAX + 2];

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		assert_true(store_key_valid(good[i]));
	memset(key, 'k', sizeof key);
	key[STORE_KEY_MAX] = '\0';
	assert_true(store_key_valid(key));
}

static void keys_that_are_refused(void **state)
{
	static const char *const bad[] = { "",    "/",    "/a",       "a/",     "a//b",   ".",         "..",
		                           "a/.", "a/..", "../a",     "a/../b", ".tmp/x", "a/.hidden", "a b",
		                           "a\n", "a%2f", "\xc3\xa4", "a\\b",   "a:b",    "~" };
	char key[STORE_KEY_MAX + 2];

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (store_key_valid(bad[i]))
			fail_msg("'%s' was taken", bad[i]);
	memset(key, 'k', sizeof key);
	key[STORE_KEY_MAX + 1] = '\0';
	assert_false(store_key_valid(key));
	key[100] = '/';
	assert_false(store_key_valid(key));
}

static void refused(const char *url, const char *because)
{
	struct store *s = (struct store *)1;
	struct error err = { 0 };

	assert_int_equal(store_open(url, NULL, &s, &err), -EINVAL);
	assert_null(s);
	assert_int_equal(err.code, -EINVAL);
	assert_null(strchr(err.text, '\n'));
	if (!strstr(err.text, because))
		fail_msg("'%s' is not in: %s", because, err.text);
}

static void a_wrong_url_is_refused_in_one_line_that_shows_a_right_one(void **state)
{
	char longest[600];

	(void)state;
	refused("srv/pool", "file:///srv/garner");
	refused("", "file:///srv/garner");
	refused("./pool", "absolute path");
	refused("ftp://bucket/prefix", "no store type 'ftp'; stores there are: file");
	refused("File:///srv/pool", "no store type 'File'");
	refused("file:/srv/pool", "file:///srv/garner");
	refused("file:srv/pool", "file:///srv/garner");
	refused("file://host/srv/pool", "file:///srv/garner");
	refused("file://", "file:///srv/garner");
	refused("file:///", "root directory");
	refused("/", "root directory");
	refused("///", "root directory");
	refused("/srv/a\nb", "control");
	memset(longest, 'x', sizeof longest);
	longest[0] = '/';
	longest[512] = '\0';
	refused(longest, "longer");
}

static void what_may_be_secret_in_a_url_is_not_shown(void **state)
{
	struct store *s;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(store_open("ftp://id:hunter2@host/bucket", NULL, &s, &err), -EINVAL);
	assert_null(strstr(err.text, "hunter2"));
}

static void a_path_and_its_url_open_the_same_store(void **state)
{
	char dir[256], url[300];
	const char *tmp = getenv("TMPDIR");
	struct store *a, *b;
	uint64_t size = 0;

	(void)state;
	snprintf(dir, sizeof dir, "%s/garner-store-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(dir));
	snprintf(url, sizeof url, "file://%s//", dir);
	assert_int_equal(store_open(dir, NULL, &a, NULL), 0);
	assert_int_equal(store_open(url, NULL, &b, NULL), 0);
	assert_string_equal(a->url, dir);
	assert_string_equal(b->url, url);
	assert_int_equal(store_put_wait(a, "k", "abc", 3, 0, NULL), 0);
	assert_int_equal(store_head_wait(b, "k", &size, NULL), 0);
	assert_int_equal(size, 3);
	assert_int_equal(store_remove_wait(b, "k", NULL), 0);
	store_close(a);
	store_close(b);
	snprintf(url, sizeof url, "%s/.tmp", dir);
	rmdir(url);
	assert_int_equal(rmdir(dir), 0);
}

/* ---- a store that answers what the test says ---- */

struct scripted {
	struct store store;
	int status;
	const char *text; /* of its errors; NULL for none */
	size_t page;      /* entries in a page */
	int count;        /* entries in all */
	int stuck;        /* from this entry on the same key comes again; -1 for never */
	bool empty_pages;
	int lists; /* how often it was asked */
	int removes, bulks;
	const char *stays; /* what is not removed, with `status` */
};

static const struct error *scripted_error(struct scripted *s, struct error *err)
{
	memset(err, 0, sizeof *err);
	if (s->text)
		error_set(err, s->status, "%s", s->text);
	return s->text ? err : NULL;
}

static void scripted_put(struct store *store, const char *key, const struct iovec *iov, int iovcnt, unsigned flags,
                         store_done_fn *done, void *arg)
{
	struct scripted *s = (struct scripted *)store;
	struct error err;

	(void)key, (void)iov, (void)iovcnt, (void)flags;
	done(arg, s->status, scripted_error(s, &err));
}

static void scripted_head(struct store *store, const char *key, store_length_fn *done, void *arg)
{
	struct scripted *s = (struct scripted *)store;
	struct error err;

	(void)key;
	done(arg, s->status, 17, scripted_error(s, &err));
}

static void scripted_list(struct store *store, const char *prefix, const char *after, size_t max, store_list_fn *done,
                          void *arg)
{
	struct scripted *s = (struct scripted *)store;
	struct store_entry *page = calloc(s->page, sizeof *page);
	struct error err;
	size_t n = 0;
	int next = after ? atoi(after) + 1 : 0;

	assert_string_equal(prefix, "");
	assert_int_equal(max, 0);
	s->lists++;
	for (; n < s->page && next < s->count && !s->empty_pages; n++, next++) {
		snprintf(page[n].key, sizeof page[n].key, "%04d", s->stuck >= 0 && next > s->stuck ? s->stuck : next);
		page[n].size = (uint64_t)next;
	}
	done(arg, s->status, page, n, s->empty_pages || next < s->count, scripted_error(s, &err));
	free(page);
}

static void scripted_remove(struct store *store, const char *key, store_done_fn *done, void *arg)
{
	struct scripted *s = (struct scripted *)store;
	bool stays = s->stays && strcmp(s->stays, key) == 0;
	struct error err;

	s->removes++;
	if (!store_key_valid(key))
		done(arg, -EINVAL, NULL);
	else
		done(arg, stays ? s->status : 0, stays ? scripted_error(s, &err) : NULL);
}

static void scripted_remove_many(struct store *store, const char *const *keys, size_t count, store_done_fn *done,
                                 void *arg)
{
	struct scripted *s = (struct scripted *)store;
	struct error err;

	assert_string_equal(keys[count - 1], "c");
	s->bulks++;
	done(arg, s->status, scripted_error(s, &err));
}

static const struct store_ops scripted_ops = {
	.put = scripted_put, .head = scripted_head, .list = scripted_list, .remove = scripted_remove
};
static const struct store_ops scripted_bulk_ops = { .remove = scripted_remove, .remove_many = scripted_remove_many };

static struct scripted scripted(void)
{
	return (struct scripted){ .store = { .ops = &scripted_ops, .url = "test:" }, .page = 10, .stuck = -1 };
}

static void an_error_of_the_store_reaches_the_waiting_caller(void **state)
{
	struct scripted s = scripted();
	struct error err = { 0 };
	uint64_t size = 5;

	(void)state;
	s.status = -EIO;
	s.text = "the disk is on fire";
	assert_int_equal(store_put_wait(&s.store, "k", "x", 1, 0, &err), -EIO);
	assert_string_equal(err.text, "the disk is on fire");
	assert_int_equal(store_put_wait(&s.store, "k", "x", 1, 0, NULL), -EIO);
	assert_int_equal(store_head_wait(&s.store, "k", &size, &err), -EIO);
	assert_int_equal(size, 5);
	s.text = NULL;
	assert_int_equal(store_put_wait(&s.store, "k", "x", 1, 0, &err), -EIO);
	assert_int_equal(err.code, -EIO);
	assert_string_equal(err.text, strerror(EIO));
}

struct seen {
	int count, stop_at;
};

static int look(void *arg, const struct store_entry *e)
{
	struct seen *seen = arg;

	assert_int_equal(e->size, seen->count);
	assert_int_equal(atoi(e->key), seen->count);
	return ++seen->count == seen->stop_at ? 99 : 0;
}

static void list_each_goes_through_all_pages(void **state)
{
	static const int counts[] = { 0, 1, 9, 10, 11, 100, 105 };

	(void)state;
	for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
		struct scripted s = scripted();
		struct seen seen = { 0 };

		s.count = counts[i];
		assert_int_equal(store_list_each(&s.store, "", NULL, look, &seen, NULL), 0);
		assert_int_equal(seen.count, counts[i]);
		assert_int_equal(s.lists, counts[i] ? (counts[i] + 9) / 10 : 1);
	}
}

static void list_each_ends_when_the_callback_says_so(void **state)
{
	struct scripted s = scripted();
	struct seen seen = { .stop_at = 15 };

	(void)state;
	s.count = 100;
	assert_int_equal(store_list_each(&s.store, "", NULL, look, &seen, NULL), 99);
	assert_int_equal(seen.count, 15);
	assert_int_equal(s.lists, 2);
}

static void list_each_begins_after_the_key_that_it_is_given(void **state)
{
	struct scripted s = scripted();
	struct seen seen = { .count = 43 };

	(void)state;
	s.count = 100;
	assert_int_equal(store_list_each(&s.store, "", "0042", look, &seen, NULL), 0);
	assert_int_equal(seen.count, 100);
}

static void a_listing_that_does_not_go_forward_is_an_error_and_not_for_ever(void **state)
{
	struct scripted s = scripted();
	struct seen seen = { 0 };
	struct error err = { 0 };

	(void)state;
	s.count = 100;
	s.stuck = 12;
	assert_int_equal(store_list_each(&s.store, "", NULL, look, &seen, &err), -EIO);
	assert_int_equal(seen.count, 13);
	assert_non_null(strstr(err.text, "test:"));
	s.empty_pages = true;
	assert_int_equal(store_list_each(&s.store, "", NULL, look, &seen, &err), -EIO);
}

static void list_each_reports_a_listing_that_fails(void **state)
{
	struct scripted s = scripted();
	struct seen seen = { 0 };
	struct error err = { 0 };

	(void)state;
	s.count = 100;
	s.status = -ETIMEDOUT;
	s.text = "no answer";
	assert_int_equal(store_list_each(&s.store, "", NULL, look, &seen, &err), -ETIMEDOUT);
	assert_int_equal(seen.count, 0);
	assert_string_equal(err.text, "no answer");
}

static const char *const three[] = { "a", "b", "c" };

static void count_answers(void *arg, int status, const struct error *err)
{
	int *answers = arg;

	assert_int_equal(status, 0);
	assert_null(err);
	++*answers;
}

static void removing_many_is_removing_each_where_the_store_knows_no_other_way(void **state)
{
	struct scripted s = scripted();
	int answers = 0;

	(void)state;
	store_remove_many(&s.store, three, 3, count_answers, &answers);
	assert_int_equal(answers, 1);
	assert_int_equal(s.removes, 3);
	store_remove_many(&s.store, three, 0, count_answers, &answers);
	assert_int_equal(answers, 2);
	assert_int_equal(s.removes, 3);
}

static void what_cannot_be_removed_is_the_error_of_all_and_the_others_are_still_tried(void **state)
{
	struct error err = { 0 };

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct scripted s = scripted();

		s.stays = three[i];
		s.status = -EACCES;
		assert_int_equal(store_remove_many_wait(&s.store, three, 3, &err), -EACCES);
		assert_string_equal(err.text, strerror(EACCES));
		s.text = "it is glued to the floor";
		assert_int_equal(store_remove_many_wait(&s.store, three, 3, &err), -EACCES);
		assert_string_equal(err.text, "it is glued to the floor");
		assert_int_equal(s.removes, 6);
	}
}

static void a_store_that_can_remove_many_is_asked_once(void **state)
{
	struct scripted s = scripted();
	struct error err = { 0 };

	(void)state;
	s.store.ops = &scripted_bulk_ops;
	assert_int_equal(store_remove_many_wait(&s.store, three, 3, NULL), 0);
	assert_int_equal(store_remove_many_wait(&s.store, three, 0, NULL), 0);
	assert_int_equal(s.bulks, 1);
	s.status = -EIO;
	s.text = "the disk is on fire";
	assert_int_equal(store_remove_many_wait(&s.store, three, 3, &err), -EIO);
	assert_string_equal(err.text, "the disk is on fire");
	assert_int_equal(s.removes, 0);
}

static void too_many_and_keys_that_are_none_are_not_removed(void **state)
{
	static const char *const bad[] = { "a", "/b", "c" };
	const char *keys[STORE_REMOVE_MANY_MAX + 1];
	struct scripted s = scripted();
	struct error err = { 0 };

	(void)state;
	for (size_t i = 0; i <= STORE_REMOVE_MANY_MAX; i++)
		keys[i] = "a";
	assert_int_equal(store_remove_many_wait(&s.store, keys, STORE_REMOVE_MANY_MAX + 1, &err), -EINVAL);
	assert_non_null(strstr(err.text, "1000"));
	assert_int_equal(s.removes, 0);
	assert_int_equal(store_remove_many_wait(&s.store, keys, STORE_REMOVE_MANY_MAX, &err), 0);
	assert_int_equal(s.removes, STORE_REMOVE_MANY_MAX);
	s.store.ops = &scripted_bulk_ops;
	assert_int_equal(store_remove_many_wait(&s.store, bad, 3, &err), -EINVAL);
	assert_int_equal(s.bulks, 0);
	assert_int_equal(s.removes, STORE_REMOVE_MANY_MAX + 1); /* the bad one, which is refused */
}

static void closing_nothing_is_allowed(void **state)
{
	(void)state;
	store_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_that_are_taken),
		cmocka_unit_test(keys_that_are_refused),
		cmocka_unit_test(a_wrong_url_is_refused_in_one_line_that_shows_a_right_one),
		cmocka_unit_test(what_may_be_secret_in_a_url_is_not_shown),
		cmocka_unit_test(a_path_and_its_url_open_the_same_store),
		cmocka_unit_test(an_error_of_the_store_reaches_the_waiting_caller),
		cmocka_unit_test(list_each_goes_through_all_pages),
		cmocka_unit_test(list_each_ends_when_the_callback_says_so),
		cmocka_unit_test(list_each_begins_after_the_key_that_it_is_given),
		cmocka_unit_test(a_listing_that_does_not_go_forward_is_an_error_and_not_for_ever),
		cmocka_unit_test(list_each_reports_a_listing_that_fails),
		cmocka_unit_test(removing_many_is_removing_each_where_the_store_knows_no_other_way),
		cmocka_unit_test(what_cannot_be_removed_is_the_error_of_all_and_the_others_are_still_tried),
		cmocka_unit_test(a_store_that_can_remove_many_is_asked_once),
		cmocka_unit_test(too_many_and_keys_that_are_none_are_not_removed),
		cmocka_unit_test(closing_nothing_is_allowed),
	};

	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
