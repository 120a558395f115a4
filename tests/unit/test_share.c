/* SPDX-License-Identifier: GPL-3.0-only */
/* test_share.c: ranges copied between images by their maps: what is read after, here and on other hosts, whatever becomes of the source.
 *
 * GARNER_TEST_SEED repeats a run.
 */
#include "lib/image_fixture.h"
#include "lib/oracle.h"
#include "lib/spy_store.h"

#include "base/clock.h"
#include "image/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((uint64_t)1 << 20)
#define DISK (12 * MIB)

static struct image_fixture f;
static struct error err;

static int set_up(void **state)
{
	(void)state;
	alarm(300);
	memset(&err, 0, sizeof err);
	image_fixture_init(&f, true);
	f.options.trash_ms = 1;
	f.options.share_min = 4096;
	image_fixture_open(&f, 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	image_fixture_destroy(&f);
	return 0;
}

static struct random some_random(void)
{
	uint64_t seed = env_number("GARNER_TEST_SEED", clock_wall_ns());

	print_message("seed %" PRIu64 "\n", seed);
	return (struct random){ seed };
}

/* ---- help --------------------------------------------------------------------------------------------------------- */

struct disk_file {
	char name[8];
	struct image *image;
	uint8_t *bytes; /* DISK */
};

static void make(struct disk_file *d, const char *name)
{
	snprintf(d->name, sizeof d->name, "%s", name);
	d->bytes = calloc(1, DISK);
	assert_non_null(d->bytes);
	image_fixture_create(f.engine, name);
	d->image = image_fixture_open_image(f.engine, name);
	assert_int_equal(resize_wait(d->image, DISK), 0);
}

static void write_some(struct random *r, struct disk_file *d, unsigned writes)
{
	static uint8_t buf[200000];

	while (writes--) {
		size_t len = 1 + random_below(r, random_once_in(r, 3) ? sizeof buf : 9000);
		uint64_t at = random_below(r, DISK - len);

		if (random_once_in(r, 10)) {
			assert_int_equal(discard_wait(d->image, at, len), 0);
			memset(d->bytes + at, 0, len);
			continue;
		}
		random_fill(r, buf, len);
		assert_int_equal(write_wait(d->image, at, buf, len), len);
		memcpy(d->bytes + at, buf, len);
	}
}

static void check_bytes(const char *name, struct image *i, const uint8_t *bytes)
{
	uint8_t *buf = malloc(DISK);

	assert_non_null(buf);
	memset(buf, 0xee, DISK);
	assert_int_equal(read_wait(i, 0, buf, DISK), DISK);
	for (size_t k = 0; k < DISK; k += 512)
		if (memcmp(buf + k, bytes + k, 512) != 0)
			fail_msg("%s: other bytes at %zu", name, k);
	free(buf);
}

static uint64_t errors_in_pool(void)
{
	static struct verify_report report;

	memset(&report, 0, sizeof report);
	assert_int_equal(pool_verify(f.engine->pool, NULL, &report, NULL, NULL, &err), 0);
	for (size_t k = 0; k < report.text_count; k++)
		print_message("  %s\n", report.text[k]);
	return report.errors;
}

static void reopen(struct disk_file *d, size_t count, unsigned loss)
{
	for (size_t k = 0; k < count; k++)
		image_fixture_close_image(d[k].image);
	image_fixture_close(&f);
	if (loss == 1)
		image_fixture_lose_cache(&f, 0);
	else if (loss == 2)
		image_fixture_lose_db(&f, 0);
	image_fixture_open(&f, 0);
	for (size_t k = 0; k < count; k++)
		d[k].image = image_fixture_open_image(f.engine, d[k].name);
}

static int add_bytes(void *arg, const struct store_entry *entry)
{
	uint64_t *sum = arg;

	*sum += entry->size;
	return 0;
}

static uint64_t bytes_below(uint64_t id)
{
	char prefix[STORE_KEY_MAX + 1];
	uint64_t sum = 0;

	snprintf(prefix, sizeof prefix, "images/%016" PRIx64 "/", id);
	assert_int_equal(store_list_each(f.engine->pool->store, prefix, NULL, add_bytes, &sum, &err), 0);
	return sum;
}

static int64_t copy_all(struct disk_file *from, struct disk_file *to)
{
	memcpy(to->bytes, from->bytes, DISK);
	return copy_wait(from->image, 0, to->image, 0, DISK);
}

/* "a", full, and its copy "b". */
static void make_and_copy(struct random *r, struct disk_file d[2])
{
	make(&d[0], "a");
	make(&d[1], "b");
	random_fill(r, d[0].bytes, DISK);
	assert_int_equal(write_wait(d[0].image, 0, d[0].bytes, DISK), DISK);
	assert_int_equal(copy_all(&d[0], &d[1]), DISK);
}

/* ---- copies ------------------------------------------------------------------------------------------------------- */

static void ranges_of_any_kind_arrive_and_stay(void **state)
{
	struct random r = some_random();
	struct disk_file d[3];

	(void)state;
	make(&d[0], "a");
	make(&d[1], "b");
	make(&d[2], "c");
	write_some(&r, &d[0], 100);
	for (unsigned round = 0; round < 60; round++) {
		struct disk_file *from = &d[random_below(&r, 3)], *to = &d[random_below(&r, 3)];
		/* Leaves that lie alike, grains that do not, and what cannot be shared. */
		uint64_t align = random_once_in(&r, 2) ? 2 * MIB : random_once_in(&r, 4) ? 512 : 4096;
		uint64_t at = random_below(&r, DISK / align) * align, to_at = random_below(&r, DISK / align) * align;
		uint64_t most = DISK - (at > to_at ? at : to_at), len = 1 + random_below(&r, most);

		if (random_once_in(&r, 2))
			to_at = at;
		if (from == to)
			continue;
		assert_int_equal(copy_wait(from->image, at, to->image, to_at, len), len);
		memcpy(to->bytes + to_at, from->bytes + at, len);
		if (random_once_in(&r, 2))
			write_some(&r, from, 1 + (unsigned)random_below(&r, 10));
		if (random_once_in(&r, 3))
			write_some(&r, to, 1 + (unsigned)random_below(&r, 10));
		if (random_once_in(&r, 5)) {
			for (unsigned k = 0; k < 3; k++)
				check_bytes(d[k].name, d[k].image, d[k].bytes);
			reopen(d, 3, (unsigned)random_below(&r, 4));
		}
		for (unsigned k = 0; k < 3; k++)
			check_bytes(d[k].name, d[k].image, d[k].bytes);
	}
	reopen(d, 3, 1);
	assert_int_equal(errors_in_pool(), 0);
	for (unsigned k = 0; k < 3; k++) {
		check_bytes(d[k].name, d[k].image, d[k].bytes);
		image_fixture_close_image(d[k].image);
		free(d[k].bytes);
	}
}

static void a_copy_takes_no_room(void **state)
{
	struct random r = some_random();
	struct disk_file d[2];
	uint64_t first, layers;

	(void)state;
	make_and_copy(&r, d);
	assert_int_equal(flush_wait(d[1].image, IMAGE_FLUSH_REMOTE), 0);
	check_bytes("b", d[1].image, d[1].bytes);
	first = bytes_below(d[1].image->id);
	assert_true(first < MIB / 4);
	assert_true(bytes_below(d[0].image->id) > DISK);
	/* Of a source that has not changed nothing new is held. */
	layers = image_layer_count(d[1].image);
	assert_int_equal(copy_all(&d[0], &d[1]), DISK);
	assert_int_equal(image_layer_count(d[1].image), layers);
	/* With this share_min whatever has changed is worth a new moment. */
	write_some(&r, &d[0], 1);
	assert_int_equal(copy_all(&d[0], &d[1]), DISK);
	assert_true(image_layer_count(d[1].image) > layers);
	check_bytes("b", d[1].image, d[1].bytes);
	reopen(d, 2, 1);
	check_bytes("b", d[1].image, d[1].bytes);
	for (unsigned k = 0; k < 2; k++) {
		image_fixture_close_image(d[k].image);
		free(d[k].bytes);
	}
}

static void the_source_can_be_deleted(void **state)
{
	struct random r = some_random();
	struct disk_file d[2];
	uint64_t id;

	(void)state;
	make(&d[0], "a");
	make(&d[1], "b");
	write_some(&r, &d[0], 100);
	assert_int_equal(copy_all(&d[0], &d[1]), DISK);
	id = d[0].image->id;
	image_fixture_close_image(d[0].image);
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "a", &err), 0);
	reopen(d + 1, 1, 1);
	check_bytes("b", d[1].image, d[1].bytes);
	assert_true(bytes_below(id) > 0);
	assert_int_equal(errors_in_pool(), 0);
	image_fixture_close_image(d[1].image);
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "b", &err), 0);
	for (unsigned k = 0; bytes_below(id) && k < 1000; k++) {
		engine_delete_now(f.engine, true);
		usleep(10000);
	}
	assert_int_equal(bytes_below(id), 0);
	free(d[0].bytes);
	free(d[1].bytes);
}

