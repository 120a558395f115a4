/* SPDX-License-Identifier: GPL-3.0-only */
/* test_segment.c: the table of an image's segments: what a scan of the directory finds, pins, and the states of chunks. */
#include "log/segment.h"

#include "lib/fault_disk.h"
#include "lib/remove_tree.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define GRAIN 4096u
#define SEGMENT (1u << 20)
#define IMAGE UINT64_C(0x77)
#define SLOTS_PER_CHUNK (CHUNK_BYTES / GRAIN)

static const uint8_t pool[POOL_UUID_BYTES] = "the pool";

struct place {
	char dir[200];
	struct fault_disk disk;
	struct segment_set *set;
	struct segment_shape shape;
	struct error err;
};

static void new_set(struct place *p)
{
	segment_set_free(p->set);
	p->set = segment_set_new(&p->disk.disk, p->dir, pool, IMAGE);
	assert_non_null(p->set);
}

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");
	struct place *p = calloc(1, sizeof *p);

	assert_non_null(p);
	snprintf(p->dir, sizeof p->dir, "%.150s/test_segment.XXXXXX", tmp && *tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(p->dir));
	fault_disk_init(&p->disk);
	assert_int_equal(segment_shape(GRAIN, SEGMENT, &p->shape), 0);
	new_set(p);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	segment_set_free(p->set);
	fault_disk_destroy(&p->disk);
	assert_int_equal(remove_tree(p->dir), 0);
	free(p);
	return 0;
}

/* ---- files to find ---- */

static struct segment_header header_for(segment_no_t number, uint64_t image)
{
	struct segment_header h = { .image = image, .number = number, .epoch = 1, .slot_bytes = GRAIN };

	memcpy(h.pool, pool, sizeof h.pool);
	return h;
}

static void fill_slots(struct segment_file *f, uint32_t slots)
{
	uint8_t bytes[GRAIN];

	memset(bytes, 0xa5, sizeof bytes);
	for (uint32_t i = 0; i < slots; i++) {
		struct iovec iov = { bytes, sizeof bytes };
		assert_int_equal(segment_file_write_slots(f, i, &iov, 1), 0);
	}
}

/* The digests that segment `number` is given. */
static void digests_for(segment_no_t number, uint8_t prev[DIGEST_BYTES], uint8_t digest[DIGEST_BYTES])
{
	memset(prev, (int)number, DIGEST_BYTES);
	memset(digest, (int)number + 1, DIGEST_BYTES);
}

/* A segment file of the log's making in the given state, with `slots` slots in use. */
static void make_file(struct place *p, segment_no_t number, uint64_t image, uint32_t state, uint32_t slots)
{
	struct segment_header h = header_for(number, image);
	char *path = segment_path(p->set, number), spare[256];
	uint8_t prev[DIGEST_BYTES], digest[DIGEST_BYTES];
	struct segment_file *f;

	snprintf(spare, sizeof spare, "%s/spare", p->dir);
	assert_int_equal(segment_file_make_spare(disk_posix(), spare, p->shape.file_bytes, false, NULL), 0);
	assert_int_equal(segment_file_create(disk_posix(), spare, p->dir, path, &h, SEGMENT, &f, NULL), 0);
	fill_slots(f, slots);
	digests_for(number, prev, digest);
	if (state != SEGMENT_OPEN)
		assert_int_equal(segment_file_seal(f, slots, slots, prev, digest, NULL), 0);
	if (state == SEGMENT_STORED)
		assert_int_equal(segment_file_mark_stored(f, NULL), 0);
	segment_file_close(f);
	free(path);
}

static void put_file(struct place *p, const char *name, const char *content)
{
	char path[300];

	snprintf(path, sizeof path, "%s/%s", p->dir, name);
	int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
	assert_int_equal(close(fd), 0);
}

static bool exists(struct place *p, segment_no_t number)
{
	char *path = segment_path(p->set, number);
	bool there = access(path, F_OK) == 0;

	free(path);
	return there;
}

static int count_one(void *arg, struct segment *s)
{
	(void)s;
	++*(unsigned *)arg;
	return 0;
}

