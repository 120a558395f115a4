/* SPDX-License-Identifier: GPL-3.0-only */
/* test_flush.c: flushes that wait for a store which is away: what ends their waiting. */
#include "lib/fault_disk.h"
#include "lib/image_fixture.h"
#include "lib/spy_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#define GRAIN 4096u

static struct {
	struct image_fixture f;
	struct spy_store spy;
	struct fault_disk disk;
	struct image *image;
} t;

static int set_up(void **state)
{
	(void)state;
	memset(&t, 0, sizeof t);
	image_fixture_init(&t.f, false);
	fault_disk_init(&t.disk);
	t.f.options.disk = &t.disk.disk;
	t.f.options.stop_deadline_ms = 100;
	t.f.options.seal_after_ms = 3600 * 1000;
	image_fixture_open(&t.f, 0);
	image_fixture_create(t.f.engine, "disk");
	spy_store_over(&t.spy, t.f.engine->pool->store);
	t.f.engine->pool->store = &t.spy.store;
	t.image = image_fixture_open_image(t.f.engine, "disk");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	spy_store_destroy(&t.spy);
	image_fixture_destroy(&t.f);
	fault_disk_destroy(&t.disk);
	return 0;
}

static void write_a_grain(void)
{
	uint8_t buf[GRAIN];

	memset(buf, 'x', sizeof buf);
	assert_int_equal(write_wait(t.image, 0, buf, sizeof buf), sizeof buf);
}

/* Something is left here. */
static void close_all(void)
{
	struct error err = { 0 };

	image_fixture_close_image(t.image);
	assert_int_equal(engine_close(t.f.engine, &err), -EAGAIN);
	t.f.engine = NULL;
}

static bool no_more(void *arg, uint64_t left)
{
	(void)arg;
	(void)left;
	return false;
}

/* Its asking for the store's answer goes on without the one who asked, and is no use of the image. */
static void test_a_flush_that_was_given_up_keeps_nobody_from_closing(void **state)
{
	struct error err = { 0 };

	(void)state;
	atomic_store(&t.spy.put_error, -EIO);
	write_a_grain();
	assert_int_equal(engine_flush(t.f.engine, t.image->id, no_more, NULL, &err), -EINTR);
	close_all();
}

/* What it waits for never comes to be uploaded. */
static void test_a_flush_is_answered_when_the_log_fails(void **state)
{
	(void)state;
	write_a_grain();
	assert_int_equal(flush_wait(t.image, IMAGE_FLUSH_REMOTE), 0);
	write_a_grain();
	atomic_store(&t.disk.write_error, -EIO);
	assert_int_equal(flush_wait(t.image, IMAGE_FLUSH_REMOTE), -EIO);
	atomic_store(&t.disk.write_error, 0);
	close_all();
}

struct flusher {
	pthread_t thread;
	int64_t result;
};

static void *flush_it(void *arg)
{
	struct flusher *f = arg;

	f->result = flush_wait(t.image, IMAGE_FLUSH_REMOTE);
	return NULL;
}

/* All is in the store, but whether that counts cannot be seen for a while. */
static void test_a_flush_waits_for_the_look_as_for_the_upload(void **state)
{
	struct timespec pause = { .tv_nsec = 1000000 };
	struct flusher f;

	(void)state;
	write_a_grain();
	atomic_store(&t.spy.head_error, -ETIMEDOUT);
	unsigned before = atomic_load(&t.spy.heads);
	assert_int_equal(pthread_create(&f.thread, NULL, flush_it, &f), 0);
	while (atomic_load(&t.spy.heads) < before + 2)
		nanosleep(&pause, NULL);
	atomic_store(&t.spy.head_error, 0);
	assert_int_equal(pthread_join(f.thread, NULL), 0);
	assert_int_equal(f.result, 0);
	image_fixture_close_image(t.image);
	image_fixture_close(&t.f);
}

/* The segment could not be sealed, and was in the store. What the other image writes has room. */
static void test_what_failed_is_not_counted_twice(void **state)
{
	struct error err = { 0 };

	(void)state;
	write_a_grain();
	spy_hold_puts(&t.spy, true);
	atomic_store(&t.disk.sync_error, -EIO);
	assert_int_equal(flush_wait(t.image, IMAGE_FLUSH_REMOTE), -EIO);
	assert_int_equal(atomic_load(&t.f.engine->unsent), 0);
	image_fixture_close_image(t.image);
	pthread_mutex_lock(&t.image->open_mutex);
	log_drain(atomic_load(&t.image->log));
	spy_wait_held(&t.spy, 1);
	spy_hold_puts(&t.spy, false);
	while (spy_let_go(&t.spy, ""))
		;
	assert_int_equal(image_release(t.image, 0, true, &err), -EAGAIN);
	pthread_mutex_unlock(&t.image->open_mutex);
	assert_int_equal(atomic_load(&t.f.engine->unsent), 0);
	atomic_store(&t.disk.sync_error, 0);
	assert_int_equal(engine_close(t.f.engine, &err), 0);
	t.f.engine = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_flush_that_was_given_up_keeps_nobody_from_closing, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(test_a_flush_is_answered_when_the_log_fails, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_flush_waits_for_the_look_as_for_the_upload, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_failed_is_not_counted_twice, set_up, tear_down),
	};

	alarm(300);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
