/* SPDX-License-Identifier: GPL-3.0-only */
/* test_recover.c: what is made of the segments that a crash left: where the log ends, what is deleted and in which order, and
 * when nothing may be.
 */
#include "log/recover.h"

#include "lib/log_fixture.h"
#include "lib/random.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define SEGMENTS_MAX 8
#define RECORDS_MAX 48
#define INDEX_OFFSET 4096

/* ---- a directory as a crash leaves it ---- */

struct built {
	struct record records[RECORDS_MAX];
	size_t count;
	bool sealed;
};

struct crashed {
	struct log_fixture log;
	uint8_t digest[DIGEST_BYTES]; /* of the segment built last */
	segment_no_t first, last;     /* numbers built */
	struct built built[SEGMENTS_MAX + 1];
	char changes[400]; /* what recovery did to the disk, as the watch saw it */
	unsigned dropping;
};

static void see_change(void *arg, char change, int fd, uint64_t offset, const char *path)
{
	struct crashed *c = arg;
	size_t n = strlen(c->changes);
	const char *name = path ? strrchr(path, '/') : NULL;

	(void)fd;
	(void)offset;
	if (change == 'U' && name)
		snprintf(c->changes + n, sizeof c->changes - n, "U%llu ", strtoull(name + 1, NULL, 16));
	else
		snprintf(c->changes + n, sizeof c->changes - n, "%c ", change);
}

static void crashed_init(struct crashed *c)
{
	memset(c, 0, sizeof *c);
	log_fixture_init(&c->log);
	c->first = 1;
	c->log.disk.watch = see_change;
	c->log.disk.watch_arg = c;
}

static int setup(void **state)
{
	struct crashed *c = malloc(sizeof *c);

	must(c != NULL, "memory");
	crashed_init(c);
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	struct crashed *c = *state;

	log_fixture_destroy(&c->log);
	free(c);
	return 0;
}

static struct segment_file *new_file(struct crashed *c, segment_no_t number)
{
	struct segment_header h = { .image = TEST_IMAGE, .number = number, .epoch = 1, .slot_bytes = TEST_GRAIN };
	char *path = segment_path(c->log.set, number), *spare;
	struct segment_file *f;

	memcpy(h.pool, test_pool, sizeof h.pool);
	must(!spare_take(c->log.spares, c->log.shape.file_bytes, &spare, NULL), "spare");
	must(!segment_file_create(disk_posix(), spare, c->log.images, path, &h, TEST_SEGMENT, &f, NULL), "create");
	free(spare);
	free(path);
	return f;
}

/* Writes the record as the next of the segment, with the bytes of its slot. */
static void put(struct segment_file *f, struct built *b, struct record r, uint32_t *slot)
{
	uint8_t bytes[TEST_GRAIN];
	struct iovec iov = { bytes, sizeof bytes };

	must(b->count < RECORDS_MAX, "too many records");
	r.slot = RECORD_NO_SLOT;
	if (record_has_slot(r.kind)) {
		test_grain(r.value, f->header.number, bytes);
		r.slot = (uint16_t)*slot;
		r.data_crc = crc32c(0, bytes, sizeof bytes);
		must(!segment_file_write_slots(f, (*slot)++, &iov, 1), "write");
	}
	must(!segment_file_put_records(f, (uint32_t)b->count, &r, 1), "put a record");
	b->records[b->count++] = r;
}

