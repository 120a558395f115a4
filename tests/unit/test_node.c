/* SPDX-License-Identifier: GPL-3.0-only */
/* test_node.c: whole nodes and a gateway in one process: objects are put, read, listed and removed, while nodes stop, come back, have lost
 * their drive, join and leave.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/object_wait.h"
#include "lib/real_nodes.h"
#include "node/object_store_private.h"

#include <errno.h>

static struct etcd_server etcd;
static struct real_nodes nodes;

/* ---- objects ---- */

static void key_of(unsigned i, char key[64])
{
	snprintf(key, 64, "some/key-%04u", i);
}

/* What the object of that number holds in its n-th version. */
static size_t body_of(unsigned i, unsigned version, uint8_t *body)
{
	size_t length = 1 + (size_t)i * 997 % 60000;
	uint8_t seed[randombytes_SEEDBYTES] = { (uint8_t)i, (uint8_t)(i >> 8), (uint8_t)version };

	randombytes_buf_deterministic(body, length, seed);
	return length;
}

static void put_one(unsigned i, unsigned version)
{
	static uint8_t body[65536];
	struct error err = { 0 };
	char key[64];

	key_of(i, key);
	if (store_put_wait(nodes.store, key, body, body_of(i, version, body), 0, &err))
		fail_msg("%s", error_text(&err));
}

static void read_one(unsigned i, unsigned version)
{
	static uint8_t body[65536], got[65536];
	struct error err = { 0 };
	size_t want = body_of(i, version, body), length;
	char key[64];

	key_of(i, key);
	if (store_get_wait(nodes.store, key, 0, got, sizeof got, &length, &err))
		fail_msg("%s", error_text(&err));
	assert_int_equal(length, want);
	assert_memory_equal(got, body, length);
}

static void put_some(unsigned from, unsigned to, unsigned version)
{
	for (unsigned i = from; i < to; i++)
		put_one(i, version);
}

static void read_some(unsigned from, unsigned to, unsigned version)
{
	for (unsigned i = from; i < to; i++)
		read_one(i, version);
}

static void remove_some(unsigned from, unsigned to)
{
	char key[64];

	for (unsigned i = from; i < to; i++) {
		key_of(i, key);
		assert_int_equal(store_remove_wait(nodes.store, key, NULL), 0);
	}
}

static int count_entry(void *arg, const struct store_entry *entry)
{
	(void)entry;
	++*(unsigned *)arg;
	return 0;
}

static unsigned listed(void)
{
	struct error err = { 0 };
	unsigned count = 0;

	if (store_list_each(nodes.store, "some/", NULL, count_entry, &count, &err))
		fail_msg("%s", error_text(&err));
	return count;
}

/* What a node has: live objects. */
static uint64_t objects_of(size_t i)
{
	struct object_store_stats stats;

	object_store_stats(nodes.node[i].node->objects, &stats);
	return stats.objects;
}

/* ---- tests ---- */

#define NEEDS_ETCD              \
	do {                    \
		if (!etcd.up)   \
			skip(); \
	} while (0)

static void one_node_alone_is_a_store(void **state)
{
	struct error err = { 0 };
	size_t length;
	char byte;

	(void)state;
	real_nodes_begin(&nodes, &etcd, 1, 1, 1);
	put_some(0, 30, 1);
	read_some(0, 30, 1);
	put_some(0, 10, 2);
	read_some(0, 10, 2);
	assert_int_equal(listed(), 30);
	remove_some(5, 30);
	assert_int_equal(listed(), 5);
	assert_int_equal(store_get_wait(nodes.store, "some/key-0007", 0, &byte, 1, &length, &err), -ENOENT);
	assert_int_equal(store_put_wait(nodes.store, "only/once", "a", 1, STORE_PUT_CREATE_ONLY, &err), 0);
	assert_int_equal(store_put_wait(nodes.store, "only/once", "b", 1, STORE_PUT_CREATE_ONLY, &err), -EEXIST);
	assert_int_equal(store_get_wait(nodes.store, "only/once", 0, &byte, 1, &length, &err), 0);
	assert_int_equal(byte, 'a');
	assert_int_equal(store_remove_wait(nodes.store, "only/once", &err), 0);
	assert_int_equal(store_put_wait(nodes.store, "only/once", "c", 1, STORE_PUT_CREATE_ONLY, &err), 0);
	/* A node that starts again has all of it, and remembers what was claimed. */
	real_nodes_stop(&nodes, 0);
	real_nodes_start(&nodes, 0);
	read_some(0, 5, 2);
	assert_int_equal(listed(), 5);
	assert_int_equal(store_put_wait(nodes.store, "only/once", "d", 1, STORE_PUT_CREATE_ONLY, &err), -EEXIST);
	real_nodes_end(&nodes);
}

