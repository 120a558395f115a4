/* SPDX-License-Identifier: GPL-3.0-only */
/* test_store_http.c: the stores over HTTP, S3 and Swift, each against a server in memory: what every store has to do, and what
 * becomes of lost answers, refused log-ins, odd listings and faults.
 */
#include "store/store.h"

#include "lib/object_server.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct fixture {
	struct object_server server;
	struct store *store;
	uint64_t deadline_ms;
};

static struct fixture fixture;

static int open_it(struct fixture *f, bool create, struct error *err)
{
	struct store_options options = { .deadline_ms = f->deadline_ms, .create = create };

	return store_open(f->server.url, &options, &f->store, err);
}

static int setup(struct fixture *f, void **state, bool swift)
{
	struct error err = { 0 };

	memset(f, 0, sizeof *f);
	f->deadline_ms = 10000;
	object_server_start(&f->server, swift);
	if (open_it(f, false, &err)) {
		print_error("%s\n", error_text(&err));
		return -1;
	}
	*state = f;
	return 0;
}

static int setup_s3(void **state)
{
	return setup(&fixture, state, false);
}

static int setup_swift(void **state)
{
	return setup(&fixture, state, true);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	store_close(f->store);
	object_server_stop(&f->server);
	return 0;
}

static int put(struct fixture *f, const char *key, const char *text, unsigned flags)
{
	return store_put_wait(f->store, key, text, strlen(text), flags, NULL);
}

/* Asserts what the object holds. */
static void assert_object(struct fixture *f, const char *key, const char *text)
{
	char buf[100];
	size_t length;

	assert_int_equal(store_get_wait(f->store, key, 0, buf, sizeof buf, &length, NULL), 0);
	assert_int_equal(length, strlen(text));
	assert_memory_equal(buf, text, length);
}

static void fail_next(struct fixture *f, unsigned count, int status, const char *code)
{
	pthread_mutex_lock(&f->server.mutex);
	f->server.fail = count;
	f->server.fail_status = status;
	f->server.fail_code = code;
	pthread_mutex_unlock(&f->server.mutex);
}

/* ---- what every store does ---- */

static void what_was_put_is_got_and_found_and_removed(void **state)
{
	struct fixture *f = *state;
	struct error err;
	uint64_t size;
	char buf[100];
	size_t length;

	assert_int_equal(put(f, "a/b-1_c.d", "hello world", 0), 0);
	assert_object(f, "a/b-1_c.d", "hello world");
	assert_int_equal(store_get_wait(f->store, "a/b-1_c.d", 6, buf, 3, &length, NULL), 0);
	assert_int_equal(length, 3);
	assert_memory_equal(buf, "wor", 3);
	assert_int_equal(store_get_wait(f->store, "a/b-1_c.d", 6, buf, sizeof buf, &length, NULL), 0);
	assert_int_equal(length, 5);
	assert_int_equal(store_get_wait(f->store, "a/b-1_c.d", 11, buf, sizeof buf, &length, NULL), 0);
	assert_int_equal(length, 0);
	assert_int_equal(store_head_wait(f->store, "a/b-1_c.d", &size, NULL), 0);
	assert_int_equal(size, 11);
	assert_int_equal(store_remove_wait(f->store, "a/b-1_c.d", NULL), 0);
	assert_int_equal(store_remove_wait(f->store, "a/b-1_c.d", NULL), 0);
	assert_int_equal(store_head_wait(f->store, "a/b-1_c.d", &size, &err), -ENOENT);
	assert_int_equal(store_get_wait(f->store, "a/b-1_c.d", 0, buf, sizeof buf, &length, &err), -ENOENT);
	assert_non_null(strstr(err.text, "a/b-1_c.d"));
}

static void a_long_body_arrives_whole(void **state)
{
	struct fixture *f = *state;
	static uint8_t body[1 << 20], back[sizeof body + 1];
	size_t length;

	for (size_t i = 0; i < sizeof body; i++)
		body[i] = (uint8_t)(i * 7 + i / 251);
	assert_int_equal(store_put_wait(f->store, "long", body, sizeof body, STORE_UPLOAD, NULL), 0);
	assert_int_equal(store_get_wait(f->store, "long", 0, back, sizeof back, &length, NULL), 0);
	assert_int_equal(length, sizeof body);
	assert_memory_equal(body, back, sizeof body);
	assert_int_equal(store_put_wait(f->store, "empty", "", 0, 0, NULL), 0);
	assert_int_equal(store_get_wait(f->store, "empty", 0, back, sizeof back, &length, NULL), 0);
	assert_int_equal(length, 0);
}