/* The segment after the last one built, with `count` records: one that says how long the one before is, then grains. */
static void build(struct crashed *c, size_t count, bool sealed)
{
	segment_no_t number = c->last ? c->last + 1 : c->first;
	struct built *b = &c->built[number - c->first];
	struct segment_file *f = new_file(c, number);
	uint32_t slot = 0;

	must(number - c->first < SEGMENTS_MAX, "too many segments");
	*b = (struct built){ .sealed = sealed };
	if (count)
		put(f, b, (struct record){ .kind = RECORD_FOLLOWS, .value = number > c->first ? (b - 1)->count : 0 },
		    &slot);
	while (b->count < count)
		put(f, b, (struct record){ .kind = RECORD_DATA, .value = number * 100 + b->count, .count = 1 }, &slot);
	uint8_t digest[DIGEST_BYTES];
	must(!segment_digest(TEST_IMAGE, number, c->digest, b->records, b->count, digest), "digest");
	if (sealed)
		must(!segment_file_seal(f, (uint32_t)b->count, slot, c->digest, digest, NULL), "seal");
	memcpy(c->digest, digest, sizeof c->digest);
	c->last = number;
	segment_file_close(f);
}

/* Turns over one byte of a segment's file. */
static void damage(struct crashed *c, segment_no_t number, uint64_t offset)
{
	char *path = segment_path(c->log.set, number);
	int fd = open(path, O_RDWR);
	uint8_t byte = 0;

	must(fd >= 0 && pread(fd, &byte, 1, (off_t)offset) == 1, "read");
	byte ^= 0x10;
	must(pwrite(fd, &byte, 1, (off_t)offset) == 1 && !close(fd), "write");
	free(path);
}

static uint64_t record_at(size_t number)
{
	return INDEX_OFFSET + number * RECORD_BYTES + 9;
}

static uint64_t slot_at(const struct crashed *c, size_t slot)
{
	return segment_slot_offset(&c->log.shape, (uint32_t)slot) + 1234;
}

static void remove_segment(struct crashed *c, segment_no_t number)
{
	char *path = segment_path(c->log.set, number);

	must(!unlink(path), "unlink");
	free(path);
}

static bool exists(struct crashed *c, segment_no_t number)
{
	char *path = segment_path(c->log.set, number);
	bool there = !access(path, F_OK);

	free(path);
	return there;
}

/* ---- a daemon that starts ---- */

static void see_dropping(void *arg, struct segment *s)
{
	struct crashed *c = arg;

	must(exists(c, s->number), "told too late");
	c->dropping++;
}

static int recover_after(struct crashed *c, struct recovery *r, segment_no_t last, struct error *err)
{
	segment_set_free(c->log.set);
	c->log.set = log_fixture_new_set(&c->log);
	must(!segment_set_scan(c->log.set, NULL), "scan");
	c->changes[0] = 0;
	c->dropping = 0;
	*r = (struct recovery){ .last = last, .image_size = 4711, .dropping = see_dropping, .arg = c };
	*err = (struct error){ 0 };
	return log_recover(c->log.set, r, err);
}

static int recover(struct crashed *c, struct recovery *r)
{
	struct error err;

	return recover_after(c, r, c->first - 1, &err);
}

/* The digest of the last of the segments up to `last`, of which that one has only its first `count` records. */
static void digest_up_to(const struct crashed *c, segment_no_t last, size_t count, uint8_t digest[DIGEST_BYTES])
{
	uint8_t prev[DIGEST_BYTES];

	memset(digest, 0, DIGEST_BYTES);
	for (segment_no_t n = c->first; n <= last; n++) {
		const struct built *b = &c->built[n - c->first];
		memcpy(prev, digest, sizeof prev);
		must(!segment_digest(TEST_IMAGE, n, prev, b->records, n == last ? count : b->count, digest), "digest");
	}
}

