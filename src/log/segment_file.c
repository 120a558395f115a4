/* SPDX-License-Identifier: GPL-3.0-only */
/* segment_file.c: segments as files of the cache directory: made, appended to, sealed, read, punched.
 *
 * What makes it safe against power cuts: a header is one sector and is durable before the file has the segment's name;
 * records are bound to this life of the file by the header's random salt, so nothing of an earlier life has to be wiped;
 * and "sealed" is written only after everything it speaks of was synced. Must never know what the records mean.
 */
#include "log/segment_file.h"

#include "base/bytes.h"
#include "base/crc32c.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#define TABLE_FRONT 12u /* crc u32, chunks offset u64 */
#define ZEROS_BYTES (1u << 20)
#define PUT_RECORDS 128u /* in one write */
#define VERIFY_BYTES (1u << 20)

static int failed(struct error *err, int rc, const char *path, const char *what)
{
	return error_set(err, rc, "%s: cannot %s: %s", path, what, strerror(-rc));
}

/* The file system has no fallocate(2) of that kind. */
static bool unsupported(int rc)
{
	return rc == -EOPNOTSUPP || rc == -ENOSYS;
}

static int write_zeros(struct disk *disk, int fd, uint64_t file_bytes)
{
	uint8_t *zeros = calloc(1, ZEROS_BYTES);
	int rc = zeros ? 0 : -ENOMEM;

	for (uint64_t done = 0; rc == 0 && done < file_bytes;) {
		uint64_t left = file_bytes - done;
		size_t n = left < ZEROS_BYTES ? (size_t)left : ZEROS_BYTES;

		rc = disk_pwrite(disk, fd, zeros, n, done);
		done += n;
	}
	free(zeros);
	return rc;
}

int segment_file_make_spare(struct disk *disk, const char *path, uint64_t file_bytes, bool written, struct error *err)
{
	int fd = disk_open(disk, path, O_RDWR | O_CREAT | O_EXCL, 0600);
	int rc, close_rc;

	if (fd < 0)
		return failed(err, fd, path, "make a spare segment file");
	/* Also before zeros are written: a full disk is found at once, and the blocks lie together. */
	rc = disk_fallocate(disk, fd, 0, 0, file_bytes);
	if (unsupported(rc)) {
		written = true; /* and synced, since without that no block need be allocated */
		rc = 0;
	}
	if (rc == 0 && written)
		rc = write_zeros(disk, fd, file_bytes);
	if (rc == 0 && written)
		rc = disk_fdatasync(disk, fd);
	close_rc = disk_close(disk, fd);
	if (rc == 0)
		rc = close_rc;
	if (rc < 0) {
		/* The first error is the one to tell; what cannot be unlinked now is swept up when spares are counted. */
		(void)disk_unlink(disk, path);
		return failed(err, rc, path, "allocate a segment file");
	}
	return 0;
}

static int random_salt(uint64_t *salt)
{
	do {
		ssize_t n = getrandom(salt, sizeof *salt, 0);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n != (ssize_t)sizeof *salt)
			*salt = 0;
	} while (*salt == 0); /* 0 is for records in stored objects */
	return 0;
}

static struct segment_file *file_new(struct disk *disk, const char *path, const struct segment_header *h,
                                     const struct segment_shape *shape)
{
	struct segment_file *f = calloc(1, sizeof *f);

	if (!f)
		return NULL;
	f->disk = disk;
	f->fd = f->direct_fd = -1;
	f->header = *h;
	f->created_ns = h->created_ns;
	f->shape = *shape;
	f->path = strdup(path);
	if (!f->path) {
		free(f);
		return NULL;
	}
	return f;
}

/* A new segment's struct, with what every new header has: a salt, and a shape that fits. */
static int file_new_life(struct disk *disk, const char *path, const struct segment_header *h, uint32_t segment_bytes,
                         uint32_t state, struct segment_file **f, struct error *err)
{
	struct segment_header header = *h;
	struct segment_shape shape;
	int rc;

	rc = segment_shape(h->slot_bytes, segment_bytes, &shape);
	if (rc < 0)
		return error_set(err, rc, "%s: no segment of %" PRIu32 " bytes has grains of %" PRIu32, path,
		                 segment_bytes, h->slot_bytes);
	header.slots = shape.slots;
	header.records_max = shape.records_max;
	header.state = state;
	header.record_count = header.slot_count = 0;
	rc = random_salt(&header.salt);
	if (rc < 0)
		return failed(err, rc, path, "get random bytes");
	*f = file_new(disk, path, &header, &shape);
	return *f ? 0 : error_set(err, -ENOMEM, "%s: out of memory", path);
}

