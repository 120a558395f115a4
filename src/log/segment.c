/* SPDX-License-Identifier: GPL-3.0-only */
/* segment.c: the table of one image's segments. */
#include "log/segment.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/report.h"
#include "log/stage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct segment_set {
	struct disk *disk;
	char *dir;
	uint8_t pool[POOL_UUID_BYTES];
	uint64_t image;
	pthread_mutex_t mutex; /* guards the table; a leaf lock but for pins */
	struct hash *table;
	struct segment *gone; /* forgotten, and pinned when that was last looked at */
};

struct segment_set *segment_set_new(struct disk *disk, const char *dir, const uint8_t pool[POOL_UUID_BYTES],
                                    uint64_t image)
{
	struct segment_set *set = calloc(1, sizeof *set);

	if (!set)
		return NULL;
	set->disk = disk;
	set->dir = strdup(dir);
	set->table = hash_new();
	memcpy(set->pool, pool, sizeof set->pool);
	set->image = image;
	pthread_mutex_init(&set->mutex, NULL);
	if (!set->dir || !set->table) {
		segment_set_free(set);
		return NULL;
	}
	return set;
}

struct retired {
	struct retired *next;
	_Atomic uint8_t *states;
};

static void segment_free(struct segment *s)
{
	for (struct retired *r = s->retired, *next; r; r = next) {
		next = r->next;
		free(r->states);
		free(r);
	}
	segment_file_close(atomic_load(&s->file));
	free(s->checksums);
	free(atomic_load(&s->chunk));
	pthread_mutex_destroy(&s->mutex);
	free(s);
}

void segment_set_free(struct segment_set *set)
{
	size_t cursor = 0;
	uint64_t number;
	struct segment *s;

	if (!set)
		return;
	if (set->table)
		while ((s = hash_next(set->table, &cursor, &number)))
			segment_free(s);
	while ((s = set->gone)) {
		set->gone = s->next_gone;
		segment_free(s);
	}
	hash_free(set->table);
	free(set->dir);
	pthread_mutex_destroy(&set->mutex);
	free(set);
}

uint64_t segment_set_image(const struct segment_set *set)
{
	return set->image;
}

const char *segment_set_dir(const struct segment_set *set)
{
	return set->dir;
}

struct disk *segment_set_disk(const struct segment_set *set)
{
	return set->disk;
}

const uint8_t *segment_set_pool(const struct segment_set *set)
{
	return set->pool;
}

char *segment_path(const struct segment_set *set, segment_no_t number)
{
	char *path;

	return asprintf(&path, "%s/%016llx.seg", set->dir, (unsigned long long)number) < 0 ? NULL : path;
}

static struct segment *segment_new(struct segment_set *set, segment_no_t number)
{
	struct segment *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->set = set;
	s->number = number;
	pthread_mutex_init(&s->mutex, NULL);
	if (hash_put(set->table, number, s)) {
		segment_free(s);
		return NULL;
	}
	return s;
}

static struct segment *pin(struct segment_set *set, segment_no_t number, bool make)
{
	pthread_mutex_lock(&set->mutex);
	struct segment *s = hash_get(set->table, number);
	if (!s && make)
		s = segment_new(set, number);
	if (s)
		atomic_fetch_add(&s->pins, 1);
	pthread_mutex_unlock(&set->mutex);
	return s;
}

struct segment *segment_pin(struct segment_set *set, segment_no_t number)
{
	return pin(set, number, true);
}

struct segment *segment_pin_known(struct segment_set *set, segment_no_t number)
{
	return pin(set, number, false);
}

void segment_unpin(struct segment *s)
{
	atomic_fetch_sub(&s->pins, 1);
}

/* Takes those out of `gone` that nobody has pinned any more: nobody can pin them anew. The mutex is held. */
static struct segment *let_go(struct segment_set *set)
{
	struct segment **at = &set->gone, *list = NULL, *s;

	while ((s = *at)) {
		if (atomic_load(&s->pins)) {
			at = &s->next_gone;
			continue;
		}
		*at = s->next_gone;
		s->next_gone = list;
		list = s;
	}
	return list;
}