static unsigned known(struct place *p)
{
	unsigned n = 0;

	assert_int_equal(segment_set_each(p->set, count_one, &n), 0);
	return n;
}

/* ---- the table ---- */

static void segment_is_the_same_for_everyone_who_pins_it(void **state)
{
	struct place *p = *state;

	assert_null(segment_pin_known(p->set, 5));
	struct segment *s = segment_pin(p->set, 5);
	assert_int_equal(s->number, 5);
	assert_int_equal(atomic_load(&s->life), LIFE_UNKNOWN);
	assert_ptr_equal(segment_pin(p->set, 5), s);
	assert_ptr_equal(segment_pin_known(p->set, 5), s);
	assert_ptr_not_equal(segment_pin(p->set, 6), s);
	assert_int_equal(atomic_load(&s->pins), 3);
	for (int i = 0; i < 3; i++)
		segment_unpin(s);
	assert_int_equal(atomic_load(&s->pins), 0);
	/* It stays known. */
	assert_ptr_equal(segment_pin_known(p->set, 5), s);
}

static void set_says_whose_segments_it_holds(void **state)
{
	struct place *p = *state;
	char want[300];

	assert_true(segment_set_image(p->set) == IMAGE);
	assert_string_equal(segment_set_dir(p->set), p->dir);
	assert_ptr_equal(segment_set_disk(p->set), &p->disk.disk);
	assert_memory_equal(segment_set_pool(p->set), pool, sizeof pool);
	char *path = segment_path(p->set, 0xabc);
	snprintf(want, sizeof want, "%s/0000000000000abc.seg", p->dir);
	assert_string_equal(path, want);
	free(path);
}

struct visit {
	unsigned seen, stop_at;
	uint64_t numbers;
};

static int visit_one(void *arg, struct segment *s)
{
	struct visit *v = arg;

	assert_int_equal(atomic_load(&s->pins), 1);
	v->numbers |= UINT64_C(1) << s->number;
	return ++v->seen == v->stop_at ? -ECANCELED : 0;
}

static void every_segment_is_visited_pinned(void **state)
{
	struct place *p = *state;
	struct visit all = { 0 }, some = { .stop_at = 3 };

	for (segment_no_t n = 1; n <= 20; n++)
		segment_unpin(segment_pin(p->set, n));
	assert_int_equal(segment_set_each(p->set, visit_one, &all), 0);
	assert_int_equal(all.seen, 20);
	assert_true(all.numbers == (UINT64_C(1) << 21) - 2);
	assert_int_equal(segment_set_each(p->set, visit_one, &some), -ECANCELED);
	assert_int_equal(some.seen, 3);
	/* Those that were not visited are unpinned too. */
	for (segment_no_t n = 1; n <= 20; n++) {
		struct segment *s = segment_pin_known(p->set, n);
		assert_int_equal(atomic_load(&s->pins), 1);
	}
}

static void forgotten_segment_is_gone_with_its_file(void **state)
{
	struct place *p = *state;

	make_file(p, 1, IMAGE, SEGMENT_SEALED, 1);
	make_file(p, 2, IMAGE, SEGMENT_SEALED, 1);
	assert_int_equal(segment_set_scan(p->set, &p->err), 0);
	assert_int_equal(segment_forget(p->set, 1), 0);
	assert_null(segment_pin_known(p->set, 1));
	assert_false(exists(p, 1));
	assert_true(exists(p, 2));
	/* One that is not there is no error; one that cannot be deleted is. */
	assert_int_equal(segment_forget(p->set, 1), 0);
	atomic_store(&p->disk.changes_left, 0);
	assert_int_equal(segment_forget(p->set, 2), -EIO);
	assert_true(exists(p, 2));
}

/* ---- scanning ---- */

