/* SPDX-License-Identifier: GPL-3.0-only */
/* stage_fixture.h: a cache directory with stages and segments, behind a seam that counts what is written; and what is put into
 * them. For tests only.
 */
#ifndef GARNER_TESTS_STAGE_FIXTURE_H
#define GARNER_TESTS_STAGE_FIXTURE_H

#include "base/crc32c.h"
#include "lib/fault_disk.h"
#include "lib/random.h"
#include "lib/remove_tree.h"
#include "log/stage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#define GRAIN 4096u
#define MIB (1u << 20)
#define IMAGE UINT64_C(0xabcdef0123456789)
#define LIMIT (UINT64_C(64) << 20)

static const uint8_t pool_uuid[POOL_UUID_BYTES] = "a pool's uuid ..";

/* ---- a seam that knows what goes past the page cache, and counts what is written ---- */

struct watched_disk {
	struct fault_disk fault; /* first: its functions are given this */
	struct disk_ops ops;
	/* While not 0, such calls fail with this -errno. */
	_Atomic int direct_open_error, direct_write_error, read_error;
	_Atomic int fail_at;   /* counts down with each write; the one at which it is 1 fails with EIO */
	const char *no_open;   /* this path cannot be opened; NULL: all can */
	_Atomic int direct_fd; /* of the last open past the page cache */
	_Atomic unsigned direct_opens, writes;
	_Atomic uint64_t bytes, direct_bytes, largest; /* written; by the largest write */
	_Atomic char last;                             /* change: Write or Sync */
};

static inline int watched_open(struct disk *d, const char *path, int flags, mode_t mode)
{
	struct watched_disk *w = (struct watched_disk *)d;
	int rc = flags & O_DIRECT ? atomic_load(&w->direct_open_error) : 0;

	if (w->no_open && strcmp(path, w->no_open) == 0)
		rc = -EACCES;
	if (!rc)
		rc = fault_ops.open(d, path, flags, mode);
	if (flags & O_DIRECT) {
		atomic_fetch_add(&w->direct_opens, 1);
		atomic_store(&w->direct_fd, rc);
	}
	return rc;
}

static inline int watched_close(struct disk *d, int fd)
{
	struct watched_disk *w = (struct watched_disk *)d;

	if (fd == atomic_load(&w->direct_fd))
		atomic_store(&w->direct_fd, -1);
	return fault_ops.close(d, fd);
}

static inline ssize_t watched_pread(struct disk *d, int fd, void *buf, size_t len, uint64_t offset)
{
	int rc = atomic_load(&((struct watched_disk *)d)->read_error);

	return rc ? rc : fault_ops.pread(d, fd, buf, len, offset);
}

static inline ssize_t watched_pwritev(struct disk *d, int fd, const struct iovec *iov, int iovcnt, uint64_t offset)
{
	struct watched_disk *w = (struct watched_disk *)d;
	bool direct = fd == atomic_load(&w->direct_fd);
	ssize_t n = direct ? atomic_load(&w->direct_write_error) : 0;

	if (atomic_fetch_sub(&w->fail_at, 1) == 1)
		n = -EIO;
	if (!n)
		n = fault_ops.pwritev(d, fd, iov, iovcnt, offset);
	if (n > 0) {
		atomic_fetch_add(&w->writes, 1);
		atomic_fetch_add(&w->bytes, (uint64_t)n);
		atomic_fetch_add(&w->direct_bytes, direct ? (uint64_t)n : 0);
		fault_raise(&w->largest, (uint64_t)n);
		atomic_store(&w->last, 'W');
	}
	return n;
}

static inline int watched_fdatasync(struct disk *d, int fd)
{
	atomic_store(&((struct watched_disk *)d)->last, 'S');
	return fault_ops.fdatasync(d, fd);
}

