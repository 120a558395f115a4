/* SPDX-License-Identifier: GPL-3.0-only */
/* test_pool_copy.c: a pool of three images copied to an empty store, brought up to date, broken off at every step, refused. */
#include "base/clock.h"
#include "image/catalog.h"
#include "image/layers.h"
#include "image/pool_copy.h"
#include "image/verify.h"
#include "lib/image_fixture.h"
#include "lib/pool_fixture.h"
#include "lib/weak_store.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define SEGMENTS 11   /* more than are on their way at once */
#define PROBING 64    /* so many changes of the target, or a few less, only find out what it can do */
#define BEFORE_END 70 /* not the last one */

static const struct host alpha = { .id = 0xa, .name = "alpha" }, beta = { .id = 0xb, .name = "beta" };
static char dir[200], to_dir[200];
static struct pool *pool;
static struct store *to;
static struct error err;
static struct pool_copy_report counts;

/* An image that is being written. */
struct disk_image {
	uint64_t id, epoch;
	segment_no_t last;
	uint8_t digest[DIGEST_BYTES];
};

static struct disk_image vm, other;

/* ---- the source -------------------------------------------------------------------------------------------------- */

static uint64_t create_in(struct pool *p, uint64_t parent, const char *name, enum node_type type)
{
	struct catalog *c = catalog_new(p, NULL);
	struct catalog_entry e = { .parent = parent, .type = type, .mode = 0600 };

	assert_non_null(c);
	/* A catalog creates only in directories that it has seen. */
	if (parent != NODE_ROOT) {
		struct catalog_entry d;
		assert_int_equal(catalog_lookup(c, NODE_ROOT, "d", 0, &d, &err), 0);
	}
	snprintf(e.name, sizeof e.name, "%s", name);
	if (catalog_create(c, &e, &err))
		fail_msg("%s", error_text(&err));
	catalog_free(c);
	return e.id;
}

static void begin_term(struct pool *p, struct disk_image *d, const struct host *host)
{
	struct log_view view;

	assert_int_equal(log_view_load(p, d->id, &view, &err), 0);
	assert_int_equal(epoch_claim(p, d->id, host, &view, &err), 0);
	if (epoch_begin_term(p, d->id, &view, d->last + 1, &err))
		fail_msg("%s", error_text(&err));
	d->epoch = view.newest_epoch;
	log_view_destroy(&view);
}

static void release(struct pool *p, struct disk_image *d, const struct host *host)
{
	struct log_view view;

	assert_int_equal(log_view_load(p, d->id, &view, &err), 0);
	assert_int_equal(epoch_release(p, d->id, host, &view, d->last, &err), 0);
	log_view_destroy(&view);
}

static void grow(struct pool *p, struct disk_image *d, unsigned segments)
{
	struct head head = { .epoch = d->epoch, .size = 1 << 20, .grain_bytes = 4096 };

	for (unsigned n = 0; n < segments; n++)
		fixture_put_small(p, d->id, ++d->last, d->epoch, d->digest);
	assert_int_equal(head_save(p, d->id, &head, &err), 0);
}

static void make_pool(void)
{
	uint64_t d = create_in(pool, NODE_ROOT, "d", NODE_DIRECTORY);
	struct catalog *c = catalog_new(pool, NULL);
	struct catalog_entry root = { .id = NODE_ROOT, .mode = 0711 };

	assert_non_null(c);
	assert_int_equal(catalog_update(c, &root, &err), 0);
	catalog_free(c);
	vm = (struct disk_image){ .id = create_in(pool, d, "vm.raw", NODE_FILE) };
	other = (struct disk_image){ .id = create_in(pool, NODE_ROOT, "other", NODE_FILE) };
	create_in(pool, NODE_ROOT, "never-opened", NODE_FILE);
	begin_term(pool, &vm, &alpha);
	grow(pool, &vm, SEGMENTS - 5);
	begin_term(pool, &vm, &beta);
	grow(pool, &vm, 5);
	begin_term(pool, &other, &alpha);
	grow(pool, &other, 2);
	release(pool, &other, &alpha);
	assert_int_equal(store_put_wait(pool->store, "leases/000000000000000a", "lease", 5, 0, &err), 0);
	assert_int_equal(store_put_wait(pool->store, "trash/00000000000000ff", "trash", 5, 0, &err), 0);
}

static struct store *open_to(void)
{
	struct store_options options = { .threads = 2, .create = true };
	struct store *s;

	if (store_open(to_dir, &options, &s, &err))
		fail_msg("%s", error_text(&err));
	return s;
}

static int setup(void **state)
{
	(void)state;
	fixture_make_dir(dir);
	fixture_make_dir(to_dir);
	pool = fixture_open_pool(dir, true);
	to = open_to();
	memset(&err, 0, sizeof err);
	make_pool();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	store_close(to);
	pool_close(pool);
	fixture_remove_dir(dir);
	fixture_remove_dir(to_dir);
	return 0;
}

/* An empty target again. */
static void renew_target(void)
{
	store_close(to);
	fixture_remove_dir(to_dir);
	to = open_to();
}

/* ---- the copy ---------------------------------------------------------------------------------------------------- */

static void copy(const char *path)
{
	int rc = pool_copy(pool, to, path, &counts, NULL, NULL, &err);

	if (rc)
		fail_msg("%d: %s", rc, error_text(&err));
}

