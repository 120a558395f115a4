/* SPDX-License-Identifier: GPL-3.0-only */
/* test_pool_copy_clones.c: copies of pools whose images lead into each other's logs, while they are shared from and flattened, and after.
 *
 * GARNER_TEST_SEED repeats a run.
 */
#include "lib/image_fixture.h"

#include "base/clock.h"
#include "image/layers.h"
#include "image/pool_copy.h"
#include "image/verify.h"
#include "lib/pool_fixture.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define DISK ((size_t)512 << 10)
#define BLOCK ((size_t)4096)
#define STRIDE 3 /* between requests before which something happens; where it begins is random */

static struct image_fixture f;
static struct error err;
static struct random rnd;
static struct pool_copy_report counts;
static struct store *to;
static char to_url[300];

static void open_target(void)
{
	struct store_options so = { .create = true };

	snprintf(to_url, sizeof to_url, "file://%s/copy", f.dir);
	if (store_open(to_url, &so, &to, &err))
		fail_msg("%s", error_text(&err));
}

/* An empty one. */
static void renew_target(void)
{
	char path[300];

	store_close(to);
	snprintf(path, sizeof path, "%s/copy", f.dir);
	fixture_remove_dir(path);
	open_target();
}

static int set_up(void **state)
{
	(void)state;
	alarm(900); /* ThreadSanitizer makes it slow */
	rnd.state = env_number("GARNER_TEST_SEED", clock_wall_ns());
	print_message("seed %" PRIu64 "\n", rnd.state);
	memset(&err, 0, sizeof err);
	image_fixture_init(&f, true);
	f.options.trash_ms = 3600000;
	f.options.share_min = BLOCK;
	image_fixture_open(&f, 0);
	open_target();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	store_close(to);
	image_fixture_destroy(&f);
	return 0;
}

/* ---- the source -------------------------------------------------------------------------------------------------- */

static uint64_t id_of(struct engine *e, const char *name)
{
	struct node_attr attr;

	if (engine_resolve(e, name, &attr, &err))
		fail_msg("%s: %s", name, error_text(&err));
	return attr.id;
}

static void write_blocks(struct image *i, uint8_t *disk, unsigned count)
{
	for (unsigned n = 0; n < count; n++) {
		uint64_t at = random_below(&rnd, DISK / BLOCK) * BLOCK;

		random_fill(&rnd, disk + at, BLOCK);
		assert_int_equal(write_wait(i, at, disk + at, BLOCK), BLOCK);
	}
}

/* All that was written is in the store, and a checkpoint after it. */
static void store_all(struct image *i)
{
	assert_int_equal(save_now(i, true), 0);
	assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
}

/* A new image, every block of which is written. */
static void make_disk(const char *name, uint8_t *disk)
{
	image_fixture_create(f.engine, name);
	struct image *i = image_fixture_open_image(f.engine, name);

	assert_int_equal(resize_wait(i, DISK), 0);
	random_fill(&rnd, disk, DISK);
	assert_int_equal(write_wait(i, 0, disk, DISK), DISK);
	store_all(i);
	image_fixture_close_image(i);
}

/* And some blocks of its own. */
static void clone_disk(struct engine *e, const char *from, const char *name, uint8_t *disk)
{
	struct node_attr attr;

	if (engine_clone(e, id_of(e, from), NODE_ROOT, name, &attr, &err))
		fail_msg("%s: %s", name, error_text(&err));
	struct image *i = image_fixture_open_image(e, name);
	write_blocks(i, disk, 4);
	store_all(i);
	image_fixture_close_image(i);
}

/* The first half of it becomes that of the other. */
static void share(const char *from, const char *name, const uint8_t *disk_from, uint8_t *disk)
{
	struct image *a = image_fixture_open_image(f.engine, from), *b = image_fixture_open_image(f.engine, name);
	size_t layers = image_layer_count(b);

	assert_int_equal(copy_wait(a, 0, b, 0, DISK / 2), DISK / 2);
	assert_true(image_layer_count(b) > layers);
	memcpy(disk, disk_from, DISK / 2);
	store_all(b);
	image_fixture_close_image(a);
	image_fixture_close_image(b);
}

static void flatten(const char *name)
{
	if (engine_flatten(f.engine, id_of(f.engine, name), NULL, NULL, &err))
		fail_msg("%s", error_text(&err));
}