static void assert_found(struct place *p, segment_no_t number, int life, uint32_t slots)
{
	struct segment *s = segment_pin_known(p->set, number);
	uint8_t prev[DIGEST_BYTES], digest[DIGEST_BYTES];

	assert_non_null(s);
	assert_true(s->local);
	assert_int_equal(atomic_load(&s->life), life);
	assert_int_equal(s->shape.file_bytes, p->shape.file_bytes);
	if (life != LIFE_CLOSED) {
		digests_for(number, prev, digest);
		assert_int_equal(s->slot_count, slots);
		assert_int_equal(s->record_count, slots);
		assert_memory_equal(s->prev_digest, prev, DIGEST_BYTES);
		assert_memory_equal(s->digest, digest, DIGEST_BYTES);
	}
	assert_int_equal(atomic_load(&s->pins), 1);
	segment_unpin(s);
}

/* Another one may have the number meanwhile. */
static void forgotten_segment_stays_for_who_has_it_pinned(void **state)
{
	struct place *p = *state;
	struct segment *s = segment_pin(p->set, 1);

	assert_int_equal(segment_set_shape(s, &p->shape, CHUNK_PRESENT), 0);
	assert_int_equal(segment_forget(p->set, 1), 0);
	assert_null(segment_pin_known(p->set, 1));
	struct segment *other = segment_pin(p->set, 1);
	assert_ptr_not_equal(other, s);
	assert_int_equal(s->number, 1);
	assert_int_equal(segment_chunk_state(s, 3), CHUNK_PRESENT);
	segment_unpin(s);
	segment_unpin(other);
	assert_int_equal(segment_forget(p->set, 1), 0);
	assert_null(segment_pin_known(p->set, 1));
}

static void scan_finds_each_segment_in_its_life(void **state)
{
	struct place *p = *state;

	make_file(p, 3, IMAGE, SEGMENT_STORED, 3);
	make_file(p, 4, IMAGE, SEGMENT_SEALED, 4);
	make_file(p, 5, IMAGE, SEGMENT_OPEN, 5);
	assert_int_equal(segment_set_scan(p->set, &p->err), 0);
	assert_int_equal(known(p), 3);
	assert_found(p, 3, LIFE_STORED, 3);
	assert_found(p, 4, LIFE_SEALED, 4);
	assert_found(p, 5, LIFE_CLOSED, 5);
}

static void scan_finds_which_chunks_are_here(void **state)
{
	struct place *p = *state;
	struct segment_header h = header_for(9, IMAGE);
	struct segment_file *f;
	char *path = segment_path(p->set, 9);
	struct iovec iov;
	uint8_t bytes[GRAIN];

	memset(bytes, 1, sizeof bytes);
	assert_int_equal(segment_file_create_stored(disk_posix(), path, &h, SEGMENT, NULL, 0, &f, NULL), 0);
	free(path);
	for (uint32_t chunk = 2; chunk < 8; chunk += 5) {
		iov = (struct iovec){ bytes, sizeof bytes };
		assert_int_equal(segment_file_write_slots(f, chunk * SLOTS_PER_CHUNK + 1, &iov, 1), 0);
	}
	segment_file_close(f);
	assert_int_equal(segment_set_scan(p->set, &p->err), 0);
	struct segment *s = segment_pin_known(p->set, 9);
	/* What is here was not looked at since the restart. */
	for (uint32_t i = 0; i < p->shape.chunks; i++)
		assert_int_equal(segment_chunk_state(s, i), i == 2 || i == 7 ? CHUNK_UNVERIFIED : CHUNK_ABSENT);
}

static void scan_leaves_foreign_files_alone(void **state)
{
	static const char *const names[] = { "notes",
		                             "0000000000000000.seg",
		                             "0000000000000001.seg~",
		                             "000000000000001.seg",
		                             "00000000000000001.seg",
		                             "ffffffffffffffff.seg",
		                             "garbage000000001.seg",
		                             "000000000000000A.seg",
		                             "0x00000000000001.seg",
		                             "+000000000000001.seg" };
	struct place *p = *state;

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		put_file(p, names[i], "not ours");
	assert_int_equal(segment_set_scan(p->set, &p->err), 0);
	assert_int_equal(known(p), 0);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char path[300];
		snprintf(path, sizeof path, "%s/%s", p->dir, names[i]);
		assert_int_equal(unlink(path), 0);
	}
}