static void what_goes_back_to_the_parent_is_copied(void **state)
{
	struct random r = some_random();
	struct disk_file d[2];
	struct node_attr attr;
	uint64_t id;

	(void)state;
	make(&d[0], "a");
	write_some(&r, &d[0], 100);
	id = d[0].image->id;
	assert_int_equal(engine_clone(f.engine, id, NODE_ROOT, "b", &attr, &err), 0);
	d[1] = (struct disk_file){ .name = "b",
		                   .image = image_fixture_open_image(f.engine, "b"),
		                   .bytes = malloc(DISK) };
	assert_non_null(d[1].bytes);
	memcpy(d[1].bytes, d[0].bytes, DISK);
	write_some(&r, &d[1], 20);
	assert_int_equal(copy_all(&d[1], &d[0]), DISK);
	assert_int_equal(image_layer_count(d[0].image), 0);
	for (unsigned k = 0; k < 2; k++) {
		check_bytes(d[k].name, d[k].image, d[k].bytes);
		image_fixture_close_image(d[k].image);
		assert_int_equal(engine_unlink(f.engine, NODE_ROOT, d[k].name, &err), 0);
		free(d[k].bytes);
	}
	for (unsigned k = 0; bytes_below(id) && k < 1000; k++) {
		engine_delete_now(f.engine, true);
		usleep(10000);
	}
	assert_int_equal(bytes_below(id), 0);
}

