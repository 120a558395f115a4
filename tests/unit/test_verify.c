/* SPDX-License-Identifier: GPL-3.0-only */
/* test_verify.c: a pool with an image of two terms and a checkpoint, whole, and damaged in every way that verify looks for. */
#include "image/catalog_entry.h"
#include "image/snapshot.h"
#include "image/verify.h"
#include "lib/pool_fixture.h"
#include "lib/weak_store.h"
#include "map/checkpoint.h"
#include "map/grain_map.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define DATA_SEGMENTS 12 /* more than are in flight */
#define TERM_FIRST 7     /* where the second term begins */
#define NODES_SEGMENT (DATA_SEGMENTS + 1)
#define LAST (DATA_SEGMENTS + 2)

static const struct host alpha = { .id = 0xa, .name = "alpha" };
static char dir[200];
static struct pool *pool;
static uint64_t image;
static struct error err;
static struct verify_report report;
static uint8_t end_digest[DIGEST_BYTES];

/* How the image is to be wrong, while it is made. */
static struct {
	map_entry_t leaf_entry;  /* of grain 100 */
	map_entry_t inner_entry; /* in the root, of grains no image has */
	uint64_t node_index;     /* added to the leaf's index */
	bool break_chain;        /* before segment 5 */
	bool no_checkpoint_said; /* the last segment denies it */
	bool damaged_body;
} wrong;

static uint64_t epoch_of(segment_no_t number)
{
	return number < TERM_FIRST ? 1 : 2;
}

static void begin_term(segment_no_t first)
{
	struct log_view view;

	assert_int_equal(log_view_load(pool, image, &view, &err), 0);
	assert_int_equal(epoch_claim(pool, image, &alpha, &view, &err), 0);
	if (epoch_begin_term(pool, image, &view, first, &err))
		fail_msg("%s", error_text(&err));
	log_view_destroy(&view);
}

/* One node of each level, with these entries. */
static map_entry_t add_node(struct fixture_segment *s, unsigned level, uint64_t index, const map_entry_t *entries)
{
	uint8_t bytes[MAP_NODE_BYTES];

	map_node_encode(entries, bytes);
	return map_entry(0, NODES_SEGMENT, fixture_add(s, RECORD_NODE, (uint8_t)level, index, bytes, sizeof bytes));
}

/* A segment with the nodes and one with the checkpoint. */
static void put_checkpoint(uint8_t digest[DIGEST_BYTES])
{
	struct fixture_segment *s = calloc(1, sizeof *s);
	map_entry_t entries[MAP_FANOUT] = { 0 }, child;
	struct checkpoint c = { .position = { NODES_SEGMENT, 0 }, .size = 1 << 20, .allocated = DATA_SEGMENTS };
	uint8_t body[CHECKPOINT_BYTES];

	assert_non_null(s);
	for (segment_no_t n = 1; n <= DATA_SEGMENTS; n++)
		entries[n] = map_entry(0, n, 0);
	entries[100] = wrong.leaf_entry;
	child = add_node(s, 0, wrong.node_index, entries);
	for (unsigned level = 1; level < MAP_LEVELS; level++) {
		memset(entries, 0, sizeof entries);
		entries[0] = child;
		if (level == MAP_LEVELS - 1)
			entries[5] = wrong.inner_entry;
		child = add_node(s, level, 0, entries);
	}
	fixture_put_segment(pool, image, NODES_SEGMENT, 2, s, digest);

	memset(s, 0, sizeof *s);
	c.root = child;
	checkpoint_encode(&c, body);
	if (wrong.damaged_body)
		body[40] ^= 1;
	fixture_add(s, RECORD_CHECKPOINT, 0, 0, body, sizeof body);
	if (!wrong.no_checkpoint_said)
		s->checkpoint = (struct log_position){ LAST, 0 };
	fixture_put_segment(pool, image, LAST, 2, s, digest);
	free(s);
}