/* That it is refused so, and says this. */
static void refuses(const char *path, int code, const char *what)
{
	int rc = pool_copy(pool, to, path, &counts, NULL, NULL, &err);

	if (rc != code || !strstr(error_text(&err), what))
		fail_msg("%d instead of %d: %s", rc, code, error_text(&err));
}

/* The target as a pool, or NULL when it is none. */
static struct pool *open_copy(void)
{
	struct pool *p = NULL;
	struct error why = { 0 };
	int rc = pool_open(to_dir, NULL, NULL, &p, &why);

	if (rc && rc != -ENOENT)
		fail_msg("%d: %s", rc, error_text(&why));
	return p;
}

static void verify_copy(uint64_t images, uint64_t segments)
{
	static struct verify_report v;
	struct pool *p = open_copy();

	assert_non_null(p);
	if (pool_verify(p, NULL, &v, NULL, NULL, &err) || v.errors)
		fail_msg("%s", v.errors ? v.text[0] : error_text(&err));
	assert_int_equal(v.images, images);
	assert_int_equal(v.segments, segments);
	pool_close(p);
}

static size_t get(struct store *s, const char *key, uint8_t *bytes, size_t room)
{
	size_t len;

	if (store_get_wait(s, key, 0, bytes, room, &len, &err))
		fail_msg("%s", error_text(&err));
	return len;
}

struct comparison {
	struct store *with;
	unsigned same, older_terms;
};

/* The newest object lists all that count. */
static bool is_older_terms(const char *key)
{
	char newest[2][STORE_KEY_MAX + 1];

	snprintf(newest[0], sizeof newest[0], "images/%016llx/terms/%016llx", (unsigned long long)vm.id,
	         (unsigned long long)vm.epoch);
	snprintf(newest[1], sizeof newest[1], "images/%016llx/terms/%016llx", (unsigned long long)other.id,
	         (unsigned long long)other.epoch);
	return strstr(key, "/terms/") && strcmp(key, newest[0]) != 0 && strcmp(key, newest[1]) != 0;
}

static int compare_one(void *arg, const struct store_entry *entry)
{
	static uint8_t a[1 << 20], b[1 << 20];
	struct comparison *c = arg;

	/* The target says what it can do itself, and nobody owns an image there. */
	if (strcmp(entry->key, POOL_KEY) == 0 || strstr(entry->key, "/epochs/") ||
	    strncmp(entry->key, "leases/", 7) == 0 || strncmp(entry->key, "trash/", 6) == 0)
		return 0;
	uint64_t size;
	if (is_older_terms(entry->key) && store_head_wait(c->with, entry->key, &size, NULL) == -ENOENT) {
		c->older_terms++;
		return 0;
	}
	size_t len = get(pool->store, entry->key, a, sizeof a);
	if (get(c->with, entry->key, b, sizeof b) != len || memcmp(a, b, len) != 0)
		fail_msg("%s differs", entry->key);
	c->same++;
	return 0;
}

/* That everything of the source is there, and nothing but that. */
static void copy_is_complete(void)
{
	struct comparison c = { .with = to };
	struct pool holder = { .store = to };
	struct log_view view;
	struct pool *p = open_copy();

	assert_int_equal(store_list_each(pool->store, "", NULL, compare_one, &c, &err), 0);
	assert_true(c.same > SEGMENTS);
	/* A lease and something in the trash stay behind; a crash may have left something of probing. */
	assert_int_equal(fixture_count(&holder, "") - fixture_count(&holder, "probe/"),
	                 fixture_count(pool, "") - 2 - c.older_terms);
	assert_int_equal(fixture_count(&holder, "copy/"), 0);
	assert_non_null(p);
	assert_int_equal(log_view_load(p, vm.id, &view, &err), 0);
	assert_int_equal(view.newest_epoch, vm.epoch);
	assert_true(view.released);
	log_view_destroy(&view);
	pool_close(p);
}

/* ---- what a copy is ---------------------------------------------------------------------------------------------- */

static void a_copy_is_the_same_pool_and_nobody_owns_its_images(void **state)
{
	struct pool *p;

	(void)state;
	copy(NULL);
	assert_int_equal(counts.images, 3);
	assert_int_equal(counts.segments, SEGMENTS + 2);
	assert_int_equal(counts.same_segments, 0);
	assert_int_equal(counts.names, 5); /* three images, a directory, the root */
	assert_true(counts.made);
	copy_is_complete();
	verify_copy(3, SEGMENTS + 2);
	p = open_copy();
	assert_memory_equal(p->uuid, pool->uuid, sizeof p->uuid);
	assert_int_equal(p->created_ns, pool->created_ns);
	assert_true(p->store->capabilities & STORE_CREATE_ONLY);
	pool_close(p);
}

static void a_second_run_finds_everything_there(void **state)
{
	(void)state;
	copy(NULL);
	uint64_t bytes = counts.bytes;
	copy(NULL);
	assert_int_equal(counts.segments, 0);
	assert_int_equal(counts.same_segments, SEGMENTS + 2);
	assert_int_equal(counts.same_bytes, bytes);
	assert_int_equal(counts.names, 0);
	assert_false(counts.made);
	copy_is_complete();
}

