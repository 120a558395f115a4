/* SPDX-License-Identifier: GPL-3.0-only */
/* test_reconcile.c: what is here of a log, against what is in the store, when an image is opened. */
#include "lib/image_fixture.h"
#include "lib/spy_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define GRAIN 4096u
#define ROUNDS 6u

static struct image_fixture fixture;

static int set_up(void **state)
{
	(void)state;
	image_fixture_init(&fixture, false);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	image_fixture_destroy(&fixture);
	return 0;
}

/* A disk of ROUNDS segments, all in the store; the last grain of each says in which round it was written. */
static uint64_t make_disk(void)
{
	uint8_t buf[GRAIN];
	struct image *i;

	image_fixture_open(&fixture, 0);
	uint64_t id = image_fixture_create(fixture.engine, "disk");
	i = image_fixture_open_image(fixture.engine, "disk");
	assert_int_equal(resize_wait(i, 2ull * ROUNDS * GRAIN), 0);
	for (unsigned k = 0; k < ROUNDS; k++) {
		memset(buf, (int)k + 1, sizeof buf);
		assert_int_equal(write_wait(i, 2ull * k * GRAIN, buf, sizeof buf), sizeof buf);
		assert_int_equal(write_wait(i, (2ull * k + 1) * GRAIN, buf, sizeof buf), sizeof buf);
		assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
	}
	image_fixture_close_image(i);
	image_fixture_close(&fixture);
	return id;
}

static void check_disk(void)
{
	uint8_t buf[GRAIN];
	struct image *i = image_fixture_open_image(fixture.engine, "disk");

	for (unsigned k = 0; k < 2 * ROUNDS; k++) {
		assert_int_equal(read_wait(i, (uint64_t)k * GRAIN, buf, sizeof buf), sizeof buf);
		for (unsigned b = 0; b < sizeof buf; b++)
			assert_int_equal(buf[b], k / 2 + 1);
	}
	image_fixture_close_image(i);
}

/* As the power leaves a segment whose file was not synced yet while the store had it already: open, and without its last record
 * and slot. False when it is not here. */
static bool unsync(uint64_t id, segment_no_t number)
{
	char path[400];
	uint8_t sector[SEGMENT_HEADER_BYTES], zeros[GRAIN] = { 0 };
	struct segment_header h;

	snprintf(path, sizeof path, "%s/images/%016llx/%016llx.seg", fixture.cache[0], (unsigned long long)id,
	         (unsigned long long)number);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return false;
	assert_int_equal(pread(fd, sector, sizeof sector, 0), sizeof sector);
	assert_int_equal(segment_header_decode(sector, &h, NULL), 0);
	uint32_t records = h.record_count, slots = h.slot_count;
	h.state = SEGMENT_OPEN;
	h.record_count = h.slot_count = 0;
	memset(h.prev_digest, 0, sizeof h.prev_digest);
	memset(h.digest, 0, sizeof h.digest);
	segment_header_encode(&h, sector);
	struct segment_shape shape;
	assert_int_equal(segment_shape(h.slot_bytes, h.slots * h.slot_bytes, &shape), 0);
	assert_int_equal(pwrite(fd, sector, sizeof sector, 0), sizeof sector);
	assert_int_equal(pwrite(fd, zeros, RECORD_BYTES, SEGMENT_INDEX_OFFSET + (off_t)(records - 1) * RECORD_BYTES),
	                 RECORD_BYTES);
	if (slots)
		assert_int_equal(pwrite(fd, zeros, GRAIN, (off_t)segment_slot_offset(&shape, slots - 1)), GRAIN);
	assert_int_equal(close(fd), 0);
	return true;
}

static bool is_set_aside(uint64_t id)
{
	char path[400];
	struct stat st;

	snprintf(path, sizeof path, "%s/images/%016llx/lost", fixture.cache[0], (unsigned long long)id);
	return stat(path, &st) == 0;
}