/* What cp asks for of an image with many holes. Returns the bytes that were asked for. */
static uint64_t copy_extents(struct random *r, struct disk_file *from, struct disk_file *to, bool writing)
{
	static uint8_t buf[5000];
	uint64_t sum = 0;
	int64_t at = 0, end;

	for (; (at = seek_wait(from->image, (uint64_t)at, true)) >= 0; at = end) {
		end = seek_wait(from->image, (uint64_t)at, false);
		uint64_t len = (uint64_t)(end - at);
		assert_int_equal(copy_wait(from->image, (uint64_t)at, to->image, (uint64_t)at, len), len);
		memcpy(to->bytes + at, from->bytes + at, len);
		sum += len;
		if (!writing || !random_once_in(r, 30))
			continue;
		struct disk_file *d = random_once_in(r, 2) ? from : to;
		uint64_t where = random_below(r, DISK - sizeof buf);
		random_fill(r, buf, sizeof buf);
		assert_int_equal(write_wait(d->image, where, buf, sizeof buf), sizeof buf);
		memcpy(d->bytes + where, buf, sizeof buf);
	}
	return sum;
}

static void fill_every_other(struct random *r, struct disk_file *d, uint64_t piece)
{
	for (uint64_t at = 0; at < DISK; at += 2 * piece) {
		random_fill(r, d->bytes + at, piece);
		assert_int_equal(write_wait(d->image, at, d->bytes + at, piece), piece);
	}
}

static void many_small_ranges_share_one_moment_while_both_are_written(void **state)
{
	struct random r = some_random();
	struct disk_file d[2];

	(void)state;
	image_fixture_close(&f);
	f.options.share_min = 256u << 10;
	image_fixture_open(&f, 0);
	make(&d[0], "a");
	make(&d[1], "b");
	fill_every_other(&r, &d[0], 16u << 10);
	uint64_t copied = copy_extents(&r, &d[0], &d[1], false);
	assert_int_equal(image_layer_count(d[1].image), 1);
	assert_int_equal(flush_wait(d[1].image, IMAGE_FLUSH_REMOTE), 0);
	/* What came before the moment was worth it, the records, and the map. */
	assert_true(bytes_below(d[1].image->id) < copied / 4);
	check_bytes("b", d[1].image, d[1].bytes);
	copied = copy_extents(&r, &d[0], &d[1], true);
	assert_true(copied > 5 * MIB);
	/* A few writes of 5000 bytes are far from what another moment would be worth for each. */
	assert_true(image_layer_count(d[1].image) <= 2);
	for (unsigned loss = 0; loss < 3; loss++) {
		for (unsigned k = 0; k < 2; k++)
			check_bytes(d[k].name, d[k].image, d[k].bytes);
		reopen(d, 2, loss);
		assert_int_equal(errors_in_pool(), 0);
	}
	for (unsigned k = 0; k < 2; k++) {
		check_bytes(d[k].name, d[k].image, d[k].bytes);
		image_fixture_close_image(d[k].image);
		free(d[k].bytes);
	}
}

