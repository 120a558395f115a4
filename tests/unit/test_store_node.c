/* SPDX-License-Identifier: GPL-3.0-only */
/* test_store_node.c: the store of storage nodes against a cluster in this process: what every store has to do; and which node is asked
 * next when one refuses, is silent, has another map or a newer version, or cannot prove that it is one.
 */
#include "store/store.h"

#include "lib/node_cluster.h"
#include "lib/remove_tree.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct fixture {
	struct node_cluster cluster;
	struct store *store;
	uint64_t deadline_ms;
};

static struct fixture fixture;

static int open_url(struct fixture *f, const char *url, struct error *err)
{
	struct store_options options = { .deadline_ms = f->deadline_ms };

	return store_open(url, &options, &f->store, err);
}

static int setup(void **state)
{
	struct fixture *f = &fixture;
	struct error err = { 0 };

	memset(f, 0, sizeof *f);
	f->deadline_ms = 20000;
	node_cluster_start(&f->cluster);
	*state = f;
	if (open_url(f, f->cluster.url, &err)) {
		print_error("%s\n", error_text(&err));
		return -1;
	}
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	store_close(f->store);
	node_cluster_stop(&f->cluster);
	remove_tree(f->cluster.dir);
	return 0;
}

static int put(struct fixture *f, const char *key, const char *text, unsigned flags)
{
	return store_put_wait(f->store, key, text, strlen(text), flags, NULL);
}

static void assert_object(struct fixture *f, const char *key, const char *text)
{
	char buf[100];
	size_t length;

	assert_int_equal(store_get_wait(f->store, key, 0, buf, sizeof buf, &length, NULL), 0);
	assert_int_equal(length, strlen(text));
	assert_memory_equal(buf, text, length);
}

/* The node is like that for so many requests; 0: for good. */
static void play(struct fake_node *n, enum node_play what, unsigned plays)
{
	pthread_mutex_lock(&n->cluster->mutex);
	n->play = what;
	n->plays = plays;
	pthread_mutex_unlock(&n->cluster->mutex);
}

static void play_status(struct fixture *f, struct fake_node *n, int status, const char *reason, unsigned plays)
{
	pthread_mutex_lock(&f->cluster.mutex);
	f->cluster.status = status;
	f->cluster.reason = reason;
	pthread_mutex_unlock(&f->cluster.mutex);
	play(n, NODE_SAYS_STATUS, plays);
}

static void play_all(struct fixture *f, enum node_play what)
{
	for (unsigned i = 0; i < NODES; i++)
		play(&f->cluster.node[i], what, 0);
}

static unsigned asked(const struct fixture *f)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < NODES; i++)
		sum += atomic_load(&f->cluster.node[i].asked);
	return sum;
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
	assert_int_equal(f->cluster.count, 0);
}

static int collect(void *arg, const struct store_entry *entry)
{
	char *all = arg;

	snprintf(all + strlen(all), 300, "%s=%zu ", entry->key, (size_t)entry->size);
	return 0;
}

static void listings_are_in_order_and_of_this_pool(void **state)
{
	struct fixture *f = *state;
	char all[1000] = "";

	assert_int_equal(put(f, "b/2", "22", 0), 0);
	assert_int_equal(put(f, "b/1", "1", 0), 0);
	assert_int_equal(put(f, "a", "", 0), 0);
	assert_int_equal(put(f, "c", "333", 0), 0);
	assert_int_equal(put(f, "gone", "x", 0), 0);
	assert_int_equal(store_remove_wait(f->store, "gone", NULL), 0);
	node_keep(&f->cluster, "pool2/a", (struct object_version){ 1, 1 }, "x", 1);
	assert_int_equal(store_list_each(f->store, "", NULL, collect, all, NULL), 0);
	assert_string_equal(all, "a=0 b/1=1 b/2=2 c=3 ");
	all[0] = '\0';
	assert_int_equal(store_list_each(f->store, "b/", NULL, collect, all, NULL), 0);
	assert_string_equal(all, "b/1=1 b/2=2 ");
	all[0] = '\0';
	assert_int_equal(store_list_each(f->store, "", "b/1", collect, all, NULL), 0);
	assert_string_equal(all, "b/2=2 c=3 ");
}