/* What the store has counts, and nobody is told of a loss. */
static void test_segment_that_is_whole_in_the_store_only_is_taken_from_there(void **state)
{
	bool lose_db = *state != NULL;
	unsigned unsynced = 0;
	uint64_t id = make_disk();

	for (segment_no_t n = 1; n <= ROUNDS + 2; n++)
		unsynced += unsync(id, n);
	assert_true(unsynced >= ROUNDS);
	if (lose_db)
		image_fixture_lose_db(&fixture, 0);
	image_fixture_open(&fixture, 0);
	check_disk();
	assert_false(is_set_aside(id));
	image_fixture_close(&fixture);
	image_fixture_verify(&fixture);
}

static void test_the_same_without_sqlite(void **state)
{
	*state = &fixture;
	test_segment_that_is_whole_in_the_store_only_is_taken_from_there(state);
}

/* ---- what another host went on without ---- */

#define UNSENT 8u

/* Host 0 ends with UNSENT segments and more that are not in the store. Its own id is `*self`. */
static uint64_t leave_unsent(struct host *self)
{
	static struct spy_store spy;
	uint8_t buf[GRAIN];
	struct error err = { 0 };

	fixture.options.stop_deadline_ms = 100;
	image_fixture_open(&fixture, 0);
	*self = fixture.engine->host;
	spy_store_over(&spy, fixture.engine->pool->store);
	fixture.engine->pool->store = &spy.store;
	uint64_t id = image_fixture_create(fixture.engine, "disk");
	struct image *i = image_fixture_open_image(fixture.engine, "disk");
	memset(buf, 'x', sizeof buf);
	assert_int_equal(write_wait(i, 0, buf, sizeof buf), sizeof buf);
	assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
	atomic_store(&spy.put_error, -EIO);
	memset(buf, 'a', sizeof buf);
	for (unsigned k = 0; k < UNSENT; k++) {
		assert_int_equal(write_wait(i, GRAIN, buf, sizeof buf), sizeof buf);
		assert_int_equal(write_wait(i, 0, buf, sizeof buf), sizeof buf);
		log_close_segment(atomic_load(&i->log));
	}
	image_fixture_close_image(i);
	assert_int_equal(engine_close(fixture.engine, &err), -EAGAIN);
	fixture.engine = NULL;
	spy_store_destroy(&spy);
	fixture.options.stop_deadline_ms = 0;
	return id;
}

/* Host 1 takes over, and goes on for some segments, fewer than are left. */
static void go_on_elsewhere(void)
{
	uint8_t buf[GRAIN];
	struct node_attr attr;
	struct error err = { 0 };

	image_fixture_open(&fixture, 1);
	assert_int_equal(engine_lookup(fixture.engine, NODE_ROOT, "disk", &attr, &err), 0);
	assert_int_equal(engine_takeover(fixture.engine, attr.id, &err), 0);
	struct image *i = image_fixture_open_image(fixture.engine, "disk");
	memset(buf, 'b', sizeof buf);
	assert_int_equal(write_wait(i, GRAIN, buf, sizeof buf), sizeof buf);
	assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
	image_fixture_close_image(i);
	image_fixture_close(&fixture);
}

/* Claims the image for a host that then gets no further. Returns the end of the log. */
static segment_no_t claim_only(uint64_t id, const struct host *self)
{
	struct log_view view;
	struct error err = { 0 };
	struct pool *pool;
	segment_no_t end;

	assert_int_equal(pool_open(fixture.store, NULL, NULL, &pool, &err), 0);
	assert_int_equal(log_view_load(pool, id, &view, &err), 0);
	assert_int_equal(log_find_end_from(pool, id, &view, 0, &end, &err), 0);
	assert_int_equal(epoch_claim(pool, id, self, &view, &err), 0);
	log_view_destroy(&view);
	pool_close(pool);
	return end;
}

/* As if host 0 had crashed when it had begun segment `last`. */
static void cut_local(uint64_t id, segment_no_t last)
{
	char path[400];

	assert_true(unsync(id, last));
	for (segment_no_t n = last + 1; n < last + 2 * UNSENT; n++) {
		snprintf(path, sizeof path, "%s/images/%016llx/%016llx.seg", fixture.cache[0], (unsigned long long)id,
		         (unsigned long long)n);
		assert_true(!unlink(path) || errno == ENOENT);
	}
}