/* The header and the rest of its block; rewritten later as one sector. */
static int write_first_block(struct segment_file *f)
{
	uint8_t block[SEGMENT_INDEX_OFFSET] = { 0 };

	segment_header_encode(&f->header, block);
	return disk_pwrite(f->disk, f->fd, block, sizeof block, 0);
}

static int write_header(struct segment_file *f, const struct segment_header *h)
{
	uint8_t sector[SEGMENT_HEADER_BYTES];

	segment_header_encode(h, sector);
	return disk_pwrite(f->disk, f->fd, sector, sizeof sector, 0);
}

/* Allocates what is missing (a spare that was a cache file may have holes), so that no later write meets a full disk. */
static int allocate_all(struct segment_file *f)
{
	int rc = disk_fallocate(f->disk, f->fd, 0, 0, f->shape.file_bytes);
	uint8_t last;
	ssize_t n;

	if (!unsupported(rc))
		return rc;
	n = disk_pread(f->disk, f->fd, &last, 1, f->shape.file_bytes - 1);
	return n < 0 ? (int)n : n == 1 ? 0 : -EINVAL;
}

int segment_file_create(struct disk *disk, const char *spare, const char *dir, const char *path,
                        const struct segment_header *h, uint32_t segment_bytes, struct segment_file **out,
                        struct error *err)
{
	struct segment_file *f = NULL;
	const char *what = "open a spare";
	bool renamed = false;
	int rc;

	*out = NULL;
	rc = file_new_life(disk, path, h, segment_bytes, SEGMENT_OPEN, &f, err);
	if (rc < 0)
		return rc;
	memset(f->header.prev_digest, 0, DIGEST_BYTES);
	memset(f->header.digest, 0, DIGEST_BYTES);

	rc = f->fd = disk_open(disk, spare, O_RDWR, 0);
	if (rc < 0)
		goto out;
	what = "allocate the blocks of a spare";
	rc = allocate_all(f);
	if (rc < 0)
		goto out;
	/* The header must be durable before the name is: whoever finds the name may trust the header. */
	what = "write the header";
	rc = write_first_block(f);
	if (rc == 0)
		rc = disk_fdatasync(disk, f->fd);
	if (rc < 0)
		goto out;
	what = "rename a spare";
	rc = disk_rename(disk, spare, path);
	if (rc < 0)
		goto out;
	renamed = true;
	what = "sync the directory";
	rc = disk_sync_dir(disk, dir);
	if (rc < 0)
		goto out;
out:
	if (rc < 0) {
		failed(err, rc, path, what);
		/* The first error is the one to tell. A spare is cheap: nobody is left to remember this one. */
		(void)disk_unlink(disk, renamed ? path : spare);
		segment_file_close(f);
		return rc;
	}
	*out = f;
	return 0;
}

/* The slots that the records reach, from the first to the last one used. */
static int count_slots(const struct segment_shape *shape, const struct record *records, size_t count, uint32_t *slots)
{
	*slots = 0;
	for (size_t i = 0; i < count; i++) {
		if (!record_has_slot(records[i].kind))
			continue;
		if (records[i].slot >= shape->slots)
			return -EINVAL;
		if (records[i].slot >= *slots)
			*slots = records[i].slot + 1u;
	}
	return 0;
}

static int write_index(struct segment_file *f, const struct record *records, size_t count)
{
	uint8_t *index = malloc(count * RECORD_BYTES + 1);
	int rc;

	if (!index)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		record_encode(&records[i], f->header.salt, (uint32_t)i, index + i * RECORD_BYTES);
	rc = disk_pwrite(f->disk, f->fd, index, count * RECORD_BYTES, SEGMENT_INDEX_OFFSET);
	free(index);
	return rc;
}

int segment_file_create_stored(struct disk *disk, const char *path, const struct segment_header *h,
                               uint32_t segment_bytes, const struct record *records, size_t count,
                               struct segment_file **out, struct error *err)
{
	struct segment_file *f = NULL;
	int rc;

