/* SPDX-License-Identifier: GPL-3.0-only */
/* test_stage.c: stages while the daemon runs: what is put comes back, and reaches the owner's file once; how many there are.
 * See test_stage_restore.c for what is done with them after a crash.
 */
#include "lib/stage_fixture.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>

/* ---- putting and reading ---- */

static void owner_reads_back_what_was_put(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p, 1);
	struct stage *s = take(p, f);
	uint8_t want[2 * GRAIN], got[2 * GRAIN];

	assert_true(put(s, f, 0, 16));
	fill(f, 4, want);
	fill(f, 5, want + GRAIN);
	assert_true(stage_read(s, f, 4, 0, got, 2 * GRAIN));
	assert_memory_equal(got, want, 2 * GRAIN);
	assert_true(stage_read(s, f, 4, GRAIN - 10, got, 20));
	assert_memory_equal(got, want + GRAIN - 10, 20);
	/* And nothing of it has gone to the file. */
	assert_int_equal(atomic_load(&p->disk.writes), 0);
	assert_int_equal(records_in(p, 1), 0);
	assert_int_equal(stage_written(s), 0);
	stage_give(s);
	segment_file_close(f);
}

static void last_slot_can_be_put_and_nothing_is_read_behind_it(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p, 1);
	struct stage *s = take(p, f);
	uint8_t want[GRAIN], got[2 * GRAIN];

	fill(f, 255, want);
	assert_int_equal(stage_put_slot(s, 255, want), crc32c(0, want, GRAIN));
	assert_true(stage_read(s, f, 255, 0, got, GRAIN));
	assert_memory_equal(got, want, GRAIN);
	assert_false(stage_read(s, f, 255, 0, got, GRAIN + 1));
	assert_false(stage_read(s, f, 255, 1, got, GRAIN));
	assert_false(stage_read(s, f, 256, 0, got, 1));
	assert_false(stage_read(s, f, UINT32_MAX, UINT32_MAX, got, 1));
	assert_false(stage_read(s, f, 0, 0, got, SIZE_MAX));
	stage_give(s);
	segment_file_close(f);
}

static void nobody_but_the_owner_reads_from_a_stage(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p, 1), *other = create(p, 2);
	struct stage *s = take(p, f);
	uint8_t got[GRAIN];

	assert_true(put(s, f, 0, 4));
	assert_false(stage_read(s, other, 0, 0, got, GRAIN));
	assert_int_equal(write_out(s, f, 4, false), 0);
	stage_give(s);
	assert_false(stage_read(s, f, 0, 0, got, GRAIN));
	assert_ptr_equal(take(p, other), s);
	assert_false(stage_read(s, f, 0, 0, got, GRAIN));
	assert_int_equal(stage_written(s), 0);
	stage_give(s);
	segment_file_close(other);
	segment_file_close(f);
}

/* ---- writing out ---- */

static void owners_file_gets_each_byte_once_in_however_many_steps(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p, 1);
	struct stage *s = take(p, f);
	static const uint32_t steps[] = { 1, 3, 3, 4, 50, 200, 200 };
	uint32_t before = 0;

	for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
		uint32_t now = steps[i];
		assert_true(put(s, f, before, now));
		count_anew(p);
		assert_int_equal(write_out(s, f, now, false), 0);
		assert_int_equal(atomic_load(&p->disk.bytes), bytes_of(now) - bytes_of(before));
		assert_true(atomic_load(&p->disk.writes) <= 2);
		assert_int_equal(stage_written(s), slots_of(now));
		assert_int_equal(records_in(p, 1), now);
		before = now;
	}
	/* Fewer than there are already is nothing to do either. */
	count_anew(p);
	assert_int_equal(write_out(s, f, 7, true), 0);
	assert_int_equal(atomic_load(&p->disk.writes), 0);
	assert_int_equal(stage_written(s), slots_of(200));
	stage_give(s);
	segment_file_close(f);
}