static void parts_of_an_object_are_read(void **state)
{
	static uint8_t body[300000], got[300000];
	struct error err = { 0 };
	uint64_t size;
	size_t length;

	(void)state;
	NEEDS_ETCD;
	real_nodes_begin(&nodes, &etcd, 3, 3, 2);
	randombytes_buf(body, sizeof body);
	assert_int_equal(
		store_put_wait(nodes.store, "big", body, sizeof body, STORE_UPLOAD | STORE_PUT_CREATE_ONLY, &err), 0);
	assert_int_equal(store_put_wait(nodes.store, "big", body, 5, STORE_UPLOAD | STORE_PUT_CREATE_ONLY, &err),
	                 -EEXIST);
	assert_int_equal(store_head_wait(nodes.store, "big", &size, &err), 0);
	assert_int_equal(size, sizeof body);
	for (size_t at = 0; at < sizeof body + 100000; at += 65000) {
		size_t want = at >= sizeof body ? 0 : sizeof body - at < 70000 ? sizeof body - at : 70000;
		assert_int_equal(store_get_wait(nodes.store, "big", at, got, 70000, &length, &err), 0);
		assert_int_equal(length, want);
		assert_memory_equal(got, body + (want ? at : 0), want);
	}
	assert_int_equal(store_put_wait(nodes.store, "empty", "", 0, 0, &err), 0);
	assert_int_equal(store_get_wait(nodes.store, "empty", 0, got, 10, &length, &err), 0);
	assert_int_equal(length, 0);
	real_nodes_end(&nodes);
}

static void a_node_that_was_away_gets_what_it_missed(void **state)
{
	(void)state;
	NEEDS_ETCD;
	real_nodes_begin(&nodes, &etcd, 3, 3, 2);
	put_some(0, 20, 1);
	real_nodes_stop(&nodes, 2);
	put_some(0, 10, 2);
	put_some(20, 40, 1);
	remove_some(15, 20);
	read_some(0, 10, 2);
	read_some(10, 15, 1);
	assert_int_equal(listed(), 35);
	real_nodes_start(&nodes, 2);
	real_nodes_calm(&nodes);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(objects_of(i), 35);
	/* Now that one counts: another may go. */
	real_nodes_stop(&nodes, 0);
	read_some(0, 10, 2);
	read_some(20, 40, 1);
	assert_int_equal(listed(), 35);
	put_some(40, 45, 1);
	real_nodes_end(&nodes);
}

static void without_a_quorum_nothing_is_said_to_be_done(void **state)
{
	struct store_options options = { .deadline_ms = 2500 };
	struct error err = { 0 };
	struct store *hasty;
	char url[300];

	(void)state;
	NEEDS_ETCD;
	real_nodes_begin(&nodes, &etcd, 3, 3, 2);
	put_some(0, 3, 1);
	snprintf(url, sizeof url, "node://%s/p?cluster=%s/cluster", nodes.node[0].listen, nodes.dir);
	assert_int_equal(store_open(url, &options, &hasty, &err), 0);
	real_nodes_stop(&nodes, 1);
	real_nodes_stop(&nodes, 2);
	assert_true(store_put_wait(hasty, "some/key-0000", "x", 1, 0, &err) < 0);
	assert_true(store_head_wait(hasty, "some/key-0000", NULL, &err) < 0);
	store_close(hasty);
	real_nodes_start(&nodes, 1);
	put_some(3, 6, 1);
	read_some(1, 6, 1);
	real_nodes_end(&nodes);
}

