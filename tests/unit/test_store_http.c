/* SPDX-License-Identifier: GPL-3.0-only */
/* test_store_http.c: the stores over HTTP, S3 and Swift, each against a server in memory: what every store has to do, and what
 * becomes of lost answers, refused log-ins, odd listings and faults.
 */
#include "store/store.h"

#include "lib/object_server.h"

#include <errno.h>
#include <limits.h>
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

/* Keys come from a container's role. */
static void take_role(struct fixture *f)
{
	char url[64];

	snprintf(url, sizeof url, "http://127.0.0.1:%u/role", f->server.http.port);
	unsetenv("AWS_ACCESS_KEY_ID");
	unsetenv("AWS_SECRET_ACCESS_KEY");
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
}

static int setup(struct fixture *f, void **state, bool swift, bool role)
{
	struct error err = { 0 };

	memset(f, 0, sizeof *f);
	f->deadline_ms = 10000;
	object_server_start(&f->server, swift);
	if (role)
		take_role(f);
	if (open_it(f, false, &err)) {
		print_error("%s\n", error_text(&err));
		return -1;
	}
	*state = f;
	return 0;
}

static int setup_s3(void **state)
{
	return setup(&fixture, state, false, false);
}

static int setup_role(void **state)
{
	return setup(&fixture, state, false, true);
}

static int setup_swift(void **state)
{
	return setup(&fixture, state, true, false);
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

/* A name that was damaged on its way is another one that is missing: better no listing at all. */
static void a_listing_of_what_was_not_asked_for_is_refused(void **state)
{
	struct fixture *f = *state;
	char all[1000] = "";
	struct error err = { 0 };

	assert_int_equal(put(f, "b/1", "1", 0), 0);
	assert_int_equal(put(f, "b/2", "22", 0), 0);
	for (f->server.bent = 1; f->server.bent < strlen("pool/b/"); f->server.bent++) {
		assert_int_equal(store_list_each(f->store, "b/", NULL, collect, all, &err), -EIO);
		assert_non_null(strstr(error_text(&err), "not asked for"));
	}
	/* Of the rest of the name it knows nothing. */
	assert_int_equal(store_list_each(f->store, "b/", NULL, collect, all, &err), 0);
	assert_string_equal(all, "b/0=1 b/3=2 ");
	f->server.bent = 0;
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

/* The first try did not happen, and before the second another host was there: with as much, less, more, or what begins alike. */
static void a_create_only_put_that_another_was_quicker_with_is_not_ours(void **state)
{
	static const char *const others[] = { "your", "", "a", "mi", "other", "mine too" };
	struct fixture *f = *state;

	for (size_t k = 0; k < sizeof others / sizeof *others; k++) {
		object_server_keep(&f->server, "pool/epoch", others[k], strlen(others[k]));
		fail_next(f, 1, 503, "SlowDown");
		assert_int_equal(put(f, "epoch", "mine", STORE_PUT_CREATE_ONLY), -EEXIST);
		assert_object(f, "epoch", others[k]);
	}
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

/* From now on requests are answered like this until they are signed with the keys that the role gives next. */
static void change_keys(struct fixture *f, int status, const char *code)
{
	pthread_mutex_lock(&f->server.mutex);
	f->server.role = f->server.roles + 1;
	f->server.refusal = status;
	f->server.refusal_code = code;
	pthread_mutex_unlock(&f->server.mutex);
}

/* The fault is one that has nothing to do with the keys. */
static void changed_keys_are_found_after_a_fault_that_passes(void **state)
{
	static const char *const codes[] = { "InvalidAccessKeyId", "SignatureDoesNotMatch" };
	struct fixture *f = *state;

	for (size_t i = 0; i < 2; i++) {
		fail_next(f, 2, 503, "SlowDown");
		change_keys(f, 403, codes[i]);
		assert_int_equal(put(f, "key", "x", 0), 0);
	}
	assert_int_equal(f->server.roles, 3);
	/* Those that are found are wrong, too. */
	f->server.role = 100;
	assert_int_equal(put(f, "key", "x", 0), -EACCES);
	assert_int_equal(f->server.roles, 4);
}

static void changed_keys_are_found_by_a_head_that_is_not_told(void **state)
{
	static const int statuses[] = { 400, 401, 403 };
	struct fixture *f = *state;
	struct error err = { 0 };
	uint64_t size;

	assert_int_equal(put(f, "key", "text", 0), 0);
	for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
		change_keys(f, statuses[i], "ExpiredToken");
		assert_int_equal(store_head_wait(f->store, i == 1 ? "other" : "key", &size, NULL),
		                 i == 1 ? -ENOENT : 0);
	}
	assert_int_equal(f->server.roles, 4);
	/* What may not be done is asked for twice, not for ever. */
	change_keys(f, 403, "AccessDenied");
	f->server.role = 100;
	assert_int_equal(store_head_wait(f->store, "key", &size, &err), -EACCES);
	assert_non_null(strstr(err.text, "denies access"));
	assert_int_equal(f->server.roles, 5);
}

struct read {
	pthread_t thread;
	int rc;
};

static void *read_key(void *arg)
{
	struct read *r = arg;
	char buf[10];

	r->rc = store_get_wait(fixture.store, "key", 0, buf, sizeof buf, NULL, NULL);
	return NULL;
}

static void keys_refused_late_are_not_the_new_ones(void **state)
{
	struct fixture *f = *state;
	struct read reads[4];

	assert_int_equal(put(f, "key", "x", 0), 0);
	change_keys(f, 400, "ExpiredToken");
	f->server.hold_refused = true;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&reads[i].thread, NULL, read_key, &reads[i]), 0);
	http_server_wait_held(&f->server.http, 4);
	pthread_mutex_lock(&f->server.mutex);
	f->server.hold_refused = false;
	pthread_mutex_unlock(&f->server.mutex);
	assert_object(f, "key", "x");
	assert_int_equal(f->server.roles, 2);
	http_server_let_go(&f->server.http);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(reads[i].thread, NULL), 0);
		assert_int_equal(reads[i].rc, 0);
	}
	assert_int_equal(f->server.roles, 2);
}