/* One that was flattened gets layers again when it is loaded anew. */
static void flatten_and_reload(const char *name)
{
	flatten(name);
	image_fixture_close(&f);
	image_fixture_open(&f, 0);
}

/* ---- the copy ---------------------------------------------------------------------------------------------------- */

static int copy_to(const char *path, struct store *store)
{
	return pool_copy(f.engine->pool, store, path, &counts, NULL, NULL, &err);
}

static void copy(const char *path)
{
	int rc = copy_to(path, to);

	if (rc)
		fail_msg("%d: %s", rc, error_text(&err));
}

/* The target as a pool. */
static struct pool there(void)
{
	struct pool p = *f.engine->pool;

	p.store = to;
	return p;
}

static void verify_copy(void)
{
	static struct verify_report v;
	struct pool p = there();

	assert_int_equal(pool_verify(&p, NULL, &v, NULL, NULL, &err), 0);
	if (v.errors)
		fail_msg("%s", v.text[0]);
}

static struct engine *open_copy(void)
{
	struct engine *e;

	image_fixture_lose_cache(&f, 1);
	f.options.store_url = to_url;
	e = image_fixture_open_beside(&f, 1);
	f.options.store_url = f.store;
	return e;
}

/* That each block is what it is in one of these; with `may_fail` it may be that it cannot be read at all. */
static void check_either(struct engine *e, const char *name, const uint8_t *a, const uint8_t *b, bool may_fail)
{
	static uint8_t buf[BLOCK];
	struct node_attr attr;
	struct image *i;
	int64_t rc = engine_resolve(e, name, &attr, &err);

	if (!rc)
		rc = image_open(e, attr.id, IMAGE_READ, &i, &err);
	if (rc && may_fail)
		return;
	if (rc)
		fail_msg("%s: %s", name, error_text(&err));
	for (size_t at = 0; at < DISK; at += BLOCK) {
		rc = read_wait(i, at, buf, BLOCK);
		if (may_fail && rc < 0)
			continue;
		assert_int_equal(rc, BLOCK);
		if (memcmp(buf, a + at, BLOCK) != 0 && memcmp(buf, b + at, BLOCK) != 0)
			fail_msg("%s: other bytes at %zu", name, at);
	}
	image_close(i, IMAGE_READ);
}

static void check(struct engine *e, const char *name, const uint8_t *disk)
{
	check_either(e, name, disk, disk, false);
}

static void check_copy(const char *name, const uint8_t *disk)
{
	struct engine *e = open_copy();

	check(e, name, disk);
	assert_int_equal(engine_close(e, &err), 0);
}

static size_t layers_there(const char *name)
{
	struct pool p = there();
	struct layer_list list;
	int rc = layer_list_load(&p, id_of(f.engine, name), &list, &err);
	size_t count = rc ? 0 : list.count;

	assert_true(!rc || rc == -ENOENT);
	if (!rc)
		layer_list_destroy(&list);
	return count;
}

/* ---- shared meanwhile -------------------------------------------------------------------------------------------- */

static uint8_t disk[3][DISK];

struct sharing {
	char first[2]; /* the one that is copied first */
	bool done;
	bool beyond; /* more was done than there was said to be */
};

static bool share_when_second(void *arg, const char *path, uint64_t done, uint64_t total)
{
	struct sharing *s = arg;
	bool is_a = strcmp(path, "a") == 0;

	s->beyond |= done > total;
	if (!path[0] || s->done)
		return true;
	if (!s->first[0])
		snprintf(s->first, sizeof s->first, "%s", path);
	if (strcmp(path, s->first) == 0)
		return true;
	s->done = true;
	share(s->first, path, disk[is_a], disk[!is_a]);
	return true;
}

static void what_is_shared_from_an_image_that_was_copied_already_is_in_the_copy(void **state)
{
	struct sharing s = { 0 };

	(void)state;
	make_disk("a", disk[0]);
	make_disk("b", disk[1]);
	if (pool_copy(f.engine->pool, to, NULL, &counts, share_when_second, &s, &err))
		fail_msg("%s", error_text(&err));
	assert_true(s.done);
	assert_int_equal(counts.images, 2);
	verify_copy();
	check_copy("a", disk[0]);
	check_copy("b", disk[1]);
	assert_false(s.beyond);
}

/* ---- flattened meanwhile ----------------------------------------------------------------------------------------- */