static void create_only_leaves_what_is_there(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(put(f, "key", "first", STORE_PUT_CREATE_ONLY), 0);
	assert_int_equal(put(f, "key", "second", STORE_PUT_CREATE_ONLY), -EEXIST);
	assert_object(f, "key", "first");
	assert_int_equal(put(f, "key", "third", 0), 0);
	assert_object(f, "key", "third");
}

static void keys_that_no_store_accepts_are_refused(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = { "", "/a", "a/", "a//b", "../a", "a b", "a?b", "a%41" };

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(put(f, bad[i], "x", 0), -EINVAL);
		assert_int_equal(store_head_wait(f->store, bad[i], NULL, NULL), -EINVAL);
	}
	assert_int_equal(f->server.count, 0);
}

static int collect(void *arg, const struct store_entry *entry)
{
	char *all = arg;

	snprintf(all + strlen(all), 300, "%s=%zu ", entry->key, (size_t)entry->size);
	return 0;
}

static void listings_are_in_order_and_under_the_pools_prefix(void **state)
{
	struct fixture *f = *state;
	char all[1000] = "";

	assert_int_equal(put(f, "b/2", "22", 0), 0);
	assert_int_equal(put(f, "b/1", "1", 0), 0);
	assert_int_equal(put(f, "a", "", 0), 0);
	assert_int_equal(put(f, "c", "333", 0), 0);
	object_server_keep(&f->server, "pool-of-another/a", "x", 1);
	object_server_keep(&f->server, "another", "x", 1);
	assert_int_equal(store_list_each(f->store, "", NULL, collect, all, NULL), 0);
	assert_string_equal(all, "a=0 b/1=1 b/2=2 c=3 ");
	all[0] = '\0';
	assert_int_equal(store_list_each(f->store, "b/", NULL, collect, all, NULL), 0);
	assert_string_equal(all, "b/1=1 b/2=2 ");
	all[0] = '\0';
	assert_int_equal(store_list_each(f->store, "", "b/1", collect, all, NULL), 0);
	assert_string_equal(all, "b/2=2 c=3 ");
}

struct page {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	bool done, more;
	int status;
	size_t count;
	char last[STORE_KEY_MAX + 1];
};

static void page_done(void *arg, int status, const struct store_entry *entries, size_t count, bool more,
                      const struct error *err)
{
	struct page *p = arg;

	(void)err;
	pthread_mutex_lock(&p->mutex);
	p->status = status;
	p->count = count;
	p->more = more;
	if (count)
		snprintf(p->last, sizeof p->last, "%s", entries[count - 1].key);
	p->done = true;
	pthread_cond_signal(&p->changed);
	pthread_mutex_unlock(&p->mutex);
}

static void list_page(struct fixture *f, const char *after, size_t max, struct page *p)
{
	*p = (struct page){ PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false, 0, 0, "" };
	store_list(f->store, "", after, max, page_done, p);
	pthread_mutex_lock(&p->mutex);
	while (!p->done)
		pthread_cond_wait(&p->changed, &p->mutex);
	pthread_mutex_unlock(&p->mutex);
	assert_int_equal(p->status, 0);
}

/* What is none of ours is passed over, a page full of it, too. */
static void pages_go_on_over_objects_of_others(void **state)
{
	struct fixture *f = *state;
	char name[100];
	struct page p;

	assert_int_equal(put(f, "a", "", 0), 0);
	for (int i = 0; i < 9; i++) {
		snprintf(name, sizeof name, "pool/b none of ours %d", i);
		object_server_keep(&f->server, name, "x", 1);
	}
	assert_int_equal(put(f, "c", "", 0), 0);
	list_page(f, NULL, 2, &p);
	assert_int_equal(p.count, 1);
	assert_string_equal(p.last, "a");
	assert_true(p.more);
	list_page(f, "a", 2, &p);
	assert_int_equal(p.count, 1);
	assert_string_equal(p.last, "c");
	list_page(f, "c", 2, &p);
	assert_int_equal(p.count, 0);
	assert_false(p.more);
}

static int version_of(void *arg, const struct store_entry *entry)
{
	*(uint64_t *)arg = entry->version;
	return 0;
}