	*out = NULL;
	rc = file_new_life(disk, path, h, segment_bytes, SEGMENT_STORED, &f, err);
	if (rc < 0)
		return rc;
	rc = count > f->shape.records_max ? -EINVAL : count_slots(&f->shape, records, count, &f->header.slot_count);
	if (rc < 0) {
		error_set(err, rc, "%s: the records do not fit into the segment", path);
		goto out;
	}
	f->header.record_count = (uint32_t)count;

	/* Never over a file that is there: it might be one whose records are nowhere else. */
	rc = f->fd = disk_open(disk, path, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (rc < 0) {
		failed(err, rc, path, "make a cache file");
		goto out;
	}
	rc = disk_ftruncate(disk, f->fd, f->shape.file_bytes);
	if (rc == 0)
		rc = write_index(f, records, count);
	if (rc == 0)
		rc = write_first_block(f);
	if (rc < 0) {
		failed(err, rc, path, "write a cache file");
		(void)disk_unlink(disk, path); /* the first error is the one to tell */
		goto out;
	}
	*out = f;
	f = NULL;
out:
	segment_file_close(f);
	return rc;
}

static int check_identity(const struct segment_header *h, const char *path, const uint8_t pool[POOL_UUID_BYTES],
                          uint64_t image, segment_no_t number, struct error *err)
{
	if (memcmp(h->pool, pool, POOL_UUID_BYTES) != 0)
		return error_set(err, -EBADMSG, "%s: belongs to another pool", path);
	if (h->image != image || h->number != number)
		return error_set(err, -EBADMSG,
		                 "%s: is segment %" PRIu64 " of image %016" PRIx64 ", not %" PRIu64 " of %016" PRIx64,
		                 path, h->number, h->image, number, image);
	return 0;
}

int segment_file_open(struct disk *disk, const char *path, const uint8_t pool[POOL_UUID_BYTES], uint64_t image,
                      segment_no_t number, struct segment_file **out, struct error *err)
{
	uint8_t sector[SEGMENT_HEADER_BYTES];
	struct segment_header h;
	struct segment_shape shape;
	struct segment_file *f;
	ssize_t n;
	int fd, rc;

	*out = NULL;
	fd = disk_open(disk, path, O_RDWR, 0);
	if (fd < 0)
		return failed(err, fd, path, "open");
	n = disk_pread(disk, fd, sector, sizeof sector, 0);
	if (n < 0) {
		rc = failed(err, (int)n, path, "read the header");
		goto out;
	}
	if (n != (ssize_t)sizeof sector) {
		rc = error_set(err, -EBADMSG, "%s: cut short: %zd bytes", path, n);
		goto out;
	}
	rc = segment_header_decode(sector, &h, err);
	if (rc < 0) {
		error_prefix(err, rc, "%s", path);
		goto out;
	}
	rc = check_identity(&h, path, pool, image, number, err);
	if (rc == 0)
		rc = segment_shape(h.slot_bytes, h.slot_bytes * h.slots, &shape);
	if (rc < 0)
		goto out;
	f = file_new(disk, path, &h, &shape);
	if (!f) {
		rc = error_set(err, -ENOMEM, "%s: out of memory", path);
		goto out;
	}
	f->fd = fd;
	*out = f;
out:
	if (rc < 0)
		(void)disk_close(disk, fd); /* nothing was written through it */
	return rc;
}

void segment_file_close(struct segment_file *f)
{
	if (!f)
		return;
	/* It cannot lose anything: what had to be durable was synced. */
	if (f->fd >= 0)
		(void)disk_close(f->disk, f->fd);
	segment_file_end_direct(f);
	free(f->path);
	free(f);
}

/* A mapped index would save this call, and cost more: each sync then write-protects the page again, on every processor. */
int segment_file_put_records(struct segment_file *f, uint32_t number, const struct record *records, size_t count)
{
	uint8_t bytes[PUT_RECORDS * RECORD_BYTES];
	int rc = 0;

	while (rc == 0 && count) {
		uint32_t n = count < PUT_RECORDS ? (uint32_t)count : PUT_RECORDS;

		for (uint32_t i = 0; i < n; i++) {
			assert(!record_has_slot(records[i].kind) || records[i].slot < f->shape.slots);
			record_encode(&records[i], f->header.salt, number + i, bytes + (size_t)i * RECORD_BYTES);
		}
		rc = segment_file_put_index(f, number, bytes, n);
		number += n;
		records += n;
		count -= n;
	}
	return rc;
}

int segment_file_write_slots(struct segment_file *f, uint32_t slot, const struct iovec *iov, int iovcnt)
{
	size_t len = iovec_bytes(iov, iovcnt);

	assert(len % f->shape.slot_bytes == 0 && slot <= f->shape.slots &&
	       len / f->shape.slot_bytes <= f->shape.slots - slot);
	return disk_pwritev(f->disk, f->fd, iov, iovcnt, segment_slot_offset(&f->shape, slot));
}

int segment_file_write_direct(struct segment_file *f, uint32_t slot, const void *buf, size_t len)
{
	struct iovec iov = { (void *)buf, len };
	int rc = -EINVAL;

	assert(slot <= f->shape.slots && len / f->shape.slot_bytes <= f->shape.slots - slot);
	if (f->direct_fd < 0 && !f->no_direct)
		f->direct_fd = disk_open(f->disk, f->path, O_RDWR | O_DIRECT, 0);
	if (f->direct_fd >= 0 && !f->no_direct)
		rc = disk_pwrite(f->disk, f->direct_fd, buf, len, segment_slot_offset(&f->shape, slot));
	/* Not all file systems can, and not all at pages: then it is as good through the cache. */
	f->no_direct = rc == -EINVAL;
	return f->no_direct ? segment_file_write_slots(f, slot, &iov, 1) : rc;
}

void segment_file_end_direct(struct segment_file *f)
{
	if (f->direct_fd >= 0)
		(void)disk_close(f->disk, f->direct_fd);
	f->direct_fd = -1;
}

int segment_file_put_index(struct segment_file *f, uint32_t number, const uint8_t *encoded, size_t count)
{
	assert(f->header.state == SEGMENT_OPEN && number + count <= f->shape.records_max);
	return disk_pwrite(f->disk, f->fd, encoded, count * RECORD_BYTES,
	                   SEGMENT_INDEX_OFFSET + (uint64_t)number * RECORD_BYTES);
}

int segment_file_read(struct segment_file *f, uint32_t slot, uint32_t skip, void *buf, size_t len)
{
	uint64_t from = segment_slot_offset(&f->shape, slot) + skip;
	ssize_t n;

	/* The slot may come from a map read from the store: out of range is as bad as a file cut short. */
	if (from > f->shape.file_bytes || len > f->shape.file_bytes - from)
		return -EIO;
	n = disk_pread(f->disk, f->fd, buf, len, from);
	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : -EIO;
}

int segment_file_sync(struct segment_file *f)
{
	return disk_fdatasync(f->disk, f->fd);
}

/* Decodes records from `index` until one fails or `limit` are there. */
static size_t decode_records(const struct segment_file *f, const uint8_t *index, size_t limit, struct record *records)
{
	size_t n = 0;

	while (n < limit) {
		struct record *r = &records[n];

		if (record_decode(index + n * RECORD_BYTES, f->header.salt, (uint32_t)n, r) < 0)
			break;
		if (record_has_slot(r->kind) && r->slot >= f->shape.slots)
			break;
		n++;
	}
	return n;
}

/* A run of records, from `first` to before `end`, whose slots lie one behind the other from `slot`. */
struct run {
	size_t first, end;
	uint32_t slot, slots;
};

static struct run next_run(const struct segment_file *f, const struct record *records, size_t first, size_t count)
{
	struct run run = { .first = first, .end = first };
	uint32_t most = VERIFY_BYTES / f->shape.slot_bytes;