static void slots_may_go_before_their_records(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p, 1);
	struct stage *s = take(p, f);

	assert_true(put(s, f, 0, 40));
	assert_int_equal(stage_write_out(s, f, 20, 0, false), 0);
	assert_int_equal(records_in(p, 1), 0);
	assert_int_equal(stage_written(s), 20);
	assert_int_equal(stage_write_out(s, f, 20, 8, false), 0);
	assert_int_equal(records_in(p, 1), 8);
	assert_int_equal(write_out(s, f, 40, false), 0);
	assert_int_equal(records_in(p, 1), 40);
	assert_int_equal(atomic_load(&p->disk.bytes), bytes_of(40));
	stage_give(s);
	segment_file_close(f);
}

static void nothing_is_written_out_for_who_is_not_the_owner(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p, 1), *other = create(p, 2);
	struct stage *s = take(p, f);

	assert_true(put(s, f, 0, 8));
	assert_int_equal(write_out(s, other, 8, false), 0);
	assert_int_equal(stage_written(s), 0);
	assert_int_equal(write_out(s, f, 4, false), 0);
	stage_give(s);
	count_anew(p);
	assert_int_equal(write_out(s, f, 8, false), 0);
	assert_int_equal(atomic_load(&p->disk.writes), 0);
	assert_int_equal(records_in(p, 1), 4);
	assert_int_equal(records_in(p, 2), 0);
	segment_file_close(other);
	segment_file_close(f);
}

static void streams_go_past_the_page_cache_in_pieces(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create_shaped(p, 1, GRAIN, 4 * MIB);
	struct stage *s = take(p, f);

	count_anew(p);
	assert_true(put(s, f, 0, 1200));
	assert_int_equal(write_out(s, f, 1200, true), 0);
	assert_int_equal(atomic_load(&p->disk.direct_opens), 1);
	assert_int_equal(atomic_load(&p->disk.bytes), bytes_of(1200));
	/* Else a sync of anything would wait behind all of it. */
	assert_true(atomic_load(&p->disk.largest) <= MIB);
	/* Some file systems refuse; then it went through the cache. */
	if (!f->no_direct)
		assert_int_equal(atomic_load(&p->disk.direct_bytes), (uint64_t)slots_of(1200) * GRAIN);
	assert_int_equal(records_in(p, 1), 1200);
	/* What the cache holds of the file by now is not in the way of more. */
	assert_true(put(s, f, 1200, 1300));
	assert_int_equal(write_out(s, f, 1300, true), 0);
	assert_int_equal(records_in(p, 1), 1300);
	assert_int_equal(atomic_load(&p->disk.bytes), bytes_of(1300));
	stage_give(s);
	segment_file_close(f);
}

static void little_and_what_is_no_stream_goes_through_the_page_cache(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p, 1);
	struct stage *s = take(p, f);

	assert_true(put(s, f, 0, 208));
	assert_int_equal(write_out(s, f, 8, true), 0);
	assert_int_equal(write_out(s, f, 208, false), 0);
	assert_int_equal(atomic_load(&p->disk.direct_opens), 0);
	assert_int_equal(atomic_load(&p->disk.bytes), bytes_of(208));
	assert_int_equal(records_in(p, 1), 208);
	stage_give(s);
	segment_file_close(f);
}

static void stream_falls_back_where_the_page_cache_cannot_be_passed(void **state)
{
	struct place *p = *state;

	for (uint64_t refused = 1; refused <= 2; refused++) {
		_Atomic int *error = refused == 1 ? &p->disk.direct_open_error : &p->disk.direct_write_error;
		struct segment_file *f = create_shaped(p, refused, GRAIN, 4 * MIB);
		struct stage *s = take(p, f);

		count_anew(p);
		atomic_store(error, -EINVAL);
		for (uint32_t i = 0; i < 1200; i += 400) {
			assert_true(put(s, f, i, i + 400));
			assert_int_equal(write_out(s, f, i + 400, true), 0);
			assert_int_equal(records_in(p, refused), i + 400);
		}
		assert_true(atomic_load(&p->disk.direct_opens) >= 1);
		assert_int_equal(atomic_load(&p->disk.direct_bytes), 0);
		assert_int_equal(atomic_load(&p->disk.bytes), bytes_of(1200));
		atomic_store(error, 0);
		stage_give(s);
		segment_file_close(f);
	}
}