/* The claim of one who got no further makes nothing a part of the log that another host has gone on with. */
static void test_claim_alone_makes_nothing_part_of_the_log(void **state)
{
	uint8_t buf[GRAIN];
	struct host self;

	(void)state;
	uint64_t id = leave_unsent(&self);
	go_on_elsewhere();
	segment_no_t end = claim_only(id, &self);
	cut_local(id, end + 1);
	image_fixture_open(&fixture, 0);
	struct image *i = image_fixture_open_image(fixture.engine, "disk");
	assert_int_equal(read_wait(i, GRAIN, buf, sizeof buf), sizeof buf);
	for (unsigned b = 0; b < sizeof buf; b++)
		assert_int_equal(buf[b], 'b');
	image_fixture_close_image(i);
	assert_true(is_set_aside(id));
	image_fixture_close(&fixture);
	image_fixture_verify(&fixture);
}

/* Opens it for reading, and reads the grain that every segment writes. */
static uint8_t read_by_opening(void)
{
	uint8_t buf[GRAIN];
	struct error err = { 0 };
	struct node_attr attr;
	struct image *i = NULL;

	if (engine_lookup(fixture.engine, NODE_ROOT, "disk", &attr, &err) ||
	    image_open(fixture.engine, attr.id, IMAGE_READ, &i, &err))
		fail_msg("%s", error_text(&err));
	assert_int_equal(read_wait(i, GRAIN, buf, sizeof buf), sizeof buf);
	image_close(i, IMAGE_READ);
	return buf[GRAIN / 2];
}

/* Who only reads takes what is left here for the log's end, as long as it is that; another host's segments have the same numbers. */
static void test_a_reader_does_not_go_on_from_unsent_segments_in_another_log(void **state)
{
	uint8_t buf[GRAIN];
	struct error err = { 0 };
	struct host self;

	(void)state;
	uint64_t id = leave_unsent(&self);
	fixture.options.read_only = true;
	image_fixture_open(&fixture, 0);
	assert_int_equal(read_by_opening(), 'a');
	fixture.options.read_only = false;
	struct engine *other = image_fixture_open_beside(&fixture, 1);
	struct node_attr attr;
	assert_int_equal(engine_lookup(other, NODE_ROOT, "disk", &attr, &err), 0);
	assert_int_equal(attr.id, id);
	assert_int_equal(engine_takeover(other, id, &err), 0);
	struct image *i = image_fixture_open_image(other, "disk");
	memset(buf, 'b', sizeof buf);
	assert_int_equal(write_wait(i, GRAIN, buf, sizeof buf), sizeof buf);
	assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
	image_fixture_close_image(i);
	assert_int_equal(engine_close(other, &err), 0);
	assert_int_equal(read_by_opening(), 'b');
	image_fixture_close(&fixture);
}

/* ---- a checkpoint of which the store has the beginning only ---- */

#define LEAVES 300u /* their nodes are more than a segment holds */

static void write_leaves(struct image *i, unsigned from, unsigned end, uint8_t value)
{
	uint8_t buf[GRAIN];

	memset(buf, value, sizeof buf);
	for (unsigned k = from; k < end; k++)
		assert_int_equal(write_wait(i, (uint64_t)k * MAP_FANOUT * GRAIN, buf, sizeof buf), sizeof buf);
}

static void check_leaves(struct image *i, unsigned from, unsigned end, uint8_t value)
{
	uint8_t buf[GRAIN];

	for (unsigned k = from; k < end; k++) {
		assert_int_equal(read_wait(i, (uint64_t)k * MAP_FANOUT * GRAIN, buf, sizeof buf), sizeof buf);
		for (unsigned b = 0; b < sizeof buf; b++)
			assert_int_equal(buf[b], value);
	}
}