static inline void watched_disk_init(struct watched_disk *w)
{
	fault_disk_init(&w->fault);
	w->ops = fault_ops;
	w->ops.open = watched_open;
	w->ops.close = watched_close;
	w->ops.pread = watched_pread;
	w->ops.pwritev = watched_pwritev;
	w->ops.fdatasync = watched_fdatasync;
	w->fault.disk.ops = &w->ops;
	atomic_store(&w->direct_fd, -1);
}

/* ---- a cache directory with stages and segments ---- */

struct place {
	char dir[200], stages[220], images[220];
	struct watched_disk disk;
	struct stage_pool *pool;
};

static inline void open_pool(struct place *p, uint64_t limit)
{
	assert_int_equal(stage_pool_new(&p->disk.fault.disk, p->stages, limit, &p->pool, NULL), 0);
}

static inline void close_pool(struct place *p)
{
	stage_pool_free(p->pool);
	p->pool = NULL;
}

static inline int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");
	struct place *p = calloc(1, sizeof *p);

	assert_non_null(p);
	snprintf(p->dir, sizeof p->dir, "%.150s/test_stage.XXXXXX", tmp && *tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(p->dir));
	snprintf(p->stages, sizeof p->stages, "%s/stage", p->dir);
	snprintf(p->images, sizeof p->images, "%s/images", p->dir);
	watched_disk_init(&p->disk);
	open_pool(p, LIMIT);
	*state = p;
	return 0;
}

static inline int teardown(void **state)
{
	struct place *p = *state;

	stage_pool_free(p->pool);
	fault_disk_destroy(&p->disk.fault);
	assert_int_equal(remove_tree(p->dir), 0);
	free(p);
	return 0;
}

/* What is written from here on is counted. */
static inline void count_anew(struct place *p)
{
	atomic_store(&p->disk.writes, 0);
	atomic_store(&p->disk.bytes, 0);
	atomic_store(&p->disk.direct_bytes, 0);
	atomic_store(&p->disk.direct_opens, 0);
	atomic_store(&p->disk.largest, 0);
	atomic_store(&p->disk.last, 0);
}

/* Where segment `number` is; lives until the next call. */
static const char *segment_path(struct place *p, uint64_t number)
{
	static char path[300];

	snprintf(path, sizeof path, "%s/%016" PRIx64 "/%016" PRIx64 ".seg", p->images, IMAGE, number);
	return path;
}

static inline struct segment_file *create_shaped(struct place *p, uint64_t number, uint32_t grain, uint32_t segment)
{
	struct segment_header h = { .image = IMAGE, .number = number, .epoch = 3, .slot_bytes = grain };
	struct disk *disk = &p->disk.fault.disk;
	struct segment_shape shape;
	struct segment_file *f;
	char spare[240], dir[260];

	memcpy(h.pool, pool_uuid, sizeof h.pool);
	snprintf(spare, sizeof spare, "%s/spare", p->dir);
	snprintf(dir, sizeof dir, "%s/%016" PRIx64, p->images, IMAGE);
	assert_int_equal(disk_make_path(disk, dir), 0);
	assert_int_equal(segment_shape(grain, segment, &shape), 0);
	assert_int_equal(segment_file_make_spare(disk, spare, shape.file_bytes, false, NULL), 0);
	assert_int_equal(segment_file_create(disk, spare, dir, segment_path(p, number), &h, segment, &f, NULL), 0);
	count_anew(p);
	return f;
}

static inline struct segment_file *create(struct place *p, uint64_t number)
{
	return create_shaped(p, number, GRAIN, MIB);
}

static inline struct stage *take(struct place *p, const struct segment_file *owner)
{
	stage_prepare(p->pool, owner->shape.file_bytes);
	struct stage *s = stage_take(p->pool, owner);
	assert_non_null(s);
	return s;
}

static inline unsigned stages_there(struct place *p)
{
	DIR *dir = opendir(p->stages);
	unsigned n = 0;

	assert_non_null(dir);
	for (struct dirent *e; (e = readdir(dir));)
		n += e->d_name[0] != '.';
	closedir(dir);
	return n;
}