static void an_older_copy_is_brought_up_to_date(void **state)
{
	(void)state;
	copy(NULL);
	grow(pool, &vm, 3);
	begin_term(pool, &other, &beta);
	grow(pool, &other, 1);
	create_in(pool, NODE_ROOT, "young", NODE_FILE);
	copy(NULL);
	assert_int_equal(counts.segments, 4);
	assert_int_equal(counts.same_segments, SEGMENTS + 2);
	assert_int_equal(counts.names, 1);
	copy_is_complete();
	verify_copy(4, SEGMENTS + 6);
	/* The host that wrote hands over; nothing else changes. */
	release(pool, &vm, &beta);
	copy(NULL);
	assert_int_equal(counts.segments, 0);
	copy_is_complete();
}

static void what_is_renamed_has_one_name_in_the_copy_and_what_is_removed_stays(void **state)
{
	struct catalog_entry e;
	struct catalog *c;
	struct pool *p;

	(void)state;
	copy(NULL);
	c = catalog_new(pool, NULL);
	assert_non_null(c);
	assert_int_equal(catalog_rename(c, NODE_ROOT, "other", NODE_ROOT, "renamed", true, NULL, &err), 0);
	assert_int_equal(catalog_remove(c, NODE_ROOT, "never-opened", NODE_FILE, NULL, &err), 0);
	catalog_free(c);
	copy(NULL);
	assert_int_equal(counts.left, 2);
	p = open_copy();
	c = catalog_new(p, NULL);
	assert_non_null(c);
	assert_int_equal(catalog_lookup(c, NODE_ROOT, "renamed", 0, &e, &err), 0);
	assert_int_equal(e.id, other.id);
	assert_int_equal(catalog_lookup(c, NODE_ROOT, "other", 0, &e, &err), -ENOENT);
	assert_int_equal(catalog_lookup(c, NODE_ROOT, "never-opened", 0, &e, &err), 0);
	catalog_free(c);
	pool_close(p);
	verify_copy(3, SEGMENTS + 2);
}

static void one_image_is_copied_with_the_directories_above_it(void **state)
{
	(void)state;
	copy("/d/vm.raw");
	assert_int_equal(counts.images, 1);
	assert_int_equal(counts.names, 2);
	verify_copy(1, SEGMENTS);
	copy("other");
	assert_int_equal(counts.images, 1);
	verify_copy(2, SEGMENTS + 2);
	copy(NULL);
	assert_int_equal(counts.segments, 0);
	copy_is_complete();
}

static void a_path_that_is_no_image_is_refused_before_anything_is_put(void **state)
{
	struct pool holder = { .store = to };

	(void)state;
	refuses("d", -EISDIR, "'d' is a directory");
	refuses("/", -EISDIR, "'/' is a directory");
	refuses("d/none", -ENOENT, "'none' does not exist");
	refuses("other/x", -ENOTDIR, "'other' is no directory");
	assert_int_equal(fixture_count(&holder, ""), 0);
}

static void segments_that_do_not_count_are_not_copied(void **state)
{
	char key[STORE_KEY_MAX + 1];
	struct pool holder = { .store = to };

	(void)state;
	segment_key_format(vm.id, SEGMENTS - 4, 1, key); /* by a host that had been cut off */
	assert_int_equal(store_put_wait(pool->store, key, "rubbish", 7, 0, &err), 0);
	segment_key_format(vm.id, SEGMENTS + 2, 2, key); /* after a gap */
	assert_int_equal(store_put_wait(pool->store, key, "rubbish", 7, 0, &err), 0);
	copy("d/vm.raw");
	snprintf(key, sizeof key, "images/%016llx/segments/", (unsigned long long)vm.id);
	assert_int_equal(fixture_count(&holder, key), SEGMENTS);
	verify_copy(1, SEGMENTS);
}

/* ---- broken off -------------------------------------------------------------------------------------------------- */

/* Copies until so many changes have reached the target. Returns what the copy returned. */
static int copy_until(unsigned steps, bool lose_answer)
{
	struct pool holder = { .store = to };
	struct faulty_store f;
	int rc;

	faulty_put_in(&f, &holder, steps, lose_answer);
	rc = pool_copy(pool, holder.store, NULL, &counts, NULL, NULL, &err);
	assert_true(rc <= 0);
	return rc;
}

static void a_crash_at_any_step_leaves_what_is_no_pool_and_a_second_run_ends_it(void **state)
{
	struct pool *p;
	int rc = -EIO;

	(void)state;
	for (unsigned steps = 0; rc; steps += steps < PROBING ? 16 : 1) {
		for (int lose = 0; lose < 2; lose++) {
			renew_target();
			rc = copy_until(steps, lose);
			p = open_copy();
			pool_close(p);
			/* Only the last two steps may come after "pool": the put itself and the marker's removal. */
			if (p)
				verify_copy(3, SEGMENTS + 2);
			else
				assert_int_not_equal(rc, 0);
			copy(NULL);
			copy_is_complete();
			verify_copy(3, SEGMENTS + 2);
		}
		assert_true(steps < 200);
	}
}