static void a_wiped_node_is_filled_again_before_it_counts(void **state)
{
	(void)state;
	NEEDS_ETCD;
	real_nodes_begin(&nodes, &etcd, 3, 3, 2);
	put_some(0, 40, 1);
	remove_some(30, 40);
	real_nodes_calm(&nodes);
	real_nodes_stop(&nodes, 1);
	assert_int_equal(remove_tree(nodes.node[1].data), 0);
	real_nodes_start(&nodes, 1);
	put_some(40, 45, 1);
	real_nodes_calm(&nodes);
	assert_int_equal(objects_of(1), 35);
	real_nodes_stop(&nodes, 0);
	read_some(0, 30, 1);
	assert_int_equal(listed(), 35);
	real_nodes_end(&nodes);
}

/* The cluster's next map, made through any node. */
struct change {
	struct node *node;
	const struct cluster_map *map;
	int status;
	_Atomic bool done;
};

static void changed(void *arg, int status, const struct error *err)
{
	struct change *c = arg;

	(void)err;
	c->status = status;
	atomic_store(&c->done, true);
}

static void change_here(void *arg)
{
	struct change *c = arg;

	map_keeper_change(c->node->maps, c->map, changed, c);
}

static void change_map(size_t by, const struct cluster_map *map)
{
	struct change c = { .node = nodes.node[by].node, .map = map };

	assert_int_equal(loop_run(c.node->loop, change_here, &c), 0);
	while (!atomic_load(&c.done))
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	assert_int_equal(c.status, 0);
}

static void a_node_joins_and_another_leaves(void **state)
{
	struct cluster_map map;
	size_t fourth;

	(void)state;
	NEEDS_ETCD;
	real_nodes_begin(&nodes, &etcd, 3, 2, 2);
	put_some(0, 60, 1);
	remove_some(50, 60);
	/* Joins. */
	fourth = real_nodes_add(&nodes);
	nodes.map.version = 2;
	nodes.map.node[3] = (struct cluster_node){
		.id = 4, .port = nodes.node[fourth].options.port, .weight = 100, .state = NODE_JOINING
	};
	snprintf(nodes.map.node[3].host, sizeof nodes.map.node[3].host, "127.0.0.1");
	nodes.map.node_count = 4;
	change_map(0, &nodes.map);
	real_nodes_write_map(&nodes);
	real_nodes_start(&nodes, fourth);
	put_some(0, 10, 2);
	real_nodes_calm(&nodes);
	assert_int_equal(real_nodes_look(&nodes, fourth).map, 3);
	assert_true(objects_of(fourth) > 10);
	read_some(0, 10, 2);
	read_some(10, 50, 1);
	/* The first leaves. */
	map = nodes.map;
	map.version = 4;
	map.node[3].state = NODE_UP;
	map.node[0].state = NODE_LEAVING;
	map.last_node = 0;
	change_map(1, &map);
	put_some(10, 20, 2);
	for (int tries = 0; tries < 600 && real_nodes_look(&nodes, 1).nodes != 3; tries++)
		nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
	assert_int_equal(real_nodes_look(&nodes, 1).nodes, 3);
	real_nodes_stop(&nodes, 0);
	real_nodes_calm(&nodes);
	read_some(0, 20, 2);
	read_some(20, 50, 1);
	assert_int_equal(listed(), 50);
	/* Of each object two copies, and none where it does not belong. */
	for (size_t i = 1; i < 4; i++)
		real_nodes_heal(&nodes, i);
	real_nodes_calm(&nodes);
	assert_int_equal(objects_of(1) + objects_of(2) + objects_of(3), 100);
	real_nodes_end(&nodes);
}