/* The log ends after `count` records of segment `last`, all of it is sealed, and nothing else is there. */
static void assert_ends(struct crashed *c, const struct recovery *r, segment_no_t last, size_t count)
{
	uint8_t digest[DIGEST_BYTES];
	struct segment_header h;

	assert_int_equal(r->last, last);
	digest_up_to(c, last, count, digest);
	assert_memory_equal(r->digest, digest, DIGEST_BYTES);
	for (segment_no_t n = c->first; n <= last; n++) {
		size_t want = n == last ? count : c->built[n - c->first].count;
		assert_int_equal(header_of(&c->log, n, &h), 0);
		assert_int_equal(h.state, SEGMENT_SEALED);
		assert_int_equal(h.record_count, want);
		assert_int_equal(h.slot_count, want - 1);
		struct segment *s = segment_pin_known(c->log.set, n);
		assert_int_equal(atomic_load(&s->life), LIFE_SEALED);
		assert_int_equal(s->record_count, want);
		assert_int_equal(s->slot_count, want - 1);
		assert_memory_equal(s->digest, h.digest, DIGEST_BYTES);
		assert_memory_equal(s->prev_digest, h.prev_digest, DIGEST_BYTES);
		assert_int_equal(atomic_load(&s->pins), 1);
		segment_unpin(s);
	}
	for (segment_no_t n = last + 1; n <= c->last; n++) {
		assert_false(exists(c, n));
		assert_null(segment_pin_known(c->log.set, n));
	}
}

/* Refused, with words that contain `text`, and the directory is as it was. */
static void assert_refused(struct crashed *c, const char *text)
{
	struct recovery r;
	struct error err;

	assert_int_equal(recover_after(c, &r, c->first - 1, &err), -EBADMSG);
	assert_non_null(strstr(error_text(&err), text));
	assert_null(strchr(c->changes, 'U'));
	assert_int_equal(r.dropped, 0);
	assert_int_equal(c->dropping, 0);
}

/* ---- where the log ends ---- */

static void directory_without_segments_recovers_to_nothing(void **state)
{
	struct crashed *c = *state;
	struct recovery r;

	assert_int_equal(recover(c, &r), 0);
	assert_int_equal(r.last, 0);
	assert_int_equal(r.segments, 0);
	assert_int_equal(r.dropped, 0);
	assert_int_equal(r.image_size, 4711);
	assert_string_equal(c->changes, "");
}

static void sealed_segments_count_whole_and_are_not_touched(void **state)
{
	struct crashed *c = *state;
	struct recovery r;

	for (unsigned i = 1; i < 4; i++)
		build(c, 5 * i, true);
	assert_int_equal(recover(c, &r), 0);
	assert_int_equal(r.segments, 3);
	assert_int_equal(r.dropped, 0);
	assert_string_equal(c->changes, "");
	assert_ends(c, &r, 3, 15);
}

static void open_segment_that_is_whole_is_sealed(void **state)
{
	struct crashed *c = *state;
	struct recovery r;

	build(c, 5, true);
	build(c, 9, false);
	assert_int_equal(recover(c, &r), 0);
	assert_int_equal(r.segments, 2);
	assert_int_equal(r.dropped, 0);
	assert_ends(c, &r, 2, 9);
}

static void open_segment_ends_at_the_first_bad_record(void **state)
{
	struct crashed *c = *state;
	struct recovery r;

	build(c, 5, true);
	build(c, 9, false);
	damage(c, 2, record_at(6));
	damage(c, 2, record_at(4));
	assert_int_equal(recover(c, &r), 0);
	assert_ends(c, &r, 2, 4);
}

static void open_segment_ends_at_the_first_record_whose_slot_is_torn(void **state)
{
	struct crashed *c = *state;
	struct recovery r;

	build(c, 9, false);
	damage(c, 1, slot_at(c, 6)); /* of record 7 */
	assert_int_equal(recover(c, &r), 0);
	assert_ends(c, &r, 1, 7);
}

static void open_segment_goes_on_where_the_one_before_is_whole(void **state)
{
	struct crashed *c = *state;
	struct recovery r;

	build(c, 3, false);
	build(c, 4, false);
	build(c, 5, false);
	assert_int_equal(recover(c, &r), 0);
	assert_int_equal(r.segments, 3);
	assert_int_equal(r.dropped, 0);
	assert_ends(c, &r, 3, 5);
}

