/* SPDX-License-Identifier: GPL-3.0-only */
/* stage.c: the mapped files in which open segments are gathered, and what is done with them after a crash. See stage.h. */
#include "log/stage.h"

#include "base/crc32c.h"
#include "base/report.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/queue.h>

/* Less than this is not worth a write past the page cache: that waits for the disk, and the sync after it waits again. */
#define DIRECT_BYTES (256u << 10)
/* More at once would have every sync of anything wait behind it in the disk's queue. */
#define DIRECT_BYTES_MOST (1u << 20)

struct stage {
	struct stage_pool *pool;
	char *path;
	uint8_t *bytes;
	uint64_t file_bytes;
	pthread_rwlock_t lock;            /* read: it is looked at; write: its owner changes */
	const struct segment_file *owner; /* NULL: it is free */
	struct segment_shape shape;       /* of the owner, as is ... */
	uint64_t salt;
	pthread_mutex_t writing; /* one writes out at a time; guards what follows */
	_Atomic uint32_t slots;  /* written out */
	uint32_t records;        /* likewise */
	SLIST_ENTRY(stage) link; /* of all */
	SLIST_ENTRY(stage) free_link;
};

struct stage_pool {
	struct disk *disk;
	char *dir;
	uint64_t limit;
	pthread_mutex_t mutex; /* guards what follows */
	uint64_t used;         /* bytes of all stages */
	unsigned count;        /* made so far: names them */
	SLIST_HEAD(, stage) all, free;
	atomic_bool told;
};

/* ---- making them ---- */

/* Who still looks at it, from when it was his, sees that it is not any more: it is freed with its pool. */
static void unmap(struct stage *s, bool unlink)
{
	if (!s->bytes)
		return;
	munmap(s->bytes, s->file_bytes);
	s->bytes = NULL;
	if (unlink)
		(void)disk_unlink(s->pool->disk, s->path); /* what stays is deleted at the next start */
}

static void stage_free(struct stage *s)
{
	unmap(s, !s->owner);
	pthread_rwlock_destroy(&s->lock);
	pthread_mutex_destroy(&s->writing);
	free(s->path);
	free(s);
}