/* ---- many at once ---- */

static int remove_many(struct fixture *f, const char *const *keys, size_t count, struct error *err)
{
	return store_remove_many_wait(f->store, keys, count, err);
}

static const char *const four[] = { "a", "b/1", "b/2", "c" };

static void put_four(struct fixture *f)
{
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(put(f, four[i], "x", 0), 0);
}

static void assert_removes(struct fixture *f, unsigned bulks, unsigned singles)
{
	struct store_stats stats;

	assert_int_equal(f->server.bulks, bulks);
	assert_int_equal(f->server.singles, singles);
	store_get_stats(f->store, &stats);
	assert_int_equal(stats.removes, bulks + singles);
}

static void many_are_removed_be_they_there_or_not(void **state)
{
	struct fixture *f = *state;
	static const char *const keys[] = { "a", "b/1", "nowhere", "b/2" };

	put_four(f);
	object_server_keep(&f->server, "pool-of-another/a", "x", 1);
	assert_int_equal(remove_many(f, keys, 4, NULL), 0);
	assert_int_equal(f->server.count, 2);
	assert_object(f, "c", "x");
	assert_removes(f, f->server.swift ? 0 : 1, f->server.swift ? 4 : 0);
	assert_int_equal(remove_many(f, keys, 0, NULL), 0);
	assert_int_equal(remove_many(f, four + 3, 1, NULL), 0);
	assert_int_equal(f->server.count, 1);
	assert_removes(f, f->server.swift ? 0 : 1, f->server.swift ? 5 : 1);
}

static void with_a_key_that_is_none_nothing_is_removed(void **state)
{
	struct fixture *f = *state;
	static const char *const keys[] = { "a", "b/1", "<Key>", "b/2" };

	put_four(f);
	assert_int_equal(remove_many(f, keys, 4, NULL), -EINVAL);
	assert_int_equal(f->server.count, 4);
	assert_removes(f, 0, 0);
}

static void many_are_removed_though_the_server_is_busy_at_first(void **state)
{
	struct fixture *f = *state;
	struct store_stats stats;

	put_four(f);
	fail_next(f, 1, 503, "SlowDown");
	assert_int_equal(remove_many(f, four, 4, NULL), 0);
	assert_int_equal(f->server.count, 0);
	store_get_stats(f->store, &stats);
	assert_int_equal(stats.retries, 1);
}

static void many_that_may_not_be_removed_stay_and_it_is_said(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };

	put_four(f);
	fail_next(f, 4, 403, "AccessDenied");
	assert_int_equal(remove_many(f, four, 4, &err), -EACCES);
	assert_non_null(strstr(err.text, "removing"));
	assert_null(strstr(err.text, "secret-of-the-test"));
	assert_int_equal(f->server.count, 4);
}