static void failed_write_is_told_and_made_up_for_later(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p, 1);
	struct stage *s = take(p, f);
	uint8_t want[GRAIN], got[GRAIN];

	assert_true(put(s, f, 0, 40));
	assert_int_equal(write_out(s, f, 8, false), 0);
	/* The slots fail: then there must be no records either. */
	atomic_store(&p->disk.fail_at, 1);
	assert_int_equal(write_out(s, f, 40, false), -EIO);
	assert_int_equal(stage_written(s), slots_of(8));
	assert_int_equal(records_in(p, 1), 8);
	fill(f, 20, want);
	assert_true(stage_read(s, f, 20, 0, got, GRAIN));
	assert_memory_equal(got, want, GRAIN);

	/* The slots succeed, the records fail: only those are left to do. */
	atomic_store(&p->disk.fail_at, 2);
	assert_int_equal(write_out(s, f, 40, false), -EIO);
	assert_int_equal(stage_written(s), slots_of(40));
	assert_int_equal(records_in(p, 1), 8);
	count_anew(p);
	assert_int_equal(write_out(s, f, 40, false), 0);
	assert_int_equal(atomic_load(&p->disk.bytes), 32 * RECORD_BYTES);
	assert_int_equal(records_in(p, 1), 40);
	stage_give(s);
	segment_file_close(f);
}

static void failed_write_past_the_page_cache_is_told_and_made_up_for_later(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create_shaped(p, 1, GRAIN, 4 * MIB);
	struct stage *s = take(p, f);

	assert_true(put(s, f, 0, 1200));
	/* The second of four pieces. */
	atomic_store(&p->disk.fail_at, 2);
	assert_int_equal(write_out(s, f, 1200, true), -EIO);
	assert_int_equal(stage_written(s), 0);
	assert_int_equal(records_in(p, 1), 0);
	assert_int_equal(write_out(s, f, 1200, true), 0);
	assert_int_equal(records_in(p, 1), 1200);
	stage_give(s);
	segment_file_close(f);
}

/* ---- how many there are ---- */

static void no_more_are_made_than_the_limit_allows(void **state)
{
	struct place *p = *state;
	struct segment_file *f[3] = { create(p, 1), create(p, 2), create(p, 3) };
	uint64_t bytes = f[0]->shape.file_bytes;
	struct stage *s[2];

	close_pool(p);
	open_pool(p, 3 * bytes - 1);
	assert_null(stage_take(p->pool, f[0]));
	for (unsigned i = 0; i < 2; i++) {
		/* One that is ready is enough. */
		stage_prepare(p->pool, bytes);
		stage_prepare(p->pool, bytes);
		assert_int_equal(stages_there(p), i + 1);
		s[i] = stage_take(p->pool, f[i]);
		assert_non_null(s[i]);
		assert_null(stage_take(p->pool, f[2]));
	}
	assert_ptr_not_equal(s[0], s[1]);
	stage_prepare(p->pool, bytes);
	assert_int_equal(stages_there(p), 2);
	assert_null(stage_take(p->pool, f[2]));
	stage_give(s[0]);
	assert_ptr_equal(stage_take(p->pool, f[2]), s[0]);
	stage_give(s[0]);
	stage_give(s[1]);
	for (unsigned i = 0; i < 3; i++)
		segment_file_close(f[i]);
}

static void smaller_stages_give_way_to_a_larger_one_that_serves_all(void **state)
{
	struct place *p = *state;
	struct segment_file *small = create(p, 1), *large = create_shaped(p, 2, GRAIN, 4 * MIB), *next = create(p, 3);

	close_pool(p);
	open_pool(p, large->shape.file_bytes);
	struct stage *s = take(p, small);
	assert_true(put(s, small, 0, 8));
	/* Not while it is in use. */
	stage_prepare(p->pool, large->shape.file_bytes);
	assert_int_equal(stages_there(p), 1);
	assert_null(stage_take(p->pool, large));
	assert_int_equal(write_out(s, small, 8, false), 0);
	assert_int_equal(records_in(p, 1), 8);
	stage_give(s);
	assert_null(stage_take(p->pool, large));

	s = take(p, large);
	assert_int_equal(stages_there(p), 1);
	assert_true(put(s, large, 0, 1300));
	assert_int_equal(write_out(s, large, 1300, false), 0);
	assert_int_equal(records_in(p, 2), 1300);
	stage_give(s);
	assert_ptr_equal(take(p, next), s);
	assert_true(put(s, next, 0, 300));
	assert_int_equal(write_out(s, next, 300, false), 0);
	assert_int_equal(records_in(p, 3), 300);
	stage_give(s);
	segment_file_close(next);
	segment_file_close(large);
	segment_file_close(small);
}