static int version_of(void *arg, const struct store_entry *entry)
{
	*(uint64_t *)arg = entry->version;
	return 0;
}

static void versions_change_with_the_object(void **state)
{
	struct fixture *f = *state;
	uint64_t version[2];

	for (int i = 0; i < 2; i++) {
		assert_int_equal(put(f, "a", "same", 0), 0);
		assert_int_equal(store_list_each(f->store, "", NULL, version_of, &version[i], NULL), 0);
		assert_true(version[i] != 0);
	}
	assert_true(version[0] != version[1]);
}

static void many_are_removed_be_they_there_or_not(void **state)
{
	struct fixture *f = *state;
	static const char *const keys[] = { "a", "b/1", "nowhere", "b/2" };

	assert_int_equal(put(f, "a", "x", 0), 0);
	assert_int_equal(put(f, "b/1", "x", 0), 0);
	assert_int_equal(put(f, "c", "x", 0), 0);
	assert_int_equal(store_remove_many_wait(f->store, keys, 4, NULL), 0);
	assert_int_equal(store_head_wait(f->store, "a", NULL, NULL), -ENOENT);
	assert_int_equal(store_head_wait(f->store, "b/1", NULL, NULL), -ENOENT);
	assert_object(f, "c", "x");
}

/* ---- what is asked for ---- */

static void a_segment_is_made_by_quorum_and_anything_else_by_a_claim(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(put(f, "epoch", "x", STORE_PUT_CREATE_ONLY), 0);
	assert_string_equal(f->cluster.create, "claim");
	assert_int_equal(put(f, "segment", "x", STORE_PUT_CREATE_ONLY | STORE_UPLOAD), 0);
	assert_string_equal(f->cluster.create, "quorum");
	assert_int_equal(put(f, "head", "x", STORE_UPLOAD), 0);
	assert_string_equal(f->cluster.create, "");
}

struct got {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	bool done;
	int status;
	uint64_t length;
};

static void get_done(void *arg, int status, uint64_t length, const struct error *err)
{
	struct got *g = arg;

	(void)err;
	pthread_mutex_lock(&g->mutex);
	g->status = status;
	g->length = length;
	g->done = true;
	pthread_cond_signal(&g->changed);
	pthread_mutex_unlock(&g->mutex);
}

static void wait_got(struct got *g)
{
	pthread_mutex_lock(&g->mutex);
	while (!g->done)
		pthread_cond_wait(&g->changed, &g->mutex);
	pthread_mutex_unlock(&g->mutex);
}

static int get_immutable(struct fixture *f, const char *key, void *buf, size_t room, uint64_t *length)
{
	struct got g = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0, 0 };

	store_get(f->store, key, 0, buf, room, STORE_GET_IMMUTABLE, get_done, &g);
	wait_got(&g);
	*length = g.length;
	return g.status;
}

static void what_never_changes_is_asked_of_any_replica(void **state)
{
	struct fixture *f = *state;
	uint64_t length;
	char buf[10];

	assert_int_equal(put(f, "segment", "text", 0), 0);
	assert_int_equal(get_immutable(f, "segment", buf, sizeof buf, &length), 0);
	assert_int_equal(length, 4);
	assert_memory_equal(buf, "text", 4);
	assert_string_equal(f->cluster.read, "any");
	assert_string_equal(f->cluster.range, "bytes=0-9");
	assert_object(f, "segment", "text");
	assert_string_equal(f->cluster.read, "latest");
}

static atomic_bool held;

/* The first read of pool/slow is never answered. */
static bool hold_first(struct fake_node *n, const struct http_server_request *r, const char *path,
                       const struct evkeyvalq *query, struct http_server_answer *a)
{
	bool is_read = strcmp(path, "/v1/object/pool/slow") == 0 && r->method == EVHTTP_REQ_GET;

	(void)n;
	(void)query;
	a->hold = is_read && !atomic_exchange(&held, true);
	return a->hold;
}