static void damaged_file_is_known_and_kept_but_cannot_be_opened(void **state)
{
	struct place *p = *state;

	put_file(p, "0000000000000002.seg", "short");
	make_file(p, 3, IMAGE + 1, SEGMENT_SEALED, 1);
	assert_int_equal(segment_set_scan(p->set, &p->err), 0);
	assert_int_equal(known(p), 2);
	for (segment_no_t n = 2; n <= 3; n++) {
		struct segment *s = segment_pin_known(p->set, n);
		struct error err = { 0 };
		assert_true(s->local);
		assert_int_equal(segment_chunk_state(s, 0), CHUNK_ABSENT);
		assert_null(segment_open_file(s, &err));
		assert_int_equal(err.code, -EBADMSG);
		segment_unpin(s);
		assert_true(exists(p, n));
	}
}

static void directory_that_is_not_there_has_no_segments(void **state)
{
	struct place *p = *state;
	struct segment_set *set = segment_set_new(&p->disk.disk, "/nonexistent/image", pool, IMAGE);

	assert_int_equal(segment_set_scan(set, &p->err), 0);
	segment_set_free(set);
	/* One that cannot be read is another matter: segments that were not seen would be lost. */
	put_file(p, "plain", "");
	char path[300];
	snprintf(path, sizeof path, "%s/plain", p->dir);
	set = segment_set_new(&p->disk.disk, path, pool, IMAGE);
	assert_int_equal(segment_set_scan(set, &p->err), -ENOTDIR);
	segment_set_free(set);
}

static void scan_that_runs_out_of_descriptors_is_an_error(void **state)
{
	struct place *p = *state;

	make_file(p, 1, IMAGE, SEGMENT_SEALED, 1);
	atomic_store(&p->disk.open_error, -EMFILE);
	assert_int_equal(segment_set_scan(p->set, &p->err), -EMFILE);
	assert_int_equal(known(p), 0);
}

/* ---- files ---- */

static void file_is_opened_when_it_is_asked_for_and_only_once(void **state)
{
	struct place *p = *state;

	make_file(p, 1, IMAGE, SEGMENT_SEALED, 2);
	assert_int_equal(segment_set_scan(p->set, &p->err), 0);
	struct segment *s = segment_pin_known(p->set, 1);
	assert_null(atomic_load(&s->file));
	unsigned opens = atomic_load(&p->disk.opens);
	struct segment_file *f = segment_open_file(s, &p->err);
	assert_non_null(f);
	assert_int_equal(f->header.slot_count, 2);
	assert_ptr_equal(segment_open_file(s, &p->err), f);
	assert_int_equal(atomic_load(&p->disk.opens), opens + 1);
	/* One of which there is no file here. */
	assert_null(segment_open_file(segment_pin(p->set, 2), &p->err));
	assert_int_equal(atomic_load(&p->disk.opens), opens + 1);
}

static void sync_that_failed_once_is_failed_for_ever(void **state)
{
	struct place *p = *state;

	make_file(p, 1, IMAGE, SEGMENT_SEALED, 1);
	assert_int_equal(segment_set_scan(p->set, &p->err), 0);
	struct segment *s = segment_pin_known(p->set, 1);
	assert_non_null(segment_open_file(s, &p->err));
	assert_int_equal(segment_sync(s), 0);
	atomic_store(&p->disk.sync_error, -EIO);
	assert_int_equal(segment_sync(s), -EIO);
	atomic_store(&p->disk.sync_error, 0);
	unsigned syncs = atomic_load(&p->disk.syncs);
	assert_int_equal(segment_sync(s), -EIO);
	assert_int_equal(atomic_load(&p->disk.syncs), syncs);
}

/* ---- chunks ---- */