static void stage_that_can_never_be_made_takes_nothing_from_others(void **state)
{
	struct place *p = *state;
	struct segment_file *small = create(p, 1), *large = create_shaped(p, 2, GRAIN, 4 * MIB);

	close_pool(p);
	open_pool(p, large->shape.file_bytes - 1);
	stage_prepare(p->pool, small->shape.file_bytes);
	stage_prepare(p->pool, large->shape.file_bytes);
	assert_null(stage_take(p->pool, large));
	struct stage *s = stage_take(p->pool, small);
	assert_non_null(s);
	stage_give(s);
	segment_file_close(large);
	segment_file_close(small);
}

static void full_disk_costs_the_stage_and_is_told_once(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p, 1);
	int before = dup(STDERR_FILENO), fds[2];
	char told[4096];

	close_pool(p);
	open_pool(p, f->shape.file_bytes);
	assert_true(before >= 0);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	assert_int_equal(close(fds[1]), 0);
	atomic_store(&p->disk.fault.allocate_error, -ENOSPC);
	stage_prepare(p->pool, f->shape.file_bytes);
	stage_prepare(p->pool, f->shape.file_bytes);
	atomic_store(&p->disk.fault.allocate_error, 0);
	atomic_store(&p->disk.fault.open_error, -EMFILE);
	stage_prepare(p->pool, f->shape.file_bytes);
	atomic_store(&p->disk.fault.open_error, 0);
	assert_int_equal(dup2(before, STDERR_FILENO), STDERR_FILENO);
	assert_int_equal(close(before), 0);
	ssize_t n = read(fds[0], told, sizeof told - 1);
	assert_true(n > 0);
	assert_int_equal(close(fds[0]), 0);
	told[n] = '\0';
	assert_non_null(strstr(told, p->stages));
	assert_non_null(strstr(told, strerror(ENOSPC)));
	assert_ptr_equal(strchr(told, '\n'), told + n - 1);

	assert_int_equal(stages_there(p), 0);
	assert_null(stage_take(p->pool, f));
	/* It did not count against the limit. */
	stage_give(take(p, f));
	segment_file_close(f);
}

/* ---- the directory ---- */

static void new_pool_begins_with_an_empty_directory(void **state)
{
	struct place *p = *state;
	char path[300];

	crash_with(p, 1, 8, 0);
	snprintf(path, sizeof path, "%s/foreign", p->stages);
	put_bytes(path, 0, "x", 1);
	assert_int_equal(stages_there(p), 2);
	open_pool(p, LIMIT);
	assert_int_equal(stages_there(p), 0);
	assert_int_equal(restore(p), 0);
	/* One that is not there is made, with what is missing above it. */
	close_pool(p);
	assert_int_equal(rmdir(p->stages), 0);
	snprintf(p->stages, sizeof p->stages, "%.200s/deep/er/stage", p->dir);
	open_pool(p, LIMIT);
	assert_int_equal(stages_there(p), 0);
}

static void pool_whose_directory_is_not_to_be_had_is_an_error(void **state)
{
	struct place *p = *state;
	struct stage_pool *pool = NULL;
	struct error err = { 0 };
	char path[300];

	snprintf(path, sizeof path, "%s/file", p->stages);
	put_bytes(path, 0, "x", 1);
	atomic_store(&p->disk.fault.changes_left, 0);
	assert_int_equal(stage_pool_new(&p->disk.fault.disk, p->stages, LIMIT, &pool, &err), -EIO);
	atomic_store(&p->disk.fault.changes_left, 1 << 30);
	assert_null(pool);
	assert_non_null(strstr(error_text(&err), p->stages));
	snprintf(path, sizeof path, "%s/file/stage", p->stages);
	assert_int_equal(stage_pool_new(&p->disk.fault.disk, path, LIMIT, &pool, &err), -ENOTDIR);
	assert_null(pool);
	assert_non_null(strstr(error_text(&err), path));
}