static void versions_change_with_the_object(void **state)
{
	struct fixture *f = *state;
	uint64_t version[3];

	for (int i = 0; i < 3; i++) {
		assert_int_equal(put(f, "a", i == 2 ? "two" : "one", 0), 0);
		assert_int_equal(store_list_each(f->store, "", NULL, version_of, &version[i], NULL), 0);
		assert_true(version[i] != 0);
	}
	assert_true(version[0] == version[1]);
	assert_true(version[1] != version[2]);
}

/* ---- faults ---- */

static void a_create_only_put_whose_answer_was_lost_is_known_to_be_ours(void **state)
{
	struct fixture *f = *state;

	f->server.lose = 1;
	assert_int_equal(put(f, "epoch", "mine", STORE_PUT_CREATE_ONLY), 0);
	assert_object(f, "epoch", "mine");
}

/* The first try did not happen, and before the second another host was there. */
static void a_create_only_put_that_another_was_quicker_with_is_not_ours(void **state)
{
	struct fixture *f = *state;

	object_server_keep(&f->server, "pool/epoch", "other", 5);
	fail_next(f, 1, 503, "SlowDown");
	assert_int_equal(put(f, "epoch", "mine", STORE_PUT_CREATE_ONLY), -EEXIST);
	assert_object(f, "epoch", "other");
}

static void faults_that_pass_are_not_seen(void **state)
{
	struct fixture *f = *state;
	static const int statuses[] = { 500, 503, 429, 408 };
	struct store_stats stats;
	uint64_t size;

	assert_int_equal(put(f, "key", "text", 0), 0);
	for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
		fail_next(f, 1, statuses[i], "InternalError");
		assert_object(f, "key", "text");
		fail_next(f, 1, statuses[i], "InternalError");
		assert_int_equal(store_head_wait(f->store, "key", &size, NULL), 0);
	}
	store_get_stats(f->store, &stats);
	assert_int_equal(stats.retries, 8);
	assert_int_equal(stats.puts, 1);
}

static void a_place_that_is_gone_is_not_an_object_that_is_missing(void **state)
{
	struct fixture *f = *state;
	struct error err;

	f->server.no_place = true;
	assert_int_equal(put(f, "key", "text", 0), -ENODEV);
	assert_int_equal(store_put_wait(f->store, "key", "x", 1, 0, &err), -ENODEV);
	assert_non_null(strstr(err.text, f->server.swift ? "no container" : "no such bucket"));
}

static void a_place_is_made_by_init_only(void **state)
{
	struct fixture *f = *state;
	struct error err;

	store_close(f->store);
	f->store = NULL;
	f->server.no_place = true;
	assert_int_equal(open_it(f, false, &err), -ENOENT);
	assert_non_null(strstr(err.text, "garner init"));
	assert_true(f->server.no_place);
	assert_int_equal(open_it(f, true, &err), 0);
	assert_false(f->server.no_place);
}

static void what_is_denied_is_said_and_not_tried_again(void **state)
{
	struct fixture *f = *state;
	struct store_stats before, after;
	struct error err;

	store_get_stats(f->store, &before);
	fail_next(f, 100, 403, "AccessDenied");
	assert_int_equal(store_put_wait(f->store, "key", "x", 1, 0, &err), -EACCES);
	store_get_stats(f->store, &after);
	assert_int_equal(after.puts, before.puts + 1);
	assert_null(strstr(err.text, "secret-of-the-test"));
}

static void a_full_store_is_told_from_a_broken_one(void **state)
{
	struct fixture *f = *state;

	fail_next(f, 100, f->server.swift ? 413 : 403, "QuotaExceeded");
	assert_int_equal(put(f, "key", "x", 0), -ENOSPC);
}

static void everything_is_asked_for_with_a_log_in(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(put(f, "key", "x", 0), 0);
	assert_non_null(strstr(f->server.seen, "auth=1"));
}

/* ---- S3 alone ---- */

static void a_body_damaged_on_the_way_is_sent_again(void **state)
{
	struct fixture *f = *state;

	fail_next(f, 1, 400, "XAmzContentSHA256Mismatch");
	assert_int_equal(put(f, "key", "x", 0), 0);
	fail_next(f, 1, 400, "RequestTimeout");
	assert_int_equal(put(f, "key", "y", 0), 0);
	assert_object(f, "key", "y");
}