static inline void put_bytes(const char *path, uint64_t offset, const void *bytes, size_t len)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, len, (off_t)offset), len);
	assert_int_equal(close(fd), 0);
}

/* ---- what each segment is given: three records with slots, then one without, and so on ---- */

static inline uint32_t slots_of(uint32_t records)
{
	return records - records / 4;
}

static inline void fill(const struct segment_file *f, uint32_t slot, uint8_t *bytes)
{
	struct random r = { f->header.number << 32 | slot };

	random_fill(&r, bytes, f->shape.slot_bytes);
}

/* Record `i`, and the bytes of its slot, if it has one. */
static inline struct record story(const struct segment_file *f, uint32_t i, uint8_t *bytes)
{
	struct record r = { .kind = RECORD_DATA, .slot = (uint16_t)slots_of(i), .value = 1000 + i, .count = 1 };

	if (i % 4 == 3)
		return (struct record){ .kind = RECORD_ZERO, .slot = RECORD_NO_SLOT, .value = i, .count = i };
	fill(f, r.slot, bytes);
	r.data_crc = crc32c(0, bytes, f->shape.slot_bytes);
	return r;
}

/* Puts the records [first, end) and their slots. Whether the checksums that came back are those of the bytes. */
static inline bool put(struct stage *s, const struct segment_file *f, uint32_t first, uint32_t end)
{
	uint8_t bytes[GRAIN_BYTES_MAX];
	struct record list[8];
	bool good = true;

	for (uint32_t n; first < end; first += n) {
		for (n = 0; n < 8 && first + n < end; n++) {
			list[n] = story(f, first + n, bytes);
			if (record_has_slot(list[n].kind))
				good &= stage_put_slot(s, list[n].slot, bytes) == list[n].data_crc;
		}
		stage_put_records(s, first, list, n);
	}
	return good;
}

static inline int write_out(struct stage *s, struct segment_file *f, uint32_t records, bool stream)
{
	return stage_write_out(s, f, slots_of(records), records, stream);
}

static inline uint64_t bytes_of(uint32_t records)
{
	return (uint64_t)slots_of(records) * GRAIN + (uint64_t)records * RECORD_BYTES;
}

/* How many records a file opened anew has, with their slots; each is as told. */
static inline size_t records_in(struct place *p, uint64_t number)
{
	uint8_t bytes[GRAIN_BYTES_MAX];
	struct segment_file *f;
	struct record *records;
	size_t count;

	assert_int_equal(segment_file_open(disk_posix(), segment_path(p, number), pool_uuid, IMAGE, number, &f, NULL),
	                 0);
	assert_int_equal(segment_file_read_records(f, true, &records, &count, NULL), 0);
	for (uint32_t i = 0; i < count; i++) {
		struct record r = story(f, i, bytes);
		uint8_t want[RECORD_BYTES], got[RECORD_BYTES];
		record_encode(&r, 0, 0, want);
		record_encode(&records[i], 0, 0, got);
		assert_memory_equal(got, want, RECORD_BYTES);
	}
	free(records);
	segment_file_close(f);
	return count;
}

/* Leaves a stage of segment `number` behind that holds `records`, of which `written` are in the file too. */
static inline void crash_with(struct place *p, uint64_t number, uint32_t records, uint32_t written)
{
	if (!p->pool)
		open_pool(p, LIMIT);
	struct segment_file *f = create(p, number);
	struct stage *s = take(p, f);

	assert_true(put(s, f, 0, records));
	assert_int_equal(write_out(s, f, written, false), 0);
	close_pool(p);
	segment_file_close(f);
	count_anew(p);
}

/* How many records were given back. */
static inline uint64_t restore(struct place *p)
{
	uint64_t records = 77;
	struct error err = { 0 };
	int rc = stage_restore(&p->disk.fault.disk, p->stages, p->images, pool_uuid, &records, &err);

	if (rc)
		fail_msg("%s", error_text(&err));
	return records;
}

#endif