/* Where the copy has the name, it has all of the image. */
static void is_whole_or_has_no_name(struct pool *p, const struct disk_image *d, const char *name)
{
	struct catalog *c = catalog_new(p, NULL);
	struct catalog_entry e;
	struct log_view view;
	segment_no_t end;
	int rc;

	assert_non_null(c);
	rc = catalog_lookup(c, NODE_ROOT, name, 0, &e, &err);
	catalog_free(c);
	assert_true(rc == 0 || rc == -ENOENT);
	if (rc)
		return;
	assert_int_equal(log_view_load(p, d->id, &view, &err), 0);
	assert_int_equal(log_find_end(p, d->id, &view, 0, &end, &err), 0);
	assert_int_equal(end, d->last);
	log_view_destroy(&view);
}

/* The same source for each: it grows once, then there are copies of its earlier state to begin with. */
static void a_crash_while_a_copy_is_brought_up_to_date_leaves_a_good_pool(void **state)
{
	struct disk_image young = { 0 };
	char old_dir[200], command[600];
	int rc = -EIO;

	(void)state;
	copy(NULL);
	fixture_make_dir(old_dir);
	snprintf(command, sizeof command, "cp -a %s/. %s", to_dir, old_dir);
	assert_int_equal(system(command), 0); /* NOLINT */
	grow(pool, &vm, 2);
	begin_term(pool, &vm, &alpha);
	begin_term(pool, &vm, &beta);
	grow(pool, &vm, 2);
	young.id = create_in(pool, NODE_ROOT, "young", NODE_FILE);
	begin_term(pool, &young, &alpha);
	grow(pool, &young, 2);
	for (unsigned steps = 0; rc; steps++) {
		for (int lose = 0; lose < 2; lose++) {
			renew_target();
			snprintf(command, sizeof command, "cp -a %s/. %s", old_dir, to_dir);
			assert_int_equal(system(command), 0); /* NOLINT */
			rc = copy_until(steps, lose);
			struct pool *p = open_copy();
			struct log_view view;
			segment_no_t end;
			assert_non_null(p);
			assert_int_equal(log_view_load(p, vm.id, &view, &err), 0);
			assert_int_equal(log_find_end(p, vm.id, &view, SEGMENTS, &end, &err), 0);
			assert_true(end >= SEGMENTS && end <= SEGMENTS + 4);
			log_view_destroy(&view);
			static struct verify_report v;
			assert_int_equal(pool_verify(p, NULL, &v, NULL, NULL, &err), 0);
			assert_int_equal(v.errors, 0);
			is_whole_or_has_no_name(p, &young, "young");
			pool_close(p);
			copy(NULL);
			copy_is_complete();
			verify_copy(4, SEGMENTS + 8);
		}
		assert_true(steps < 100);
	}
	fixture_remove_dir(old_dir);
}

static void an_unfinished_copy_is_taken_for_no_pool_and_for_no_free_place(void **state)
{
	struct store_options options = { .threads = 2 };

	(void)state;
	assert_true(copy_until(BEFORE_END, false) < 0);
	assert_null(open_copy());
	assert_int_equal(pool_init(to_dir, &options, NULL, 0, &err), -ENOTEMPTY);
	assert_int_equal(pool_may_begin(to_dir, &options, &err), 0);
}

struct stopping {
	unsigned calls, stop_after;
	uint64_t done, total;
};

static bool stop_after(void *arg, const char *path, uint64_t done, uint64_t total)
{
	struct stopping *s = arg;

	assert_non_null(path);
	assert_true(done >= s->done);
	assert_true(done <= total);
	s->done = done;
	s->total = total;
	return s->calls++ < s->stop_after;
}

static void it_can_be_stopped_at_any_time_and_goes_on(void **state)
{
	struct stopping s;
	int rc = -EINTR;

	(void)state;
	/* Each run does a little more, or finds a little more done. */
	for (unsigned n = 0; rc == -EINTR; n++) {
		s = (struct stopping){ .stop_after = n };
		rc = pool_copy(pool, to, NULL, &counts, stop_after, &s, &err);
		if (rc && rc != -EINTR)
			fail_msg("%d: %s", rc, error_text(&err));
		assert_true(n < 2000);
	}
	assert_int_equal(rc, 0);
	assert_int_equal(s.done, s.total);
	assert_true(s.total > (SEGMENTS + 2) * SEGMENT_OBJECT_HEADER);
	copy_is_complete();
}

static void puts_that_fail_are_told_with_their_segment(void **state)
{
	struct pool holder = { .store = to };
	struct faulty_store f;

	(void)state;
	faulty_put_in(&f, &holder, 0, false);
	assert_int_equal(pool_copy(pool, holder.store, NULL, &counts, NULL, NULL, &err), -EIO);
	faulty_take_out(&f, &holder);
	/* Enough for the probing, the marker, and a few segments. */
	int rc = -EIO;
	for (unsigned steps = 0; rc && !strstr(error_text(&err), "segment"); steps++) {
		renew_target();
		rc = copy_until(steps, false);
		assert_true(steps < 100);
	}
	assert_int_equal(rc, -EIO);
	assert_true(strstr(error_text(&err), "vm.raw: segment ") || strstr(error_text(&err), "other: segment "));
}

/* ---- refused ----------------------------------------------------------------------------------------------------- */

static void a_place_with_other_things_or_another_pool_is_refused(void **state)
{
	struct store_options options = { .threads = 2 };

	(void)state;
	assert_int_equal(store_put_wait(to, "some/thing", "x", 1, 0, &err), 0);
	refuses(NULL, -ENOTEMPTY, "holds other objects");
	renew_target();
	assert_int_equal(pool_init(to_dir, &options, NULL, 0, &err), 0);
	refuses(NULL, -EXDEV, "garner export");
	refuses("other", -EXDEV, "garner import");
}

