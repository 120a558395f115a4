/* SPDX-License-Identifier: GPL-3.0-only */
/* test_stage_restore.c: stages after a crash: what they hold goes where it belongs, and nowhere else. See test_stage.c. */
#include "lib/stage_fixture.h"

#include "base/bytes.h"
#include "base/clock.h"

#include <signal.h>
#include <sys/wait.h>

/* The file of the only stage; lives until the next call. */
static const char *only_stage(struct place *p)
{
	static char path[500];
	DIR *dir = opendir(p->stages);

	assert_non_null(dir);
	assert_int_equal(stages_there(p), 1);
	for (struct dirent *e; (e = readdir(dir));)
		if (e->d_name[0] != '.')
			snprintf(path, sizeof path, "%s/%s", p->stages, e->d_name);
	closedir(dir);
	return path;
}

static void flip(const char *path, uint64_t offset)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
	assert_int_equal(close(fd), 0);
	byte ^= 0x10;
	put_bytes(path, offset, &byte, 1);
}

static uint64_t record_offset(uint32_t number)
{
	return SEGMENT_INDEX_OFFSET + (uint64_t)number * RECORD_BYTES;
}

static uint32_t crc_of_file(const char *path)
{
	static uint8_t bytes[2 * MIB];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return 0;
	n = read(fd, bytes, sizeof bytes);
	assert_true(n >= 0);
	assert_int_equal(close(fd), 0);
	return crc32c(0, bytes, (size_t)n);
}

/* Nothing of the stages is for segment `number`, whose file stays as it is. */
static void assert_passed_over(struct place *p, uint64_t number)
{
	uint32_t before = crc_of_file(segment_path(p, number));

	count_anew(p);
	assert_int_equal(restore(p), 0);
	assert_int_equal(atomic_load(&p->disk.writes), 0);
	assert_int_equal(crc_of_file(segment_path(p, number)), before);
}

/* ---- what is given back ---- */

static void segment_gets_what_only_its_stage_holds(void **state)
{
	struct place *p = *state;

	crash_with(p, 1, 100, 41);
	assert_int_equal(records_in(p, 1), 41);
	assert_int_equal(restore(p), 59);
	assert_int_equal(records_in(p, 1), 100);
	/* What the file had is not written again, and what it got is durable. */
	assert_int_equal(atomic_load(&p->disk.bytes), bytes_of(100) - bytes_of(41));
	assert_int_equal(atomic_load(&p->disk.last), 'S');
	assert_int_equal(stages_there(p), 1);
	assert_passed_over(p, 1);
	assert_int_equal(records_in(p, 1), 100);
}

static void nothing_is_done_where_nothing_is_lacking(void **state)
{
	struct place *p = *state;

	crash_with(p, 1, 40, 40);
	assert_passed_over(p, 1);
	assert_int_equal(records_in(p, 1), 40);
	crash_with(p, 2, 0, 0);
	assert_passed_over(p, 2);
	/* Nor where there never was a stage. */
	assert_int_equal(remove_tree(p->stages), 0);
	assert_passed_over(p, 2);
}

static void what_was_put_outlives_the_killed_process(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p, 1);
	pid_t child = fork();
	int status;

	if (!child) {
		stage_prepare(p->pool, f->shape.file_bytes);
		struct stage *s = stage_take(p->pool, f);
		if (s && put(s, f, 0, 50) && !write_out(s, f, 20, false) && put(s, f, 50, 60))
			raise(SIGKILL);
		_exit(1);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(records_in(p, 1), 20);
	assert_int_equal(restore(p), 40);
	assert_int_equal(records_in(p, 1), 60);
	segment_file_close(f);
}

static void what_could_not_be_written_is_given_back_at_the_next_start(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p, 1);
	struct stage *s = take(p, f);

	assert_true(put(s, f, 0, 40));
	/* The slots get there, the records do not. */
	atomic_store(&p->disk.fail_at, 2);
	assert_int_equal(write_out(s, f, 40, false), -EIO);
	close_pool(p);
	segment_file_close(f);
	assert_int_equal(restore(p), 40);
	assert_int_equal(records_in(p, 1), 40);
}

/* The stage is larger than the segment needs, and full of another's records. */
static void used_stage_gives_its_last_owner_only_what_that_put(void **state)
{
	struct place *p = *state;
	struct segment_file *large = create_shaped(p, 1, GRAIN, 4 * MIB), *small = create(p, 2);
	struct stage *s = take(p, large);

	assert_true(put(s, large, 0, 1000));
	assert_int_equal(write_out(s, large, 1000, true), 0);
	stage_give(s);
	assert_ptr_equal(take(p, small), s);
	assert_true(put(s, small, 0, 5));
	close_pool(p);
	segment_file_close(small);
	segment_file_close(large);
	assert_int_equal(restore(p), 5);
	assert_int_equal(records_in(p, 2), 5);
	assert_int_equal(records_in(p, 1), 1000);
}