/* ---- what is copied slowly ---- */

#define PAGE 500 /* entries of a list, as heal_pass.c asks for them */

static void doze_here(void *arg)
{
	(void)arg;
	nanosleep(&(struct timespec){ .tv_nsec = 500000000 }, NULL);
}

struct heal_look {
	struct heal *heal;
	struct heal_stats stats;
};

static void look_at_heal(void *arg)
{
	struct heal_look *l = arg;

	heal_get_stats(l->heal, &l->stats);
}

static uint64_t passes_of(size_t i)
{
	struct node *n = nodes.node[i].node;
	struct heal_look l = { .heal = n->heal };

	assert_int_equal(loop_run(n->loop, look_at_heal, &l), 0);
	return l.stats.passes;
}

/* Three nodes that compare when they are asked to. */
static void begin_without_passes(void)
{
	real_nodes_begin(&nodes, &etcd, 3, 3, 2);
	for (size_t i = 0; i < 3; i++)
		nodes.node[i].options.heal_ms = 3600000;
}

/* Whether so many passes come to their ends while others are asked for all the time. */
static bool heals_when_asked(size_t i, uint64_t passes)
{
	uint64_t before = passes_of(i);

	for (int tries = 0; tries < 400 && passes_of(i) < before + passes; tries++) {
		real_nodes_heal(&nodes, i);
		nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	}
	return passes_of(i) >= before + passes;
}

static void a_pass_is_not_put_off_by_who_asks_for_another(void **state)
{
	(void)state;
	real_nodes_begin(&nodes, &etcd, 1, 1, 1);
	assert_true(heals_when_asked(0, 3));
	real_nodes_end(&nodes);
}

/* Puts the n-th of the names that are in one bucket, on nodes [0, to). */
static void put_in_bucket(unsigned n, size_t to, size_t length)
{
	unsigned number = 0;
	char name[32];

	for (unsigned count = 0; count <= n; number++) {
		snprintf(name, sizeof name, "p/key-%08u", number);
		count += object_bucket_of(name) == 7;
	}
	for (size_t i = 0; i < to; i++)
		assert_int_equal(put_made(nodes.node[i].node->objects, name, number, length, 0, OBJECT_RULE_COPY, NULL),
		                 0);
}

/* The second node finds that the first of many objects is missing, and pauses after it was copied. The pause is over while the third
 * node, which does nothing just then, is asked for its digests. */
static void a_pause_of_copying_may_end_while_a_node_is_waited_for(void **state)
{
	uint64_t before;

	(void)state;
	NEEDS_ETCD;
	begin_without_passes();
	for (unsigned n = 1; n < PAGE; n++)
		put_in_bucket(n, 3, 1);
	nanosleep(&(struct timespec){ .tv_sec = 1, .tv_nsec = 500000000 }, NULL);
	real_nodes_calm(&nodes);
	nodes.node[1].options.heal_rate = 10000;
	before = passes_of(1);
	put_in_bucket(0, 1, 1000);
	real_nodes_heal(&nodes, 1);
	assert_int_equal(loop_run(nodes.node[2].node->loop, doze_here, NULL), 0);
	real_nodes_calm(&nodes);
	assert_int_equal(passes_of(1), before + 1);
	assert_int_equal(objects_of(1), PAGE);
	real_nodes_end(&nodes);
}

/* ---- who has lost something ---- */

/* On the loop of the third node, which meanwhile answers nothing: the first one gets back what it had lost. */
static void get_back_here(void *arg)
{
	struct object_store *first = nodes.node[0].node->objects;

	(void)arg;
	nanosleep(&(struct timespec){ .tv_nsec = 600000000 }, NULL);
	assert_int_equal(put_made(first, "p/lost", 5, 1000, 0, OBJECT_RULE_COPY, NULL), 0);
	atomic_fetch_add(&first->recovered, 1);
}