static void successors_of_an_incomplete_segment_are_dropped(void **state)
{
	struct crashed *c = *state;
	struct recovery r;

	build(c, 3, true);
	build(c, 9, false);
	build(c, 5, false); /* both whole in themselves */
	build(c, 6, false);
	damage(c, 2, record_at(8));
	assert_int_equal(recover(c, &r), 0);
	assert_int_equal(r.segments, 2);
	assert_int_equal(r.dropped, 2);
	assert_int_equal(c->dropping, 2);
	assert_ends(c, &r, 2, 8);
}

static void successor_that_does_not_say_what_it_follows_is_dropped(void **state)
{
	struct crashed *c = *state;
	struct segment_file *f;
	struct recovery r;
	uint32_t slot = 0;

	build(c, 3, false);
	f = new_file(c, 2);
	put(f, &c->built[1], (struct record){ .kind = RECORD_DATA, .value = 3, .count = 1 }, &slot);
	segment_file_close(f);
	c->last = 2;
	assert_int_equal(recover(c, &r), 0);
	assert_int_equal(r.dropped, 1);
	assert_ends(c, &r, 1, 3);
}

static void segment_made_ahead_and_never_written_is_dropped(void **state)
{
	struct crashed *c = *state;
	struct recovery r;

	build(c, 3, true);
	build(c, 4, false);
	build(c, 0, false);
	assert_int_equal(recover(c, &r), 0);
	assert_int_equal(r.segments, 2);
	assert_int_equal(r.dropped, 1);
	assert_ends(c, &r, 2, 4);
}

static void segment_of_which_nothing_is_whole_is_dropped(void **state)
{
	struct crashed *c = *state;
	struct recovery r;

	build(c, 3, false);
	build(c, 4, false);
	damage(c, 2, record_at(0));
	assert_int_equal(recover(c, &r), 0);
	assert_int_equal(r.dropped, 1);
	assert_ends(c, &r, 1, 3);
}

static void log_ends_before_a_missing_segment(void **state)
{
	struct crashed *c = *state;
	struct recovery r;

	build(c, 3, true);
	build(c, 4, false);
	build(c, 5, false);
	remove_segment(c, 2);
	assert_int_equal(recover(c, &r), 0);
	assert_int_equal(r.dropped, 1);
	assert_ends(c, &r, 1, 3);
}

static void segments_that_the_store_has_are_not_looked_at(void **state)
{
	struct crashed *c = *state;
	struct recovery r;
	struct error err;

	build(c, 3, true);
	build(c, 3, true);
	damage(c, 1, record_at(1));
	damage(c, 2, record_at(1));
	assert_int_equal(recover_after(c, &r, 2, &err), 0);
	assert_int_equal(r.last, 2);
	assert_int_equal(r.segments, 0);
	assert_true(exists(c, 1) && exists(c, 2));
	assert_string_equal(c->changes, "");
}

static void size_and_checkpoint_are_those_of_the_last_record_that_counts(void **state)
{
	struct crashed *c = *state;
	struct segment_file *f;
	struct recovery r;
	uint32_t slot = 0;

	build(c, 2, true);
	for (segment_no_t n = 2; n <= 3; n++) {
		struct built *b = &c->built[n - 1];
		f = new_file(c, n);
		put(f, b, (struct record){ .kind = RECORD_FOLLOWS, .value = n == 2 ? 2 : 4 }, &slot);
		put(f, b, (struct record){ .kind = RECORD_RESIZE, .value = n << 20 }, &slot);
		slot = 0;
		put(f, b, (struct record){ .kind = RECORD_CHECKPOINT, .count = 1 }, &slot);
		put(f, b, (struct record){ .kind = RECORD_RESIZE, .value = n << 30 }, &slot);
		segment_file_close(f);
	}
	c->last = 3;
	damage(c, 3, slot_at(c, 0));
	assert_int_equal(recover(c, &r), 0);
	assert_int_equal(r.last, 3);
	assert_true(r.image_size == 3u << 20);
	assert_int_equal(r.checkpoint.segment, 2);
	assert_int_equal(r.checkpoint.record, 2);
	for (segment_no_t n = 1; n <= 3; n++) {
		struct segment *s = segment_pin_known(c->log.set, n);
		assert_true(s->image_size == (n == 1 ? 4711 : n == 2 ? UINT64_C(2) << 30 : 3u << 20));
		assert_int_equal(s->checkpoint.segment, n == 1 ? 0 : 2);
		segment_unpin(s);
	}
}