/* Its blocks are allocated before it is mapped: a disk that fills up is no reason to be killed by SIGBUS. */
static int map_file(struct stage *s)
{
	struct disk *disk = s->pool->disk;
	int fd = disk_open(disk, s->path, O_RDWR | O_CREAT | O_EXCL, 0600);
	int rc = fd < 0 ? fd : disk_fallocate(disk, fd, 0, 0, s->file_bytes);

	if (!rc) {
		s->bytes = mmap(NULL, s->file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (s->bytes == MAP_FAILED) {
			rc = -errno;
			s->bytes = NULL;
		}
	}
	/* They are few, and in use all the time. Where that is not allowed, so be it. */
	if (!rc)
		(void)mlock2(s->bytes, s->file_bytes, MLOCK_ONFAULT);
	if (fd >= 0)
		disk_close(disk, fd);
	if (fd >= 0 && rc)
		(void)disk_unlink(disk, s->path);
	return rc;
}

static struct stage *stage_new(struct stage_pool *p, uint64_t file_bytes, unsigned number)
{
	struct stage *s = calloc(1, sizeof *s);
	int rc = -ENOMEM;

	if (!s)
		return NULL;
	s->pool = p;
	s->file_bytes = file_bytes;
	pthread_rwlock_init(&s->lock, NULL);
	pthread_mutex_init(&s->writing, NULL);
	if (asprintf(&s->path, "%s/%u.stage", p->dir, number) < 0)
		s->path = NULL;
	else
		rc = map_file(s);
	if (!rc)
		return s;
	if (!atomic_exchange(&p->told, true))
		report_warning("cannot make a stage in %s: %s; writes go to their segments one by one", p->dir,
		               strerror(-rc));
	stage_free(s);
	return NULL;
}

/* Takes the free stage that is large enough, or one that is not, out of the list. */
static struct stage *pick(struct stage_pool *p, uint64_t file_bytes, bool large_enough)
{
	struct stage *s;

	SLIST_FOREACH(s, &p->free, free_link)
		if ((s->file_bytes >= file_bytes) == large_enough)
			break;
	if (s)
		SLIST_REMOVE(&p->free, s, stage, free_link);
	return s;
}

void stage_prepare(struct stage_pool *p, uint64_t file_bytes)
{
	SLIST_HEAD(, stage) gone = SLIST_HEAD_INITIALIZER(gone);
	struct stage *s, *small;
	unsigned number = 0;

	pthread_mutex_lock(&p->mutex);
	s = pick(p, file_bytes, true);
	/* Those of another shape make room for it. */
	while (!s && file_bytes <= p->limit && p->used + file_bytes > p->limit &&
	       (small = pick(p, file_bytes, false))) {
		p->used -= small->file_bytes;
		SLIST_INSERT_HEAD(&gone, small, free_link);
	}
	if (!s && p->used + file_bytes <= p->limit) {
		p->used += file_bytes;
		number = ++p->count;
	}
	/* Who takes one does not wait for the disk. */
	pthread_mutex_unlock(&p->mutex);
	SLIST_FOREACH(small, &gone, free_link)
		unmap(small, true);
	if (number)
		s = stage_new(p, file_bytes, number);
	pthread_mutex_lock(&p->mutex);
	if (number && s)
		SLIST_INSERT_HEAD(&p->all, s, link);
	else if (number)
		p->used -= file_bytes;
	if (s)
		SLIST_INSERT_HEAD(&p->free, s, free_link);
	pthread_mutex_unlock(&p->mutex);
}

static int delete_file(void *arg, const char *path)
{
	return disk_unlink(arg, path);
}

int stage_pool_new(struct disk *disk, const char *dir, uint64_t limit, struct stage_pool **pool, struct error *err)
{
	struct stage_pool *p = calloc(1, sizeof *p);
	int rc;

	if (!p)
		return error_set(err, -ENOMEM, "out of memory");
	p->disk = disk;
	p->limit = limit;
	SLIST_INIT(&p->all);
	SLIST_INIT(&p->free);
	pthread_mutex_init(&p->mutex, NULL);
	p->dir = strdup(dir);
	rc = p->dir ? disk_make_path(disk, dir) : -ENOMEM;
	if (!rc)
		rc = disk_each_file(dir, delete_file, disk);
	if (rc) {
		stage_pool_free(p);
		return error_set(err, rc, "cannot make %s: %s", dir, strerror(-rc));
	}
	*pool = p;
	return 0;
}

void stage_pool_free(struct stage_pool *p)
{
	struct stage *s;

	if (!p)
		return;
	while ((s = SLIST_FIRST(&p->all))) {
		SLIST_REMOVE_HEAD(&p->all, link);
		stage_free(s);
	}
	pthread_mutex_destroy(&p->mutex);
	free(p->dir);
	free(p);
}

/* ---- owners ---- */

struct stage *stage_take(struct stage_pool *p, const struct segment_file *owner)
{
	pthread_mutex_lock(&p->mutex);
	struct stage *s = pick(p, owner->shape.file_bytes, true);
	pthread_mutex_unlock(&p->mutex);
	if (!s)
		return NULL;
	pthread_rwlock_wrlock(&s->lock);
	s->shape = owner->shape;
	s->salt = owner->header.salt;
	atomic_store(&s->slots, 0);
	s->records = 0;
	/* Old records are bound to another salt, so they need not be wiped. */
	segment_header_encode(&owner->header, s->bytes);
	s->owner = owner;
	pthread_rwlock_unlock(&s->lock);
	return s;
}

void stage_give(struct stage *s)
{
	pthread_rwlock_wrlock(&s->lock);
	s->owner = NULL;
	pthread_rwlock_unlock(&s->lock);
	pthread_mutex_lock(&s->pool->mutex);
	SLIST_INSERT_HEAD(&s->pool->free, s, free_link);
	pthread_mutex_unlock(&s->pool->mutex);
}

/* ---- bytes ---- */

uint32_t stage_put_slot(struct stage *s, uint32_t slot, const void *data)
{
	uint8_t *to = s->bytes + segment_slot_offset(&s->shape, slot);

	assert(slot < s->shape.slots);
	memcpy(to, data, s->shape.slot_bytes);
	return crc32c(0, to, s->shape.slot_bytes);
}

void stage_put_records(struct stage *s, uint32_t number, const struct record *records, size_t count)
{
	uint8_t *to = s->bytes + SEGMENT_INDEX_OFFSET + (size_t)number * RECORD_BYTES;

	assert(number + count <= s->shape.records_max);
	for (size_t i = 0; i < count; i++)
		record_encode(&records[i], s->salt, number + (uint32_t)i, to + i * RECORD_BYTES);
}

bool stage_read(struct stage *s, const struct segment_file *owner, uint32_t slot, uint32_t skip, void *buf, size_t len)
{
	bool own = false;

	pthread_rwlock_rdlock(&s->lock);
	if (s->owner == owner) {
		uint64_t from = segment_slot_offset(&s->shape, slot) + skip;
		own = from <= s->shape.file_bytes && len <= s->shape.file_bytes - from;
		if (own)
			memcpy(buf, s->bytes + from, len);
	}
	pthread_rwlock_unlock(&s->lock);
	return own;
}

uint32_t stage_written(const struct stage *s)
{
	return atomic_load_explicit(&s->slots, memory_order_relaxed);
}

static int write_slots(struct stage *s, struct segment_file *f, uint32_t first, uint32_t end, bool stream)
{
	uint32_t piece = DIRECT_BYTES_MOST / s->shape.slot_bytes;
	bool direct = stream && (uint64_t)(end - first) * s->shape.slot_bytes >= DIRECT_BYTES;
	int rc = 0;

	if (!direct)
		piece = end - first;
	for (uint32_t n; !rc && first < end; first += n) {
		n = end - first < piece ? end - first : piece;
		struct iovec iov = { s->bytes + segment_slot_offset(&s->shape, first),
			             (size_t)n * s->shape.slot_bytes };
		rc = direct ? segment_file_write_direct(f, first, iov.iov_base, iov.iov_len)
		            : segment_file_write_slots(f, first, &iov, 1);
	}
	return rc;
}

int stage_write_out(struct stage *s, struct segment_file *owner, uint32_t slots, uint32_t records, bool stream)
{
	int rc = 0;

	pthread_rwlock_rdlock(&s->lock);
	if (s->owner == owner) {
		pthread_mutex_lock(&s->writing);
		uint32_t first = atomic_load(&s->slots);
		if (slots > first)
			rc = write_slots(s, owner, first, slots, stream);
		if (!rc && slots > first)
			atomic_store(&s->slots, slots);
		/* The bytes first, then the records that vouch for them. */
		if (!rc && records > s->records)
			rc = segment_file_put_index(owner, s->records,
			                            s->bytes + SEGMENT_INDEX_OFFSET + (size_t)s->records * RECORD_BYTES,
			                            records - s->records);
		if (!rc && records > s->records)
			s->records = records;
		pthread_mutex_unlock(&s->writing);
	}
	pthread_rwlock_unlock(&s->lock);
	return rc;
}

/* ---- after a crash ---- */

struct restore {
	struct disk *disk;
	const char *images_dir;
	const uint8_t *pool;
	uint64_t *records;
	struct error *err;
};

/* Copies the records [first, end) and their slots from one file to the other. */
static int copy_records(struct segment_file *from, struct segment_file *to, const struct record *records, size_t first,
                        size_t end)
{
	struct iovec iov = { malloc(from->shape.slot_bytes), from->shape.slot_bytes };
	int rc = iov.iov_base ? 0 : -ENOMEM;

	for (size_t i = first; !rc && i < end; i++) {
		if (!record_has_slot(records[i].kind))
			continue;
		rc = segment_file_read(from, records[i].slot, 0, iov.iov_base, iov.iov_len);
		if (!rc)
			rc = segment_file_write_slots(to, records[i].slot, &iov, 1);
	}
	if (!rc)
		rc = segment_file_put_records(to, (uint32_t)first, records + first, end - first);
	if (!rc)
		rc = segment_file_sync(to);
	free(iov.iov_base);
	return rc;
}

/* What `stage` holds of the open segment `f`, and that does not. */
static int restore_segment(const struct restore *r, struct segment_file *stage, struct segment_file *f)
{
	struct record *staged = NULL, *there = NULL;
	size_t staged_count = 0, count = 0;
	int rc = segment_file_read_records(stage, true, &staged, &staged_count, r->err);

	if (!rc)
		rc = segment_file_read_records(f, true, &there, &count, r->err);
	if (!rc && staged_count > count) {
		rc = copy_records(stage, f, staged, count, staged_count);
		if (rc)
			error_set(r->err, rc, "%s: cannot write what %s holds of it: %s", f->path, stage->path,
			          strerror(-rc));
		else
			*r->records += staged_count - count;
	}
	free(staged);
	free(there);
	return rc;
}

static bool passed_over(int rc)
{
	return rc == -ENOENT || rc == -EBADMSG || rc == -EPROTONOSUPPORT;
}

static int restore_stage(void *arg, const char *path)
{
	const struct restore *r = arg;
	struct segment_file *stage = NULL, *f = NULL;
	struct segment_header h;
	uint8_t sector[SEGMENT_HEADER_BYTES];
	struct error why = { 0 };
	char *segment = NULL;
	int fd = disk_open(r->disk, path, O_RDONLY, 0);
	ssize_t n = fd < 0 ? fd : disk_pread(r->disk, fd, sector, sizeof sector, 0);
	int rc;

	if (fd >= 0)
		disk_close(r->disk, fd);
	if (n < 0)
		return error_set(r->err, (int)n, "cannot read %s: %s", path, strerror((int)-n));
	if (n < (ssize_t)sizeof sector || segment_header_decode(sector, &h, NULL) || h.state != SEGMENT_OPEN)
		return 0;
	if (asprintf(&segment, "%s/%016" PRIx64 "/%016" PRIx64 ".seg", r->images_dir, h.image, h.number) < 0)
		return error_set(r->err, -ENOMEM, "out of memory");
	rc = segment_file_open(r->disk, path, r->pool, h.image, h.number, &stage, &why);
	if (!rc)
		rc = segment_file_open(r->disk, segment, r->pool, h.image, h.number, &f, &why);
	if (!rc && f->header.state == SEGMENT_OPEN && f->header.salt == h.salt &&
	    memcmp(&f->shape, &stage->shape, sizeof f->shape) == 0)
		rc = restore_segment(r, stage, f);
	else if (passed_over(rc))
		rc = 0;
	else if (rc)
		error_set(r->err, rc, "%s", error_text(&why));
	segment_file_close(f);
	segment_file_close(stage);
	free(segment);
	return rc;
}

int stage_restore(struct disk *disk, const char *dir, const char *images_dir, const uint8_t pool[POOL_UUID_BYTES],
                  uint64_t *records, struct error *err)
{
	struct error why = { 0 };
	struct restore r = { disk, images_dir, pool, records, &why };

	*records = 0;
	int rc = disk_each_file(dir, restore_stage, &r);
	if (rc && !why.code)
		error_set(&why, rc, "cannot read %s: %s", dir, strerror(-rc));
	return rc ? error_set(err, rc, "%s", error_text(&why)) : 0;
}
