/* SPDX-License-Identifier: GPL-3.0-only */
/* test_log_end.c: an image's objects are removed in batches, each object once, and its epochs last, over a store that lists what the
 * test says. Where a log ends is tested in test_epoch.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "image/epoch.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IMAGE UINT64_C(0xfeed0000cafe)
#define PREFIX "images/0000feed0000cafe/"
#define OBJECTS_MAX 3000
#define BATCHES_MAX 20

/* Removals are answered by a thread of their own, as a store does. */
struct listed_store {
	struct store store;
	struct pool pool;
	size_t page;                /* entries in a page of a listing */
	char key[OBJECTS_MAX][100]; /* in order */
	bool gone[OBJECTS_MAX];
	size_t count;
	size_t batch[BATCHES_MAX];
	size_t batches;
	size_t fail_batch; /* this one fails, from 1 */
	pthread_t thread;  /* answers the last batch */
	bool has_thread;
	store_done_fn *done;
	void *arg;
	int status;
};

static void listed_list(struct store *store, const char *prefix, const char *after, size_t max, store_list_fn *done,
                        void *arg)
{
	struct listed_store *s = (struct listed_store *)store;
	struct store_entry *page = calloc(s->page, sizeof *page);
	bool more = false;
	size_t n = 0;

	(void)max;
	for (size_t i = 0; i < s->count && !more; i++) {
		if (s->gone[i] || strncmp(s->key[i], prefix, strlen(prefix)) != 0 ||
		    (after && strcmp(s->key[i], after) <= 0))
			continue;
		more = n == s->page;
		if (!more)
			memcpy(page[n++].key, s->key[i], sizeof s->key[i]);
	}
	done(arg, 0, page, n, more, NULL);
	free(page);
}

static void *answer(void *arg)
{
	struct listed_store *s = arg;

	s->done(s->arg, s->status, NULL);
	return NULL;
}

static void listed_remove_many(struct store *store, const char *const *keys, size_t count, store_done_fn *done,
                               void *arg)
{
	struct listed_store *s = (struct listed_store *)store;
	int status;

	assert_true(s->batches < BATCHES_MAX);
	assert_true(count > 0 && count <= STORE_REMOVE_MANY_MAX);
	s->batch[s->batches++] = count;
	status = s->batches == s->fail_batch ? -EIO : 0;
	for (size_t i = 0; i < count && !status; i++) {
		size_t at = 0;

		while (at < s->count && strcmp(s->key[at], keys[i]) != 0)
			at++;
		assert_true(at < s->count);
		assert_false(s->gone[at]);
		s->gone[at] = true;
	}
	if (s->has_thread)
		assert_int_equal(pthread_join(s->thread, NULL), 0);
	s->done = done;
	s->arg = arg;
	s->status = status;
	s->has_thread = true;
	assert_int_equal(pthread_create(&s->thread, NULL, answer, s), 0);
}

static const struct store_ops listed_ops = { .list = listed_list, .remove_many = listed_remove_many };

static void add(struct listed_store *s, const char *format, size_t number)
{
	assert_true(s->count < OBJECTS_MAX);
	snprintf(s->key[s->count++], sizeof s->key[0], format, number);
}

/* An image of so many segments, an epoch, a head; and a head of another. */
static struct listed_store *store_of(size_t segments)
{
	struct listed_store *s = calloc(1, sizeof *s);

	assert_non_null(s);
	s->store = (struct store){ .ops = &listed_ops, .url = "test:" };
	s->pool.store = &s->store;
	s->page = 700;
	add(s, PREFIX "epochs/%016zx", 1);
	add(s, PREFIX "head-%zu", 1);
	for (size_t i = 0; i < segments; i++)
		add(s, PREFIX "segments/%016zx-0000000000000001", i + 1);
	add(s, "images/0000feed0000caff/head-%zu", 1);
	return s;
}

static size_t left(const struct listed_store *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->count; i++)
		n += !s->gone[i];
	return n;
}

static void end(struct listed_store *s)
{
	if (s->has_thread)
		assert_int_equal(pthread_join(s->thread, NULL), 0);
	free(s);
}

static void an_image_is_removed_a_thousand_objects_at_a_time_and_its_epochs_last(void **state)
{
	struct listed_store *s = store_of(2500);
	struct error err = { 0 };

	(void)state;
	assert_int_equal(image_objects_remove(&s->pool, IMAGE, &err), 0);
	assert_int_equal(s->batches, 5);
	assert_int_equal(s->batch[0], 1000);
	assert_int_equal(s->batch[1], 1000);
	assert_int_equal(s->batch[2], 500);
	assert_int_equal(s->batch[3], 1); /* the head */
	assert_int_equal(s->batch[4], 1); /* the epoch */
	assert_int_equal(left(s), 1);
	assert_false(s->gone[s->count - 1]);
	end(s);
}

static void a_last_batch_that_is_full_is_not_followed_by_an_empty_one(void **state)
{
	struct listed_store *s = store_of(1000);
	struct error err = { 0 };

	(void)state;
	assert_int_equal(image_objects_remove(&s->pool, IMAGE, &err), 0);
	assert_int_equal(s->batches, 3);
	assert_int_equal(s->batch[0], 1000);
	assert_int_equal(left(s), 1);
	assert_int_equal(image_objects_remove(&s->pool, IMAGE, &err), 0);
	assert_int_equal(s->batches, 3);
	end(s);
}

static void a_batch_that_fails_is_told_and_the_epochs_stay_until_it_is_gone(void **state)
{
	struct listed_store *s = store_of(1500);
	struct error err = { 0 };

	(void)state;
	s->fail_batch = 1;
	assert_int_equal(image_objects_remove(&s->pool, IMAGE, &err), -EIO);
	assert_int_equal(err.code, -EIO);
	assert_int_equal(left(s), 1003);
	assert_false(s->gone[0]);
	assert_int_equal(image_objects_remove(&s->pool, IMAGE, &err), 0);
	assert_int_equal(left(s), 1);
	end(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_image_is_removed_a_thousand_objects_at_a_time_and_its_epochs_last),
		cmocka_unit_test(a_last_batch_that_is_full_is_not_followed_by_an_empty_one),
		cmocka_unit_test(a_batch_that_fails_is_told_and_the_epochs_stay_until_it_is_gone),
	};

	alarm(60);
	return cmocka_run_group_tests_name("log_end", tests, NULL, NULL);
}