static void chunks_of_what_was_verified_are_present_and_none_behind(void **state)
{
	struct crashed *c = *state;
	struct recovery r;
	uint32_t per_chunk = CHUNK_BYTES / TEST_GRAIN;

	build(c, 2 * per_chunk + 5, false);
	damage(c, 1, record_at(per_chunk + 2));
	assert_int_equal(recover(c, &r), 0);
	struct segment *s = segment_pin_known(c->log.set, 1);
	for (uint32_t i = 0; i < s->shape.chunks; i++)
		assert_int_equal(segment_chunk_state(s, i), i < 2 ? CHUNK_PRESENT : CHUNK_ABSENT);
	segment_unpin(s);
}

/* ---- when nothing may be deleted ---- */

static void damaged_sealed_segment_is_told_and_nothing_is_deleted(void **state)
{
	struct crashed *c = *state;

	build(c, 3, true);
	build(c, 4, true);
	build(c, 5, false);
	damage(c, 2, record_at(2));
	assert_refused(c, "0000000000000002.seg");
	assert_true(exists(c, 1) && exists(c, 2) && exists(c, 3));
}

static void sealed_segment_of_another_chain_is_told_and_nothing_is_deleted(void **state)
{
	struct crashed *c = *state;

	build(c, 3, true);
	c->digest[5] ^= 1;
	build(c, 4, true);
	build(c, 0, false); /* even one without records */
	assert_refused(c, "0000000000000002.seg");
	assert_true(exists(c, 1) && exists(c, 2) && exists(c, 3));
}

static void damaged_header_is_told_and_nothing_is_deleted(void **state)
{
	struct crashed *c = *state;

	build(c, 3, true);
	build(c, 4, false);
	build(c, 5, false);
	damage(c, 2, 100);
	assert_refused(c, "0000000000000002.seg");
	assert_true(exists(c, 1) && exists(c, 2) && exists(c, 3));
}

static void damaged_header_behind_the_end_is_told_and_nothing_is_deleted(void **state)
{
	struct crashed *c = *state;

	build(c, 4, false);
	build(c, 5, false);
	build(c, 6, false);
	damage(c, 1, record_at(3));
	damage(c, 3, 100);
	assert_refused(c, "segment 3");
	assert_true(exists(c, 1) && exists(c, 2) && exists(c, 3));
}

static void sealed_segment_behind_an_incomplete_one_is_told_and_nothing_is_deleted(void **state)
{
	struct crashed *c = *state;
	struct segment_header h;

	/* No crash leaves this: the first was sealed, on the disk, before the second was. */
	build(c, 4, false);
	build(c, 5, true);
	damage(c, 1, record_at(3));
	assert_refused(c, "segment 2");
	assert_int_equal(header_of(&c->log, 1, &h), 0);
	assert_int_equal(h.state, SEGMENT_OPEN);
	assert_true(exists(c, 2));
}

static void sealed_segment_behind_a_missing_one_is_told_and_nothing_is_deleted(void **state)
{
	struct crashed *c = *state;

	build(c, 3, true);
	build(c, 4, true);
	build(c, 5, true);
	remove_segment(c, 2);
	assert_refused(c, "segment 3");
	assert_true(exists(c, 3));
}

