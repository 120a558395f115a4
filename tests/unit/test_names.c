/* SPDX-License-Identifier: GPL-3.0-only */
/* test_names.c: what front ends are told of names: sizes that cannot be read. */
#include "lib/image_fixture.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct image_fixture f;
static struct error err;

static int set_up(void **state)
{
	(void)state;
	alarm(300);
	memset(&err, 0, sizeof err);
	image_fixture_init(&f, true);
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

struct listed {
	unsigned count;
	struct node_attr good, bad;
};

static int keep(void *arg, const char *name, const struct node_attr *attr)
{
	struct listed *l = arg;

	l->count++;
	*(strcmp(name, "good") ? &l->bad : &l->good) = *attr;
	return 0;
}

/* Who lists must not take it for empty: a copy of it would be. */
static void an_image_whose_size_cannot_be_read_is_listed_without_attributes(void **state)
{
	uint64_t good = make("good"), bad = make("bad");
	char key[STORE_KEY_MAX + 1];
	struct listed l = { 0 };
	struct node_attr attr;

	(void)state;
	image_fixture_close(&f);
	image_fixture_open(&f, 0); /* neither is in memory */
	snprintf(key, sizeof key, "images/%016" PRIx64 "/head", bad);
	assert_int_equal(store_put_wait(f.engine->pool->store, key, "no head", 7, 0, &err), 0);
	assert_int_equal(engine_list(f.engine, NODE_ROOT, keep, &l, &err), 0);
	assert_int_equal(l.count, 2);
	assert_int_equal(l.good.id, good);
	assert_int_equal(l.good.nlink, 1);
	assert_int_equal(l.good.size, 4);
	assert_int_equal(l.bad.id, bad);
	assert_int_equal(l.bad.nlink, 0);
	/* Who looks it up learns why. */
	assert_true(engine_lookup(f.engine, NODE_ROOT, "bad", &attr, &err) < 0);
	assert_true(engine_getattr(f.engine, bad, &attr, &err) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_image_whose_size_cannot_be_read_is_listed_without_attributes, set_up,
		                                tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