static void make_image(void)
{
	struct catalog *c = catalog_new(pool, NULL);
	struct catalog_entry d = { .parent = NODE_ROOT, .name = "d", .type = NODE_DIRECTORY },
			     e = { .name = "vm.raw", .type = NODE_FILE };
	struct head head = { .epoch = 2, .checkpoint = { LAST, 0 }, .grain_bytes = 4096 };

	assert_non_null(c);
	memset(end_digest, 0, sizeof end_digest);
	assert_int_equal(catalog_create(c, &d, &err), 0);
	e.parent = d.id;
	assert_int_equal(catalog_create(c, &e, &err), 0);
	catalog_free(c);
	image = e.id;
	begin_term(1);
	for (segment_no_t n = 1; n <= DATA_SEGMENTS; n++) {
		if (n == TERM_FIRST)
			begin_term(n);
		if (n == 5 && wrong.break_chain)
			end_digest[0] ^= 1;
		fixture_put_small(pool, image, n, epoch_of(n), end_digest);
	}
	put_checkpoint(end_digest);
	assert_int_equal(head_save(pool, image, &head, &err), 0);
}

static int setup(void **state)
{
	(void)state;
	fixture_make_dir(dir);
	pool = fixture_open_pool(dir, true);
	memset(&err, 0, sizeof err);
	memset(&wrong, 0, sizeof wrong);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pool_close(pool);
	fixture_remove_dir(dir);
	return 0;
}

static void verify(const char *path)
{
	int rc = pool_verify(pool, path, &report, NULL, NULL, &err);

	if (rc)
		fail_msg("%d: %s", rc, error_text(&err));
	assert_int_equal(report.text_count, report.errors < VERIFY_TEXTS ? report.errors : VERIFY_TEXTS);
}

/* That exactly one thing is found, and how it is called. */
static void finds(const char *what)
{
	verify(NULL);
	if (report.errors != 1 || !strstr(report.text[0], what)) {
		for (size_t i = 0; i < report.text_count; i++)
			print_error("found: %s\n", report.text[i]);
		fail_msg("%llu errors, looked for one: %s", (unsigned long long)report.errors, what);
	}
}

/* Changes byte `at` of a stored segment (from its end, when negative). */
static void damage(segment_no_t number, long at)
{
	static uint8_t bytes[1 << 20];
	char key[STORE_KEY_MAX + 1];
	size_t len;

	segment_key_format(image, number, epoch_of(number), key);
	assert_int_equal(store_get_wait(pool->store, key, 0, bytes, sizeof bytes, &len, &err), 0);
	bytes[at < 0 ? (long)len + at : at] ^= 1;
	assert_int_equal(store_put_wait(pool->store, key, bytes, len, 0, &err), 0);
}

static void a_whole_pool_has_no_errors(void **state)
{
	(void)state;
	make_image();
	verify(NULL);
	for (size_t i = 0; i < report.text_count; i++)
		print_error("found: %s\n", report.text[i]);
	assert_int_equal(report.errors, 0);
	assert_int_equal(report.images, 1);
	assert_int_equal(report.segments, LAST);
	assert_int_equal(report.stray, 0);
	assert_true(report.bytes > LAST * SEGMENT_OBJECT_HEADER);
	verify("/d/vm.raw");
	assert_int_equal(report.segments, LAST);
}

static void a_path_that_is_no_image_is_refused(void **state)
{
	(void)state;
	make_image();
	assert_int_equal(pool_verify(pool, "d", &report, NULL, NULL, &err), -EISDIR);
	assert_int_equal(pool_verify(pool, "d/none", &report, NULL, NULL, &err), -ENOENT);
	assert_int_equal(pool_verify(pool, "d/vm.raw/x", &report, NULL, NULL, &err), -ENOTDIR);
}

static void an_image_without_a_log_is_whole(void **state)
{
	struct catalog *c = catalog_new(pool, NULL);
	struct catalog_entry e = { .parent = NODE_ROOT, .name = "new", .type = NODE_FILE };

	(void)state;
	assert_non_null(c);
	assert_int_equal(catalog_create(c, &e, &err), 0);
	catalog_free(c);
	verify(NULL);
	assert_int_equal(report.images, 1);
	assert_int_equal(report.errors, 0);
}

static void segments_that_do_not_count_are_stray_and_no_errors(void **state)
{
	char key[STORE_KEY_MAX + 1];
	static const struct {
		segment_no_t number;
		uint64_t epoch;
	} strays[] = { { 3, 2 }, { TERM_FIRST, 1 }, { LAST + 1, 1 }, { LAST + 2, 2 }, { 1, 9 } };

	(void)state;
	make_image();
	for (size_t i = 0; i < 5; i++) {
		segment_key_format(image, strays[i].number, strays[i].epoch, key);
		assert_int_equal(store_put_wait(pool->store, key, "rubbish", 7, 0, &err), 0);
	}
	verify(NULL);
	assert_int_equal(report.errors, 0);
	assert_int_equal(report.stray, 5);
	assert_int_equal(report.segments, LAST);
}