static void a_slow_node_is_passed_by_the_second_that_is_asked(void **state)
{
	struct fixture *f = *state;
	struct store_stats before, after;
	uint64_t length;
	char buf[10];

	atomic_store(&held, false);
	assert_int_equal(put(f, "slow", "text", 0), 0);
	for (int i = 0; i < 100; i++) /* by which is known how long an answer takes */
		assert_int_equal(get_immutable(f, "slow", buf, sizeof buf, &length), 0);
	memset(buf, 0, sizeof buf);
	store_get_stats(f->store, &before);
	f->cluster.more = hold_first;
	assert_int_equal(get_immutable(f, "slow", buf, sizeof buf, &length), 0);
	assert_int_equal(length, 4);
	assert_memory_equal(buf, "text", 4);
	store_get_stats(f->store, &after);
	assert_true(after.hedges > before.hedges);
	assert_int_equal(after.retries, before.retries);
}

static void requests_go_to_the_first_of_an_objects_nodes(void **state)
{
	struct fixture *f = *state;
	char key[20];

	for (int i = 0; i < 20; i++) {
		struct fake_node *first;
		unsigned before;

		snprintf(key, sizeof key, "key%d", i);
		first = node_first_of(&f->cluster, key);
		before = first->asked;
		assert_int_equal(put(f, key, "x", 0), 0);
		assert_object(f, key, "x");
		assert_int_equal(first->asked, before + 2);
	}
}

static void who_acknowledged_the_last_put_can_be_told(void **state)
{
	struct fixture *f = *state;
	char text[STORE_ACKS_TEXT], want[100];
	unsigned long us;
	int end = 0;

	store_get_acks(f->store, text, sizeof text);
	assert_string_equal(text, "");
	f->cluster.acks = "n1=350,n2=900";
	assert_int_equal(put(f, "key", "x", 0), 0);
	store_get_acks(f->store, text, sizeof text);
	snprintf(want, sizeof want, "coordinator 127.0.0.1:%u %%lu us, n1 350 us, n2 900 us%%n",
	         node_first_of(&f->cluster, "key")->http.port);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	assert_int_equal(sscanf(text, want, &us, &end), 1);
#pragma GCC diagnostic pop
	assert_int_equal(end, strlen(text));
	f->cluster.acks = "n1=350,<script>";
	assert_int_equal(put(f, "key", "y", 0), 0);
	store_get_acks(f->store, text, sizeof text);
	assert_null(strchr(text, '<'));
	assert_non_null(strstr(text, ", n1 350 us"));
}

/* ---- sessions and proofs ---- */

static void a_session_is_learnt_once_and_again_after_a_restart(void **state)
{
	struct fixture *f = *state;
	struct fake_node *first = node_first_of(&f->cluster, "key");
	unsigned before;

	assert_int_equal(put(f, "key", "1", 0), 0);
	before = first->challenges;
	assert_true(before >= 1);
	assert_int_equal(put(f, "key", "2", 0), 0);
	assert_object(f, "key", "2");
	assert_int_equal(first->challenges, before);
	pthread_mutex_lock(&f->cluster.mutex);
	node_session_begin(&first->session, node_head_now_ms());
	pthread_mutex_unlock(&f->cluster.mutex);
	assert_int_equal(put(f, "key", "3", 0), 0);
	assert_int_equal(first->challenges, before + 1);
	assert_object(f, "key", "3");
}

static void what_is_sent_once_finds_its_session_too(void **state)
{
	struct fixture *f = *state;
	struct fake_node *first = node_first_of(&f->cluster, "lease");
	unsigned before;

	pthread_mutex_lock(&f->cluster.mutex);
	node_session_begin(&first->session, node_head_now_ms());
	pthread_mutex_unlock(&f->cluster.mutex);
	assert_int_equal(put(f, "lease", "x", STORE_PUT_ONCE), 0);
	assert_object(f, "lease", "x");
	before = asked(f);
	play(first, NODE_LOSES, 1);
	assert_int_not_equal(put(f, "lease", "y", STORE_PUT_ONCE), 0);
	assert_int_equal(asked(f), before + 1);
}