	for (; run.end < count; run.end++) {
		const struct record *r = &records[run.end];

		if (!record_has_slot(r->kind))
			continue;
		if (run.slots == 0)
			run.slot = r->slot;
		else if (run.slots == most || r->slot != run.slot + run.slots)
			break;
		run.slots++;
	}
	return run;
}

/* Sets *count to the number of records before the first whose slot is torn. A file that ends too early is torn there; a
 * disk that cannot read is an error, since it says nothing about what was written. */
static int verify_slots(struct segment_file *f, const struct record *records, size_t *count)
{
	uint32_t slot_bytes = f->shape.slot_bytes;
	uint8_t *buf = malloc(VERIFY_BYTES);
	int rc = buf ? 0 : -ENOMEM;

	for (size_t at = 0; rc == 0 && at < *count;) {
		struct run run = next_run(f, records, at, *count);
		size_t good = 0; /* bytes of the run that are found right */
		ssize_t n = 0;

		if (run.slots)
			n = disk_pread(f->disk, f->fd, buf, (size_t)run.slots * slot_bytes,
			               segment_slot_offset(&f->shape, run.slot));
		if (n < 0) {
			rc = (int)n;
			break;
		}
		for (size_t i = run.first; i < run.end; i++) {
			if (!record_has_slot(records[i].kind))
				continue;
			if ((size_t)n < good + slot_bytes || crc32c(0, buf + good, slot_bytes) != records[i].data_crc) {
				*count = i;
				break;
			}
			good += slot_bytes;
		}
		at = run.end;
	}
	free(buf);
	return rc;
}

/* Reads records until one is damaged, or `limit`. */
static int read_up_to(struct segment_file *f, size_t limit, struct record **records, size_t *count, struct error *err)
{
	uint8_t *index = malloc(limit * RECORD_BYTES + 1);
	struct record *list = malloc((limit + 1) * sizeof *list);
	int rc = 0;

	if (!index || !list)
		rc = error_set(err, -ENOMEM, "%s: out of memory", f->path);
	ssize_t n = rc ? 0 : disk_pread(f->disk, f->fd, index, limit * RECORD_BYTES, SEGMENT_INDEX_OFFSET);
	if (n < 0)
		rc = failed(err, (int)n, f->path, "read the index");
	if (rc) {
		free(list);
	} else {
		*count = decode_records(f, index, (size_t)n / RECORD_BYTES, list);
		*records = list;
	}
	free(index);
	return rc;
}

int segment_file_read_index(struct segment_file *f, size_t count, struct record **records, struct error *err)
{
	size_t found;
	int rc = read_up_to(f, count, records, &found, err);

	if (rc || found == count)
		return rc;
	free(*records);
	*records = NULL;
	return error_set(err, -EBADMSG, "%s: record %zu of %zu is damaged", f->path, found, count);
}

int segment_file_read_records(struct segment_file *f, bool check_data, struct record **records, size_t *count,
                              struct error *err)
{
	struct record *list;
	int rc;