static void a_damaged_header_is_found(void **state)
{
	(void)state;
	make_image();
	damage(4, 48);
	finds("d/vm.raw: segment 4: segment object damaged");
}

static void a_damaged_index_is_found(void **state)
{
	(void)state;
	make_image();
	damage(4, SEGMENT_OBJECT_HEADER + 1);
	finds("segment 4: ");
}

static void a_damaged_chunk_is_found(void **state)
{
	(void)state;
	make_image();
	damage(9, -1);
	finds("segment 9: chunk 0: ");
}

static void a_truncated_segment_is_found(void **state)
{
	uint8_t bytes[20000];
	char key[STORE_KEY_MAX + 1];
	size_t len;

	(void)state;
	make_image();
	segment_key_format(image, 9, 2, key);
	assert_int_equal(store_get_wait(pool->store, key, 0, bytes, sizeof bytes, &len, &err), 0);
	assert_int_equal(store_put_wait(pool->store, key, bytes, len - 1, 0, &err), 0);
	finds("segment 9: cut short");
}

static void a_segment_in_another_s_place_is_found(void **state)
{
	uint8_t bytes[20000];
	char key[STORE_KEY_MAX + 1];
	size_t len;

	(void)state;
	make_image();
	segment_key_format(image, 3, 1, key);
	assert_int_equal(store_get_wait(pool->store, key, 0, bytes, sizeof bytes, &len, &err), 0);
	segment_key_format(image, 4, 1, key);
	assert_int_equal(store_put_wait(pool->store, key, bytes, len, 0, &err), 0);
	finds("segment 4: its place holds segment 3");
}

static void a_missing_segment_is_found_and_the_rest_is_checked(void **state)
{
	char key[STORE_KEY_MAX + 1];

	(void)state;
	make_image();
	segment_key_format(image, 4, 1, key);
	assert_int_equal(store_remove_wait(pool->store, key, &err), 0);
	finds("segment 4 is missing");
	assert_int_equal(report.segments, LAST - 1);
	assert_int_equal(report.stray, 0);
}

static void a_broken_chain_is_found(void **state)
{
	(void)state;
	wrong.break_chain = true;
	make_image();
	finds("segment 5: does not follow");
}