static const enum node_play unproven[] = { NODE_UNPROVEN, NODE_WRONG_MAC, NODE_OTHER_KEY, NODE_NO_TRUST };

static void who_cannot_prove_an_answer_is_not_believed(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof unproven / sizeof unproven[0]; i++) {
		char key[20];

		snprintf(key, sizeof key, "key%zu", i);
		play(node_first_of(&f->cluster, key), unproven[i], 0);
		assert_int_equal(put(f, key, "text", 0), 0);
		assert_object(f, key, "text");
		play(node_first_of(&f->cluster, key), NODE_GOOD, 0);
	}
}

static void when_nobody_proves_anything_nothing_succeeds(void **state)
{
	struct fixture *f = *state;

	store_close(f->store);
	f->store = NULL;
	f->deadline_ms = 600;
	assert_int_equal(open_url(f, f->cluster.url, NULL), 0);
	assert_int_equal(put(f, "there", "x", 0), 0);
	for (size_t i = 0; i < sizeof unproven / sizeof unproven[0]; i++) {
		struct error err = { 0 };
		char buf[10];
		size_t length;

		play_all(f, unproven[i]);
		assert_int_equal(store_put_wait(f->store, "key", "x", 1, 0, &err), -EACCES);
		assert_non_null(strstr(err.text, "node 127.0.0.1:"));
		assert_int_equal(store_get_wait(f->store, "there", 0, buf, sizeof buf, &length, NULL), -EACCES);
		assert_int_equal(store_head_wait(f->store, "nowhere", NULL, NULL), -EACCES);
		assert_int_equal(store_remove_wait(f->store, "nowhere", NULL), -EACCES);
	}
	play_all(f, NODE_GOOD);
	assert_object(f, "there", "x");
}

static void a_damaged_body_is_got_from_another_node(void **state)
{
	struct fixture *f = *state;
	char all[100] = "";

	assert_int_equal(put(f, "key", "text", 0), 0);
	play(node_first_of(&f->cluster, "key"), NODE_DAMAGES, 0);
	assert_object(f, "key", "text");
	for (int i = 0; i < NODES; i++) {
		all[0] = '\0';
		assert_int_equal(store_list_each(f->store, "", NULL, collect, all, NULL), 0);
		assert_string_equal(all, "key=4 ");
	}
}

/* ---- versions and maps ---- */

static void a_newer_version_is_gone_beyond(void **state)
{
	struct fixture *f = *state;
	struct object_version far = { (uint64_t)1 << 62, 7 };

	node_keep(&f->cluster, "pool/key", far, "old", 3);
	assert_int_equal(put(f, "key", "new", 0), 0);
	assert_object(f, "key", "new");
	assert_true(object_version_compare(node_find(&f->cluster, "pool/key")->version, far) > 0);
	far.counter += 1000;
	node_keep(&f->cluster, "pool/key", far, "old", 3);
	assert_int_equal(store_remove_wait(f->store, "key", NULL), 0);
	assert_null(node_find(&f->cluster, "pool/key")->bytes);
}

static void a_tombstone_is_gone_beyond_by_who_creates(void **state)
{
	struct fixture *f = *state;
	struct object_version far = { (uint64_t)1 << 62, 7 };

	node_keep(&f->cluster, "pool/key", far, NULL, 0);
	assert_int_equal(put(f, "key", "new", STORE_PUT_CREATE_ONLY), 0);
	assert_object(f, "key", "new");
}