static void an_unfinished_copy_of_another_pool_is_refused(void **state)
{
	char third_dir[200];
	struct pool *mine = pool;

	(void)state;
	assert_true(copy_until(BEFORE_END, false) < 0);
	fixture_make_dir(third_dir);
	pool = fixture_open_pool(third_dir, true);
	refuses(NULL, -EXDEV, "another pool");
	pool_close(pool);
	fixture_remove_dir(third_dir);
	pool = mine;
}

static void a_pool_is_not_copied_onto_itself(void **state)
{
	char link_path[210];
	struct log_view view;

	(void)state;
	store_close(to);
	fixture_remove_dir(to_dir);
	snprintf(link_path, sizeof link_path, "%s", to_dir);
	assert_int_equal(symlink(dir, link_path), 0);
	to = open_to();
	refuses(NULL, -EINVAL, "are the same place");
	assert_int_equal(fixture_count(pool, "probe/"), 0);
	assert_int_equal(log_view_load(pool, vm.id, &view, &err), 0);
	assert_false(view.released);
	log_view_destroy(&view);
	assert_int_equal(unlink(link_path), 0);
	assert_int_equal(mkdir(to_dir, 0700), 0);
}

/* The copy is opened for writing, by a host, or by one and then in the source too. */
static void an_image_that_was_written_in_the_copy_is_left_alone(void **state)
{
	struct disk_image there;
	struct pool *p;

	(void)state;
	for (int in_source_too = 0; in_source_too < 2; in_source_too++) {
		renew_target();
		copy(NULL);
		there = vm;
		p = open_copy();
		begin_term(p, &there, &alpha);
		grow(p, &there, 1);
		if (in_source_too) {
			begin_term(pool, &vm, &beta);
			grow(pool, &vm, 2);
		}
		refuses(NULL, -EEXIST, "d/vm.raw: ");
		refuses("d/vm.raw", -EEXIST, "was opened for writing (by alpha)");
		release(p, &there, &alpha);
		refuses(NULL, -EEXIST, "was opened for writing (by alpha)");
		pool_close(p);
		copy("other");
		verify_copy(3, SEGMENTS + 3);
	}
}

static void a_name_that_stands_for_something_else_is_refused_before_anything_is_put(void **state)
{
	struct pool *p;

	(void)state;
	copy("other");
	p = open_copy();
	create_in(p, NODE_ROOT, "d", NODE_DIRECTORY);
	pool_close(p);
	refuses(NULL, -EEXIST, "'d' is another directory");
	assert_int_equal(counts.segments, 0);
	copy("other");
}

static void a_damaged_source_is_not_copied(void **state)
{
	static uint8_t bytes[1 << 20];
	char key[STORE_KEY_MAX + 1];
	size_t len;

	(void)state;
	segment_key_format(vm.id, 4, 1, key);
	len = get(pool->store, key, bytes, sizeof bytes);
	bytes[len - 1] ^= 1;
	assert_int_equal(store_put_wait(pool->store, key, bytes, len, 0, &err), 0);
	refuses(NULL, -EBADMSG, "d/vm.raw: segment 4: chunk 0");
	assert_null(open_copy());
	/* The others can be had one by one. */
	copy("other");
	verify_copy(1, 2);
}

static void a_broken_chain_is_found_though_the_segments_are_there(void **state)
{
	char key[STORE_KEY_MAX + 1];
	struct disk_image d;

	(void)state;
	copy(NULL);
	d = vm;
	d.digest[0] ^= 1;
	grow(pool, &d, 1);
	refuses(NULL, -EBADMSG, "segment 12: does not follow");
	segment_key_format(vm.id, 12, 2, key);
	static uint8_t bytes[1 << 20];
	size_t len = get(pool->store, key, bytes, sizeof bytes);
	assert_int_equal(store_put_wait(to, key, bytes, len, 0, &err), 0);
	refuses(NULL, -EBADMSG, "segment 12: does not follow");
}

static void a_segment_that_is_damaged_in_the_copy_is_put_anew(void **state)
{
	static uint8_t bytes[1 << 20];
	char key[STORE_KEY_MAX + 1];
	size_t len;

	(void)state;
	copy(NULL);
	segment_key_format(vm.id, 4, 1, key);
	len = get(to, key, bytes, sizeof bytes);
	bytes[300] ^= 1;
	assert_int_equal(store_put_wait(to, key, bytes, len, 0, &err), 0);
	segment_key_format(vm.id, 7, 2, key);
	assert_int_equal(store_put_wait(to, key, bytes, len / 2, 0, &err), 0);
	segment_key_format(other.id, 1, 1, key);
	assert_int_equal(store_remove_wait(to, key, &err), 0);
	copy(NULL);
	assert_int_equal(counts.segments, 3);
	copy_is_complete();
	verify_copy(3, SEGMENTS + 2);
}

/* ---- snapshots --------------------------------------------------------------------------------------------------- */

static void save_snapshot(struct pool *p, const char *name, uint64_t id, uint64_t time_ns)
{
	struct snapshot s = {
		.image = vm.id,
		.segment = SEGMENTS,
		.grain_bytes = 4096,
		.info = { .id = id, .origin = id, .time_ns = time_ns, .size = 1 << 20 },
	};

	snprintf(s.info.name, sizeof s.info.name, "%s", name);
	if (snapshot_save(p, &s, true, &err))
		fail_msg("%s", error_text(&err));
}