static void freed_pool_leaves_only_what_has_an_owner(void **state)
{
	struct place *p = *state;
	struct segment_file *f[3] = { create(p, 1), create(p, 2), create(p, 3) };
	struct stage *s[3];

	for (unsigned i = 0; i < 3; i++)
		s[i] = take(p, f[i]);
	assert_true(put(s[1], f[1], 0, 5));
	stage_give(s[0]);
	stage_give(s[2]);
	assert_int_equal(stages_there(p), 3);
	close_pool(p);
	assert_int_equal(stages_there(p), 1);
	for (unsigned i = 0; i < 3; i++)
		segment_file_close(f[i]);
	assert_int_equal(restore(p), 5);
	assert_int_equal(records_in(p, 2), 5);
	stage_pool_free(NULL);
}

/* ---- threads ---- */

struct crowd {
	struct stage *stage;
	struct segment_file *file;
	_Atomic uint32_t filled; /* records up to here are put */
	_Atomic bool over;
};

enum { CROWD_RECORDS = 160 };

static void *fill_first_half(void *arg)
{
	struct crowd *c = arg;

	for (uint32_t i = 0; i < CROWD_RECORDS / 2; i++) {
		if (!put(c->stage, c->file, i, i + 1))
			return "wrong checksum";
		atomic_store(&c->filled, i + 1);
	}
	return NULL;
}

static void *fill_second_half(void *arg)
{
	struct crowd *c = arg;

	for (uint32_t i = CROWD_RECORDS / 2; i < CROWD_RECORDS; i += 4)
		if (!put(c->stage, c->file, i, i + 4))
			return "wrong checksum";
	return NULL;
}

static void *write_out_what_is_filled(void *arg)
{
	struct crowd *c = arg;

	for (uint32_t n = 0; n < CROWD_RECORDS / 2;) {
		n = atomic_load(&c->filled);
		if (write_out(c->stage, c->file, n, n % 2))
			return "cannot write out";
	}
	return NULL;
}

/* As an image does: from the stage, else from the file. */
static void *read_what_is_filled(void *arg)
{
	struct crowd *c = arg;
	struct random r = { (uintptr_t)&r };
	uint8_t want[GRAIN], got[GRAIN];

	while (!atomic_load(&c->over)) {
		uint32_t slots = slots_of(atomic_load(&c->filled));
		if (!slots)
			continue;
		uint32_t slot = (uint32_t)random_below(&r, slots);
		fill(c->file, slot, want);
		if (!stage_read(c->stage, c->file, slot, 0, got, GRAIN) &&
		    segment_file_read(c->file, slot, 0, got, GRAIN))
			return "cannot read";
		if (memcmp(got, want, GRAIN) != 0)
			return "another's bytes";
	}
	return NULL;
}

static void stage_may_be_read_while_it_is_filled_written_out_and_goes_to_another(void **state)
{
	struct place *p = *state;
	void *(*const work[])(void *) = { read_what_is_filled, fill_first_half, fill_second_half,
		                          write_out_what_is_filled, write_out_what_is_filled };
	enum { THREADS = sizeof work / sizeof work[0] };

	for (uint64_t number = 1; number < 20; number += 2) {
		struct crowd c = { .file = create(p, number) };
		struct segment_file *other = create(p, number + 1);
		pthread_t threads[THREADS];
		void *failed[THREADS];

		c.stage = take(p, c.file);
		for (unsigned i = 0; i < THREADS; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, work[i], &c), 0);
		for (unsigned i = 1; i < THREADS; i++)
			assert_int_equal(pthread_join(threads[i], &failed[i]), 0);
		assert_int_equal(write_out(c.stage, c.file, CROWD_RECORDS, false), 0);
		atomic_store(&c.filled, CROWD_RECORDS);
		stage_give(c.stage);
		assert_ptr_equal(take(p, other), c.stage);
		assert_true(put(c.stage, other, 0, CROWD_RECORDS));
		atomic_store(&c.over, true);
		assert_int_equal(pthread_join(threads[0], &failed[0]), 0);
		for (unsigned i = 0; i < THREADS; i++)
			assert_null(failed[i]);
		assert_int_equal(write_out(c.stage, other, CROWD_RECORDS, true), 0);
		stage_give(c.stage);
		assert_int_equal(records_in(p, number), CROWD_RECORDS);
		assert_int_equal(records_in(p, number + 1), CROWD_RECORDS);
		segment_file_close(other);
		segment_file_close(c.file);
	}
}