static void what_was_made_and_removed_meanwhile_is_not_made_once_more(void **state)
{
	struct fixture *f = *state;
	struct object_version far = { (uint64_t)1 << 62, 7 };

	/* The first try may have been it, whether it was answered or not. */
	play_status(f, node_first_of(&f->cluster, "key"), 503, NULL, 1);
	node_keep(&f->cluster, "pool/key", far, NULL, 0);
	assert_int_equal(put(f, "key", "new", STORE_PUT_CREATE_ONLY), -EIO);
	assert_null(node_find(&f->cluster, "pool/key")->bytes);
	far.counter += 1000;
	play(node_first_of(&f->cluster, "key"), NODE_DROPS, 1);
	node_keep(&f->cluster, "pool/key", far, NULL, 0);
	assert_int_equal(put(f, "key", "new", STORE_PUT_CREATE_ONLY), -EIO);
	assert_null(node_find(&f->cluster, "pool/key")->bytes);
	/* A replica with another map may have refused it, and the others not. */
	play_all(f, NODE_GOOD);
	far.counter += 1000;
	play_status(f, node_first_of(&f->cluster, "epoch"), 409, "map", 1);
	node_keep(&f->cluster, "pool/epoch", far, NULL, 0);
	assert_int_equal(put(f, "epoch", "new", STORE_PUT_CREATE_ONLY), -EIO);
	/* What replaces whatever is there is put. */
	assert_int_equal(put(f, "key", "newer", 0), 0);
	assert_object(f, "key", "newer");
}

static void what_was_removed_and_made_anew_meanwhile_is_not_removed_once_more(void **state)
{
	struct fixture *f = *state;
	struct object_version far = { (uint64_t)1 << 62, 7 };

	/* The first try may have been it, and another host has made what is there now. */
	assert_int_equal(put(f, "key", "old", 0), 0);
	play_status(f, node_first_of(&f->cluster, "key"), 503, NULL, 1);
	node_keep(&f->cluster, "pool/key", far, "new", 3);
	assert_int_equal(store_remove_wait(f->store, "key", NULL), -EIO);
	assert_object(f, "key", "new");
	/* Who removes it knowing that has it removed. */
	assert_int_equal(store_remove_wait(f->store, "key", NULL), 0);
	/* It is older, however its maker's clock goes, when nothing can have been done before. */
	far.counter += (uint64_t)1 << 40;
	node_keep(&f->cluster, "pool/key", far, "ahead", 5);
	assert_int_equal(store_remove_wait(f->store, "key", NULL), 0);
	assert_null(node_find(&f->cluster, "pool/key")->bytes);
}

static void all_tries_of_a_put_have_the_same_version(void **state)
{
	struct fixture *f = *state;
	struct fake_node *first = node_first_of(&f->cluster, "epoch");
	struct object_version version;

	play(first, NODE_LOSES, 1);
	assert_int_equal(put(f, "epoch", "mine", STORE_PUT_CREATE_ONLY), 0);
	version = node_find(&f->cluster, "pool/epoch")->version;
	assert_int_equal(object_version_compare(f->cluster.version, version), 0);
	assert_int_equal(asked(f), 1 + 2); /* a listing when the store was opened */
	assert_int_equal(put(f, "epoch", "mine", 0), 0);
	assert_true(object_version_compare(f->cluster.version, version) > 0);
}

static void a_create_only_put_that_another_was_quicker_with_is_not_ours(void **state)
{
	struct fixture *f = *state;

	play_status(f, node_first_of(&f->cluster, "epoch"), 503, NULL, 1);
	node_keep(&f->cluster, "pool/epoch", (struct object_version){ 5, 5 }, "other", 5);
	assert_int_equal(put(f, "epoch", "mine", STORE_PUT_CREATE_ONLY), -EEXIST);
	assert_object(f, "epoch", "other");
	play_status(f, node_first_of(&f->cluster, "epoch"), 503, NULL, 1);
	assert_int_equal(put(f, "epoch", "other", STORE_PUT_CREATE_ONLY), 0);
}

static void a_new_map_is_asked_for_when_a_node_has_one(void **state)
{
	struct fixture *f = *state;

	pthread_mutex_lock(&f->cluster.mutex);
	f->cluster.map.version = 7;
	f->cluster.map.node[0].weight = 1;
	f->cluster.map.node[1].weight = 1;
	f->cluster.map.node[2].weight = 100000;
	pthread_mutex_unlock(&f->cluster.mutex);
	for (int i = 0; i < 10; i++) {
		char key[20];

		snprintf(key, sizeof key, "key%d", i);
		assert_int_equal(put(f, key, "x", 0), 0);
		assert_object(f, key, "x");
	}
	/* One for the opening, one for the new version. */
	assert_int_equal(f->cluster.node[0].asked_map + f->cluster.node[1].asked_map + f->cluster.node[2].asked_map, 2);
}