static bool has_snapshot(struct pool *p, const char *name)
{
	struct snapshot s;
	int rc = snapshot_load_any(p, vm.id, name, &s, &err);

	assert_true(rc == 0 || rc == -ENOENT);
	return !rc;
}

static int damage_object(void *arg, const struct store_entry *entry)
{
	uint8_t bytes[4096];
	size_t len = get(pool->store, entry->key, bytes, sizeof bytes);

	(void)arg;
	bytes[len / 2] ^= 1;
	assert_int_equal(store_put_wait(pool->store, entry->key, bytes, len, 0, &err), 0);
	return 0;
}

/* The copy may be the only place where it can still be read. */
static void a_damaged_snapshot_ends_the_copy_and_stays_in_the_target(void **state)
{
	char prefix[STORE_KEY_MAX + 1];
	struct pool *p;

	(void)state;
	save_snapshot(pool, "good", 7, 1);
	copy(NULL);
	snprintf(prefix, sizeof prefix, "images/%016llx/snapshots/", (unsigned long long)vm.id);
	assert_int_equal(store_list_each(pool->store, prefix, NULL, damage_object, NULL, &err), 0);
	save_snapshot(pool, "later", 8, 2);
	refuses(NULL, -EBADMSG, "a snapshot cannot be read");
	p = open_copy();
	assert_true(has_snapshot(p, "good"));
	assert_int_equal(snapshot_remove(pool, vm.id, "good", &err), 0);
	copy(NULL);
	assert_false(has_snapshot(p, "good"));
	assert_true(has_snapshot(p, "later"));
	pool_close(p);
}

static void what_a_clone_in_the_copy_holds_stays(void **state)
{
	struct layer_ref ref = { .image = vm.id, .epoch = vm.epoch, .last = SEGMENTS, .hold = 0x51 };
	struct layer_list list = { .base = { .grain_bytes = 4096 }, .refs = &ref, .count = 1 };
	char of_clone[SNAPSHOT_NAME_MAX + 1], of_nobody[SNAPSHOT_NAME_MAX + 1], young[SNAPSHOT_NAME_MAX + 1];
	struct pool *p;

	(void)state;
	layer_hold_name(0xc10e, ref.hold, of_clone);
	layer_hold_name(0xc10e, 0x53, of_nobody);
	layer_hold_name(0xabcd, 0x55, young);
	copy(NULL);
	p = open_copy();
	save_snapshot(p, of_clone, 11, 1);
	save_snapshot(p, of_nobody, 12, 1);
	save_snapshot(p, young, 13, clock_wall_ns()); /* its list is not there yet */
	assert_int_equal(layer_list_save(p, 0xc10e, &list, &err), 0);
	copy(NULL);
	assert_true(has_snapshot(p, of_clone));
	assert_false(has_snapshot(p, of_nobody));
	assert_true(has_snapshot(p, young));
	assert_int_equal(layer_list_remove(p, 0xc10e, &err), 0);
	copy(NULL);
	assert_false(has_snapshot(p, of_clone));
	pool_close(p);
}

static void a_snapshot_that_a_listing_does_not_show_stays_in_the_target(void **state)
{
	struct weak_store weak;
	struct pool *p;

	(void)state;
	weak_put_in(&weak, pool, STORE_READ_LATEST);
	weak_lag(&weak);
	save_snapshot(pool, "good", 7, 1);
	copy(NULL);
	p = open_copy();
	save_snapshot(p, "good", 7, 1); /* by a run that was shown it */
	copy(NULL);
	assert_true(has_snapshot(p, "good"));
	assert_int_equal(snapshot_remove(pool, vm.id, "good", &err), 0);
	copy(NULL);
	assert_false(has_snapshot(p, "good"));
	weak_take_out(&weak, pool);
	pool_close(p);
}

/* ---- a source in use --------------------------------------------------------------------------------------------- */

/* Passes everything on, and before the n-th head does something. */
struct meddling_store {
	struct store store;
	struct store *below;
	unsigned heads, when;
	void (*meddle)(void);
};

static void meddling_head(struct store *s, const char *key, store_length_fn *done, void *arg)
{
	struct meddling_store *m = (struct meddling_store *)s;

	if (m->heads++ == m->when)
		m->meddle();
	store_head(m->below, key, done, arg);
}

static void meddling_get(struct store *s, const char *key, uint64_t offset, void *buf, size_t len, unsigned flags,
                         store_length_fn *done, void *arg)
{
	store_get(((struct meddling_store *)s)->below, key, offset, buf, len, flags, done, arg);
}

static void meddling_list(struct store *s, const char *prefix, const char *after, size_t max, store_list_fn *done,
                          void *arg)
{
	store_list(((struct meddling_store *)s)->below, prefix, after, max, done, arg);
}

static const struct store_ops meddling_ops = { .head = meddling_head, .get = meddling_get, .list = meddling_list };

static struct pool *second; /* the source, as another host sees it */

/* And the host that was cut off still stores a segment, which does not count. */
static void take_over_and_write(void)
{
	struct disk_image d = vm, cut_off = vm;

	begin_term(second, &d, &alpha);
	grow(second, &d, 1);
	fixture_put_small(second, cut_off.id, cut_off.last + 1, cut_off.epoch, cut_off.digest);
	vm = d;
}