static void chunk_changes_its_state_and_keeps_its_uses(void **state)
{
	struct place *p = *state;
	struct segment *s = segment_pin(p->set, 1);

	/* Before the shape is known there is nothing. */
	assert_int_equal(segment_chunk_state(s, 0), CHUNK_ABSENT);
	assert_int_equal(segment_set_shape(s, &p->shape, CHUNK_PRESENT | CHUNK_HELD), 0);
	for (uint32_t i = 0; i < p->shape.chunks; i++)
		assert_int_equal(segment_chunk_state(s, i), CHUNK_PRESENT);
	segment_chunk_used(s, 4);
	segment_chunk_used(s, 4);
	assert_int_equal(segment_chunk_set(s, 4, CHUNK_UNVERIFIED), CHUNK_PRESENT);
	assert_int_equal(segment_chunk_state(s, 4), CHUNK_UNVERIFIED);
	uint8_t byte = atomic_load(&atomic_load(&s->chunk)[4]);
	assert_int_equal(byte & CHUNK_USES, 2 * CHUNK_USES_ONE);
	assert_int_equal(byte & CHUNK_HELD, CHUNK_HELD);
	/* Its neighbours know nothing of it. */
	assert_int_equal(atomic_load(&atomic_load(&s->chunk)[3]), CHUNK_PRESENT | CHUNK_HELD);
	assert_int_equal(atomic_load(&atomic_load(&s->chunk)[5]), CHUNK_PRESENT | CHUNK_HELD);
}

static void uses_of_a_chunk_are_counted_up_to_three(void **state)
{
	struct place *p = *state;
	struct segment *s = segment_pin(p->set, 1);

	assert_int_equal(segment_set_shape(s, &p->shape, CHUNK_PRESENT), 0);
	for (unsigned i = 1; i < 7; i++) {
		segment_chunk_used(s, 0);
		unsigned uses = (i < 3 ? i : 3) * CHUNK_USES_ONE;
		assert_int_equal(atomic_load(&atomic_load(&s->chunk)[0]), CHUNK_PRESENT | uses);
	}
}

static void chunk_is_changed_only_from_the_state_that_was_expected(void **state)
{
	struct place *p = *state;
	struct segment *s = segment_pin(p->set, 1);

	assert_int_equal(segment_set_shape(s, &p->shape, CHUNK_UNVERIFIED), 0);
	assert_false(segment_chunk_change(s, 0, CHUNK_PRESENT, CHUNK_ABSENT));
	assert_int_equal(segment_chunk_state(s, 0), CHUNK_UNVERIFIED);
	assert_true(segment_chunk_change(s, 0, CHUNK_UNVERIFIED, CHUNK_PRESENT));
	assert_false(segment_chunk_change(s, 0, CHUNK_UNVERIFIED, CHUNK_PRESENT));
	assert_int_equal(segment_chunk_state(s, 0), CHUNK_PRESENT);
}

static void shape_can_be_set_again_for_another_state(void **state)
{
	struct place *p = *state;
	struct segment *s = segment_pin(p->set, 1);

	assert_int_equal(segment_set_shape(s, &p->shape, CHUNK_PRESENT), 0);
	_Atomic uint8_t *states = atomic_load(&s->chunk);
	assert_int_equal(segment_set_shape(s, &p->shape, CHUNK_ABSENT), 0);
	/* Readers without the mutex may still look at the array. */
	assert_ptr_equal(atomic_load(&s->chunk), states);
	assert_int_equal(segment_chunk_state(s, 3), CHUNK_ABSENT);
}

/* ---- threads ---- */

#define SEGMENTS 16u
#define THREADS 4u
#define ROUNDS 200u

struct user {
	struct place *p;
	struct segment *seen[SEGMENTS];
	struct segment_file *file;
	unsigned taken;
};

static void *use_segments(void *arg)
{
	struct user *u = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct segment *s = segment_pin(u->p->set, 1 + i % SEGMENTS);
		struct error err = { 0 };
		if (!s || (u->seen[i % SEGMENTS] && u->seen[i % SEGMENTS] != s))
			return "another segment of the same number";
		u->seen[i % SEGMENTS] = s;
		if (s->number == 1) {
			struct segment_file *f = segment_open_file(s, &err);
			if (!f || (u->file && u->file != f))
				return "another file of the same segment";
			u->file = f;
			/* Of many who want a chunk, one gets it. */
			u->taken += segment_chunk_change(s, i / SEGMENTS, CHUNK_UNVERIFIED, CHUNK_PRESENT);
			segment_chunk_used(s, i / SEGMENTS);
		}
		segment_unpin(s);
	}
	return NULL;
}