static struct image_moment moment_now(struct image *i)
{
	assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
	struct log_position p = log_position(atomic_load(&i->log));
	return (struct image_moment){ .segment = p.segment, .record = p.record };
}

/* The records that lead there come after the checkpoint that did not know the layer yet. */
static void a_moment_after_a_copy_can_be_had_back(void **state)
{
	struct random r = some_random();
	struct disk_file d[2], past = { .name = "past" };
	struct image_moment m, now;
	struct node_attr attr;

	(void)state;
	make(&d[0], "a");
	make(&d[1], "b");
	assert_int_equal(engine_history_keep(f.engine, d[1].image->id, 3600, &err), 0);
	write_some(&r, &d[0], 50);
	write_some(&r, &d[1], 20);
	assert_int_equal(save_now(d[1].image, true), 0);
	assert_int_equal(copy_all(&d[0], &d[1]), DISK);
	write_some(&r, &d[1], 5);
	m = moment_now(d[1].image);
	past.bytes = malloc(DISK);
	assert_non_null(past.bytes);
	memcpy(past.bytes, d[1].bytes, DISK);
	write_some(&r, &d[1], 20);
	assert_int_equal(flush_wait(d[1].image, IMAGE_FLUSH_REMOTE), 0);
	assert_int_equal(engine_rewind(f.engine, d[1].image->id, &m, NODE_ROOT, "past", &attr, &err), 0);
	past.image = image_fixture_open_image(f.engine, "past");
	check_bytes("as a new image", past.image, past.bytes);
	image_fixture_close_image(past.image);
	image_fixture_close_image(d[1].image);
	assert_int_equal(engine_rewind_in_place(f.engine, d[1].image->id, &m, &now, &err), 0);
	d[1].image = image_fixture_open_image(f.engine, "b");
	check_bytes("in place", d[1].image, past.bytes);
	memcpy(d[1].bytes, past.bytes, DISK);
	past.image = image_fixture_open_image(f.engine, "past");
	struct disk_file all[3] = { d[0], d[1], past };
	reopen(all, 3, 1);
	assert_int_equal(errors_in_pool(), 0);
	for (unsigned k = 0; k < 3; k++) {
		check_bytes(all[k].name, all[k].image, all[k].bytes);
		image_fixture_close_image(all[k].image);
		free(all[k].bytes);
	}
}

/* What was shared has become the image's own, and what is shared after that is not taken for what was before. */
static void a_flattened_copy_leads_nowhere(void **state)
{
	struct random r = some_random();
	struct disk_file d[2];

	(void)state;
	make(&d[0], "a");
	make(&d[1], "b");
	write_some(&r, &d[0], 50);
	assert_int_equal(copy_all(&d[0], &d[1]), DISK);
	assert_int_equal(engine_flatten(f.engine, d[1].image->id, NULL, NULL, &err), 0);
	check_bytes("flat", d[1].image, d[1].bytes);
	write_some(&r, &d[1], 5);
	/* It has no layers until it is loaded again: this is copied. */
	assert_int_equal(copy_all(&d[0], &d[1]), DISK);
	check_bytes("copied", d[1].image, d[1].bytes);
	reopen(d, 2, 1);
	assert_int_equal(image_layer_count(d[1].image), 0);
	write_some(&r, &d[0], 5);
	assert_int_equal(copy_all(&d[0], &d[1]), DISK);
	assert_int_equal(image_layer_count(d[1].image), 1);
	reopen(d, 2, 2);
	assert_int_equal(errors_in_pool(), 0);
	for (unsigned k = 0; k < 2; k++) {
		check_bytes(d[k].name, d[k].image, d[k].bytes);
		image_fixture_close_image(d[k].image);
		free(d[k].bytes);
	}
}