static void a_conditional_put_that_is_not_known_says_so(void **state)
{
	struct fixture *f = *state;

	fail_next(f, 1, 501, "NotImplemented");
	assert_int_equal(put(f, "key", "x", STORE_PUT_CREATE_ONLY), -EOPNOTSUPP);
}

static void wrong_keys_are_tried_once_more_and_then_told(void **state)
{
	struct fixture *f = *state;
	struct error err;

	fail_next(f, 100, 403, "SignatureDoesNotMatch");
	assert_int_equal(store_put_wait(f->store, "key", "x", 1, 0, &err), -EACCES);
	assert_non_null(strstr(err.text, "secret key"));
	fail_next(f, 1, 403, "InvalidAccessKeyId");
	assert_int_equal(put(f, "key", "x", 0), 0);
}

/* ---- Swift alone ---- */

static void a_token_that_has_run_out_is_renewed_unseen(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(put(f, "key", "x", 0), 0);
	pthread_mutex_lock(&f->server.mutex);
	snprintf(f->server.token, sizeof f->server.token, "another");
	pthread_mutex_unlock(&f->server.mutex);
	assert_object(f, "key", "x");
	assert_int_equal(f->server.logins, 2);
}

/* A request may be given up before the log-in has been refused. */
static void who_waits_in_vain_for_a_log_in_is_told_why(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };
	int rc = 0;

	store_close(f->store);
	f->store = NULL;
	f->deadline_ms = 1500;
	assert_int_equal(open_it(f, false, NULL), 0);
	pthread_mutex_lock(&f->server.mutex);
	snprintf(f->server.token, sizeof f->server.token, "another");
	f->server.login_status = 401;
	pthread_mutex_unlock(&f->server.mutex);
	for (int i = 0; i < 20 && !strstr(err.text, "could not be renewed"); i++)
		rc = store_put_wait(f->store, "key", "x", 1, 0, &err);
	assert_int_equal(rc, -ETIMEDOUT);
	assert_non_null(strstr(err.text, "refused user 'test:tester'"));
	assert_null(strstr(err.text, "secret-of-the-test"));
}

static void what_can_change_is_asked_of_all_replicas(void **state)
{
	struct fixture *f = *state;
	char buf[10];
	size_t length;

	assert_int_equal(put(f, "key", "x", 0), 0);
	assert_int_equal(store_get_wait(f->store, "key", 0, buf, sizeof buf, &length, NULL), 0);
	assert_non_null(strstr(f->server.seen, "newest=true"));
	assert_int_equal(store_head_wait(f->store, "key", NULL, NULL), 0);
	assert_non_null(strstr(f->server.seen, "newest=true"));
}

#define S3(test)                                              \
	{                                                     \
#test " (s3)", test, setup_s3, teardown, NULL \
	}
#define SWIFT(test)                                                 \
	{                                                           \
#test " (swift)", test, setup_swift, teardown, NULL \
	}
#define BOTH(test) S3(test), SWIFT(test)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(what_was_put_is_got_and_found_and_removed),
		BOTH(a_long_body_arrives_whole),
		BOTH(create_only_leaves_what_is_there),
		BOTH(keys_that_no_store_accepts_are_refused),
		BOTH(listings_are_in_order_and_under_the_pools_prefix),
		BOTH(pages_go_on_over_objects_of_others),
		BOTH(versions_change_with_the_object),
		BOTH(a_create_only_put_whose_answer_was_lost_is_known_to_be_ours),
		BOTH(a_create_only_put_that_another_was_quicker_with_is_not_ours),
		BOTH(faults_that_pass_are_not_seen),
		BOTH(a_place_that_is_gone_is_not_an_object_that_is_missing),
		BOTH(a_place_is_made_by_init_only),
		BOTH(what_is_denied_is_said_and_not_tried_again),
		BOTH(a_full_store_is_told_from_a_broken_one),
		BOTH(everything_is_asked_for_with_a_log_in),
		S3(a_body_damaged_on_the_way_is_sent_again),
		S3(a_conditional_put_that_is_not_known_says_so),
		S3(wrong_keys_are_tried_once_more_and_then_told),
		SWIFT(a_token_that_has_run_out_is_renewed_unseen),
		SWIFT(who_waits_in_vain_for_a_log_in_is_told_why),
		SWIFT(what_can_change_is_asked_of_all_replicas),
	};

	setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