/* Nothing that XML would have to escape is accepted in a key; all that is must arrive as it is. */
static void every_character_of_a_key_arrives_in_a_bulk_delete(void **state)
{
	struct fixture *f = *state;
	char every[100] = "a", longest[STORE_KEY_MAX + 1] = "";
	const char *keys[] = { every, longest };
	size_t n = 1;

	for (int c = 1; c < 256; c++) {
		char key[] = { 'a', (char)c, 'a', '\0' };
		if (store_key_valid(key))
			every[n++] = (char)c;
		else
			assert_null(strchr("ABCXYZabcxyz0189._-/", c));
	}
	every[n++] = 'z';
	memset(longest, 'k', STORE_KEY_MAX);
	assert_int_equal(n, 2 + 26 + 26 + 10 + 4);
	assert_int_equal(put(f, every, "x", 0), 0);
	assert_int_equal(put(f, longest, "x", 0), 0);
	assert_int_equal(remove_many(f, keys, 2, NULL), 0);
	assert_int_equal(f->server.count, 0);
	assert_removes(f, 1, 0);
}

static void a_thousand_go_in_one_bulk_delete_and_no_more(void **state)
{
	struct fixture *f = *state;
	static char text[STORE_REMOVE_MANY_MAX + 1][STORE_KEY_MAX + 1];
	static const char *keys[STORE_REMOVE_MANY_MAX + 1];

	for (size_t i = 0; i <= STORE_REMOVE_MANY_MAX; i++) {
		snprintf(text[i], sizeof text[i], "%0*zu", STORE_KEY_MAX, i);
		keys[i] = text[i];
		if (i % 100 == 99)
			assert_int_equal(put(f, keys[i], "x", 0), 0);
	}
	assert_int_equal(remove_many(f, keys, STORE_REMOVE_MANY_MAX + 1, NULL), -EINVAL);
	assert_int_equal(f->server.count, 10);
	assert_int_equal(remove_many(f, keys, STORE_REMOVE_MANY_MAX, NULL), 0);
	assert_int_equal(f->server.count, 0);
	assert_removes(f, 1, 0);
}

static void what_a_bulk_delete_left_in_passing_is_removed_singly(void **state)
{
	struct fixture *f = *state;
	static const char *const codes[] = { "InternalError", "SlowDown", "ServiceUnavailable" };
	unsigned n = sizeof codes / sizeof codes[0];

	for (unsigned i = 0; i < n; i++) {
		put_four(f);
		f->server.leave = 2;
		f->server.leave_code = codes[i];
		assert_int_equal(remove_many(f, four, 4, NULL), 0);
		assert_int_equal(f->server.count, 0);
	}
	assert_removes(f, n, 2 * n);
}

static void what_a_bulk_delete_was_denied_is_named(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };

	put_four(f);
	f->server.leave = 1;
	f->server.leave_code = "AccessDenied";
	assert_int_equal(remove_many(f, four + 1, 3, &err), -EACCES);
	assert_non_null(strstr(err.text, "removing b/1: said the test (AccessDenied)"));
	assert_object(f, "b/1", "x");
	f->server.leave = 1;
	f->server.leave_code = "Unheard";
	assert_int_equal(remove_many(f, four, 2, &err), -EIO);
	assert_non_null(strstr(err.text, "Unheard"));
	assert_removes(f, 2, 0);
}

static void a_server_without_bulk_deletes_is_asked_for_one_only_once(void **state)
{
	struct fixture *f = *state;
	static const struct {
		int status;
		const char *code;
	} answers[] = { { 501, "NotImplemented" },   { 501, NULL },
		        { 405, "MethodNotAllowed" }, { 405, NULL },
		        { 400, "NotImplemented" },   { 400, NULL },
		        { 400, "MalformedXML" },     { 400, "InvalidArgument" } };

	for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
		store_close(f->store);
		assert_int_equal(open_it(f, false, NULL), 0);
		f->server.bulks = f->server.singles = 0;
		f->server.bulk_status = answers[i].status;
		f->server.bulk_code = answers[i].code;
		for (unsigned n = 1; n <= 2; n++) {
			put_four(f);
			assert_int_equal(remove_many(f, four, 4, NULL), 0);
			assert_int_equal(f->server.count, 0);
			assert_removes(f, 1, 4 * n);
		}
	}
}

static void a_bulk_delete_whose_bucket_is_gone_fails(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };

	f->server.no_place = true;
	assert_int_equal(remove_many(f, four, 4, &err), -ENODEV);
	assert_non_null(strstr(err.text, "removing 4 objects"));
	assert_removes(f, 1, 0);
}

