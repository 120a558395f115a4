/* SPDX-License-Identifier: GPL-3.0-only */
/* test_follow.c: an image that one host writes and another one holds open for reading. */
#include "lib/image_fixture.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GRAIN 4096u
#define FAR (300ull * GRAIN)
#define WITHIN_NS (60 * 1000000000ull)

static struct image_fixture fixture;

static int set_up(void **state)
{
	(void)state;
	image_fixture_init(&fixture, false);
	image_fixture_open(&fixture, 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	image_fixture_destroy(&fixture);
	return 0;
}

/* The writer's round: first the near grain, then the far one, which says what was put into the near one before. */
static void write_round(struct image *i, uint8_t round)
{
	uint8_t buf[GRAIN];

	memset(buf, round, sizeof buf);
	assert_int_equal(write_wait(i, 0, buf, sizeof buf), sizeof buf);
	assert_int_equal(write_wait(i, FAR, buf, sizeof buf), sizeof buf);
	assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
}

/* Open for writing, with round 1. */
static struct image *make_disk(void)
{
	struct image *i;

	image_fixture_create(fixture.engine, "disk");
	i = image_fixture_open_image(fixture.engine, "disk");
	assert_int_equal(resize_wait(i, FAR + GRAIN), 0);
	write_round(i, 1);
	return i;
}

static uint8_t read_grain(struct image *i, uint64_t offset)
{
	uint8_t buf[GRAIN];

	assert_int_equal(read_wait(i, offset, buf, sizeof buf), sizeof buf);
	for (unsigned k = 1; k < sizeof buf; k++)
		assert_int_equal(buf[k], buf[0]);
	return buf[0];
}

static struct image *open_to_read(struct engine *e)
{
	struct node_attr attr;
	struct error err = { 0 };
	struct image *i;

	assert_int_equal(engine_lookup(e, NODE_ROOT, "disk", &attr, &err), 0);
	assert_int_equal(image_open(e, attr.id, IMAGE_READ, &i, &err), 0);
	return i;
}

/* Until the reader sees the round. It sees no round before an earlier one, and the far grain never ahead of the near one. */
static void wait_for_round(struct image *reader, uint8_t round)
{
	uint64_t until = clock_monotonic_ns() + WITHIN_NS;
	uint8_t near = 0, far = 0;

	while (far != round) {
		uint8_t far_now = read_grain(reader, FAR), near_now = read_grain(reader, 0);

		assert_true(far_now >= far && near_now >= near);
		assert_true(near_now >= far_now && near_now <= round);
		far = far_now;
		near = near_now;
		if (clock_monotonic_ns() > until)
			fail_msg("round %u is not seen, but round %u", round, far);
		usleep(5000);
	}
}

static void test_open_reader_sees_what_the_owner_stores(void **state)
{
	struct engine *other;
	struct error err = { 0 };
	struct image *writer, *reader;
	struct node_attr attr;

	(void)state;
	writer = make_disk();
	other = image_fixture_open_beside(&fixture, 1);
	reader = open_to_read(other);
	assert_int_equal(read_grain(reader, FAR), 1);

	write_round(writer, 2);
	wait_for_round(reader, 2);

	/* Over a checkpoint, and with a new size. */
	assert_int_equal(save_now(writer, true), 0);
	assert_int_equal(resize_wait(writer, 2 * FAR), 0);
	write_round(writer, 3);
	wait_for_round(reader, 3);
	assert_int_equal(engine_getattr(other, reader->id, &attr, &err), 0);
	assert_int_equal(attr.size, 2 * FAR);

	/* It is still for reading only. */
	image_close(reader, IMAGE_READ);
	image_fixture_close_image(writer);
	assert_int_equal(engine_close(other, &err), 0);
}

/* The owner hands over; the host that has it open for reading becomes the owner without closing it. */
static void test_reader_becomes_owner(void **state)
{
	struct engine *other;
	struct error err = { 0 };
	struct image *writer, *reader;

	(void)state;
	writer = make_disk();
	other = image_fixture_open_beside(&fixture, 1);
	reader = open_to_read(other);
	write_round(writer, 2);
	image_fixture_close_image(writer);
	image_fixture_close(&fixture);

	writer = image_fixture_open_image(other, "disk");
	assert_ptr_equal(writer, reader);
	assert_int_equal(read_grain(reader, FAR), 2);
	write_round(writer, 3);
	assert_int_equal(read_grain(reader, FAR), 3);
	image_fixture_close_image(writer);
	image_close(reader, IMAGE_READ);
	assert_int_equal(engine_close(other, &err), 0);
}

/* Closing the engine while the other thread is at it. */
static void test_stops_while_following(void **state)
{
	struct error err = { 0 };
	struct image *writer;

	(void)state;
	writer = make_disk();
	for (unsigned k = 0; k < 8; k++) {
		struct engine *other = image_fixture_open_beside(&fixture, 1);
		struct image *reader = open_to_read(other);

		pthread_mutex_lock(&reader->open_mutex);
		reader->followed_ns = 0;
		pthread_mutex_unlock(&reader->open_mutex);
		engine_kick(other);
		usleep(k * 1000);
		assert_int_equal(read_grain(reader, 0), 1);
		image_close(reader, IMAGE_READ);
		assert_int_equal(engine_close(other, &err), 0);
	}
	image_fixture_close_image(writer);
}

static void *look_for_a_moment(void *arg)
{
	usleep(100000);
	image_put(arg);
	return NULL;
}

/* Who has it open is asked to close it; who only looks at it, as maintenance and status do, is waited for. */
static void test_taken_over_when_nobody_has_it_open(void **state)
{
	struct engine *other;
	struct error err = { 0 };
	struct image *writer, *reader;
	pthread_t looker;

	(void)state;
	writer = make_disk();
	other = image_fixture_open_beside(&fixture, 1);
	reader = open_to_read(other);
	assert_int_equal(engine_takeover(other, reader->id, &err), -EBUSY);

	uint64_t id = reader->id;
	struct image *looked_at = image_get(other, id);
	assert_ptr_equal(looked_at, reader);
	image_close(reader, IMAGE_READ);
	assert_int_equal(pthread_create(&looker, NULL, look_for_a_moment, looked_at), 0);
	if (engine_takeover(other, id, &err))
		fail_msg("%s", error_text(&err));
	assert_int_equal(pthread_join(looker, NULL), 0);

	/* The same for who opens again what has stopped here. */
	looked_at = image_get(fixture.engine, id);
	assert_true(flush_wait(writer, IMAGE_FLUSH_REMOTE) || write_wait(writer, 0, "late", 4) != 4 ||
	            flush_wait(writer, IMAGE_FLUSH_REMOTE));
	image_fixture_close_image(writer);
	assert_int_equal(pthread_create(&looker, NULL, look_for_a_moment, looked_at), 0);
	reader = open_to_read(fixture.engine);
	assert_int_equal(pthread_join(looker, NULL), 0);
	assert_int_equal(read_grain(reader, FAR), 1);
	image_close(reader, IMAGE_READ);
	assert_int_equal(engine_close(other, &err), 0);
}

/* A third host. */
static struct engine *open_third(void)
{
	snprintf(fixture.cache[1], sizeof fixture.cache[1], "%s/host2", fixture.dir);
	return image_fixture_open_beside(&fixture, 1);
}

/* The owner's last segment was not there yet when its successor looked for the end: it never becomes part of the log. But the reader on `other`
 * has it. Returns the successor's engine, which has written round 3 and closed the image. */
static struct engine *take_over_without_the_last(struct engine *other, struct image *writer, struct image **reader)
{
	struct store *store = fixture.engine->pool->store;
	static uint8_t object[1 << 20];
	char key[STORE_KEY_MAX + 1];
	struct error err = { 0 };
	uint64_t id = writer->id;
	size_t len;

	write_round(writer, 2);
	*reader = open_to_read(other);
	assert_int_equal(read_grain(*reader, FAR), 2);
	segment_key_format(id, upload_stored(writer->upload), writer->epoch, key);
	assert_int_equal(store_get_wait(store, key, 0, object, sizeof object, &len, &err), 0);
	assert_int_equal(store_remove_wait(store, key, &err), 0);
	struct engine *third = open_third();
	image_close(open_to_read(third), IMAGE_READ);
	if (engine_takeover(third, id, &err))
		fail_msg("%s", error_text(&err));
	assert_int_equal(store_put_wait(store, key, object, len, 0, &err), 0);
	struct image *successor = image_fixture_open_image(third, "disk");
	assert_int_equal(read_grain(successor, FAR), 1);
	write_round(successor, 3);
	image_fixture_close_image(successor);
	return third;
}

/* It was fenced, and keeps what never became part of the log. */
static void close_fenced(struct image *writer)
{
	struct error err = { 0 };

	image_fixture_close_image(writer);
	(void)engine_close(fixture.engine, &err);
	fixture.engine = NULL;
}

static void test_what_never_became_part_of_the_log_is_read_no_longer(void **state)
{
	struct error err = { 0 };
	struct image *writer = make_disk(), *reader, *again;
	struct engine *other = image_fixture_open_beside(&fixture, 1), *third;

	(void)state;
	third = take_over_without_the_last(other, writer, &reader);
	/* Who has it open goes on with what he has. */
	again = open_to_read(other);
	assert_int_equal(read_grain(again, FAR), 2);
	assert_int_equal(read_grain(reader, 0), 2);
	image_close(again, IMAGE_READ);
	image_close(reader, IMAGE_READ);
	reader = open_to_read(other);
	assert_int_equal(read_grain(reader, 0), 3);
	assert_int_equal(read_grain(reader, FAR), 3);
	image_close(reader, IMAGE_READ);
	assert_int_equal(engine_close(third, &err), 0);
	assert_int_equal(engine_close(other, &err), 0);
	close_fenced(writer);
}

static void test_nor_written_on(void **state)
{
	struct error err = { 0 };
	struct image *writer = make_disk(), *reader;
	struct engine *other = image_fixture_open_beside(&fixture, 1);

	(void)state;
	assert_int_equal(engine_close(take_over_without_the_last(other, writer, &reader), &err), 0);
	image_close(reader, IMAGE_READ);
	reader = image_fixture_open_image(other, "disk");
	assert_int_equal(read_grain(reader, 0), 3);
	assert_int_equal(read_grain(reader, FAR), 3);
	write_round(reader, 4);
	image_fixture_close_image(reader);
	assert_int_equal(engine_close(other, &err), 0);
	close_fenced(writer);
	image_fixture_verify(&fixture);
}

/* As the heartbeat does, which ends after it. */
static void test_closing_waits_for_who_looks(void **state)
{
	struct image *writer = make_disk();
	pthread_t looker;

	(void)state;
	struct image *looked_at = image_get(fixture.engine, writer->id);
	assert_ptr_equal(looked_at, writer);
	image_fixture_close_image(writer);
	assert_int_equal(pthread_create(&looker, NULL, look_for_a_moment, looked_at), 0);
	image_fixture_close(&fixture);
	assert_int_equal(pthread_join(looker, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_open_reader_sees_what_the_owner_stores, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_reader_becomes_owner, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stops_while_following, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_taken_over_when_nobody_has_it_open, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_never_became_part_of_the_log_is_read_no_longer, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(test_nor_written_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_closing_waits_for_who_looks, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