/* Host 0 ends when its checkpoint runs over into a segment that the store does not get. */
static void leave_half_a_checkpoint(void)
{
	static struct spy_store spy;
	struct timespec pause = { .tv_nsec = 1000000 };
	struct error err = { 0 };

	fixture.options.stop_deadline_ms = 100;
	fixture.options.seal_after_ms = 600000;
	fixture.options.map_memory = 16u << 20;
	image_fixture_open(&fixture, 0);
	spy_store_over(&spy, fixture.engine->pool->store);
	fixture.engine->pool->store = &spy.store;
	image_fixture_create(fixture.engine, "disk");
	struct image *i = image_fixture_open_image(fixture.engine, "disk");
	assert_int_equal(resize_wait(i, (uint64_t)LEAVES * MAP_FANOUT * GRAIN), 0);
	write_leaves(i, 0, LEAVES, 'x');
	assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
	write_leaves(i, 0, 1, 'a');
	segment_no_t first = log_position(atomic_load(&i->log)).segment;
	assert_int_equal(save_now(i, true), 0);
	assert_true(i->saved.checkpoint.segment > first && i->saved.position.segment == first);
	while (upload_stored(i->upload) < i->saved.checkpoint.segment - 1)
		nanosleep(&pause, NULL);
	atomic_store(&spy.put_error, -EIO);
	image_fixture_close_image(i);
	assert_int_equal(engine_close(fixture.engine, &err), -EAGAIN);
	fixture.engine = NULL;
	spy_store_destroy(&spy);
	fixture.options.stop_deadline_ms = 0;
	fixture.options.seal_after_ms = 100;
}

/* Where the nodes of that checkpoint were to lie is what another host wrote: no later checkpoint may lead there. */
static void test_checkpoint_that_the_log_went_on_without_is_nowhere(void **state)
{
	struct error err = { 0 };
	struct node_attr attr;

	(void)state;
	leave_half_a_checkpoint();
	image_fixture_open(&fixture, 1);
	assert_int_equal(engine_lookup(fixture.engine, NODE_ROOT, "disk", &attr, &err), 0);
	assert_int_equal(engine_takeover(fixture.engine, attr.id, &err), 0);
	struct image *i = image_fixture_open_image(fixture.engine, "disk");
	write_leaves(i, 1, 2, 'b');
	assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
	image_fixture_close_image(i);
	image_fixture_close(&fixture);

	image_fixture_open(&fixture, 0);
	i = image_fixture_open_image(fixture.engine, "disk");
	write_leaves(i, 2, 3, 'c');
	assert_int_equal(save_now(i, true), 0);
	image_fixture_close_image(i);
	image_fixture_close(&fixture);

	image_fixture_lose_cache(&fixture, 1);
	image_fixture_open(&fixture, 1);
	i = image_fixture_open_image(fixture.engine, "disk");
	check_leaves(i, 0, 1, 'a');
	check_leaves(i, 1, 2, 'b');
	check_leaves(i, 2, 3, 'c');
	check_leaves(i, 3, LEAVES, 'x');
	image_fixture_close_image(i);
	image_fixture_close(&fixture);
	image_fixture_verify(&fixture);
}

static unsigned count_files(const char *below)
{
	char path[400];
	unsigned count = 0;
	struct dirent *e;

	snprintf(path, sizeof path, "%s/%s", fixture.cache[0], below);
	DIR *dir = opendir(path);
	while (dir && (e = readdir(dir)))
		count += strstr(e->d_name, ".seg") != NULL;
	if (dir)
		assert_int_equal(closedir(dir), 0);
	return count;
}

static void check_grain(struct image *i, uint64_t at, char expected)
{
	uint8_t buf[GRAIN];

	assert_int_equal(read_wait(i, at, buf, sizeof buf), sizeof buf);
	for (unsigned b = 0; b < sizeof buf; b++)
		assert_int_equal(buf[b], expected);
}