/* The record is there, and what it leads to is not known: an error that says so, here and by verifying. */
static void a_share_of_a_layer_that_is_not_listed_is_refused(void **state)
{
	struct random r = some_random();
	struct layer_list list, none = { 0 };
	struct disk_file d[2];
	struct engine *other;
	struct image *i;
	struct node_attr attr;

	(void)state;
	make(&d[0], "a");
	make(&d[1], "b");
	write_some(&r, &d[0], 50);
	write_some(&r, &d[1], 5);
	assert_int_equal(save_now(d[1].image, true), 0);
	assert_int_equal(flush_wait(d[1].image, IMAGE_FLUSH_REMOTE), 0);
	other = image_fixture_open_beside(&f, 1);
	assert_int_equal(engine_resolve(other, "b", &attr, &err), 0);
	assert_int_equal(copy_all(&d[0], &d[1]), DISK);
	assert_int_equal(flush_wait(d[1].image, IMAGE_FLUSH_REMOTE), 0);
	assert_int_equal(errors_in_pool(), 0);
	assert_int_equal(layer_list_load(f.engine->pool, d[1].image->id, &list, &err), 0);
	none.base.grain_bytes = list.base.grain_bytes;
	assert_int_equal(layer_list_save(f.engine->pool, d[1].image->id, &none, &err), 0);
	assert_true(errors_in_pool() > 0);
	int rc = image_open(other, attr.id, IMAGE_READ, &i, &err);
	if (rc != -EBADMSG)
		fail_msg("%d: %s", rc, error_text(&err));
	assert_non_null(strstr(error_text(&err), "layers"));
	assert_int_equal(layer_list_save(f.engine->pool, d[1].image->id, &list, &err), 0);
	assert_int_equal(image_open(other, attr.id, IMAGE_READ, &i, &err), 0);
	check_bytes("listed again", i, d[1].bytes);
	image_close(i, IMAGE_READ);
	assert_int_equal(engine_close(other, &err), 0);
	layer_list_destroy(&list);
	for (unsigned k = 0; k < 2; k++) {
		image_fixture_close_image(d[k].image);
		free(d[k].bytes);
	}
}

/* The numbers of layers begin anew after flattening. Who still knows the old ones sees the image as it was then, or as
 * it is now. */
static void a_reader_does_not_take_new_layers_for_old_ones(void **state)
{
	struct random r = some_random();
	struct disk_file d[3];
	struct engine *other;
	struct image *old, *new;
	struct node_attr attr;
	uint8_t *before = malloc(DISK);

	(void)state;
	assert_non_null(before);
	make(&d[0], "a");
	make(&d[1], "b");
	make(&d[2], "c");
	write_some(&r, &d[0], 50);
	write_some(&r, &d[2], 50);
	assert_int_equal(copy_all(&d[0], &d[1]), DISK);
	assert_int_equal(save_now(d[1].image, true), 0);
	assert_int_equal(flush_wait(d[1].image, IMAGE_FLUSH_REMOTE), 0);
	memcpy(before, d[1].bytes, DISK);
	other = image_fixture_open_beside(&f, 1);
	assert_int_equal(engine_resolve(other, "b", &attr, &err), 0);
	assert_int_equal(image_open(other, attr.id, IMAGE_READ, &old, &err), 0);
	check_bytes("before", old, before);
	assert_int_equal(engine_flatten(f.engine, d[1].image->id, NULL, NULL, &err), 0);
	reopen(d, 3, 0);
	assert_int_equal(copy_all(&d[2], &d[1]), DISK);
	assert_int_equal(image_layer_count(d[1].image), 1);
	assert_int_equal(flush_wait(d[1].image, IMAGE_FLUSH_REMOTE), 0);
	assert_int_equal(image_open(other, attr.id, IMAGE_READ, &new, &err), 0);
	check_bytes("while it is open", new, before);
	image_close(new, IMAGE_READ);
	image_close(old, IMAGE_READ);
	assert_int_equal(image_open(other, attr.id, IMAGE_READ, &new, &err), 0);
	check_bytes("opened again", new, d[1].bytes);
	image_close(new, IMAGE_READ);
	assert_int_equal(engine_close(other, &err), 0);
	assert_int_equal(errors_in_pool(), 0);
	for (unsigned k = 0; k < 3; k++) {
		image_fixture_close_image(d[k].image);
		free(d[k].bytes);
	}
	free(before);
}