static void torn_slot_or_record_of_a_stage_ends_what_is_taken_from_it(void **state)
{
	struct place *p = *state;
	struct segment_shape shape;

	assert_int_equal(segment_shape(GRAIN, MIB, &shape), 0);
	crash_with(p, 1, 40, 10);
	flip(only_stage(p), segment_slot_offset(&shape, 21) + 17); /* of record 28 */
	assert_int_equal(restore(p), 18);
	assert_int_equal(records_in(p, 1), 28);

	crash_with(p, 2, 40, 10);
	flip(only_stage(p), record_offset(23) + 9);
	assert_int_equal(restore(p), 13);
	assert_int_equal(records_in(p, 2), 23);

	/* Before what the file has: it is that much better off. */
	crash_with(p, 3, 40, 10);
	flip(only_stage(p), record_offset(9));
	assert_passed_over(p, 3);
	assert_int_equal(records_in(p, 3), 10);

	crash_with(p, 4, 40, 10);
	assert_int_equal(truncate(only_stage(p), (off_t)segment_slot_offset(&shape, 15) + 100), 0);
	assert_int_equal(restore(p), 10);
	assert_int_equal(records_in(p, 4), 20);
}

/* A power cut, that is, which took from the file what had not been synced. */
static void what_is_torn_in_the_segment_is_made_good(void **state)
{
	struct place *p = *state;
	struct segment_shape shape;

	assert_int_equal(segment_shape(GRAIN, MIB, &shape), 0);
	crash_with(p, 1, 40, 30);
	flip(segment_path(p, 1), segment_slot_offset(&shape, 6) + 99); /* of record 8 */
	flip(segment_path(p, 1), record_offset(20));
	assert_int_equal(records_in(p, 1), 8);
	assert_int_equal(restore(p), 32);
	assert_int_equal(records_in(p, 1), 40);
}

static void to_other_pool(struct segment_header *h)
{
	h->pool[3] ^= 1;
}

static void to_other_image(struct segment_header *h)
{
	h->image++;
}

static void to_other_number(struct segment_header *h)
{
	h->number += 100;
}

static void to_other_salt(struct segment_header *h)
{
	h->salt ^= 1;
}

/* Of twice the size: all that was put is found where it was. */
static void to_other_shape(struct segment_header *h)
{
	h->slots *= 2;
}

static void to_sealed(struct segment_header *h)
{
	h->state = SEGMENT_SEALED;
	h->record_count = h->records_max;
}

static void change_header(const char *path, void (*change)(struct segment_header *))
{
	uint8_t sector[SEGMENT_HEADER_BYTES];
	struct segment_header h;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(read(fd, sector, sizeof sector), sizeof sector);
	assert_int_equal(close(fd), 0);
	assert_int_equal(segment_header_decode(sector, &h, NULL), 0);
	change(&h);
	segment_header_encode(&h, sector);
	put_bytes(path, 0, sector, sizeof sector);
}

static void stage_of_something_else_is_passed_over(void **state)
{
	struct place *p = *state;
	void (*const changes[])(struct segment_header *) = { to_other_pool, to_other_image, to_other_number,
		                                             to_other_salt, to_other_shape, to_sealed };

	for (uint64_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
		crash_with(p, 1 + i, 8, 4);
		change_header(only_stage(p), changes[i]);
		assert_passed_over(p, 1 + i);
		assert_int_equal(records_in(p, 1 + i), 4);
	}
	/* The segment too is of the other pool. */
	uint8_t other[POOL_UUID_BYTES] = "another pool ...";
	uint64_t records = 77;
	crash_with(p, 50, 8, 4);
	assert_int_equal(stage_restore(&p->disk.fault.disk, p->stages, p->images, other, &records, NULL), 0);
	assert_int_equal(records, 0);
	assert_int_equal(records_in(p, 50), 4);
}