static void disk_that_cannot_be_read_is_an_error_and_nothing_is_deleted(void **state)
{
	struct crashed *c = *state;
	struct recovery r;

	build(c, 4, false);
	build(c, 5, false);
	segment_set_free(c->log.set);
	c->log.set = log_fixture_new_set(&c->log);
	assert_int_equal(segment_set_scan(c->log.set, NULL), 0);
	atomic_store(&c->log.disk.open_error, -EIO);
	r = (struct recovery){ 0 };
	assert_int_equal(log_recover(c->log.set, &r, NULL), -EIO);
	atomic_store(&c->log.disk.open_error, 0);
	assert_true(exists(c, 1) && exists(c, 2));
	assert_int_equal(recover(c, &r), 0);
	assert_ends(c, &r, 2, 5);
}

/* ---- order, and recovery that is cut off ---- */

static void build_incomplete(struct crashed *c)
{
	build(c, 3, true);
	build(c, 4, false);
	build(c, 9, false);
	build(c, 5, false);
	build(c, 6, false);
	build(c, 7, false);
	damage(c, 3, record_at(7));
}

static void dropped_segments_go_highest_first_and_before_the_last_one_is_sealed(void **state)
{
	struct crashed *c = *state;
	struct recovery r;

	build_incomplete(c);
	assert_int_equal(recover(c, &r), 0);
	/* Segment 2: data and records written anew, synced, header written, synced. Then what is dropped, for good; then segment 3. */
	assert_string_equal(c->changes, "W W S W S U6 U5 U4 D W W S W S ");
	assert_ends(c, &r, 3, 7);
}

static void recovery_twice_gives_the_same(void **state)
{
	struct crashed *c = *state;
	struct recovery first, second;

	build_incomplete(c);
	assert_int_equal(recover(c, &first), 0);
	assert_int_equal(recover(c, &second), 0);
	assert_string_equal(c->changes, "");
	assert_int_equal(second.segments, first.segments);
	assert_int_equal(second.dropped, 0);
	assert_int_equal(second.image_size, first.image_size);
	assert_ends(c, &second, 3, 7);
}

static void recovery_that_is_cut_off_anywhere_ends_at_the_same_place(void **state)
{
	struct crashed *c = *state;
	struct recovery r;
	int rc = -1, changes;

	for (changes = 0; rc; changes++) {
		log_fixture_destroy(&c->log);
		crashed_init(c);
		build_incomplete(c);
		atomic_store(&c->log.disk.changes_left, changes);
		rc = recover(c, &r);
		assert_true(rc == 0 || rc == -EIO);
		atomic_store(&c->log.disk.changes_left, 1 << 30);
		assert_int_equal(recover(c, &r), 0);
		assert_ends(c, &r, 3, 7);
	}
	assert_int_equal(changes - 1, 14);
}

static void segment_that_cannot_be_synced_is_not_sealed(void **state)
{
	struct crashed *c = *state;
	struct segment_header h;
	struct recovery r;

	build(c, 4, false);
	atomic_store(&c->log.disk.sync_error, -EIO);
	assert_int_equal(recover(c, &r), -EIO);
	assert_int_equal(header_of(&c->log, 1, &h), 0);
	assert_int_equal(h.state, SEGMENT_OPEN);
	assert_int_equal(r.last, 0);
}

static void log_goes_on_after_a_recovery(void **state)
{
	struct crashed *c = *state;
	struct log_fixture *f = &c->log;
	struct recovery r, again;

	build_incomplete(c);
	assert_int_equal(recover(c, &r), 0);
	f->disk.watch = NULL; /* it is for one thread */
	struct log_options o = log_fixture_options(f);
	o.next = r.last + 1;
	memcpy(o.prev_digest, r.digest, sizeof o.prev_digest);
	f->log = log_new(&o);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(append_grains(f->log, i, TEST_SLOTS, 1), 0);
		assert_int_equal(append_grains(f->log, i, 1, 1), 0);
	}
	segment_no_t last = log_position(f->log).segment;
	assert_int_equal(log_flush_wait(f->log), 0);
	log_fixture_stop(f);
	assert_int_equal(recover(c, &again), 0);
	assert_int_equal(again.last, last);
	assert_int_equal(again.segments, last);
	assert_int_equal(again.dropped, 0);
}