/* It is not known what became of the objects. */
static void after_an_answer_to_a_bulk_delete_that_says_nothing_all_are_removed_singly(void **state)
{
	struct fixture *f = *state;
	static const char *const texts[] = {
		"<html>hello</html>",
		"<DeleteResult>",
		"<Error><Code>InternalError</Code></Error>",
		"<DeleteResult><Error><Key>pool/other</Key><Code>SlowDown</Code></Error></DeleteResult>",
		"<DeleteResult><Error><Key>a</Key><Code>AccessDenied</Code></Error></DeleteResult>",
	};
	unsigned n = sizeof texts / sizeof texts[0];

	for (unsigned i = 0; i < n; i++) {
		put_four(f);
		f->server.bulk_text = texts[i];
		assert_int_equal(remove_many(f, four, 4, NULL), 0);
		assert_int_equal(f->server.count, 0);
	}
	assert_removes(f, n, 4 * n);
}

static void a_bulk_delete_whose_answer_was_lost_is_sent_again(void **state)
{
	struct fixture *f = *state;

	put_four(f);
	f->server.lose_bulks = 1;
	assert_int_equal(remove_many(f, four, 4, NULL), 0);
	assert_int_equal(f->server.count, 0);
	assert_int_equal(f->server.bulks, 2);
	assert_int_equal(f->server.singles, 0);
}

static void a_bulk_delete_that_takes_too_long_is_done_singly_and_not_asked_for_again(void **state)
{
	struct fixture *f = *state;
	struct store_options options = { .deadline_ms = 2000 };
	unsigned bulks;

	store_close(f->store);
	f->store = NULL;
	assert_int_equal(store_open(f->server.url, &options, &f->store, NULL), 0);
	put_four(f);
	f->server.hold_bulks = true;
	assert_int_equal(remove_many(f, four, 4, NULL), 0);
	assert_int_equal(f->server.count, 0);
	bulks = f->server.bulks;
	put_four(f);
	assert_int_equal(remove_many(f, four, 4, NULL), 0);
	assert_removes(f, bulks, 8);
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

/* By a proxy whose object servers have a newer one. */
static void a_put_that_is_accepted_only_is_made_again(void **state)
{
	static const char *const bodies[] = { NULL, "<html><h1>Accepted</h1><p>for processing.</p></html>" };
	struct fixture *f = *state;
	struct error err = { 0 };

	for (size_t i = 0; i < 2; i++) {
		f->server.accepted = bodies[i];
		f->server.accept = 2;
		assert_int_equal(put(f, "key", i ? "second" : "first", 0), 0);
		assert_int_equal(f->server.accept, 0);
		assert_object(f, "key", i ? "second" : "first");
	}
	store_close(f->store);
	f->store = NULL;
	f->deadline_ms = 1000;
	assert_int_equal(open_it(f, false, NULL), 0);
	f->server.accept = UINT_MAX;
	assert_int_equal(store_put_wait(f->store, "key", "third", 5, 0, &err), -EBUSY);
	assert_non_null(strstr(err.text, "clock"));
	assert_object(f, "key", "second");
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
#define ROLE(test)                                              \
	{                                                       \
#test " (s3)", test, setup_role, teardown, NULL \
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
		BOTH(a_listing_of_what_was_not_asked_for_is_refused),
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
		ROLE(keys_refused_late_are_not_the_new_ones),
		ROLE(changed_keys_are_found_after_a_fault_that_passes),
		ROLE(changed_keys_are_found_by_a_head_that_is_not_told),
		BOTH(many_are_removed_be_they_there_or_not),
		BOTH(with_a_key_that_is_none_nothing_is_removed),
		BOTH(many_are_removed_though_the_server_is_busy_at_first),
		BOTH(many_that_may_not_be_removed_stay_and_it_is_said),
		S3(every_character_of_a_key_arrives_in_a_bulk_delete),
		S3(a_thousand_go_in_one_bulk_delete_and_no_more),
		S3(what_a_bulk_delete_left_in_passing_is_removed_singly),
		S3(what_a_bulk_delete_was_denied_is_named),
		S3(a_server_without_bulk_deletes_is_asked_for_one_only_once),
		S3(a_bulk_delete_whose_bucket_is_gone_fails),
		S3(after_an_answer_to_a_bulk_delete_that_says_nothing_all_are_removed_singly),
		S3(a_bulk_delete_whose_answer_was_lost_is_sent_again),
		S3(a_bulk_delete_that_takes_too_long_is_done_singly_and_not_asked_for_again),
		SWIFT(a_token_that_has_run_out_is_renewed_unseen),
		SWIFT(who_waits_in_vain_for_a_log_in_is_told_why),
		SWIFT(a_put_that_is_accepted_only_is_made_again),
		SWIFT(what_can_change_is_asked_of_all_replicas),
	};

	alarm(120);
	setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
	setenv("HOME", "/nonexistent", 1);
	unsetenv("AWS_PROFILE");
	unsetenv("AWS_SHARED_CREDENTIALS_FILE");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