/* A checkpoint is nothing that a copy needs: a host that follows has it from the records. */
static void another_host_replays_the_copy(void **state)
{
	struct random r = some_random();
	struct disk_file d[2];
	struct engine *other;
	struct image *old, *new;
	struct node_attr attr;

	(void)state;
	make(&d[0], "a");
	make(&d[1], "b");
	write_some(&r, &d[0], 100);
	write_some(&r, &d[1], 10);
	assert_int_equal(save_now(d[1].image, true), 0);
	assert_int_equal(flush_wait(d[1].image, IMAGE_FLUSH_REMOTE), 0);
	segment_no_t checkpoint = d[1].image->saved.checkpoint.segment;
	other = image_fixture_open_beside(&f, 1);
	assert_int_equal(engine_resolve(other, "b", &attr, &err), 0);
	assert_int_equal(image_open(other, attr.id, IMAGE_READ, &old, &err), 0);
	check_bytes("before", old, d[1].bytes);
	assert_int_equal(copy_all(&d[0], &d[1]), DISK);
	write_some(&r, &d[1], 10);
	assert_int_equal(flush_wait(d[1].image, IMAGE_FLUSH_REMOTE), 0);
	assert_true(d[1].image->saved.checkpoint.segment == checkpoint);
	assert_int_equal(image_open(other, attr.id, IMAGE_READ, &new, &err), 0);
	check_bytes("followed", new, d[1].bytes);
	image_close(new, IMAGE_READ);
	image_close(old, IMAGE_READ);
	assert_int_equal(engine_close(other, &err), 0);
	for (unsigned k = 0; k < 2; k++) {
		image_fixture_close_image(d[k].image);
		free(d[k].bytes);
	}
}

static void another_host_that_reads_goes_over_to_the_copy(void **state)
{
	struct random r = some_random();
	struct disk_file d[2];
	struct engine *other;
	struct image *old, *new;
	struct node_attr attr;
	uint8_t *before = malloc(DISK);

	(void)state;
	assert_non_null(before);
	make(&d[0], "a");
	make(&d[1], "b");
	write_some(&r, &d[0], 100);
	write_some(&r, &d[1], 100);
	memcpy(before, d[1].bytes, DISK);
	assert_int_equal(save_now(d[1].image, true), 0);
	assert_int_equal(flush_wait(d[1].image, IMAGE_FLUSH_REMOTE), 0);
	other = image_fixture_open_beside(&f, 1);
	assert_int_equal(engine_resolve(other, "b", &attr, &err), 0);
	assert_int_equal(image_open(other, attr.id, IMAGE_READ, &old, &err), 0);
	check_bytes("before", old, before);
	assert_int_equal(copy_all(&d[0], &d[1]), DISK);
	write_some(&r, &d[1], 10);
	assert_int_equal(save_now(d[1].image, true), 0);
	assert_int_equal(flush_wait(d[1].image, IMAGE_FLUSH_REMOTE), 0);
	assert_int_equal(image_open(other, attr.id, IMAGE_READ, &new, &err), 0);
	check_bytes("while it is open", new, d[1].bytes);
	image_close(new, IMAGE_READ);
	image_close(old, IMAGE_READ);
	assert_int_equal(image_open(other, attr.id, IMAGE_READ, &new, &err), 0);
	check_bytes("opened again", new, d[1].bytes);
	image_close(new, IMAGE_READ);
	assert_int_equal(engine_close(other, &err), 0);
	for (unsigned k = 0; k < 2; k++) {
		image_fixture_close_image(d[k].image);
		free(d[k].bytes);
	}
	free(before);
}

/* What this host remembers of the map has layers that another one has let go, as nothing led into them any more. */
static void one_that_was_flattened_elsewhere_is_opened_again(void **state)
{
	struct random r = some_random();
	struct disk_file d[2];
	struct node_attr attr;

	(void)state;
	make_and_copy(&r, d);
	assert_true(image_layer_count(d[1].image) > 0);
	assert_int_equal(discard_wait(d[1].image, 0, DISK), 0);
	memset(d[1].bytes, 0, DISK);
	for (unsigned k = 0; k < 2; k++)
		image_fixture_close_image(d[k].image);
	image_fixture_close(&f);

	image_fixture_open(&f, 1);
	assert_int_equal(engine_lookup(f.engine, NODE_ROOT, "b", &attr, &err), 0);
	if (engine_flatten(f.engine, attr.id, NULL, NULL, &err))
		fail_msg("%s", error_text(&err));
	image_fixture_close(&f);
	image_fixture_open(&f, 0);
	d[1].image = image_fixture_open_image(f.engine, "b");
	assert_int_equal(image_layer_count(d[1].image), 0);
	check_bytes("b", d[1].image, d[1].bytes);
	image_fixture_close_image(d[1].image);
	assert_int_equal(errors_in_pool(), 0);
	for (unsigned k = 0; k < 2; k++)
		free(d[k].bytes);
}

/* ---- a store that is away ----------------------------------------------------------------------------------------- */

static struct spy_store spy;

