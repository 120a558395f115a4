/* SPDX-License-Identifier: GPL-3.0-only */
/* test_fetch_wait.c: headers and records of segments for those who open images: from the file here where it is sound, else from
 * the store, and never of another segment.
 */
#include "cache/fetch.h"

#include "lib/cache_fixture.h"
#include "lib/segment_forge.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct error err;

static int setup(void **state)
{
	memset(&err, 0, sizeof err);
	return cache_fixture_setup(state);
}

/* That the records of segment `number` can be had, and are those of `slots` grains (after one of the log's own, if `own`). */
static void assert_records(struct cache_fixture *c, segment_no_t number, uint32_t slots, bool own)
{
	struct record *records = NULL;
	size_t count = 0;
	int rc = fetch_records(&c->source, number, &records, &count, &err);

	if (rc)
		fail_msg("%d: %s", rc, error_text(&err));
	assert_int_equal(count, slots + own);
	for (uint32_t i = 0; i < slots; i++) {
		struct record want = fixture_record(number, i, i);
		assert_int_equal(records[i + own].kind, RECORD_DATA);
		assert_int_equal(records[i + own].slot, i);
		assert_int_equal(records[i + own].value, i);
		assert_int_equal(records[i + own].data_crc, want.data_crc);
	}
	free(records);
}

static int records_of(struct cache_fixture *c, segment_no_t number)
{
	struct record *records = NULL;
	size_t count = 0;
	int rc = fetch_records(&c->source, number, &records, &count, &err);

	if (!rc)
		free(records);
	return rc;
}

/* Segment 1 was written here and sealed, and is not in the store. */
static void write_unsent(struct cache_fixture *c)
{
	atomic_store(&c->in_store, 0);
	cache_fixture_start_log(c, 1);
	write_segment(c, 1, CHUNK_SLOTS);
	log_fixture_stop(&c->log);
}

/* ---- reading ---- */

static void *crowd_thread(void *arg)
{
	for (uint32_t i = 0; i < 4 * TEST_CHUNKS; i++)
		must(!read_chunk(arg, 1 + i % 4, i / 4), "a reader was refused");
	return NULL;
}

static void reader_waits_until_its_bytes_are_here(void **state)
{
	struct cache_fixture *c = *state;
	pthread_t thread[4];

	put_segments(c, 4);
	for (unsigned i = 0; i < 4; i++)
		must(!pthread_create(&thread[i], NULL, crowd_thread, c), "thread");
	for (unsigned i = 0; i < 4; i++)
		must(!pthread_join(thread[i], NULL), "join");
	/* Each chunk and each header once, whoever asked. */
	assert_int_equal(fixture_gets(c), 4 * (1 + TEST_CHUNKS));
}

static void reader_is_told_the_error(void **state)
{
	struct cache_fixture *c = *state;

	assert_int_equal(read_chunk(c, 1, 0), -EIO);
	atomic_store(&c->spy.get_error, -ETIMEDOUT);
	assert_int_equal(read_chunk(c, 1, 0), -ETIMEDOUT);
	atomic_store(&c->in_store, 0);
	assert_int_equal(read_chunk(c, 1, 0), -EIO);
}

/* ---- headers ---- */

static void header_is_read_from_the_store(void **state)
{
	struct cache_fixture *c = *state;
	struct segment_meta meta;

	put_segment(c, 7, 20);
	assert_int_equal(fetch_meta(&c->source, 7, &meta, &err), 0);
	assert_true(meta.image == TEST_IMAGE && meta.number == 7 && meta.epoch == TEST_EPOCH);
	assert_int_equal(meta.record_count, 20);
	assert_int_equal(meta.chunk_count, 2);
	assert_int_equal(atomic_load(&c->spy.gets), 1);
}

static void header_that_is_not_there_is_told_from_a_store_that_is_not(void **state)
{
	struct cache_fixture *c = *state;
	struct segment_meta meta;

	assert_int_equal(fetch_meta(&c->source, 1, &meta, &err), -ENOENT);
	put_segment(c, 1, 1);
	atomic_store(&c->spy.get_error, -ETIMEDOUT);
	assert_int_equal(fetch_meta(&c->source, 1, &meta, &err), -ETIMEDOUT);
	atomic_store(&c->spy.get_error, 0);
	atomic_store(&c->in_store, 0);
	unsigned gets = fixture_gets(c);
	assert_int_equal(fetch_meta(&c->source, 1, &meta, &err), -ENOENT);
	assert_non_null(strstr(error_text(&err), "segment 1 is not in the store"));
	assert_int_equal(fixture_gets(c), gets);
}