/* The second node asks the first, then the third. When it was asked the first one had lost what it has when the third has answered, and
 * that may have lost it by then: it has nothing. */
static void who_had_lost_something_is_asked_again_after_all_others(void **state)
{
	uint64_t before;

	(void)state;
	NEEDS_ETCD;
	begin_without_passes();
	nanosleep(&(struct timespec){ .tv_sec = 1, .tv_nsec = 500000000 }, NULL);
	real_nodes_calm(&nodes);
	before = passes_of(1);
	atomic_fetch_sub(&nodes.node[0].node->objects->recovered, 1);
	real_nodes_heal(&nodes, 1);
	assert_int_equal(loop_run(nodes.node[2].node->loop, get_back_here, NULL), 0);
	for (int tries = 0; tries < 400 && passes_of(1) == before; tries++)
		nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	assert_true(passes_of(1) > before);
	assert_int_equal(objects_of(1), 1);
	real_nodes_end(&nodes);
}

/* ---- what has no room ---- */

struct peers_look {
	struct node *node;
	uint64_t bytes_in;
};

static void look_at_peers(void *arg)
{
	struct peers_look *l = arg;
	struct peer_stats s;

	l->bytes_in = 0;
	for (size_t i = 0; i < CLUSTER_NODES_MAX; i++) {
		if (!l->node->neighbours[i].id)
			continue;
		peer_get_stats(l->node->neighbours[i].peer, &s);
		l->bytes_in += s.bytes_in;
	}
}

static void a_node_that_is_full_does_not_fetch_what_it_cannot_keep(void **state)
{
	struct peers_look before, now;
	uint64_t bodies = 0;
	static uint8_t body[65536];

	(void)state;
	NEEDS_ETCD;
	real_nodes_begin(&nodes, &etcd, 3, 3, 2);
	real_nodes_calm(&nodes);
	before.node = now.node = nodes.node[2].node;
	now.node->objects->drive[0].reserve = UINT64_MAX;
	put_some(0, 100, 1);
	for (unsigned i = 0; i < 100; i++)
		bodies += body_of(i, 1, body);
	read_some(0, 100, 1);
	assert_int_equal(loop_run(now.node->loop, look_at_peers, &before), 0);
	assert_true(heals_when_asked(2, 2));
	assert_int_equal(loop_run(now.node->loop, look_at_peers, &now), 0);
	assert_true(now.bytes_in - before.bytes_in < bodies);
	assert_int_equal(objects_of(2), 0);
	/* Once there is room it gets all of it. */
	now.node->objects->drive[0].reserve = 1;
	real_nodes_calm(&nodes);
	assert_int_equal(objects_of(2), 100);
	real_nodes_end(&nodes);
}

/* ---- what is damaged ---- */

static int flip_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	unsigned char byte;
	FILE *f;

	(void)where;
	if (type != FTW_F || !strstr(path, "/objects/") || st->st_size < 5000)
		return 0;
	f = fopen(path, "r+");
	assert_non_null(f);
	assert_int_equal(fseek(f, 4500, SEEK_SET), 0);
	assert_int_equal(fread(&byte, 1, 1, f), 1);
	byte ^= 4;
	assert_int_equal(fseek(f, 4500, SEEK_SET), 0);
	assert_int_equal(fwrite(&byte, 1, 1, f), 1);
	assert_int_equal(fclose(f), 0);
	return 0;
}

static void damaged_copies_are_never_given_and_are_mended(void **state)
{
	struct object_store_stats stats;
	struct object_scrub_stats scrubbed;

	(void)state;
	NEEDS_ETCD;
	real_nodes_begin(&nodes, &etcd, 3, 3, 2);
	put_some(0, 30, 1);
	real_nodes_calm(&nodes);
	/* All that one node has. */
	assert_int_equal(nftw(nodes.node[0].data, flip_one, 16, FTW_PHYS), 0);
	for (int pass = 0; pass < 3; pass++)
		read_some(0, 30, 1);
	assert_int_equal(object_scrub_pass(nodes.node[0].node->objects, NULL, NULL, &scrubbed), 0);
	real_nodes_heal(&nodes, 0);
	nanosleep(&(struct timespec){ .tv_nsec = 300000000 }, NULL);
	real_nodes_calm(&nodes);
	object_store_stats(nodes.node[0].node->objects, &stats);
	assert_true(stats.damaged > 0);
	real_nodes_stop(&nodes, 1);
	real_nodes_stop(&nodes, 2);
	real_nodes_start(&nodes, 2);
	read_some(0, 30, 1);
	real_nodes_end(&nodes);
}