struct taker {
	struct stage_pool *pool;
	struct segment_file *file;
};

static uint64_t bytes_there(struct place *p)
{
	char path[500];
	uint64_t bytes = 0;
	DIR *dir = opendir(p->stages);
	struct stat st;

	assert_non_null(dir);
	for (struct dirent *e; (e = readdir(dir));) {
		snprintf(path, sizeof path, "%s/%s", p->stages, e->d_name);
		assert_int_equal(stat(path, &st), 0);
		bytes += S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	}
	closedir(dir);
	return bytes;
}

/* Takes, marks as its own, looks whether the mark stays, and gives back. */
static void *take_and_give(void *arg)
{
	struct taker *t = arg;
	uint8_t want[GRAIN], got[GRAIN];

	fill(t->file, 0, want);
	for (unsigned i = 0; i < 50; i++) {
		stage_prepare(t->pool, t->file->shape.file_bytes);
		struct stage *s = stage_take(t->pool, t->file);
		if (!s)
			continue; /* the others were quicker */
		stage_put_slot(s, 0, want);
		sched_yield();
		if (!stage_read(s, t->file, 0, 0, got, GRAIN) || memcmp(got, want, GRAIN) != 0)
			return "two have the same stage";
		stage_give(s);
	}
	return NULL;
}

static void no_stage_is_given_to_two_threads_nor_are_too_many_made(void **state)
{
	struct place *p = *state;
	struct taker takers[4];
	pthread_t threads[4];
	void *failed[4];

	for (unsigned i = 0; i < 4; i++)
		takers[i].file = create_shaped(p, 1 + i, GRAIN, MIB << i % 2);
	uint64_t limit = 2 * takers[1].file->shape.file_bytes;
	close_pool(p);
	open_pool(p, limit);
	for (unsigned i = 0; i < 4; i++) {
		takers[i].pool = p->pool;
		assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, &takers[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], &failed[i]), 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_null(failed[i]);
		segment_file_close(takers[i].file);
	}
	assert_true(bytes_there(p) <= limit);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(owner_reads_back_what_was_put),
		T(last_slot_can_be_put_and_nothing_is_read_behind_it),
		T(nobody_but_the_owner_reads_from_a_stage),
		T(owners_file_gets_each_byte_once_in_however_many_steps),
		T(slots_may_go_before_their_records),
		T(nothing_is_written_out_for_who_is_not_the_owner),
		T(streams_go_past_the_page_cache_in_pieces),
		T(little_and_what_is_no_stream_goes_through_the_page_cache),
		T(stream_falls_back_where_the_page_cache_cannot_be_passed),
		T(failed_write_is_told_and_made_up_for_later),
		T(failed_write_past_the_page_cache_is_told_and_made_up_for_later),
		T(no_more_are_made_than_the_limit_allows),
		T(smaller_stages_give_way_to_a_larger_one_that_serves_all),
		T(stage_that_can_never_be_made_takes_nothing_from_others),
		T(full_disk_costs_the_stage_and_is_told_once),
		T(new_pool_begins_with_an_empty_directory),
		T(pool_whose_directory_is_not_to_be_had_is_an_error),
		T(freed_pool_leaves_only_what_has_an_owner),
		T(stage_may_be_read_while_it_is_filled_written_out_and_goes_to_another),
		T(no_stage_is_given_to_two_threads_nor_are_too_many_made),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
