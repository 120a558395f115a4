/* SPDX-License-Identifier: GPL-3.0-only */
/* test_clean_hosts.c: cleaning, and those who know an older state of the image: other hosts, copies, a host that lost something.
 *
 * GARNER_TEST_SEED repeats a run.
 */
#include "lib/image_fixture.h"

#include "base/clock.h"
#include "image/clean.h"
#include "image/pool_copy.h"
#include "image/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)
#define GRAIN 4096u
#define DISK (4 * MIB)
/* Far out, so that it has map nodes of its own. */
#define FAR (MIB << 10)
#define WITHIN_NS (60 * 1000000000ull)

static struct image_fixture f;
static struct error err;
static struct random r;
static uint8_t disk[DISK];

static int set_up(void **state)
{
	(void)state;
	alarm(300);
	memset(&err, 0, sizeof err);
	memset(disk, 0, sizeof disk);
	r.state = env_number("GARNER_TEST_SEED", clock_wall_ns());
	print_message("GARNER_TEST_SEED=%" PRIu64 "\n", r.state);
	image_fixture_init(&f, false);
	f.options.gc_grace_ms = 1;
	image_fixture_open(&f, 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	image_fixture_destroy(&f);
	return 0;
}

/* ---- help --------------------------------------------------------------------------------------------------------- */

/* So much that most of it is overwritten again, in many segments. */
static void write_rounds(struct image *i, unsigned rounds)
{
	uint8_t buf[8 * GRAIN];

	while (rounds--) {
		for (unsigned k = 0; k < 40; k++) {
			size_t len = 1 + random_below(&r, sizeof buf);
			uint64_t at = random_below(&r, DISK - len);
			random_fill(&r, buf, len);
			assert_int_equal(write_wait(i, at, buf, len), len);
			memcpy(disk + at, buf, len);
		}
		assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
	}
}

/* Until nothing is moved any more: how many segments went. */
static uint64_t clean(struct engine *e, uint64_t id)
{
	const struct clean_options options = { .now = true };
	struct clean_result result;

	if (engine_clean(e, id, &options, NULL, NULL, &result, &err))
		fail_msg("%s", error_text(&err));
	return result.removed_segments;
}

static void check_disk(struct image *i, const char *when)
{
	static uint8_t buf[DISK];

	memset(buf, 0xee, sizeof buf);
	assert_int_equal(read_wait(i, 0, buf, sizeof buf), sizeof buf);
	for (size_t k = 0; k < DISK; k += GRAIN)
		if (memcmp(buf + k, disk + k, GRAIN) != 0)
			fail_msg("%s: grain %zu is wrong", when, k / GRAIN);
}

static struct image *open_to_read(struct engine *e)
{
	struct node_attr attr;
	struct image *i;

	assert_int_equal(engine_lookup(e, NODE_ROOT, "disk", &attr, &err), 0);
	if (image_open(e, attr.id, IMAGE_READ, &i, &err))
		fail_msg("%s", error_text(&err));
	return i;
}

static struct image *make_disk(uint64_t *id, unsigned rounds)
{
	*id = image_fixture_create(f.engine, "disk");
	struct image *i = image_fixture_open_image(f.engine, "disk");

	assert_int_equal(resize_wait(i, FAR + GRAIN), 0);
	write_rounds(i, rounds);
	return i;
}

static uint64_t faults(struct pool *p, uint64_t *cleaned)
{
	static struct verify_report report;

	assert_int_equal(pool_verify(p, NULL, &report, NULL, NULL, &err), 0);
	for (size_t k = 0; k < report.text_count; k++)
		print_message("  %s\n", report.text[k]);
	*cleaned = report.cleaned;
	return report.errors;
}

/* ---- tests -------------------------------------------------------------------------------------------------------- */

/* The reader has what it reads from the store each time: nothing stays in its cache, and next to nothing of the map in memory. */
static void test_an_open_reader_goes_over_to_what_is_left(void **state)
{
	struct engine *other;
	struct image *i, *reader;
	uint64_t id, removed = 0;

	(void)state;
	i = make_disk(&id, 6);
	assert_int_equal(save_now(i, true), 0);
	assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
	other = image_fixture_open_beside(&f, 1);
	reader = open_to_read(other);
	check_disk(reader, "before cleaning");
	for (unsigned round = 0; round < 3; round++) {
		write_rounds(i, 4);
		removed += clean(f.engine, id);
		/* What it sees next is from after the cleaning. */
		cache_evict_all(other->cache);
		grain_map_shrink(reader->map, 0);
		pthread_mutex_lock(&reader->open_mutex);
		int rc = image_load_to_read(reader, &err);
		pthread_mutex_unlock(&reader->open_mutex);
		if (rc)
			fail_msg("%s", error_text(&err));
		cache_evict_all(other->cache);
		grain_map_shrink(reader->map, 0);
		check_disk(reader, "after cleaning");
	}
	assert_true(removed > 0);
	image_close(reader, IMAGE_READ);
	image_fixture_close_image(i);
	assert_int_equal(engine_close(other, &err), 0);
}

/* Reads all the time. What it sees of a grain is one round, and none before an earlier one; what is gone before it has heard of that it
 * cannot read. */
struct looker {
	struct image *image;
	atomic_bool stop;
	unsigned reads, gone, wrong;
};

#define LOOK_GRAINS 600u

static void *look_on(void *arg)
{
	struct looker *l = arg;
	uint8_t buf[GRAIN], seen[LOOK_GRAINS] = { 0 };

	for (unsigned k = 0; !atomic_load(&l->stop); k = (k + 7) % LOOK_GRAINS) {
		int64_t rc = read_wait(l->image, (uint64_t)k * GRAIN, buf, sizeof buf);
		l->reads++;
		if (rc == -EIO) {
			l->gone++;
			continue;
		}
		l->wrong += rc != sizeof buf || buf[0] < seen[k] || memcmp(buf, buf + 1, sizeof buf - 1) != 0;
		seen[k] = buf[0];
	}
	return NULL;
}

static void test_who_reads_while_it_is_cleaned_goes_forward_in_time(void **state)
{
	struct looker looker = { 0 };
	struct engine *other;
	struct image *i;
	pthread_t thread;
	uint64_t id;

	(void)state;
	i = make_disk(&id, 1);
	memset(disk, 1, sizeof disk);
	assert_int_equal(write_wait(i, 0, disk, DISK), DISK);
	assert_int_equal(save_now(i, true), 0);
	assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
	other = image_fixture_open_beside(&f, 1);
	looker.image = open_to_read(other);
	assert_int_equal(pthread_create(&thread, NULL, look_on, &looker), 0);
	for (unsigned round = 2; round < 12; round++) {
		memset(disk, (int)round, sizeof disk);
		for (size_t at = 0; at < DISK; at += DISK / 4)
			assert_int_equal(write_wait(i, at, disk + at, DISK / 4), DISK / 4);
		clean(f.engine, id);
		cache_evict_all(other->cache);
		pthread_mutex_lock(&looker.image->open_mutex);
		int rc = image_load_to_read(looker.image, &err);
		pthread_mutex_unlock(&looker.image->open_mutex);
		if (rc)
			fail_msg("%s", error_text(&err));
	}
	atomic_store(&looker.stop, true);
	pthread_join(thread, NULL);
	print_message("%u reads, %u of what was gone\n", looker.reads, looker.gone);
	assert_int_equal(looker.wrong, 0);
	check_disk(looker.image, "at the end");
	image_close(looker.image, IMAGE_READ);
	image_fixture_close_image(i);
	assert_int_equal(engine_close(other, &err), 0);
}

/* The map in memory began with a checkpoint whose nodes have gone; what was read since is all in the new one. */
static void test_a_reader_whose_nodes_were_cleaned_away_finds_the_new_ones(void **state)
{
	uint8_t grain[GRAIN], got[GRAIN];
	struct engine *other;
	struct image *i, *reader;
	uint64_t id;

	(void)state;
	i = make_disk(&id, 1);
	memset(grain, 7, sizeof grain);
	assert_int_equal(write_wait(i, FAR, grain, sizeof grain), sizeof grain);
	assert_int_equal(save_now(i, true), 0);
	assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
	other = image_fixture_open_beside(&f, 1);
	reader = open_to_read(other);
	check_disk(reader, "before cleaning");

	/* New nodes are written near by and far out; the reader follows, and the old ones go. */
	write_rounds(i, 1);
	memset(grain, 8, sizeof grain);
	assert_int_equal(write_wait(i, FAR, grain, sizeof grain), sizeof grain);
	assert_int_equal(save_now(i, true), 0);
	assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
	pthread_mutex_lock(&reader->open_mutex);
	assert_int_equal(image_load_to_read(reader, &err), 0);
	assert_int_equal(image_save(reader, &err), 0);
	segment_no_t before = reader->base_checkpoint;
	pthread_mutex_unlock(&reader->open_mutex);
	clean(f.engine, id);
	clean(f.engine, id);
	pthread_mutex_lock(&reader->open_mutex);
	if (image_load_to_read(reader, &err))
		fail_msg("%s", error_text(&err));
	assert_true(reader->base_checkpoint > before);
	pthread_mutex_unlock(&reader->open_mutex);
	cache_evict_all(other->cache);
	grain_map_shrink(reader->map, 0);
	check_disk(reader, "after cleaning");
	assert_int_equal(read_wait(reader, FAR, got, sizeof got), sizeof got);
	assert_memory_equal(got, grain, sizeof got);

	image_close(reader, IMAGE_READ);
	assert_int_equal(engine_close(other, &err), 0);
	/* And again from what that host kept in SQLite. */
	other = image_fixture_open_beside(&f, 1);
	reader = open_to_read(other);
	check_disk(reader, "opened again");
	image_close(reader, IMAGE_READ);
	assert_int_equal(engine_close(other, &err), 0);
	image_fixture_close_image(i);
}

/* What a host remembers of the map is older than the cleaning that another one made meanwhile. */
static void test_a_host_with_an_old_map_begins_anew(void **state)
{
	struct image *i;
	uint64_t id;

	(void)state;
	i = make_disk(&id, 4);
	image_fixture_close_image(i);
	image_fixture_close(&f);
	for (unsigned round = 0; round < 4; round++) {
		image_fixture_open(&f, !(round & 1));
		i = image_fixture_open_image(f.engine, "disk");
		check_disk(i, "on the other host");
		write_rounds(i, 4);
		assert_true(clean(f.engine, id) > 0);
		check_disk(i, "after cleaning there");
		image_fixture_close_image(i);
		image_fixture_close(&f);
		image_fixture_verify(&f);
	}
	image_fixture_open(&f, 1);
}

/* One grain each of so many leaves of the map. */
#define LEAVES 10u

static void write_leaves(struct image *i, unsigned count, uint8_t value)
{
	uint8_t buf[GRAIN];

	memset(buf, value, sizeof buf);
	for (unsigned k = 1; k <= count; k++)
		assert_int_equal(write_wait(i, DISK + (uint64_t)k * MAP_FANOUT * GRAIN, buf, sizeof buf), sizeof buf);
	assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
}

static void check_leaves(struct image *i, unsigned from, uint8_t value)
{
	uint8_t buf[GRAIN], expected[GRAIN];

	memset(expected, value, sizeof expected);
	for (unsigned k = from; k <= LEAVES; k++) {
		assert_int_equal(read_wait(i, DISK + (uint64_t)k * MAP_FANOUT * GRAIN, buf, sizeof buf), sizeof buf);
		assert_memory_equal(buf, expected, sizeof buf);
	}
}

/* It stood still when it was about to say so, and its successor has cleaned and said so since. */
static void test_what_a_fenced_host_says_late_of_its_cleaning_is_not_believed(void **state)
{
	struct cleaned old;
	struct image *i;
	uint64_t id;

	(void)state;
	i = make_disk(&id, 8);
	assert_true(clean(f.engine, id) > 0);
	assert_int_equal(cleaned_load(f.engine->pool, id, &old, &err), 0);
	image_fixture_close_image(i);
	image_fixture_close(&f);
	/* Each host has a map as of its own last checkpoint, and writes what the other has changed since, too. */
	for (unsigned k = 0; k < 3; k++) {
		image_fixture_open(&f, !(k & 1));
		i = image_fixture_open_image(f.engine, "disk");
		write_leaves(i, k == 1 ? LEAVES : 1, (uint8_t)('a' + k));
		if (k == 2)
			assert_true(clean(f.engine, id) > 0);
		image_fixture_close_image(i);
		if (k == 2)
			assert_int_equal(cleaned_save(f.engine->pool, id, &old, &err), 0);
		image_fixture_close(&f);
	}
	image_fixture_open(&f, 0);
	i = image_fixture_open_image(f.engine, "disk");
	write_leaves(i, 1, 'd');
	assert_int_equal(save_now(i, true), 0);
	image_fixture_close_image(i);
	image_fixture_close(&f);

	image_fixture_lose_cache(&f, 1);
	image_fixture_open(&f, 1);
	i = image_fixture_open_image(f.engine, "disk");
	check_disk(i, "there");
	check_leaves(i, 2, 'b');
	image_fixture_close_image(i);
}

static void test_the_end_of_a_cleaned_log_is_found_without_a_head(void **state)
{
	struct image *i;
	uint64_t id, cleaned;
	char key[100];

	(void)state;
	i = make_disk(&id, 8);
	assert_true(clean(f.engine, id) > 0);
	write_rounds(i, 2);
	image_fixture_close_image(i);
	image_fixture_close(&f);
	image_fixture_open(&f, 1);
	snprintf(key, sizeof key, "images/%016" PRIx64 "/head", id);
	assert_int_equal(store_remove_wait(f.engine->pool->store, key, &err), 0);
	assert_int_equal(faults(f.engine->pool, &cleaned), 0);
	assert_true(cleaned > 0);
	i = image_fixture_open_image(f.engine, "disk");
	check_disk(i, "without a head");
	image_fixture_close_image(i);
}

static void test_verify_finds_a_segment_that_should_not_have_gone(void **state)
{
	struct image *i;
	uint64_t id, cleaned;
	char key[STORE_KEY_MAX + 1];
	struct log_view view = { 0 };
	struct map_need need;
	map_entry_t entry = 0;

	(void)state;
	i = make_disk(&id, 8);
	clean(f.engine, id);
	/* The place of a grain that was moved, once it is old. */
	write_rounds(i, 3);
	clean(f.engine, id);
	write_rounds(i, 1);
	for (grain_no_t g = 0; g < DISK / GRAIN; g++) {
		map_entry_t e = 0;
		assert_int_equal(grain_map_lookup(i->map, g, 1, &e, &need), 0);
		if (e && (!entry || e < entry))
			entry = e;
	}
	assert_int_equal(log_view_load(f.engine->pool, id, &view, &err), 0);
	segment_key_format(id, map_entry_segment(entry), log_view_epoch_of(&view, map_entry_segment(entry)), key);
	log_view_destroy(&view);
	image_fixture_close_image(i);
	assert_int_equal(faults(f.engine->pool, &cleaned), 0);
	assert_int_equal(store_remove_wait(f.engine->pool->store, key, &err), 0);
	assert_true(faults(f.engine->pool, &cleaned) > 0);
}

static void test_a_cleaned_image_can_be_copied_and_copied_again(void **state)
{
	struct store_options so = { .create = true };
	struct pool_copy_report report;
	struct engine_options options;
	struct engine *copied;
	struct store *to;
	struct image *i;
	uint64_t id, cleaned;
	char url[300], cache[300];

	(void)state;
	snprintf(url, sizeof url, "file://%s/copy", f.dir);
	snprintf(cache, sizeof cache, "%s/copied", f.dir);
	i = make_disk(&id, 8);
	for (unsigned round = 0; round < 2; round++) {
		assert_true(clean(f.engine, id) > 0);
		assert_int_equal(store_open(url, &so, &to, &err), 0);
		if (pool_copy(f.engine->pool, to, NULL, &report, NULL, NULL, &err))
			fail_msg("%s", error_text(&err));
		struct pool p = *f.engine->pool;
		p.store = to;
		assert_int_equal(faults(&p, &cleaned), 0);
		store_close(to);
		if (!round)
			write_rounds(i, 6);
	}
	check_disk(i, "the source");
	image_fixture_close_image(i);
	options = f.options;
	options.store_url = url;
	options.cache_dir = cache;
	if (engine_open(&options, &copied, &err))
		fail_msg("%s", error_text(&err));
	i = image_fixture_open_image(copied, "disk");
	check_disk(i, "the copy");
	/* What the source's cleaning took, and an older copy had, goes there as well. */
	clean(copied, id);
	check_disk(i, "the copy, cleaned");
	image_fixture_close_image(i);
	assert_int_equal(engine_close(copied, &err), 0);
}

static void test_what_a_fenced_host_uploaded_is_found_and_goes(void **state)
{
	char key[STORE_KEY_MAX + 1];
	struct clean_options options = { 0 };
	struct clean_result result;
	struct image *i;
	uint64_t id, size;

	(void)state;
	i = make_disk(&id, 2);
	image_fixture_close_image(i);
	image_fixture_close(&f);
	f.options.gc_grace_ms = 3600 * 1000;
	image_fixture_open(&f, 1);
	i = image_fixture_open_image(f.engine, "disk");
	write_rounds(i, 1);
	assert_true(i->epoch > 1);
	/* In the name of the first epoch, a number that is of the second. */
	segment_key_format(id, i->stored_end + 1, i->epoch - 1, key);
	assert_int_equal(store_put_wait(f.engine->pool->store, key, "nothing", 7, 0, &err), 0);
	assert_int_equal(engine_clean(f.engine, id, &options, NULL, NULL, &result, &err), 0);
	assert_int_equal(result.orphans, 1);
	assert_true(result.waiting_segments > 0);
	assert_int_equal(result.removed_segments, 0);
	assert_int_equal(store_head_wait(f.engine->pool->store, key, &size, &err), 0);
	options.now = true;
	assert_int_equal(engine_clean(f.engine, id, &options, NULL, NULL, &result, &err), 0);
	assert_int_equal(store_head_wait(f.engine->pool->store, key, &size, &err), -ENOENT);
	check_disk(i, "after that");
	image_fixture_close_image(i);
}

static void test_an_image_is_cleaned_by_itself(void **state)
{
	uint64_t until = clock_monotonic_ns() + WITHIN_NS, id, cleaned;
	struct image *i;

	(void)state;
	image_fixture_close(&f);
	f.options.gc_target = 20;
	image_fixture_open(&f, 0);
	i = make_disk(&id, 60);
	/* First it is emptied and noted, then it goes. */
	for (;;) {
		struct cleaned said;
		if (!cleaned_load(f.engine->pool, id, &said, &err) && !faults(f.engine->pool, &cleaned) && cleaned)
			break;
		if (clock_monotonic_ns() > until)
			fail_msg("it was not cleaned");
		usleep(20000);
	}
	check_disk(i, "cleaned by itself");
	image_fixture_close_image(i);
}

/* Nor is it asked for at each cleaning. */
static void test_a_snapshot_that_another_host_deleted_is_forgotten(void **state)
{
	struct snapshot s;
	struct image *i;
	uint64_t id;

	(void)state;
	i = make_disk(&id, 2);
	assert_int_equal(engine_snapshot_create(f.engine, &id, 1, "one", &err), 0);
	assert_int_equal(snapshot_load(f.engine->pool, id, "one", &s, &err), 0);
	clean(f.engine, id);
	assert_int_equal(snapshot_get(f.engine, s.info.id, &s), 0);
	assert_int_equal(snapshot_remove(f.engine->pool, id, "one", &err), 0);
	clean(f.engine, id);
	assert_int_equal(snapshot_get(f.engine, s.info.id, &s), -ENOENT);
	image_fixture_close_image(i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_an_open_reader_goes_over_to_what_is_left, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_who_reads_while_it_is_cleaned_goes_forward_in_time, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(test_a_reader_whose_nodes_were_cleaned_away_finds_the_new_ones, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(test_a_host_with_an_old_map_begins_anew, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_a_fenced_host_says_late_of_its_cleaning_is_not_believed,
		                                set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_the_end_of_a_cleaned_log_is_found_without_a_head, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(test_verify_finds_a_segment_that_should_not_have_gone, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(test_a_cleaned_image_can_be_copied_and_copied_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_a_fenced_host_uploaded_is_found_and_goes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_an_image_is_cleaned_by_itself, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_snapshot_that_another_host_deleted_is_forgotten, set_up,
		                                tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