static void an_image_that_is_taken_over_meanwhile_is_copied_as_of_one_moment(void **state)
{
	char key[STORE_KEY_MAX + 1];
	struct meddling_store m;
	bool ended = false;
	uint64_t size;

	(void)state;
	for (unsigned when = 0; !ended; when++) {
		teardown(NULL);
		setup(NULL);
		second = fixture_open_pool(dir, false);
		m = (struct meddling_store){ .store = *pool->store, .below = pool->store, .when = when };
		m.store.ops = &meddling_ops;
		m.meddle = take_over_and_write;
		pool->store = &m.store;
		copy("d/vm.raw");
		pool->store = m.below;
		ended = m.heads <= when;
		assert_true(counts.segments == SEGMENTS || (!ended && counts.segments == SEGMENTS + 1));
		verify_copy(1, counts.segments);
		segment_key_format(vm.id, SEGMENTS + 1, 2, key);
		assert_int_equal(store_head_wait(to, key, &size, &err), -ENOENT);
		copy("d/vm.raw");
		verify_copy(1, vm.last);
		pool_close(second);
		assert_true(when < 200);
	}
}

struct deleting {
	bool done, seen;
	uint64_t before; /* bytes done when its turn came */
};

static bool delete_vm(void *arg, const char *path, uint64_t done, uint64_t total)
{
	struct deleting *d = arg;
	struct catalog_entry e;
	struct catalog *c;

	(void)done;
	(void)total;
	if (d->done || strcmp(path, "d/vm.raw") != 0)
		return true;
	d->done = true;
	c = catalog_new(pool, NULL);
	assert_non_null(c);
	assert_int_equal(catalog_lookup(c, NODE_ROOT, "d", 0, &e, &err), 0);
	assert_int_equal(catalog_remove(c, e.id, "vm.raw", NODE_FILE, NULL, &err), 0);
	catalog_free(c);
	assert_int_equal(image_objects_remove(pool, vm.id, &err), 0);
	return true;
}

/* When some of its segments have been copied, and not all. */
static bool delete_vm_late(void *arg, const char *path, uint64_t done, uint64_t total)
{
	struct deleting *d = arg;

	if (strcmp(path, "d/vm.raw") != 0)
		return true;
	if (!d->seen) {
		d->seen = true;
		d->before = done;
	}
	return done == d->before || delete_vm(arg, path, done, total);
}

static void an_image_that_is_deleted_meanwhile_is_left_out(void **state)
{
	struct deleting d = { 0 };
	struct catalog_entry e;
	struct catalog *c;
	struct pool *p;

	(void)state;
	/* Its path comes up for the first time before its log is looked at: then it looks like one that was never opened. */
	assert_int_equal(pool_copy(pool, to, NULL, &counts, delete_vm, &d, &err), 0);
	verify_copy(3, 2);
	teardown(NULL);
	setup(NULL);
	d = (struct deleting){ 0 };
	if (pool_copy(pool, to, NULL, &counts, delete_vm_late, &d, &err))
		fail_msg("%s", error_text(&err));
	assert_true(d.done);
	assert_int_equal(counts.gone, 1);
	p = open_copy();
	c = catalog_new(p, NULL);
	assert_non_null(c);
	assert_int_equal(catalog_lookup(c, NODE_ROOT, "other", 0, &e, &err), 0);
	catalog_free(c);
	pool_close(p);
	verify_copy(2, 2);
}

static bool rename_vm_late(void *arg, const char *path, uint64_t done, uint64_t total)
{
	struct deleting *d = arg;
	struct catalog_entry e;
	struct catalog *c;

	(void)done;
	(void)total;
	if (d->done || strcmp(path, "d/vm.raw") != 0)
		return true;
	d->done = true;
	c = catalog_new(pool, NULL);
	assert_non_null(c);
	assert_int_equal(catalog_lookup(c, NODE_ROOT, "d", 0, &e, &err), 0);
	assert_int_equal(catalog_rename(c, e.id, "vm.raw", NODE_ROOT, "renamed", true, NULL, &err), 0);
	catalog_free(c);
	return true;
}

/* And cannot be copied, so that it matters whether it still is there. */
static void an_image_that_is_renamed_meanwhile_is_not_taken_for_a_deleted_one(void **state)
{
	char key[STORE_KEY_MAX + 1];
	struct deleting d = { 0 };

	(void)state;
	segment_key_format(vm.id, 4, 1, key);
	assert_int_equal(store_put_wait(pool->store, key, "rubbish", 7, 0, &err), 0);
	assert_int_equal(pool_copy(pool, to, NULL, &counts, rename_vm_late, &d, &err), -EBADMSG);
	assert_non_null(strstr(error_text(&err), "d/vm.raw: segment 4"));
	assert_true(d.done);
	assert_int_equal(counts.gone, 0);
}

/* With its mark, when its data was gone. */
static bool delete_vm_for_good(void *arg, const char *path, uint64_t done, uint64_t total)
{
	struct deleting *d = arg;
	bool before = d->done, on = delete_vm_late(arg, path, done, total);
	char key[STORE_KEY_MAX + 1];

	snprintf(key, sizeof key, "trash/%016llx", (unsigned long long)vm.id);
	if (d->done && !before)
		assert_int_equal(store_remove_wait(pool->store, key, &err), 0);
	return on;
}