/* Host 1 has the image open and writes it, while host 0, which has segments that are no part of it, reads. */
static void test_what_another_host_owns_is_read_beside_unsent_segments(void **state)
{
	uint8_t buf[GRAIN];
	struct error err = { 0 };
	struct node_attr attr;
	struct image *writer, *reader;
	struct host self;
	char lost[64];

	(void)state;
	fixture.options.lease_ms = 1000;
	uint64_t id = leave_unsent(&self);
	snprintf(lost, sizeof lost, "images/%016llx/lost", (unsigned long long)id);
	assert_int_equal(count_files(lost), 0);
	image_fixture_open(&fixture, 1);
	assert_int_equal(engine_lookup(fixture.engine, NODE_ROOT, "disk", &attr, &err), 0);
	assert_int_equal(engine_takeover(fixture.engine, attr.id, &err), 0);
	writer = image_fixture_open_image(fixture.engine, "disk");
	memset(buf, 'b', sizeof buf);
	assert_int_equal(write_wait(writer, GRAIN, buf, sizeof buf), sizeof buf);
	assert_int_equal(flush_wait(writer, IMAGE_FLUSH_REMOTE), 0);

	struct engine *other = image_fixture_open_beside(&fixture, 0);
	assert_int_equal(engine_lookup(other, NODE_ROOT, "disk", &attr, &err), 0);
	if (image_open(other, attr.id, IMAGE_READ, &reader, &err))
		fail_msg("%s", error_text(&err));
	check_grain(reader, 0, 'x');
	check_grain(reader, GRAIN, 'b');
	assert_true(count_files(lost) >= UNSENT);
	image_close(reader, IMAGE_READ);
	assert_false(image_is_owned(other, id));
	/* Segments with the numbers of those that were left. */
	for (unsigned k = 0; k < 2 * UNSENT; k++) {
		memset(buf, 'c' + (int)k, sizeof buf);
		assert_int_equal(write_wait(writer, 0, buf, sizeof buf), sizeof buf);
		assert_int_equal(flush_wait(writer, IMAGE_FLUSH_REMOTE), 0);
	}
	assert_int_equal(image_open(other, attr.id, IMAGE_READ, &reader, &err), 0);
	check_grain(reader, 0, 'c' + 2 * UNSENT - 1);
	check_grain(reader, GRAIN, 'b');
	image_close(reader, IMAGE_READ);
	assert_int_equal(engine_close(other, &err), 0);
	image_fixture_close_image(writer);
}

/* Whoever has claimed it may get no further: then what is left here goes on with the log. */
static void test_what_another_host_only_claims_keeps_its_unsent_segments(void **state)
{
	struct error err = { 0 };
	struct node_attr attr;
	struct image *i;
	struct host self;

	(void)state;
	fixture.options.lease_ms = 1000;
	uint64_t id = leave_unsent(&self);
	/* Alive, as it owns another one. */
	image_fixture_open(&fixture, 1);
	image_fixture_create(fixture.engine, "another");
	struct image *another = image_fixture_open_image(fixture.engine, "another");
	(void)claim_only(id, &fixture.engine->host);
	struct engine *other = image_fixture_open_beside(&fixture, 0);
	/* Its size would be that of all that is here. */
	assert_int_equal(engine_lookup(other, NODE_ROOT, "disk", &attr, &err), -EBUSY);
	assert_non_null(strstr(error_text(&err), "try again"));
	assert_false(is_set_aside(id));
	image_fixture_close_image(another);
	image_fixture_close(&fixture);
	assert_int_equal(engine_lookup(other, NODE_ROOT, "disk", &attr, &err), 0);
	assert_int_equal(image_open(other, attr.id, IMAGE_READ, &i, &err), 0);
	check_grain(i, 0, 'a');
	check_grain(i, GRAIN, 'a');
	image_close(i, IMAGE_READ);
	assert_false(is_set_aside(id));
	assert_int_equal(engine_close(other, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_segment_that_is_whole_in_the_store_only_is_taken_from_there,
		                                set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_the_same_without_sqlite, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_claim_alone_makes_nothing_part_of_the_log, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_another_host_owns_is_read_beside_unsent_segments, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(test_what_another_host_only_claims_keeps_its_unsent_segments, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(test_a_reader_does_not_go_on_from_unsent_segments_in_another_log,
		                                set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_checkpoint_that_the_log_went_on_without_is_nowhere, set_up,
		                                tear_down),
	};

	alarm(300);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