/* With room for all that is not sent. */
static void spy_on_store(struct disk_file d[2], struct random *r)
{
	image_fixture_close(&f);
	f.options.cache_size = 256 * MIB;
	f.options.dirty_limit = 128 * MIB;
	image_fixture_open(&f, 0);
	spy_store_over(&spy, f.engine->pool->store);
	f.engine->pool->store = &spy.store;
	make(&d[0], "a");
	make(&d[1], "b");
	random_fill(r, d[0].bytes, DISK);
}

static void store_comes_back(void)
{
	atomic_store(&spy.put_error, 0);
	spy_hold_puts(&spy, false);
	while (spy_let_go(&spy, ""))
		;
	while (atomic_load(&f.engine->store_away))
		usleep(1000);
}

/* Closes all: it is in the pool. */
static void check_and_end(struct disk_file d[2])
{
	for (unsigned k = 0; k < 2; k++)
		check_bytes(d[k].name, d[k].image, d[k].bytes);
	reopen(d, 2, 1);
	spy_store_destroy(&spy);
	assert_int_equal(errors_in_pool(), 0);
	for (unsigned k = 0; k < 2; k++) {
		check_bytes(d[k].name, d[k].image, d[k].bytes);
		image_fixture_close_image(d[k].image);
		free(d[k].bytes);
	}
}

static void nothing_waits_for_a_store_that_is_away(void **state)
{
	struct random r = some_random();
	struct disk_file d[2];

	(void)state;
	spy_on_store(d, &r);
	atomic_store(&spy.put_error, -EIO);
	assert_int_equal(write_wait(d[0].image, 0, d[0].bytes, DISK), DISK);
	while (!atomic_load(&f.engine->store_away))
		usleep(1000);
	assert_int_equal(copy_all(&d[0], &d[1]), DISK);
	assert_int_equal(image_layer_count(d[1].image), 0);
	check_bytes("b", d[1].image, d[1].bytes);
	/* Once it is back what was copied then is shared. */
	store_comes_back();
	assert_int_equal(copy_all(&d[0], &d[1]), DISK);
	assert_int_equal(image_layer_count(d[1].image), 1);
	check_and_end(d);
}

struct copier {
	struct disk_file *d;
	int64_t copied;
};

static void *copy_thread(void *arg)
{
	struct copier *c = arg;

	c->copied = copy_all(&c->d[0], &c->d[1]);
	return NULL;
}