static void a_node_that_is_new_in_the_map_is_asked(void **state)
{
	struct fixture *f = *state;
	unsigned before = f->cluster.node[2].asked;

	/* The file knows of nodes 1 and 2 only. */
	store_close(f->store);
	f->store = NULL;
	f->cluster.map.node_count = 2;
	f->cluster.map.replicas = f->cluster.map.quorum = 2;
	node_cluster_write_file(&f->cluster);
	f->cluster.map.node_count = 3;
	f->cluster.map.version = 2;
	f->cluster.map.node[2].weight = 100000;
	assert_int_equal(open_url(f, f->cluster.url, NULL), 0);
	for (int i = 0; i < 10; i++) {
		char key[20];

		snprintf(key, sizeof key, "key%d", i);
		assert_int_equal(put(f, key, "x", 0), 0);
	}
	assert_true(f->cluster.node[2].asked > before);
}

/* ---- nodes that do not answer ---- */

static void a_node_that_is_away_is_left_for_the_next(void **state)
{
	static const enum node_play plays[] = { NODE_SILENT, NODE_DROPS, NODE_LOSES };
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof plays / sizeof plays[0]; i++) {
		char key[20];

		snprintf(key, sizeof key, "key%zu", i);
		play(node_first_of(&f->cluster, key), plays[i], 0);
		assert_int_equal(put(f, key, "text", 0), 0);
		assert_object(f, key, "text");
		assert_int_equal(store_remove_wait(f->store, key, NULL), 0);
		play(node_first_of(&f->cluster, key), NODE_GOOD, 0);
	}
}

static void a_node_where_nobody_listens_is_left_for_the_next(void **state)
{
	struct fixture *f = *state;
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof address;

	/* Bound, but not listening. */
	assert_int_equal(bind(s, (struct sockaddr *)&address, len), 0);
	assert_int_equal(getsockname(s, (struct sockaddr *)&address, &len), 0);
	store_close(f->store);
	f->store = NULL;
	f->cluster.map.node[1].port = ntohs(address.sin_port);
	f->cluster.map.version++;
	node_cluster_write_file(&f->cluster);
	assert_int_equal(open_url(f, f->cluster.url, NULL), 0);
	for (int i = 0; i < 20; i++) {
		char key[20];

		snprintf(key, sizeof key, "key%d", i);
		assert_int_equal(put(f, key, "x", 0), 0);
		assert_object(f, key, "x");
	}
	close(s);
}

/* It is not asked again at once; when it is back that is found out, and it is. */
static void a_node_that_was_away_is_not_asked_until_it_is_back(void **state)
{
	struct fixture *f = *state;
	struct fake_node *first = node_first_of(&f->cluster, "key");
	unsigned before;

	play(first, NODE_DROPS, 0);
	assert_int_equal(put(f, "key", "1", 0), 0);
	before = atomic_load(&first->http.requests);
	assert_int_equal(put(f, "key", "2", 0), 0);
	assert_object(f, "key", "2");
	assert_true(atomic_load(&first->http.requests) <= before + 1);
	play(first, NODE_GOOD, 0);
	before = first->asked;
	for (int i = 0; first->asked == before; i++) {
		assert_true(i < 1000);
		assert_object(f, "key", "2");
		usleep(20000);
	}
	assert_true(first->asked_health >= 1);
}

static void a_cluster_that_is_away_for_a_while_is_waited_for(void **state)
{
	struct fixture *f = *state;
	struct got g = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0, 0 };

	assert_int_equal(put(f, "key", "1", 0), 0);
	play_all(f, NODE_DROPS);
	store_head(f->store, "key", get_done, &g);
	usleep(300000);
	play_all(f, NODE_GOOD);
	wait_got(&g);
	assert_int_equal(g.status, 0);
	assert_int_equal(g.length, 1);
}

/* ---- statuses ---- */