static void an_image_that_is_deleted_for_good_meanwhile_is_left_out(void **state)
{
	struct deleting d = { 0 };

	(void)state;
	if (pool_copy(pool, to, NULL, &counts, delete_vm_for_good, &d, &err))
		fail_msg("%s", error_text(&err));
	assert_true(d.done);
	assert_int_equal(counts.gone, 1);
	verify_copy(2, 2);
}

static void what_listings_do_not_show_yet_is_asked_for(void **state)
{
	struct weak_store from_weak, to_weak;

	(void)state;
	weak_init(&to_weak, to, STORE_READ_LATEST);
	weak_lag(&to_weak);
	weak_put_in(&from_weak, pool, STORE_READ_LATEST);
	weak_lag(&from_weak);
	pool->store = from_weak.below;
	grow(pool, &vm, 3);
	pool->store = &from_weak.store;
	for (int run = 0; run < 2; run++)
		if (pool_copy(pool, &to_weak.store, NULL, &counts, NULL, NULL, &err))
			fail_msg("%s", error_text(&err));
	weak_take_out(&from_weak, pool);
	weak_destroy(&to_weak);
	copy_is_complete();
	verify_copy(3, SEGMENTS + 5);
}

/* ---- with an engine ---------------------------------------------------------------------------------------------- */

static void read_back(struct engine *e, const uint8_t *expected, size_t len)
{
	struct image *i = image_fixture_open_image(e, "disk");
	uint8_t *got = malloc(len);

	assert_non_null(got);
	assert_int_equal(read_wait(i, 0, got, len), len);
	assert_memory_equal(got, expected, len);
	free(got);
	image_fixture_close_image(i);
}

static void a_sealed_pool_in_use_opens_elsewhere_with_its_key(void **state)
{
	size_t len = 5u << 20;
	uint8_t *data = malloc(len);
	struct image_fixture f;
	struct secret *secret;
	struct engine *e;
	struct image *i;

	(void)state;
	assert_non_null(data);
	for (size_t n = 0; n < len; n++)
		data[n] = (uint8_t)(n * 2654435761u >> 13);
	image_fixture_init(&f, true);
	image_fixture_open(&f, 0);
	image_fixture_create(f.engine, "disk");
	i = image_fixture_open_image(f.engine, "disk");
	assert_int_equal(write_wait(i, 0, data, len), len);
	assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);

	pool_close(pool);
	assert_int_equal(pool_secret(f.options.key_file, NULL, &secret, &err), 0);
	assert_int_equal(pool_open(f.store, NULL, secret, &pool, &err), 0);
	secret_free(secret);
	copy(NULL);
	copy("disk");

	/* The source goes on meanwhile; the copy does not see it. */
	assert_int_equal(write_wait(i, 0, "changed", 7), 7);
	assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
	f.options.store_url = to_dir;
	e = image_fixture_open_beside(&f, 1);
	read_back(e, data, len);
	if (engine_close(e, &err))
		fail_msg("%s", error_text(&err));
	image_fixture_close_image(i);
	free(data);
	image_fixture_destroy(&f);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_copy_is_the_same_pool_and_nobody_owns_its_images),
		T(a_second_run_finds_everything_there),
		T(an_older_copy_is_brought_up_to_date),
		T(what_is_renamed_has_one_name_in_the_copy_and_what_is_removed_stays),
		T(one_image_is_copied_with_the_directories_above_it),
		T(a_path_that_is_no_image_is_refused_before_anything_is_put),
		T(segments_that_do_not_count_are_not_copied),
		T(a_crash_at_any_step_leaves_what_is_no_pool_and_a_second_run_ends_it),
		T(a_crash_while_a_copy_is_brought_up_to_date_leaves_a_good_pool),
		T(an_unfinished_copy_is_taken_for_no_pool_and_for_no_free_place),
		T(it_can_be_stopped_at_any_time_and_goes_on),
		T(puts_that_fail_are_told_with_their_segment),
		T(a_place_with_other_things_or_another_pool_is_refused),
		T(an_unfinished_copy_of_another_pool_is_refused),
		T(a_pool_is_not_copied_onto_itself),
		T(an_image_that_was_written_in_the_copy_is_left_alone),
		T(a_name_that_stands_for_something_else_is_refused_before_anything_is_put),
		T(a_damaged_source_is_not_copied),
		T(a_broken_chain_is_found_though_the_segments_are_there),
		T(a_segment_that_is_damaged_in_the_copy_is_put_anew),
		T(a_damaged_snapshot_ends_the_copy_and_stays_in_the_target),
		T(what_a_clone_in_the_copy_holds_stays),
		T(a_snapshot_that_a_listing_does_not_show_stays_in_the_target),
		T(an_image_that_is_taken_over_meanwhile_is_copied_as_of_one_moment),
		T(an_image_that_is_deleted_meanwhile_is_left_out),
		T(an_image_that_is_renamed_meanwhile_is_not_taken_for_a_deleted_one),
		T(an_image_that_is_deleted_for_good_meanwhile_is_left_out),
		T(what_listings_do_not_show_yet_is_asked_for),
		T(a_sealed_pool_in_use_opens_elsewhere_with_its_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