/* ---- anything anywhere ---- */

/* Some segments sealed, the rest open, and one place of an open one damaged: the log ends right there. */
static void damage_at_random(struct crashed *c, struct random *r)
{
	unsigned segments = 2 + (unsigned)random_below(r, 4), sealed = (unsigned)random_below(r, segments);
	struct recovery result;

	for (unsigned i = 0; i < segments; i++)
		build(c, 2 + random_below(r, 20), i < sealed);
	segment_no_t hurt = sealed + 1 + random_below(r, segments - sealed);
	size_t record = random_below(r, c->built[hurt - 1].count);
	if (record && random_once_in(r, 2))
		damage(c, hurt, segment_slot_offset(&c->log.shape, (uint32_t)record - 1) + random_below(r, TEST_GRAIN));
	else
		damage(c, hurt, INDEX_OFFSET + record * RECORD_BYTES + random_below(r, RECORD_BYTES));
	assert_int_equal(recover(c, &result), 0);
	if (record)
		assert_ends(c, &result, hurt, record);
	else if (hurt > 1)
		assert_ends(c, &result, hurt - 1, c->built[hurt - 2].count);
	else
		assert_int_equal(result.last, 0);
	assert_int_equal(result.dropped, segments - (record ? hurt : hurt - 1));
}

static void log_ends_exactly_where_it_is_damaged(void **state)
{
	struct crashed *c = *state;
	struct random r = { test_seed() };

	for (unsigned round = 0; round < 60; round++) {
		log_fixture_destroy(&c->log);
		crashed_init(c);
		damage_at_random(c, &r);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(directory_without_segments_recovers_to_nothing),
		T(sealed_segments_count_whole_and_are_not_touched),
		T(open_segment_that_is_whole_is_sealed),
		T(open_segment_ends_at_the_first_bad_record),
		T(open_segment_ends_at_the_first_record_whose_slot_is_torn),
		T(open_segment_goes_on_where_the_one_before_is_whole),
		T(successors_of_an_incomplete_segment_are_dropped),
		T(successor_that_does_not_say_what_it_follows_is_dropped),
		T(segment_made_ahead_and_never_written_is_dropped),
		T(segment_of_which_nothing_is_whole_is_dropped),
		T(log_ends_before_a_missing_segment),
		T(segments_that_the_store_has_are_not_looked_at),
		T(size_and_checkpoint_are_those_of_the_last_record_that_counts),
		T(chunks_of_what_was_verified_are_present_and_none_behind),
		T(damaged_sealed_segment_is_told_and_nothing_is_deleted),
		T(sealed_segment_of_another_chain_is_told_and_nothing_is_deleted),
		T(damaged_header_is_told_and_nothing_is_deleted),
		T(damaged_header_behind_the_end_is_told_and_nothing_is_deleted),
		T(sealed_segment_behind_an_incomplete_one_is_told_and_nothing_is_deleted),
		T(sealed_segment_behind_a_missing_one_is_told_and_nothing_is_deleted),
		T(disk_that_cannot_be_read_is_an_error_and_nothing_is_deleted),
		T(dropped_segments_go_highest_first_and_before_the_last_one_is_sealed),
		T(recovery_twice_gives_the_same),
		T(recovery_that_is_cut_off_anywhere_ends_at_the_same_place),
		T(segment_that_cannot_be_synced_is_not_sealed),
		T(log_goes_on_after_a_recovery),
		T(log_ends_exactly_where_it_is_damaged),
	};

	alarm(300);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