static void what_a_node_cannot_do_now_another_one_does(void **state)
{
	static const int statuses[] = { 500, 503, 429, 408, 400 };
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
		play_status(f, node_first_of(&f->cluster, "key"), statuses[i], NULL, 1);
		assert_int_equal(put(f, "key", "text", 0), 0);
		play_status(f, node_first_of(&f->cluster, "key"), statuses[i], NULL, 1);
		assert_object(f, "key", "text");
	}
}

static void answers_that_mean_something_are_told(void **state)
{
	static const struct {
		int status;
		const char *reason;
		int rc;
	} all[] = {
		{ 410, NULL, -EIO },   { 412, NULL, -EEXIST }, { 409, "exists", -EEXIST },
		{ 413, NULL, -EFBIG }, { 507, NULL, -ENOSPC }, { 403, NULL, -EACCES },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		struct error err = { 0 };
		unsigned before = asked(f);

		for (unsigned n = 0; n < NODES; n++)
			play_status(f, &f->cluster.node[n], all[i].status, all[i].reason, 0);
		assert_int_equal(store_put_wait(f->store, "key", "x", 1, STORE_PUT_CREATE_ONLY, &err), all[i].rc);
		assert_non_null(strstr(err.text, "key"));
		assert_int_equal(asked(f), before + 1);
	}
}

static void what_is_malformed_for_all_is_not_sent_for_ever(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };
	unsigned before = asked(f);

	for (unsigned n = 0; n < NODES; n++)
		play_status(f, &f->cluster.node[n], 400, NULL, 0);
	assert_int_equal(store_put_wait(f->store, "key", "x", 1, 0, &err), -EIO);
	assert_non_null(strstr(err.text, "400"));
	assert_true(asked(f) <= before + 10);
}

static void a_listing_that_is_none_is_an_error(void **state)
{
	struct fixture *f = *state;
	char all[100];

	f->cluster.list_text = "{\"objects\":[]}";
	assert_int_equal(store_list_each(f->store, "", NULL, collect, all, NULL), -EBADMSG);
	f->cluster.list_text = "{\"objects\":[],\"more\":true}";
	assert_int_equal(store_list_each(f->store, "", NULL, collect, all, NULL), -EIO);
}

/* ---- opening ---- */

static void assert_not_opened(struct fixture *f, const char *url, int rc, const char *word)
{
	struct error err = { 0 };

	assert_null(f->store);
	assert_int_equal(open_url(f, url, &err), rc);
	if (!strstr(err.text, word))
		fail_msg("for %s: '%s' does not say '%s'", url, err.text, word);
	assert_null(f->store);
}

static void an_opening_that_fails_says_what_to_do(void **state)
{
	struct fixture *f = *state;
	char url[400], path[128];

	store_close(f->store);
	f->store = NULL;
	f->deadline_ms = 500;
	assert_not_opened(f, "node://h1:7070/pool", -EINVAL, "cluster=/etc/garnerfs/cluster");
	assert_not_opened(f, "node://h1:7070/pool?cluster=relative", -EINVAL, "whole path");
	assert_not_opened(f, "node://h1/pool?cluster=/x", -EINVAL, "HOST:PORT");
	assert_not_opened(f, "node://h1:7070/?cluster=/x", -EINVAL, "no pool");
	assert_not_opened(f, "node://h1:7070/a/b?cluster=/x", -EINVAL, "more than a pool");
	assert_not_opened(f, "node://h1:7070/Pool?cluster=/x", -EINVAL, "a-z");
	assert_not_opened(f, "node://h1:7070/pool?cluster=/nowhere/at/all", -ENOENT, "garner cluster init");
	play_all(f, NODE_DROPS);
	assert_not_opened(f, f->cluster.url, -EIO, "no node of the cluster answers");
	play_all(f, NODE_OTHER_KEY);
	assert_not_opened(f, f->cluster.url, -EACCES, "cluster.key");
	play_all(f, NODE_GOOD);
	memset(f->cluster.map.id, 'e', 32);
	assert_not_opened(f, f->cluster.url, -EINVAL, "another cluster");
	memcpy(f->cluster.map.id, CLUSTER_ID, 32);
	snprintf(path, sizeof path, "%s/cluster.key", f->cluster.dir);
	assert_int_equal(chmod(path, 0644), 0);
	assert_not_opened(f, f->cluster.url, -EACCES, "chmod");
	assert_int_equal(chmod(path, 0600), 0);
	/* Only one of many hosts has to be right. */
	snprintf(url, sizeof url, "node://127.0.0.1:1,127.0.0.1:%u/pool?cluster=%s", f->cluster.node[1].http.port,
	         f->cluster.file);
	f->deadline_ms = 20000;
	assert_int_equal(open_url(f, url, NULL), 0);
	store_close(f->store);
	snprintf(url, sizeof url, "node:///pool?cluster=%s", f->cluster.file);
	assert_int_equal(open_url(f, url, NULL), 0);
}