/* Passes everything on, and before the n-th request does something. */
struct meddling_store {
	struct store store;
	struct store *below;
	unsigned requests, when;
	const char *flatten;
};

static void meddle(struct store *s)
{
	struct meddling_store *m = (struct meddling_store *)s;

	if (m->requests++ == m->when)
		flatten(m->flatten);
}

static void meddling_head(struct store *s, const char *key, store_length_fn *done, void *arg)
{
	meddle(s);
	store_head(((struct meddling_store *)s)->below, key, done, arg);
}

static void meddling_get(struct store *s, const char *key, uint64_t offset, void *buf, size_t len, unsigned flags,
                         store_length_fn *done, void *arg)
{
	meddle(s);
	store_get(((struct meddling_store *)s)->below, key, offset, buf, len, flags, done, arg);
}

static void meddling_list(struct store *s, const char *prefix, const char *after, size_t max, store_list_fn *done,
                          void *arg)
{
	meddle(s);
	store_list(((struct meddling_store *)s)->below, prefix, after, max, done, arg);
}

static const struct store_ops meddling_ops = { .head = meddling_head, .get = meddling_get, .list = meddling_list };

/* In a first copy, and when an older one is brought up to date. */
static void flatten_meanwhile(bool older)
{
	struct meddling_store m = { .store = *f.engine->pool->store, .below = f.engine->pool->store };
	struct pool from = *f.engine->pool;
	bool ended = false;
	char name[20];

	m.store.ops = &meddling_ops;
	from.store = &m.store;
	make_disk("a", disk[0]);
	uint64_t a = id_of(f.engine, "a");
	assert_int_equal(engine_snapshot_create(f.engine, &a, 1, "s", &err), 0);
	for (unsigned n = (unsigned)random_below(&rnd, STRIDE); !ended; n += STRIDE) {
		renew_target();
		memcpy(disk[1], disk[0], DISK);
		snprintf(name, sizeof name, "b%u", n);
		clone_disk(f.engine, ".snapshots/a/s", name, disk[1]); /* nothing is added to its log */
		if (older) {
			copy(name);
			assert_int_equal(layers_there(name), 1);
		}
		m.requests = 0;
		m.when = n;
		m.flatten = name;
		int rc = pool_copy(&from, to, name, &counts, NULL, NULL, &err);
		ended = m.requests <= n;
		if (rc == -EAGAIN)
			copy(name);
		else if (rc)
			fail_msg("before request %u: %d: %s", n, rc, error_text(&err));
		verify_copy();
		check_copy(name, disk[1]);
		if (ended)
			break;
		copy(name);
		assert_int_equal(layers_there(name), 0);
		verify_copy();
		assert_true(n < 500);
	}
}

static void an_image_that_is_flattened_while_it_is_copied_can_be_opened_in_the_copy(void **state)
{
	(void)state;
	flatten_meanwhile(false);
}

static void an_image_that_is_flattened_while_its_copy_is_brought_up_to_date_can_be_opened_there(void **state)
{
	(void)state;
	flatten_meanwhile(true);
}

/* ---- flattened since ---------------------------------------------------------------------------------------------- */

/* Copies until so many changes have reached the target. */
static int copy_until(unsigned steps, bool lose_answer)
{
	struct pool holder = { .store = to };
	struct faulty_store s;

	faulty_put_in(&s, &holder, steps, lose_answer);
	return copy_to(NULL, holder.store);
}

/* As the copy was once. */
static void bring_back(const char *from)
{
	char command[700];

	renew_target();
	snprintf(command, sizeof command, "cp -a %s/%s/. %s/copy", f.dir, from, f.dir);
	assert_int_equal(system(command), 0); /* NOLINT */
}

static void reads_either_or_fails(const uint8_t *before, bool may_fail)
{
	struct engine *e = open_copy();

	check_either(e, "b", before, disk[1], may_fail);
	assert_int_equal(engine_close(e, &err), 0);
}