int segment_forget(struct segment_set *set, segment_no_t number)
{
	pthread_mutex_lock(&set->mutex);
	struct segment *s = hash_remove(set->table, number), *list;
	if (s) {
		s->local = false;
		s->next_gone = set->gone;
		set->gone = s;
	}
	list = let_go(set);
	pthread_mutex_unlock(&set->mutex);
	char *path = segment_path(set, number);
	int rc = path ? disk_unlink(set->disk, path) : -ENOMEM;

	free(path);
	while ((s = list)) {
		list = s->next_gone;
		segment_free(s);
	}
	return rc == -ENOENT ? 0 : rc;
}

struct segment *segment_take(struct segment_set *set, segment_no_t number)
{
	pthread_mutex_lock(&set->mutex);
	struct segment *s = hash_get(set->table, number);
	int life = s ? atomic_load(&s->life) : LIFE_UNKNOWN;
	if (s && (atomic_load(&s->pins) || s->local || (life != LIFE_STORED && life != LIFE_UNKNOWN)))
		s = NULL;
	if (s)
		hash_remove(set->table, number);
	pthread_mutex_unlock(&set->mutex);
	return s;
}

void segment_taken_free(struct segment *s)
{
	segment_free(s);
}

int segment_set_forget_all(struct segment_set *set)
{
	size_t cursor = 0, count = 0;
	segment_no_t number;
	int rc = 0;

	pthread_mutex_lock(&set->mutex);
	segment_no_t *numbers = malloc((hash_count(set->table) + 1) * sizeof *numbers);
	while (numbers && hash_next(set->table, &cursor, &number))
		numbers[count++] = number;
	pthread_mutex_unlock(&set->mutex);
	if (!numbers)
		return -ENOMEM;
	for (size_t k = 0; k < count; k++) {
		int one = segment_forget(set, numbers[k]);
		rc = rc ? rc : one;
	}
	free(numbers);
	return rc;
}

int segment_set_shape(struct segment *s, const struct segment_shape *shape, uint8_t state)
{
	_Atomic uint8_t *states = atomic_load(&s->chunk);

	if (states && memcmp(&s->shape, shape, sizeof *shape) != 0)
		return -EBADMSG;
	if (!states) {
		states = malloc(shape->chunks);
		if (!states)
			return -ENOMEM;
		s->shape = *shape;
	}
	for (uint32_t i = 0; i < shape->chunks; i++)
		atomic_store_explicit(&states[i], state, memory_order_relaxed);
	atomic_store_explicit(&s->chunk, states, memory_order_release);
	return 0;
}

void segment_make_unknown(struct segment *s)
{
	struct retired *r = malloc(sizeof *r);

	pthread_mutex_lock(&s->mutex);
	if (!s->local && r) {
		r->states = atomic_exchange(&s->chunk, NULL);
		r->next = s->retired;
		s->retired = r;
		r = NULL;
		free(s->checksums);
		s->checksums = NULL;
		s->record_count = s->slot_count = 0;
		atomic_store(&s->stored_slots, 0);
	}
	/* Without memory it stays what it was, and what does not fit is not kept here. */
	if (!s->local)
		atomic_store(&s->life, LIFE_UNKNOWN);
	pthread_mutex_unlock(&s->mutex);
	free(r);
}

void segment_adopt_file(struct segment *s, struct segment_file *f)
{
	s->local = true;
	atomic_store_explicit(&s->file, f, memory_order_release);
}

struct segment_file *segment_open_file(struct segment *s, struct error *err)
{
	/* In one order with the pin: see take_out() in cache/cache.c. */
	struct segment_file *f = atomic_load(&s->file);

	if (f)
		return f;
	pthread_mutex_lock(&s->mutex);
	f = atomic_load(&s->file);
	if (!f && s->local) {
		char *path = segment_path(s->set, s->number);
		if (path && !segment_file_open(s->set->disk, path, s->set->pool, s->set->image, s->number, &f, err))
			atomic_store_explicit(&s->file, f, memory_order_release);
		free(path);
	}
	pthread_mutex_unlock(&s->mutex);
	return f;
}

int segment_read(struct segment *s, uint32_t slot, uint32_t skip, void *buf, size_t len)
{
	struct segment_file *f = segment_open_file(s, NULL);
	struct stage *stage = atomic_load(&s->stage);

	if (!f)
		return -EIO;
	if (stage && stage_read(stage, f, slot, skip, buf, len))
		return 0;
	return segment_file_read(f, slot, skip, buf, len);
}