static void a_leaf_entry_that_points_at_nothing_is_found(void **state)
{
	const struct {
		map_entry_t entry;
		const char *found;
	} cases[] = {
		{ map_entry(0, 2, 1), "grain 100 points at slot 1 of segment 2" },
		{ map_entry(0, 999, 0), "grain 100 is said to be in layer 0, segment 999" },
		{ map_entry(3, 2, 0), "grain 100 is said to be in layer 3" },
		{ map_entry(0, NODES_SEGMENT, 1), "grain 100 points at slot 1 of segment 13, which holds no data" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		wrong.leaf_entry = cases[i].entry;
		make_image();
		finds(cases[i].found);
		teardown(NULL);
		setup(NULL);
	}
}

static void a_node_that_is_not_where_its_parent_says_is_found(void **state)
{
	(void)state;
	wrong.inner_entry = map_entry(0, 2, 0);
	make_image();
	finds("map node 2:5 is said to be in slot 0 of segment 2");
}

static void another_node_in_a_node_s_place_is_found(void **state)
{
	(void)state;
	wrong.node_index = 1;
	make_image();
	finds("map node 0:0 in slot 0 of segment 13: another thing is there");
}

static void a_checkpoint_that_the_header_does_not_know_is_found(void **state)
{
	(void)state;
	wrong.no_checkpoint_said = true;
	make_image();
	finds("says that the last checkpoint is in segment 0, it is in 14");
}

static void a_damaged_checkpoint_body_is_found(void **state)
{
	(void)state;
	wrong.damaged_body = true;
	make_image();
	verify(NULL);
	assert_true(report.errors >= 1);
	assert_non_null(strstr(report.text[0], "checkpoint is damaged"));
}

static void a_damaged_entry_of_the_catalog_is_found(void **state)
{
	(void)state;
	make_image();
	assert_int_equal(store_put_wait(pool->store, "names/0000000000000001/00112233445566778899aabbccddeeff",
	                                "rubbish", 7, 0, &err),
	                 0);
	finds("names/0000000000000001/00112233445566778899aabbccddeeff");
	assert_int_equal(report.segments, LAST);
}

static int damage_object(void *arg, const struct store_entry *entry)
{
	uint8_t bytes[4096];
	size_t len;

	(void)arg;
	assert_int_equal(store_get_wait(pool->store, entry->key, 0, bytes, sizeof bytes, &len, &err), 0);
	bytes[len / 2] ^= 1;
	assert_int_equal(store_put_wait(pool->store, entry->key, bytes, len, 0, &err), 0);
	return 0;
}

static void a_damaged_snapshot_is_found(void **state)
{
	struct snapshot s = {
		.segment = LAST,
		.grain_bytes = 4096,
		.info = { .name = "moment", .id = 7, .origin = 7, .time_ns = 1 },
	};
	char prefix[STORE_KEY_MAX + 1];

	(void)state;
	make_image();
	s.image = image;
	assert_int_equal(snapshot_save(pool, &s, true, &err), 0);
	verify(NULL);
	assert_int_equal(report.errors, 0);
	snprintf(prefix, sizeof prefix, "images/%016llx/snapshots/", (unsigned long long)image);
	assert_int_equal(store_list_each(pool->store, prefix, NULL, damage_object, NULL, &err), 0);
	finds("d/vm.raw: a snapshot cannot be read: object images/");
}

/* ---- what cannot be reached ---- */

static uint64_t create_in(struct catalog *c, uint64_t parent, const char *name, enum node_type type)
{
	struct catalog_entry e = { .parent = parent, .type = type };

	snprintf(e.name, sizeof e.name, "%s", name);
	if (catalog_create(c, &e, &err))
		fail_msg("%s", error_text(&err));
	return e.id;
}

static void key_of_entry(uint64_t parent, const char *name, char key[STORE_KEY_MAX + 1])
{
	struct entry_place place = entry_place(pool, parent, name);

	entry_key(&place, key);
}

static unsigned times_told(const char *what)
{
	unsigned count = 0;

	for (size_t i = 0; i < report.text_count; i++)
		count += strstr(report.text[i], what) != NULL;
	return count;
}

/* d/sub/deep, and the image d/vm.raw; then d has no entry any more, or one that cannot be read. */
static void what_lies_below_a_lost_directory_is_found_and_its_images_are_checked(void **state)
{
	char key[STORE_KEY_MAX + 1];

	(void)state;
	make_image();
	struct catalog *c = catalog_new(pool, NULL);
	struct catalog_entry d;
	assert_non_null(c);
	assert_int_equal(catalog_lookup(c, NODE_ROOT, "d", 0, &d, &err), 0);
	uint64_t sub = create_in(c, d.id, "sub", NODE_DIRECTORY);
	create_in(c, sub, "deep", NODE_FILE);
	create_in(c, NODE_ROOT, "well", NODE_FILE);
	catalog_free(c);
	verify(NULL);
	assert_int_equal(report.errors, 0);
	assert_int_equal(report.images, 3);
	key_of_entry(NODE_ROOT, "d", key);
	for (unsigned damaged = 0; damaged < 2; damaged++) {
		if (damaged)
			assert_int_equal(store_put_wait(pool->store, key, "rubbish", 7, 0, &err), 0);
		else
			assert_int_equal(store_remove_wait(pool->store, key, &err), 0);
		verify(NULL);
		assert_int_equal(report.errors, 3 + damaged);
		assert_int_equal(times_told("image 'vm.raw' cannot be reached"), 1);
		assert_int_equal(times_told("directory 'sub' cannot be reached"), 1);
		assert_int_equal(times_told("image 'deep' cannot be reached"), 1);
		assert_int_equal(report.images, 3);
		assert_int_equal(report.segments, LAST);
	}
	damage(9, -1);
	verify(NULL);
	assert_int_equal(report.errors, 5);
	assert_int_equal(times_told("/vm.raw: segment 9: chunk 0: "), 1);
}

/* As two hosts could bring about that move them at the same moment. */
static void directories_that_lie_in_each_other_are_found(void **state)
{
	struct catalog *c = catalog_new(pool, NULL);
	struct catalog_entry a, b;
	char key[STORE_KEY_MAX + 1];

	(void)state;
	assert_non_null(c);
	create_in(c, NODE_ROOT, "a", NODE_DIRECTORY);
	create_in(c, NODE_ROOT, "b", NODE_DIRECTORY);
	assert_int_equal(catalog_lookup(c, NODE_ROOT, "a", 0, &a, &err), 0);
	assert_int_equal(catalog_lookup(c, NODE_ROOT, "b", 0, &b, &err), 0);
	create_in(c, a.id, "vm.raw", NODE_FILE);
	catalog_free(c);
	for (int i = 0; i < 2; i++) {
		key_of_entry(NODE_ROOT, i ? "b" : "a", key);
		assert_int_equal(store_remove_wait(pool->store, key, &err), 0);
	}
	a.parent = b.id;
	b.parent = a.id;
	assert_int_equal(entry_write(pool, &a, 0, &err), 0);
	assert_int_equal(entry_write(pool, &b, 0, &err), 0);
	verify(NULL);
	assert_int_equal(report.errors, 3);
	assert_int_equal(times_told("cannot be reached"), 3);
	assert_int_equal(report.images, 1);
}

/* Passes everything on; the first listing does not show one key. */
struct missing_store {
	struct store store;
	struct store *below;
	char key[STORE_KEY_MAX + 1];
	bool shown;
};

struct missing_list {
	struct missing_store *store;
	store_list_fn *done;
	void *arg;
};

static void missing_get(struct store *s, const char *key, uint64_t offset, void *buf, size_t len, unsigned flags,
                        store_length_fn *done, void *arg)
{
	store_get(((struct missing_store *)s)->below, key, offset, buf, len, flags, done, arg);
}

static void missing_head(struct store *s, const char *key, store_length_fn *done, void *arg)
{
	store_head(((struct missing_store *)s)->below, key, done, arg);
}

static void leave_out(void *arg, int status, const struct store_entry *entries, size_t count, bool more,
                      const struct error *error)
{
	struct missing_list *l = arg;
	struct store_entry *shown = calloc(count + 1, sizeof *shown);
	size_t n = 0;

	if (!shown)
		abort();
	for (size_t i = 0; i < count; i++)
		if (strcmp(entries[i].key, l->store->key) != 0)
			shown[n++] = entries[i];
	l->done(l->arg, status, shown, n, more, error);
	free(shown);
	free(l);
}

static void missing_list(struct store *s, const char *prefix, const char *after, size_t max, store_list_fn *done,
                         void *arg)
{
	struct missing_store *m = (struct missing_store *)s;
	struct missing_list *l = malloc(sizeof *l);

	if (!l)
		abort();
	if (m->shown) {
		free(l);
		store_list(m->below, prefix, after, max, done, arg);
		return;
	}
	*l = (struct missing_list){ m, done, arg };
	m->shown = true;
	store_list(m->below, prefix, after, max, leave_out, l);
}

static const struct store_ops missing_ops = { .head = missing_head, .get = missing_get, .list = missing_list };

/* It was renamed while the names were listed. */
static void a_directory_that_a_listing_missed_is_not_lost(void **state)
{
	struct missing_store m;

	(void)state;
	make_image();
	m = (struct missing_store){ .store = *pool->store, .below = pool->store };
	m.store.ops = &missing_ops;
	key_of_entry(NODE_ROOT, "d", m.key);
	pool->store = &m.store;
	verify(NULL);
	pool->store = m.below;
	assert_true(m.shown);
	assert_int_equal(report.errors, 0);
	assert_int_equal(report.images, 1);
}

static void only_the_first_errors_are_told_and_all_are_counted(void **state)
{
	char key[STORE_KEY_MAX + 1];

	(void)state;
	make_image();
	for (unsigned i = 0; i < VERIFY_TEXTS + 5; i++) {
		snprintf(key, sizeof key, "names/0000000000000001/%032x", i);
		assert_int_equal(store_put_wait(pool->store, key, "rubbish", 7, 0, &err), 0);
	}
	verify(NULL);
	assert_int_equal(report.errors, VERIFY_TEXTS + 5);
	assert_int_equal(report.text_count, VERIFY_TEXTS);
}

struct stopping {
	unsigned calls, stop_after;
	segment_no_t highest;
};

static bool stop_after(void *arg, const char *path, uint64_t segment, uint64_t last)
{
	struct stopping *s = arg;

	assert_string_equal(path, "d/vm.raw");
	assert_int_equal(last, LAST);
	assert_true(segment <= last);
	if (segment > s->highest)
		s->highest = segment;
	return s->calls++ < s->stop_after;
}

static void it_can_be_stopped_at_any_time(void **state)
{
	struct stopping s;
	int rc = -EINTR;

	(void)state;
	make_image();
	for (unsigned n = 0; rc == -EINTR; n++) {
		s = (struct stopping){ .stop_after = n };
		rc = pool_verify(pool, NULL, &report, stop_after, &s, &err);
		assert_true(rc == 0 || rc == -EINTR);
		assert_true(n < 100);
	}
	assert_int_equal(rc, 0);
	assert_int_equal(report.errors, 0);
	assert_int_equal(s.highest, LAST);
	assert_true(s.calls > LAST);
}

static void a_store_that_fails_is_not_taken_for_a_whole_pool(void **state)
{
	struct faulty_store f;

	(void)state;
	make_image();
	faulty_put_in(&f, pool, 0, false);
	assert_int_equal(pool_verify(pool, NULL, &report, NULL, NULL, &err), -EIO);
	faulty_take_out(&f, pool);
}

/* They were put after the listing was made that is shown. */
static void segments_that_a_lagging_listing_does_not_show_are_read(void **state)
{
	static const segment_no_t late[] = { 4, LAST };
	static uint8_t bytes[2][1 << 20];
	char key[2][STORE_KEY_MAX + 1];
	struct weak_store w;
	size_t len[2];

	(void)state;
	make_image();
	for (int i = 0; i < 2; i++) {
		segment_key_format(image, late[i], epoch_of(late[i]), key[i]);
		assert_int_equal(store_get_wait(pool->store, key[i], 0, bytes[i], sizeof bytes[i], &len[i], &err), 0);
		assert_int_equal(store_remove_wait(pool->store, key[i], &err), 0);
	}
	weak_put_in(&w, pool, STORE_READ_LATEST);
	weak_lag(&w);
	for (int i = 0; i < 2; i++)
		assert_int_equal(store_put_wait(pool->store, key[i], bytes[i], len[i], 0, &err), 0);
	verify(NULL);
	assert_int_equal(report.errors, 0);
	assert_int_equal(report.segments, LAST);
	/* One that is not there is missing all the same. */
	assert_int_equal(store_remove_wait(pool->store, key[0], &err), 0);
	finds("segment 4 is missing");
	weak_take_out(&w, pool);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_whole_pool_has_no_errors),
		T(a_path_that_is_no_image_is_refused),
		T(an_image_without_a_log_is_whole),
		T(segments_that_do_not_count_are_stray_and_no_errors),
		T(a_damaged_header_is_found),
		T(a_damaged_index_is_found),
		T(a_damaged_chunk_is_found),
		T(a_truncated_segment_is_found),
		T(a_segment_in_another_s_place_is_found),
		T(a_missing_segment_is_found_and_the_rest_is_checked),
		T(a_broken_chain_is_found),
		T(a_leaf_entry_that_points_at_nothing_is_found),
		T(a_node_that_is_not_where_its_parent_says_is_found),
		T(another_node_in_a_node_s_place_is_found),
		T(a_checkpoint_that_the_header_does_not_know_is_found),
		T(a_damaged_checkpoint_body_is_found),
		T(a_damaged_entry_of_the_catalog_is_found),
		T(a_damaged_snapshot_is_found),
		T(what_lies_below_a_lost_directory_is_found_and_its_images_are_checked),
		T(directories_that_lie_in_each_other_are_found),
		T(a_directory_that_a_listing_missed_is_not_lost),
		T(only_the_first_errors_are_told_and_all_are_counted),
		T(it_can_be_stopped_at_any_time),
		T(segments_that_a_lagging_listing_does_not_show_are_read),
		T(a_store_that_fails_is_not_taken_for_a_whole_pool),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