static void segment_that_was_made_anew_sealed_or_deleted_is_left_alone(void **state)
{
	struct place *p = *state;
	uint8_t digest[DIGEST_BYTES] = { 1 };
	struct segment_file *f;

	crash_with(p, 1, 8, 4);
	assert_int_equal(unlink(segment_path(p, 1)), 0);
	segment_file_close(create(p, 1));
	assert_passed_over(p, 1);
	assert_int_equal(records_in(p, 1), 0);

	crash_with(p, 2, 8, 4);
	assert_int_equal(segment_file_open(disk_posix(), segment_path(p, 2), pool_uuid, IMAGE, 2, &f, NULL), 0);
	assert_int_equal(segment_file_seal(f, 4, 3, digest, digest, NULL), 0);
	segment_file_close(f);
	assert_passed_over(p, 2);
	assert_int_equal(records_in(p, 2), 4);

	crash_with(p, 3, 8, 4);
	flip(segment_path(p, 3), 33);
	assert_passed_over(p, 3);

	crash_with(p, 4, 8, 4);
	assert_int_equal(unlink(segment_path(p, 4)), 0);
	assert_passed_over(p, 4);
	assert_int_equal(access(segment_path(p, 4), F_OK), -1);
	assert_int_equal(remove_tree(p->images), 0);
	assert_passed_over(p, 4);
	assert_int_equal(access(p->images, F_OK), -1);
}

static void stage_that_is_not_one_is_passed_over(void **state)
{
	struct place *p = *state;
	struct random r = { 1 };
	static const off_t lengths[] = { 0, 1, 511, 512, SEGMENT_INDEX_OFFSET + 4 * RECORD_BYTES };
	uint8_t garbage[8192], sector[SEGMENT_HEADER_BYTES];
	uint64_t number = 0;

	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
		crash_with(p, ++number, 8, 4);
		assert_int_equal(truncate(only_stage(p), lengths[i]), 0);
		assert_passed_over(p, number);
	}
	for (unsigned zeros = 0; zeros < 2; zeros++) {
		crash_with(p, ++number, 8, 4);
		random_fill(&r, garbage, sizeof garbage);
		if (zeros)
			memset(garbage, 0, sizeof garbage);
		put_bytes(only_stage(p), 0, garbage, sizeof garbage);
		assert_passed_over(p, number);
	}
	/* Of a later version of this program. */
	crash_with(p, ++number, 8, 4);
	int fd = open(only_stage(p), O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, sector, sizeof sector), sizeof sector);
	assert_int_equal(close(fd), 0);
	put_le32(sector + 8, SEGMENT_FILE_VERSION + 1);
	put_le32(sector + 508, crc32c(0, sector, 508));
	put_bytes(only_stage(p), 0, sector, sizeof sector);
	assert_passed_over(p, number);
	for (uint64_t n = 1; n <= number; n++)
		assert_int_equal(records_in(p, n), 4);
}

static void stages_are_found_by_what_they_hold_whatever_lies_beside_them(void **state)
{
	struct place *p = *state;
	static const char *const names[] = { "a", "b", "c" };
	char path[300], text[9000] = "not a stage";

	for (uint64_t i = 0; i < 3; i++) {
		crash_with(p, 1 + i, 8 + (uint32_t)i, 4);
		/* Away, since the next pool begins with an empty directory. */
		snprintf(path, sizeof path, "%s/%s", p->dir, names[i]);
		assert_int_equal(rename(only_stage(p), path), 0);
	}
	for (uint64_t i = 0; i < 3; i++) {
		char to[300];
		snprintf(path, sizeof path, "%s/%s", p->dir, names[i]);
		snprintf(to, sizeof to, "%s/%s", p->stages, names[i]);
		assert_int_equal(rename(path, to), 0);
		snprintf(to, sizeof to, "%s/%s.txt", p->stages, names[i]);
		put_bytes(to, 0, text, sizeof text);
	}
	assert_int_equal(unlink(segment_path(p, 2)), 0);
	assert_int_equal(restore(p), 4 + 6);
	assert_int_equal(records_in(p, 1), 8);
	assert_int_equal(records_in(p, 3), 10);
	assert_int_equal(stages_there(p), 6);
}

static void assert_restore_fails(struct place *p, int error, const char *name, const char *other)
{
	struct error err = { 0 };
	uint64_t records;
	int rc = stage_restore(&p->disk.fault.disk, p->stages, p->images, pool_uuid, &records, &err);

	assert_int_equal(rc, error);
	assert_non_null(strstr(error_text(&err), name));
	assert_non_null(strstr(error_text(&err), other));
	assert_int_equal(stages_there(p), 1);
}