	if (f->header.state != SEGMENT_OPEN) {
		*count = f->header.record_count;
		return segment_file_read_index(f, *count, records, err);
	}
	rc = read_up_to(f, f->shape.records_max, &list, count, err);
	if (!rc && check_data) {
		rc = verify_slots(f, list, count);
		if (rc) {
			failed(err, rc, f->path, "read the slots");
			free(list);
		}
	}
	if (!rc)
		*records = list;
	return rc;
}

int segment_file_seal(struct segment_file *f, uint32_t record_count, uint32_t slot_count,
                      const uint8_t prev_digest[DIGEST_BYTES], const uint8_t digest[DIGEST_BYTES], struct error *err)
{
	struct segment_header h = f->header;
	int rc;

	/* Who reads the index meanwhile looks at the shape and the salt, which stay. */
	assert(h.state == SEGMENT_OPEN);
	assert(record_count <= f->shape.records_max && slot_count <= f->shape.slots);
	h.state = SEGMENT_SEALED;
	h.record_count = record_count;
	h.slot_count = slot_count;
	memcpy(h.prev_digest, prev_digest, DIGEST_BYTES);
	memcpy(h.digest, digest, DIGEST_BYTES);
	rc = write_header(f, &h);
	if (rc < 0)
		return failed(err, rc, f->path, "write the header");
	f->header.state = h.state;
	f->header.record_count = h.record_count;
	f->header.slot_count = h.slot_count;
	memcpy(f->header.prev_digest, h.prev_digest, DIGEST_BYTES);
	memcpy(f->header.digest, h.digest, DIGEST_BYTES);
	return 0;
}

int segment_file_mark_stored(struct segment_file *f, struct error *err)
{
	struct segment_header h = f->header;
	int rc;

	assert(h.state != SEGMENT_OPEN);
	if (h.state == SEGMENT_STORED)
		return 0; /* of an upload that the store has lost since */
	h.state = SEGMENT_STORED;
	rc = write_header(f, &h);
	if (rc < 0)
		return failed(err, rc, f->path, "write the header");
	return 0; /* in memory it stays as it is, since others read it there */
}

/* The table's crc is continued from the salt: one that an earlier life of the file left behind is not taken for this one's. */
static uint32_t table_crc(const struct segment_file *f, const uint8_t *bytes, size_t len)
{
	uint8_t salt[8];

	put_le64(salt, f->header.salt);
	return crc32c(crc32c(0, salt, sizeof salt), bytes + 4, len - 4);
}

int segment_file_set_table(struct segment_file *f, uint64_t chunks_offset, const uint8_t *table, size_t len)
{
	size_t full = TABLE_FRONT + (size_t)f->shape.chunks * SEGMENT_TABLE_ENTRY;
	uint8_t *bytes;
	int rc;

	if (len > full - TABLE_FRONT)
		return -EINVAL;
	/* A segment cut short has fewer chunks: the entries behind them are zeros. */
	bytes = calloc(1, full);
	if (!bytes)
		return -ENOMEM;
	put_le64(bytes + 4, chunks_offset);
	memcpy(bytes + TABLE_FRONT, table, len);
	put_le32(bytes, table_crc(f, bytes, full));
	rc = disk_pwrite(f->disk, f->fd, bytes, full, f->shape.table_offset);
	free(bytes);
	return rc;
}

int segment_file_get_table(struct segment_file *f, uint64_t *chunks_offset, uint8_t *table, size_t len)
{
	size_t full = TABLE_FRONT + (size_t)f->shape.chunks * SEGMENT_TABLE_ENTRY;
	uint8_t *bytes;
	ssize_t n;
	int rc = 0;

	if (len > full - TABLE_FRONT)
		return -EINVAL;
	bytes = malloc(full);
	if (!bytes)
		return -ENOMEM;
	n = disk_pread(f->disk, f->fd, bytes, full, f->shape.table_offset);
	if (n < 0) {
		rc = (int)n;
	} else if ((size_t)n < full) {
		rc = -EBADMSG;
	} else if (get_le32(bytes) != table_crc(f, bytes, full)) {
		rc = is_zero(bytes, full) ? -ENOENT : -EBADMSG;
	} else {
		*chunks_offset = get_le64(bytes + 4);
		memcpy(table, bytes + TABLE_FRONT, len);
	}
	free(bytes);
	return rc;
}

int segment_file_punch(struct segment_file *f, uint32_t first, uint32_t count)
{
	if (first > f->shape.chunks || count > f->shape.chunks - first)
		return -EINVAL;
	if (count == 0)
		return 0;
	return disk_fallocate(f->disk, f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	                      f->shape.data_offset + (uint64_t)first * CHUNK_BYTES, (uint64_t)count * CHUNK_BYTES);
}

static void set_bits(uint8_t *bits, uint64_t first, uint64_t end)
{
	for (uint64_t i = first; i < end; i++)
		bits[i / 8] |= (uint8_t)(1u << i % 8);
}

int segment_file_present(struct segment_file *f, uint8_t *present)
{
	uint64_t base = f->shape.data_offset, end = f->shape.file_bytes, at = base;

	while (at < end) {
		off_t data = lseek(f->fd, (off_t)at, SEEK_DATA);
		off_t hole;

		if (data < 0 && errno == ENXIO)
			return 0; /* nothing but a hole up to the end */
		if (data < 0 && errno != EINVAL && errno != EOPNOTSUPP)
			return -errno;
		if (data < 0) {
			/* The file system cannot tell: each chunk may be there, and is verified on first use anyway. */
			set_bits(present, 0, f->shape.chunks);
			return 0;
		}
		if ((uint64_t)data >= end)
			return 0;
		hole = lseek(f->fd, data, SEEK_HOLE);
		if (hole < 0 && errno == ENXIO)
			return 0; /* punched or cut off in between */
		if (hole < 0)
			return -errno;
		at = (uint64_t)hole < end ? (uint64_t)hole : end;
		set_bits(present, ((uint64_t)data - base) / CHUNK_BYTES, (at - base + CHUNK_BYTES - 1) / CHUNK_BYTES);
	}
	return 0;
}