/* Of one that was evicted the store may hold another one under the same number, that another host made with segments of another size. */
static void segment_that_is_not_here_may_turn_out_to_have_another_shape(void **state)
{
	struct place *p = *state;
	struct segment *s = segment_pin(p->set, 3);
	struct segment_shape larger;

	assert_int_equal(segment_shape(GRAIN, 4 * SEGMENT, &larger), 0);
	assert_int_equal(segment_set_shape(s, &p->shape, CHUNK_PRESENT), 0);
	atomic_store(&s->life, LIFE_STORED);
	assert_int_equal(segment_set_shape(s, &larger, CHUNK_ABSENT), -EBADMSG);
	assert_int_equal(segment_chunk_state(s, 1), CHUNK_PRESENT);
	/* While there is a file, it says what it is. */
	atomic_store(&s->local, true);
	segment_make_unknown(s);
	assert_int_equal(atomic_load(&s->life), LIFE_STORED);
	assert_int_equal(segment_chunk_state(s, 1), CHUNK_PRESENT);

	atomic_store(&s->local, false);
	for (int k = 0; k < 2; k++) {
		segment_make_unknown(s);
		assert_int_equal(atomic_load(&s->life), LIFE_UNKNOWN);
		assert_int_equal(segment_chunk_state(s, larger.chunks - 1), CHUNK_ABSENT);
		assert_int_equal(segment_set_shape(s, k ? &p->shape : &larger, CHUNK_ABSENT), 0);
		assert_int_equal(segment_chunk_set(s, s->shape.chunks - 1, CHUNK_UNVERIFIED), CHUNK_ABSENT);
	}
	segment_unpin(s);
}

static void many_threads_see_one_segment_one_file_and_one_change(void **state)
{
	struct place *p = *state;
	struct user users[THREADS] = { 0 };
	pthread_t threads[THREADS];
	unsigned taken = 0, opens;

	make_file(p, 1, IMAGE, SEGMENT_SEALED, SEGMENT / GRAIN);
	assert_int_equal(segment_set_scan(p->set, &p->err), 0);
	opens = atomic_load(&p->disk.opens);
	for (unsigned i = 0; i < THREADS; i++) {
		users[i].p = p;
		assert_int_equal(pthread_create(&threads[i], NULL, use_segments, &users[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		void *failed;
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
		assert_memory_equal(users[i].seen, users[0].seen, sizeof users[0].seen);
		assert_ptr_equal(users[i].file, users[0].file);
		taken += users[i].taken;
	}
	assert_int_equal(atomic_load(&p->disk.opens), opens + 1);
	assert_int_equal(taken, (ROUNDS + SEGMENTS - 1) / SEGMENTS);
	for (unsigned i = 0; i < SEGMENTS; i++)
		assert_int_equal(atomic_load(&users[0].seen[i]->pins), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(segment_is_the_same_for_everyone_who_pins_it),
		T(set_says_whose_segments_it_holds),
		T(every_segment_is_visited_pinned),
		T(forgotten_segment_is_gone_with_its_file),
		T(forgotten_segment_stays_for_who_has_it_pinned),
		T(scan_finds_each_segment_in_its_life),
		T(scan_finds_which_chunks_are_here),
		T(scan_leaves_foreign_files_alone),
		T(damaged_file_is_known_and_kept_but_cannot_be_opened),
		T(directory_that_is_not_there_has_no_segments),
		T(scan_that_runs_out_of_descriptors_is_an_error),
		T(file_is_opened_when_it_is_asked_for_and_only_once),
		T(sync_that_failed_once_is_failed_for_ever),
		T(chunk_changes_its_state_and_keeps_its_uses),
		T(uses_of_a_chunk_are_counted_up_to_three),
		T(chunk_is_changed_only_from_the_state_that_was_expected),
		T(shape_can_be_set_again_for_another_state),
		T(segment_that_is_not_here_may_turn_out_to_have_another_shape),
		T(many_threads_see_one_segment_one_file_and_one_change),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