static void with_certificates_plain_http_is_not_spoken(void **state)
{
	struct fixture *f = *state;
	char path[128];

	store_close(f->store);
	f->store = NULL;
	f->deadline_ms = 500;
	snprintf(path, sizeof path, "%s/ca.pem", f->cluster.dir);
	write_whole_file(path, "x", 1, 0644);
	assert_not_opened(f, f->cluster.url, -ENOENT, "gateway.pem");
	snprintf(path, sizeof path, "%s/gateway.pem", f->cluster.dir);
	write_whole_file(path, "x", 1, 0644);
	assert_not_opened(f, f->cluster.url, -EACCES, "chmod 600");
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_not_equal(open_url(f, f->cluster.url, NULL), 0);
	for (unsigned i = 0; i < NODES; i++)
		assert_int_equal(f->cluster.node[i].asked_map, i == 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { TEST(what_was_put_is_got_and_found_and_removed),
		                            TEST(a_long_body_arrives_whole),
		                            TEST(create_only_leaves_what_is_there),
		                            TEST(keys_that_no_store_accepts_are_refused),
		                            TEST(listings_are_in_order_and_of_this_pool),
		                            TEST(versions_change_with_the_object),
		                            TEST(many_are_removed_be_they_there_or_not),
		                            TEST(a_segment_is_made_by_quorum_and_anything_else_by_a_claim),
		                            TEST(what_never_changes_is_asked_of_any_replica),
		                            TEST(a_slow_node_is_passed_by_the_second_that_is_asked),
		                            TEST(requests_go_to_the_first_of_an_objects_nodes),
		                            TEST(who_acknowledged_the_last_put_can_be_told),
		                            TEST(a_session_is_learnt_once_and_again_after_a_restart),
		                            TEST(what_is_sent_once_finds_its_session_too),
		                            TEST(who_cannot_prove_an_answer_is_not_believed),
		                            TEST(when_nobody_proves_anything_nothing_succeeds),
		                            TEST(a_damaged_body_is_got_from_another_node),
		                            TEST(a_newer_version_is_gone_beyond),
		                            TEST(a_tombstone_is_gone_beyond_by_who_creates),
		                            TEST(what_was_made_and_removed_meanwhile_is_not_made_once_more),
		                            TEST(what_was_removed_and_made_anew_meanwhile_is_not_removed_once_more),
		                            TEST(all_tries_of_a_put_have_the_same_version),
		                            TEST(a_create_only_put_that_another_was_quicker_with_is_not_ours),
		                            TEST(a_new_map_is_asked_for_when_a_node_has_one),
		                            TEST(a_node_that_is_new_in_the_map_is_asked),
		                            TEST(a_node_that_is_away_is_left_for_the_next),
		                            TEST(a_node_where_nobody_listens_is_left_for_the_next),
		                            TEST(a_node_that_was_away_is_not_asked_until_it_is_back),
		                            TEST(a_cluster_that_is_away_for_a_while_is_waited_for),
		                            TEST(what_a_node_cannot_do_now_another_one_does),
		                            TEST(answers_that_mean_something_are_told),
		                            TEST(what_is_malformed_for_all_is_not_sent_for_ever),
		                            TEST(a_listing_that_is_none_is_an_error),
		                            TEST(an_opening_that_fails_says_what_to_do),
		                            TEST(with_certificates_plain_http_is_not_spoken) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