/* Why the last pass was not complete; "": it was. */
static void why_not_complete(size_t i, char why[ERROR_TEXT_MAX])
{
	struct node *n = nodes.node[i].node;
	struct heal_look l = { .heal = n->heal };

	assert_int_equal(loop_run(n->loop, look_at_heal, &l), 0);
	snprintf(why, ERROR_TEXT_MAX, "%s", l.stats.last_error);
}

/* The second node has lost something, and may have been one of those that took what only the first has, where it is damaged. */
static void what_is_damaged_where_it_is_left_was_not_got_back(void **state)
{
	struct object_scrub_stats scrubbed;
	char why[ERROR_TEXT_MAX];

	(void)state;
	NEEDS_ETCD;
	begin_without_passes();
	nanosleep(&(struct timespec){ .tv_sec = 1, .tv_nsec = 500000000 }, NULL);
	real_nodes_calm(&nodes);
	assert_int_equal(put_made(nodes.node[0].node->objects, "p/left", 5, 9000, 0, OBJECT_RULE_COPY, NULL), 0);
	assert_int_equal(nftw(nodes.node[0].data, flip_one, 16, FTW_PHYS), 0);
	assert_int_equal(object_scrub_pass(nodes.node[0].node->objects, NULL, NULL, &scrubbed), 0);
	/* Whose answers count lacks nothing that it took. */
	assert_true(heals_when_asked(1, 2));
	why_not_complete(1, why);
	assert_string_equal(why, "");
	atomic_fetch_sub(&nodes.node[1].node->objects->recovered, 1);
	assert_true(heals_when_asked(1, 2));
	why_not_complete(1, why);
	assert_non_null(strstr(why, "p/left"));
	assert_non_null(strstr(why, "damaged"));
	/* One that is asked later has it. */
	assert_int_equal(put_made(nodes.node[2].node->objects, "p/left", 5, 9000, 0, OBJECT_RULE_COPY, NULL), 0);
	assert_true(heals_when_asked(1, 2));
	why_not_complete(1, why);
	assert_string_equal(why, "");
	assert_int_equal(objects_of(1), 1);
	real_nodes_end(&nodes);
}

static int group_setup(void **state)
{
	(void)state;
	return sodium_init() < 0 ? -1 : etcd_server_start(&etcd, "1", __FILE__);
}

static int group_teardown(void **state)
{
	(void)state;
	etcd_server_stop(&etcd);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_node_alone_is_a_store),
		cmocka_unit_test(parts_of_an_object_are_read),
		cmocka_unit_test(a_node_that_was_away_gets_what_it_missed),
		cmocka_unit_test(without_a_quorum_nothing_is_said_to_be_done),
		cmocka_unit_test(a_wiped_node_is_filled_again_before_it_counts),
		cmocka_unit_test(a_node_joins_and_another_leaves),
		cmocka_unit_test(a_pass_is_not_put_off_by_who_asks_for_another),
		cmocka_unit_test(a_pause_of_copying_may_end_while_a_node_is_waited_for),
		cmocka_unit_test(who_had_lost_something_is_asked_again_after_all_others),
		cmocka_unit_test(a_node_that_is_full_does_not_fetch_what_it_cannot_keep),
		cmocka_unit_test(damaged_copies_are_never_given_and_are_mended),
		cmocka_unit_test(what_is_damaged_where_it_is_left_was_not_got_back),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