/* Layer 1 is another then: who has what was written before and this list, or the other way round, would read wrong bytes. */
static void break_off_after_flattening(bool written, bool shared)
{
	static uint8_t before[DISK];
	struct node_attr attr;
	char command[700];
	int rc = -EIO;

	make_disk("a", disk[0]);
	make_disk("c", disk[2]);
	memcpy(disk[1], disk[0], DISK);
	if (written)
		clone_disk(f.engine, "a", "b", disk[1]);
	else
		assert_int_equal(engine_clone(f.engine, id_of(f.engine, "a"), NODE_ROOT, "b", &attr, &err), 0);
	copy(NULL);
	snprintf(command, sizeof command, "cp -a %s/copy %s/old", f.dir, f.dir);
	assert_int_equal(system(command), 0); /* NOLINT */
	memcpy(before, disk[1], DISK);
	flatten_and_reload("b");
	if (shared)
		share("c", "b", disk[2], disk[1]);
	for (unsigned steps = 0; rc; steps++) {
		bring_back("old");
		rc = copy_until(steps, random_once_in(&rnd, 2));
		reads_either_or_fails(before, shared && rc != 0);
		/* And the next one, too. */
		if (rc && copy_until((unsigned)random_below(&rnd, steps + 2), random_once_in(&rnd, 2)))
			reads_either_or_fails(before, shared);
		copy(NULL);
		verify_copy();
		check_copy("b", disk[1]);
		assert_true(steps < 200);
	}
	assert_int_equal(layers_there("b"), shared ? 1 : 0);
}

static void one_that_was_flattened_and_shared_with_anew_never_reads_wrong_bytes_in_the_copy(void **state)
{
	(void)state;
	break_off_after_flattening(true, true);
}

/* The old list is good until the log does without. */
static void one_that_was_flattened_can_be_read_in_the_copy_whenever_the_next_is_broken_off(void **state)
{
	(void)state;
	break_off_after_flattening(true, false);
}

/* Of such a one the list says what it is when there is no log. */
static void nor_does_one_that_had_no_log_of_its_own_when_it_was_copied(void **state)
{
	(void)state;
	break_off_after_flattening(false, true);
}

/* In the copy somebody has made a clone of the clone. */
static void what_a_clone_in_the_copy_is_a_clone_of_stays_though_it_was_flattened_in_the_source(void **state)
{
	(void)state;
	make_disk("a", disk[0]);
	memcpy(disk[1], disk[0], DISK);
	clone_disk(f.engine, "a", "b", disk[1]);
	uint64_t b = id_of(f.engine, "b");
	assert_int_equal(engine_snapshot_create(f.engine, &b, 1, "s", &err), 0);
	copy(NULL);

	struct engine *e = open_copy();
	struct node_attr attr;
	memcpy(disk[2], disk[1], DISK);
	clone_disk(e, ".snapshots/b/s", "mine", disk[2]);
	assert_int_equal(engine_close(e, &err), 0);

	assert_int_equal(engine_snapshot_delete(f.engine, b, "s", &err), 0);
	flatten_and_reload("b");
	for (int again = 0; again < 3; again++) {
		copy(NULL);
		verify_copy();
	}
	assert_int_equal(layers_there("b"), 1);
	check_copy("b", disk[1]);
	check_copy("mine", disk[2]);
	/* With other layers both cannot be. */
	make_disk("c", disk[0]);
	share("c", "b", disk[0], disk[1]);
	assert_int_equal(copy_to(NULL, to), -EEXIST);
	assert_non_null(strstr(error_text(&err), "is a clone of it as it was before it was flattened"));
	verify_copy();
	check_copy("mine", disk[2]);
	e = open_copy();
	assert_int_equal(engine_resolve(e, "mine", &attr, &err), 0);
	assert_int_equal(engine_flatten(e, attr.id, NULL, NULL, &err), 0);
	assert_int_equal(engine_close(e, &err), 0);
	copy(NULL);
	verify_copy();
	check_copy("b", disk[1]);
	check_copy("mine", disk[2]);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(what_is_shared_from_an_image_that_was_copied_already_is_in_the_copy),
		T(an_image_that_is_flattened_while_it_is_copied_can_be_opened_in_the_copy),
		T(an_image_that_is_flattened_while_its_copy_is_brought_up_to_date_can_be_opened_there),
		T(one_that_was_flattened_and_shared_with_anew_never_reads_wrong_bytes_in_the_copy),
		T(one_that_was_flattened_can_be_read_in_the_copy_whenever_the_next_is_broken_off),
		T(nor_does_one_that_had_no_log_of_its_own_when_it_was_copied),
		T(what_a_clone_in_the_copy_is_a_clone_of_stays_though_it_was_flattened_in_the_source),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