/* With every digest right: another pool, image, number or epoch. */
static void header_of_another_place_is_refused(void **state)
{
	struct cache_fixture *c = *state;
	static const uint32_t places[] = { 16, FORGE_IMAGE, FORGE_NUMBER, FORGE_NUMBER + 8 };
	struct segment_meta meta;
	size_t len;

	put_segment(c, 1, 1);
	uint8_t *object = get_object(c, 1, &len);
	for (unsigned i = 0; i < 4; i++) {
		object[places[i]] ^= 2;
		forge_header_tag(object);
		put_object(c, 1, object, len);
		assert_int_equal(fetch_meta(&c->source, 1, &meta, &err), -EBADMSG);
		if (!strstr(error_text(&err), "is a segment of another place"))
			fail_msg("place %u: %s", places[i], error_text(&err));
		assert_int_equal(records_of(c, 1), -EBADMSG);
		object[places[i]] ^= 2;
	}
	forge_header_tag(object);
	put_object(c, 1, object, len);
	assert_int_equal(fetch_meta(&c->source, 1, &meta, &err), 0);
	free(object);
}

static void damaged_header_is_refused_and_named(void **state)
{
	struct cache_fixture *c = *state;
	struct segment_meta meta;
	char key[STORE_KEY_MAX + 1];
	size_t len;

	put_segment(c, 1, 1);
	fixture_key(1, key);
	uint8_t *object = get_object(c, 1, &len);
	object[100] ^= 1;
	put_object(c, 1, object, len);
	assert_int_equal(fetch_meta(&c->source, 1, &meta, &err), -EBADMSG);
	assert_non_null(strstr(error_text(&err), key));
	object[100] ^= 1;
	put_object(c, 1, object, SEGMENT_OBJECT_HEADER - 1);
	assert_int_equal(fetch_meta(&c->source, 1, &meta, &err), -EBADMSG);
	free(object);
}

/* ---- records ---- */

static void records_come_from_the_store_when_the_segment_is_not_here(void **state)
{
	struct cache_fixture *c = *state;

	put_segment(c, 1, 40);
	assert_records(c, 1, 40, false);
	assert_int_equal(fixture_gets(c), 1);
	/* Nothing was made here by that. */
	assert_null(segment_pin_known(c->log.set, 1));
	assert_false(file_is_here(c, 1));
}

static void records_come_from_the_file_when_it_is_here(void **state)
{
	struct cache_fixture *c = *state;

	put_segment(c, 1, 40);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	unsigned gets = fixture_gets(c);
	assert_records(c, 1, 40, false);
	cache_fixture_restart(c);
	assert_records(c, 1, 40, false);
	assert_int_equal(fixture_gets(c), gets);
}

static void records_of_an_unsent_segment_come_from_its_file(void **state)
{
	struct cache_fixture *c = *state;

	write_unsent(c);
	assert_records(c, 1, CHUNK_SLOTS, true);
	cache_fixture_restart(c);
	assert_records(c, 1, CHUNK_SLOTS, true);
	assert_int_equal(fixture_gets(c), 0);
}

static void damaged_index_of_a_stored_segment_is_read_from_the_store(void **state)
{
	struct cache_fixture *c = *state;

	put_segment(c, 1, 40);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	spoil_file(c, 1, 4096 + 40);
	unsigned gets = fixture_gets(c);
	assert_records(c, 1, 40, false);
	assert_int_equal(fixture_gets(c), gets + 1);
}

static void damaged_index_of_an_unsent_segment_is_an_error(void **state)
{
	struct cache_fixture *c = *state;

	write_unsent(c);
	spoil_file(c, 1, 4096 + 40);
	assert_int_equal(records_of(c, 1), -EBADMSG);
	assert_int_equal(fixture_gets(c), 0);
}

/* Each record is sound by itself, but they are not those that the digest was made of. */
static void index_that_does_not_match_its_digest_is_not_used(void **state)
{
	struct cache_fixture *c = *state;

	put_segment(c, 1, 40);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	struct segment *s = segment_pin_known(c->log.set, 1);
	s->digest[3] ^= 1;
	unsigned gets = fixture_gets(c);
	assert_records(c, 1, 40, false);
	assert_int_equal(fixture_gets(c), gets + 1);
	atomic_store(&s->life, LIFE_SEALED);
	assert_int_equal(records_of(c, 1), -EBADMSG);
	assert_non_null(strstr(error_text(&err), "does not match its digest"));
	assert_int_equal(fixture_gets(c), gets + 1);
	atomic_store(&s->life, LIFE_STORED);
	segment_unpin(s);
}

static void damaged_index_in_the_store_is_refused(void **state)
{
	struct cache_fixture *c = *state;
	size_t len;

	put_segment(c, 1, 40);
	uint8_t *object = get_object(c, 1, &len);
	object[SEGMENT_OBJECT_HEADER + 9] ^= 1;
	put_object(c, 1, object, len);
	assert_int_equal(records_of(c, 1), -EBADMSG);
	object[SEGMENT_OBJECT_HEADER + 9] ^= 1;
	put_object(c, 1, object, SEGMENT_OBJECT_HEADER + 20);
	assert_int_equal(records_of(c, 1), -EBADMSG);
	free(object);
	atomic_store(&c->spy.get_error, -ETIMEDOUT);
	assert_int_equal(records_of(c, 1), -ETIMEDOUT);
}