int segment_write_out(struct segment *s, uint32_t slots, uint32_t records, bool stream)
{
	struct stage *stage = atomic_load(&s->stage);

	return stage ? stage_write_out(stage, atomic_load(&s->file), slots, records, stream) : 0;
}

int segment_end_stage(struct segment *s, bool stream)
{
	struct stage *stage = atomic_load(&s->stage);
	int rc = segment_write_out(s, s->slot_count, s->record_count, stream);

	if (!stage || rc)
		return rc;
	atomic_store(&s->stage, NULL);
	stage_give(stage);
	segment_file_end_direct(atomic_load(&s->file));
	return 0;
}

int segment_sync(struct segment *s)
{
	struct segment_file *f = atomic_load(&s->file);
	int rc;

	pthread_mutex_lock(&s->mutex);
	rc = s->sync_error;
	if (!rc && f)
		rc = s->sync_error = segment_file_sync(f);
	pthread_mutex_unlock(&s->mutex);
	return rc;
}

/* Makes one file of the directory known. A damaged one is known too, as local, so that recovery can deal with it. */
static int scan_file(struct segment_set *set, segment_no_t number, const char *path)
{
	struct segment_file *f = NULL;
	struct error err = { 0 };
	uint8_t present[SEGMENT_BYTES_MAX / CHUNK_BYTES / 8];
	int rc = segment_file_open(set->disk, path, set->pool, set->image, number, &f, &err);

	if (rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE)
		return rc;
	pthread_mutex_lock(&set->mutex);
	struct segment *s = hash_get(set->table, number);
	if (!s)
		s = segment_new(set, number);
	pthread_mutex_unlock(&set->mutex);
	if (!s) {
		segment_file_close(f);
		return -ENOMEM;
	}
	s->local = true;
	if (rc) {
		report_warning("cache: %s", error_text(&err));
		return 0;
	}
	memset(present, 0, sizeof present);
	rc = segment_file_present(f, present);
	if (!rc)
		rc = segment_set_shape(s, &f->shape, CHUNK_ABSENT);
	if (!rc) {
		for (uint32_t i = 0; i < f->shape.chunks; i++)
			if (present[i / 8] >> (i % 8) & 1)
				segment_chunk_set(s, i, CHUNK_UNVERIFIED);
		const struct segment_header *h = &f->header;
		s->record_count = h->record_count;
		s->slot_count = h->slot_count;
		memcpy(s->digest, h->digest, sizeof s->digest);
		memcpy(s->prev_digest, h->prev_digest, sizeof s->prev_digest);
		atomic_store(&s->life, h->state == SEGMENT_OPEN     ? LIFE_CLOSED
		                       : h->state == SEGMENT_SEALED ? LIFE_SEALED
		                                                    : LIFE_STORED);
	}
	segment_file_close(f);
	return rc;
}

static int found_file(void *arg, const char *path)
{
	const char *base = strrchr(path, '/') + 1;
	segment_no_t number = strtoull(base, NULL, 16);
	char name[32];

	snprintf(name, sizeof name, "%016llx.seg", (unsigned long long)number);
	if (strcmp(base, name) != 0 || !number || number >> MAP_ENTRY_SEGMENT_BITS)
		return 0;
	return scan_file(arg, number, path);
}

int segment_set_scan(struct segment_set *set, struct error *err)
{
	int rc = disk_each_file(set->dir, found_file, set);

	return rc ? error_set(err, rc, "cannot read the segments in %s: %s", set->dir, strerror(-rc)) : 0;
}

int segment_set_each(struct segment_set *set, int (*each)(void *arg, struct segment *s), void *arg)
{
	struct segment **all;
	struct segment *s;
	size_t cursor = 0, count = 0;
	uint64_t number;
	int rc = 0;

	pthread_mutex_lock(&set->mutex);
	all = malloc((hash_count(set->table) + 1) * sizeof *all);
	if (all)
		while ((s = hash_next(set->table, &cursor, &number))) {
			atomic_fetch_add(&s->pins, 1);
			all[count++] = s;
		}
	pthread_mutex_unlock(&set->mutex);
	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		if (!rc)
			rc = each(arg, all[i]);
		segment_unpin(all[i]);
	}
	free(all);
	return rc;
}