/* A copy that waits for the source's upload goes on by itself. With `told` the store answers at last that it cannot; else it stays silent. */
static void copy_while_puts_hang(bool told)
{
	struct random r = some_random();
	struct disk_file d[2];
	struct copier c = { .d = d };
	pthread_t thread;

	spy_on_store(d, &r);
	spy_hold_puts(&spy, true);
	assert_int_equal(write_wait(d[0].image, 0, d[0].bytes, DISK), DISK);
	assert_int_equal(pthread_create(&thread, NULL, copy_thread, &c), 0);
	spy_wait_held(&spy, 1);
	if (told) {
		/* The copy is waiting for its moment. */
		while (!atomic_load(&d[0].image->moments))
			usleep(1000);
		atomic_store(&spy.put_error, -EIO);
		spy_hold_puts(&spy, false);
		while (spy_let_go(&spy, ""))
			;
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(c.copied, DISK);
	assert_int_equal(image_layer_count(d[1].image), 0);
	assert_int_equal(atomic_load(&d[0].image->moments), 0);
	check_bytes("b", d[1].image, d[1].bytes);
	store_comes_back();
	check_and_end(d);
}

static void a_moment_is_given_up_when_the_store_goes_away(void **state)
{
	(void)state;
	copy_while_puts_hang(true);
}

static void a_moment_is_given_up_when_the_store_is_silent(void **state)
{
	(void)state;
	copy_while_puts_hang(false);
}

/* Nobody has it open: after a while it is not owned any more. */
static void wait_for_hand_over(uint64_t id)
{
	bool owned = true;

	for (int k = 0; k < 3000 && owned; k++) {
		owned = image_is_owned(f.engine, id);
		usleep(10000);
	}
	assert_false(owned);
}

/* Copies "a" to "b" on host 1, which hands both over. */
static void share_elsewhere(void)
{
	struct engine *other = image_fixture_open_beside(&f, 1);
	struct image *a = image_fixture_open_image(other, "a"), *b = image_fixture_open_image(other, "b");

	assert_int_equal(copy_wait(a, 0, b, 0, DISK), DISK);
	assert_int_equal(image_layer_count(b), 1);
	image_fixture_close_image(a);
	image_fixture_close_image(b);
	assert_int_equal(engine_close(other, &err), 0);
}

/* It is still in memory as it was when it led nowhere. */
static void one_that_was_flattened_here_and_shared_elsewhere_is_loaded_anew(void **state)
{
	struct random r = some_random();
	struct disk_file d[2];

	(void)state;
	make_and_copy(&r, d);
	uint64_t id = d[1].image->id;
	if (engine_flatten(f.engine, id, NULL, NULL, &err))
		fail_msg("%s", error_text(&err));
	write_some(&r, &d[0], 20);
	for (unsigned k = 0; k < 2; k++)
		image_fixture_close_image(d[k].image);
	wait_for_hand_over(d[0].image->id);
	wait_for_hand_over(id);
	share_elsewhere();
	memcpy(d[1].bytes, d[0].bytes, DISK);
	struct image *known = image_get(f.engine, id);
	assert_true(known && known->flat);
	image_put(known);
	for (unsigned k = 0; k < 2; k++)
		d[k].image = image_fixture_open_image(f.engine, d[k].name);
	check_bytes("b", d[1].image, d[1].bytes);
	write_some(&r, &d[1], 5);
	assert_int_equal(save_now(d[1].image, true), 0);
	assert_int_equal(d[1].image->saved.layers, 1);
	reopen(d, 2, 1);
	check_bytes("b of the store", d[1].image, d[1].bytes);
	assert_int_equal(errors_in_pool(), 0);
	for (unsigned k = 0; k < 2; k++) {
		image_fixture_close_image(d[k].image);
		free(d[k].bytes);
	}
}

/* The new layer is of the same image, and more of its log belongs to it. */
static void a_reader_does_not_take_a_new_layer_of_the_same_image_for_the_old_one(void **state)
{
	struct random r = some_random();
	struct disk_file d[2];
	struct image *i;
	struct node_attr attr;

	(void)state;
	make_and_copy(&r, d);
	assert_int_equal(save_now(d[1].image, true), 0);
	assert_int_equal(flush_wait(d[1].image, IMAGE_FLUSH_REMOTE), 0);
	struct engine *other = image_fixture_open_beside(&f, 1);
	assert_int_equal(engine_resolve(other, "b", &attr, &err), 0);
	assert_int_equal(image_open(other, attr.id, IMAGE_READ, &i, &err), 0);
	check_bytes("before", i, d[1].bytes);
	image_close(i, IMAGE_READ);
	assert_int_equal(engine_flatten(f.engine, attr.id, NULL, NULL, &err), 0);
	reopen(d, 2, 0);
	write_some(&r, &d[0], 50);
	assert_int_equal(copy_all(&d[0], &d[1]), DISK);
	assert_int_equal(image_layer_count(d[1].image), 1);
	assert_int_equal(flush_wait(d[1].image, IMAGE_FLUSH_REMOTE), 0);
	assert_int_equal(image_open(other, attr.id, IMAGE_READ, &i, &err), 0);
	check_bytes("after", i, d[1].bytes);
	image_close(i, IMAGE_READ);
	assert_int_equal(engine_close(other, &err), 0);
	for (unsigned k = 0; k < 2; k++) {
		image_fixture_close_image(d[k].image);
		free(d[k].bytes);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(ranges_of_any_kind_arrive_and_stay),
		T(a_copy_takes_no_room),
		T(the_source_can_be_deleted),
		T(what_goes_back_to_the_parent_is_copied),
		T(many_small_ranges_share_one_moment_while_both_are_written),
		T(a_moment_after_a_copy_can_be_had_back),
		T(a_flattened_copy_leads_nowhere),
		T(one_that_was_flattened_elsewhere_is_opened_again),
		T(one_that_was_flattened_here_and_shared_elsewhere_is_loaded_anew),
		T(a_reader_does_not_take_a_new_layer_of_the_same_image_for_the_old_one),
		T(a_share_of_a_layer_that_is_not_listed_is_refused),
		T(a_reader_does_not_take_new_layers_for_old_ones),
		T(another_host_replays_the_copy),
		T(another_host_that_reads_goes_over_to_the_copy),
		T(nothing_waits_for_a_store_that_is_away),
		T(a_moment_is_given_up_when_the_store_goes_away),
		T(a_moment_is_given_up_when_the_store_is_silent),
	};

	report_init("test_share", env_number("GARNER_TEST_VERBOSE", 0) ? REPORT_DEBUG : REPORT_NOTICE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