/* It does not fit into what is asked for first. */
static void long_index_is_read_as_a_whole(void **state)
{
	struct cache_fixture *c = *state;
	const uint32_t count = 4096;
	struct record *records = calloc(count, sizeof *records), *got = NULL;
	size_t len, n = 0;
	uint64_t x = 1;

	for (uint32_t i = 0; i < count; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		records[i] =
			(struct record){ .kind = RECORD_TIMES, .slot = RECORD_NO_SLOT, .value = x, .time_ns = x * x };
	}
	uint8_t *object = fixture_pack(c, 1, 8u << 20, records, count, &len);
	assert_true(len > SEGMENT_OBJECT_META_GUESS + 100);
	put_object(c, 1, object, len);
	assert_int_equal(fetch_records(&c->source, 1, &got, &n, &err), 0);
	assert_int_equal(n, count);
	for (uint32_t i = 0; i < count; i++)
		assert_true(got[i].value == records[i].value && got[i].time_ns == records[i].time_ns);
	assert_int_equal(fixture_gets(c), 2);
	free(got);
	free(object);
	object = fixture_pack(c, 2, 8u << 20, records, count, &len);
	put_object(c, 2, object, SEGMENT_OBJECT_META_GUESS + 100);
	assert_int_equal(records_of(c, 2), -EBADMSG);
	free(object);
	free(records);
}

static int read_first_slots(struct cache_fixture *c, segment_no_t number)
{
	static uint8_t buf[8 * TEST_GRAIN];
	int rc = fetch_read_wait(&c->source, number, 0, 0, buf, sizeof buf);

	assert_true(rc || fixture_right(number, 0, 0, buf, sizeof buf));
	return rc;
}

/* Of the segment with which an image is opened. */
static void one_request_brings_all_of_a_small_segment(void **state)
{
	struct cache_fixture *c = *state;
	struct segment_meta meta;

	put_segment(c, 1, 8);
	assert_int_equal(fetch_head(&c->source, 1, &meta, &err), 0);
	assert_int_equal(meta.record_count, 8);
	atomic_store(&c->spy.get_error, -ETIMEDOUT);
	assert_int_equal(fetch_meta(&c->source, 1, &meta, &err), 0);
	assert_int_equal(records_of(c, 1), 0);
	assert_int_equal(read_first_slots(c, 1), 0);
	assert_int_equal(atomic_load(&c->spy.gets), 1);
	/* Of another one nothing is known. */
	put_segment(c, 2, 8);
	assert_int_equal(fetch_meta(&c->source, 2, &meta, &err), -ETIMEDOUT);
}

/* Not the same damaged bytes again. */
static void what_came_damaged_is_asked_for_again(void **state)
{
	struct cache_fixture *c = *state;
	struct segment_meta meta;
	size_t len;

	put_segment(c, 1, 8);
	uint8_t *object = get_object(c, 1, &len);
	object[len - 1] ^= 1; /* of the chunk */
	put_object(c, 1, object, len);
	assert_int_equal(fetch_head(&c->source, 1, &meta, &err), 0);
	object[len - 1] ^= 1;
	put_object(c, 1, object, len);
	assert_int_equal(read_first_slots(c, 1), 0);
	/* And of the index. */
	put_segment(c, 2, 8);
	free(object);
	object = get_object(c, 2, &len);
	object[SEGMENT_OBJECT_HEADER + 9] ^= 1;
	put_object(c, 2, object, len);
	assert_int_equal(fetch_head(&c->source, 2, &meta, &err), 0);
	assert_int_equal(records_of(c, 2), -EBADMSG);
	object[SEGMENT_OBJECT_HEADER + 9] ^= 1;
	put_object(c, 2, object, len);
	assert_int_equal(records_of(c, 2), 0);
	free(object);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, cache_fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(reader_waits_until_its_bytes_are_here),
		T(reader_is_told_the_error),
		T(header_is_read_from_the_store),
		T(header_that_is_not_there_is_told_from_a_store_that_is_not),
		T(header_of_another_place_is_refused),
		T(damaged_header_is_refused_and_named),
		T(records_come_from_the_store_when_the_segment_is_not_here),
		T(records_come_from_the_file_when_it_is_here),
		T(records_of_an_unsent_segment_come_from_its_file),
		T(damaged_index_of_a_stored_segment_is_read_from_the_store),
		T(damaged_index_of_an_unsent_segment_is_an_error),
		T(index_that_does_not_match_its_digest_is_not_used),
		T(damaged_index_in_the_store_is_refused),
		T(long_index_is_read_as_a_whole),
		T(one_request_brings_all_of_a_small_segment),
		T(what_came_damaged_is_asked_for_again),
	};

	alarm(180);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
