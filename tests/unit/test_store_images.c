/* SPDX-License-Identifier: GPL-3.0-only */
/* test_store_images.c: what commands without a mount leave alone in the store they open. */
#include "cli/store_images.h"

#include "base/clock.h"
#include "lib/image_fixture.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define DAY_MS (24 * 3600 * UINT64_C(1000))

static struct image_fixture f;
static struct error err;

static int set_up(void **state)
{
	(void)state;
	alarm(300);
	memset(&err, 0, sizeof err);
	image_fixture_init(&f, true);
	f.options.trash_ms = 30 * DAY_MS;
	image_fixture_open(&f, 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	image_fixture_destroy(&f);
	return 0;
}

static uint64_t make(const char *name)
{
	uint64_t id = image_fixture_create(f.engine, name);
	struct image *i = image_fixture_open_image(f.engine, name);

	assert_int_equal(write_wait(i, 0, "data", 4), 4);
	image_fixture_close_image(i);
	return id;
}

/* The mark says that the image was deleted that long ago. */
static void deleted_days_ago(uint64_t id, const char *name, unsigned days)
{
	char key[STORE_KEY_MAX + 1];
	struct pool *p = f.engine->pool;
	struct fields *mark = fields_new();

	assert_non_null(mark);
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, name, &err), 0);
	snprintf(key, sizeof key, "trash/%016" PRIx64, id);
	fields_add_hex64(mark, "id", id);
	fields_add_hex64(mark, "parent", NODE_ROOT);
	fields_add_text(mark, "name", name);
	fields_add_u64(mark, "time", clock_wall_ns() - days * DAY_MS * 1000000);
	fields_add_u64(mark, "mode", 0600);
	fields_add_u64(mark, "uid", 0);
	fields_add_u64(mark, "gid", 0);
	fields_add_u64(mark, "grain", p->grain_bytes);
	fields_add_u64(mark, "created", 1);
	fields_add_u64(mark, "serial", 1);
	assert_int_equal(pool_put_object(p, key, OBJECT_TRASH, &p->catalog, mark, 0, &err), 0);
	fields_free(mark);
}

static int count_one(void *arg, const struct trashed_image *t)
{
	(void)t;
	++*(unsigned *)arg;
	return 0;
}

static unsigned trashed(void)
{
	unsigned count = 0;

	assert_int_equal(engine_trash_each(f.engine, count_one, &count, &err), 0);
	return count;
}

/* Opens and closes the store as import and takeover do. */
static void run_a_command(void)
{
	const struct target_key key = { .key_file = f.key_file };
	struct store_images *s;
	char owner[128];

	if (store_images_open(f.store, &key, false, &s, &err))
		fail_msg("%s", error_text(&err));
	assert_int_equal(store_images_take_over(s, "other", owner, &err), 0);
	assert_int_equal(store_images_close(s, &err), 0);
}

static void the_trash_is_kept_as_long_as_the_mounts_say(void **state)
{
	uint64_t id = make("disk");
	char buf[5] = "";

	(void)state;
	make("other");
	deleted_days_ago(id, "disk", 8);
	image_fixture_close(&f);
	run_a_command();
	image_fixture_open(&f, 0);
	assert_int_equal(trashed(), 1);
	assert_int_equal(engine_undelete(f.engine, id, 0, NULL, &err), 0);
	struct image *i = image_fixture_open_image(f.engine, "disk");
	assert_int_equal(read_wait(i, 0, buf, 4), 4);
	assert_string_equal(buf, "data");
	image_fixture_close_image(i);
	/* A mount that keeps it for 7 days does delete it. */
	deleted_days_ago(id, "disk", 8);
	image_fixture_close(&f);
	f.options.trash_ms = 0;
	image_fixture_open(&f, 0);
	image_fixture_close(&f);
	image_fixture_open(&f, 0);
	assert_int_equal(trashed(), 0);
	assert_int_equal(engine_undelete(f.engine, id, 0, NULL, &err), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_trash_is_kept_as_long_as_the_mounts_say, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