static void failing_disk_loses_no_stage_and_is_told(void **state)
{
	struct place *p = *state;
	enum { CHANGES = 8 }; /* six slots, the records, and the sync */

	for (int at = 0; at < CHANGES; at++) {
		uint64_t number = 1 + (uint64_t)at;
		crash_with(p, number, 11, 4);
		atomic_store(&p->disk.fault.changes_left, at);
		assert_restore_fails(p, -EIO, segment_path(p, number), only_stage(p));
		atomic_store(&p->disk.fault.changes_left, 1 << 30);
		/* Records are last, so it is all or nothing. */
		assert_int_equal(restore(p), at < CHANGES - 1 ? 7 : 0);
		assert_int_equal(records_in(p, number), 11);
	}

	crash_with(p, 20, 8, 4);
	atomic_store(&p->disk.fault.open_error, -EMFILE);
	assert_restore_fails(p, -EMFILE, only_stage(p), strerror(EMFILE));
	atomic_store(&p->disk.fault.open_error, 0);
	atomic_store(&p->disk.read_error, -EIO);
	assert_restore_fails(p, -EIO, only_stage(p), strerror(EIO));
	atomic_store(&p->disk.read_error, 0);
	p->disk.no_open = segment_path(p, 20);
	assert_restore_fails(p, -EACCES, segment_path(p, 20), strerror(EACCES));
	p->disk.no_open = NULL;
	assert_int_equal(restore(p), 4);
	assert_int_equal(records_in(p, 20), 8);
}

/* One segment's life up to the crash: random steps of putting and writing out. How many records only the stage holds. */
static uint32_t live_and_crash(struct random *r, struct stage *s, struct segment_file *f, uint32_t *there)
{
	struct watched_disk *disk = (struct watched_disk *)f->disk;
	uint32_t most = f->shape.slots < 200 ? f->shape.slots : 200, written = 0;

	*there = 0;
	while (*there < most && !random_once_in(r, 12)) {
		uint32_t end = *there + 1 + (uint32_t)random_below(r, most - *there);
		assert_true(put(s, f, *there, end));
		*there = end;
		if (random_once_in(r, 2))
			continue;
		/* Slots may be ahead of the records. */
		uint32_t records = written + (uint32_t)random_below(r, end - written + 1);
		uint32_t slots = slots_of(records) + (uint32_t)random_below(r, slots_of(end) - slots_of(records) + 1);
		bool fails = random_once_in(r, 5);
		atomic_store(&disk->fail_at, fails ? 1 + (int)random_below(r, 3) : 0);
		int rc = stage_write_out(s, f, slots, records, random_once_in(r, 2));
		atomic_store(&disk->fail_at, 0);
		if (!rc)
			written = records;
		else
			assert_true(fails && rc == -EIO);
	}
	return *there - written;
}

static void whatever_was_written_out_before_a_crash_all_is_there_after_it(void **state)
{
	struct place *p = *state;
	struct random r = { env_number("GARNER_TEST_SEED", clock_wall_ns()) };
	uint64_t number = 0;

	printf("seed %" PRIu64 "\n", r.state);
	for (unsigned round = 0; round < 30; round++) {
		struct {
			uint64_t number;
			uint32_t there;
		} lives[4];
		struct segment_file *f[4];
		struct stage *s[4];
		uint64_t lacking = 0;

		if (!p->pool)
			open_pool(p, LIMIT);
		for (unsigned i = 0; i < 4; i++) {
			lives[i].number = ++number;
			f[i] = create_shaped(p, number, GRAIN << random_below(&r, 5), MIB << random_below(&r, 3));
			s[i] = take(p, f[i]);
			uint32_t lacks = live_and_crash(&r, s[i], f[i], &lives[i].there);
			if (random_once_in(&r, 3)) {
				/* Finished, so another may have the stage. */
				assert_int_equal(write_out(s[i], f[i], lives[i].there, false), 0);
				stage_give(s[i]);
			} else {
				lacking += lacks;
			}
		}
		close_pool(p);
		for (unsigned i = 0; i < 4; i++)
			segment_file_close(f[i]);
		assert_int_equal(restore(p), lacking);
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(records_in(p, lives[i].number), lives[i].there);
		count_anew(p);
		assert_int_equal(restore(p), 0);
		assert_int_equal(atomic_load(&p->disk.writes), 0);
		assert_int_equal(remove_tree(p->images), 0);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(segment_gets_what_only_its_stage_holds),
		T(nothing_is_done_where_nothing_is_lacking),
		T(what_was_put_outlives_the_killed_process),
		T(what_could_not_be_written_is_given_back_at_the_next_start),
		T(used_stage_gives_its_last_owner_only_what_that_put),
		T(torn_slot_or_record_of_a_stage_ends_what_is_taken_from_it),
		T(what_is_torn_in_the_segment_is_made_good),
		T(stage_of_something_else_is_passed_over),
		T(segment_that_was_made_anew_sealed_or_deleted_is_left_alone),
		T(stage_that_is_not_one_is_passed_over),
		T(stages_are_found_by_what_they_hold_whatever_lies_beside_them),
		T(failing_disk_loses_no_stage_and_is_told),
		T(whatever_was_written_out_before_a_crash_all_is_there_after_it),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
