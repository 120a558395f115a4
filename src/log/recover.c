/* SPDX-License-Identifier: GPL-3.0-only */
/* recover.c: walks the segments that are only here, and makes an end where the log ends. */
#include "log/recover.h"

#include "base/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* One segment as found. */
struct found {
	struct segment *segment; /* pinned */
	struct segment_file *file;
	struct record *records;
	size_t count;
	bool sealed;
};

static void found_destroy(struct found *f)
{
	if (f->segment)
		segment_unpin(f->segment);
	free(f->records);
	*f = (struct found){ 0 };
}

/* Looks at segment `number`: 1 when there is one with records, 0 when the log ends before it. */
static int look(struct segment_set *set, segment_no_t number, struct found *f, struct error *err)
{
	struct segment *s = segment_pin_known(set, number);
	struct error why = { 0 };
	int rc;

	*f = (struct found){ .segment = s };
	if (!s || !s->local)
		return 0;
	f->file = segment_open_file(s, &why);
	/* A header is durable before its file has the name: one that cannot be read was damaged later, and what it stood for may have
	 * been promised to somebody. */
	if (!f->file)
		return why.code == -ENOENT ? 0 : error_set(err, why.code ? why.code : -EIO, "%s", error_text(&why));
	f->sealed = f->file->header.state != SEGMENT_OPEN;
	rc = segment_file_read_records(f->file, !f->sealed, &f->records, &f->count, err);
	if (rc == -EBADMSG && f->sealed)
		error_prefix(err, rc, "%s", f->file->path);
	if (rc)
		return rc;
	return f->count > 0;
}

/* Whether `next` goes on where `f`, found open with f->count records, ends. */
static bool follows(const struct found *f, const struct found *next)
{
	const struct record *first = next->records;

	return next->count && first->kind == RECORD_FOLLOWS && first->value == f->count;
}

/* What is here behind the last segment that counts. */
struct rest {
	segment_no_t last;
	segment_no_t top;  /* the highest number */
	segment_no_t kept; /* one that no crash can leave there, and that is not to be deleted */
};

static int look_behind(void *arg, struct segment *s)
{
	struct rest *rest = arg;
	int life = atomic_load(&s->life);

	if (!s->local || s->number <= rest->last)
		return 0;
	if (s->number > rest->top)
		rest->top = s->number;
	/* Segments are sealed in order: one that is sealed shows that those before it were whole, and damaged or lost since. And
	 * of one whose header is damaged, nobody knows what it was. */
	if (life == LIFE_UNKNOWN || life >= LIFE_SEALED)
		rest->kept = s->number;
	return 0;
}

/* Deletes everything after `last`, highest first, and makes that durable. */
static int drop_after(struct segment_set *set, segment_no_t last, struct recovery *r, struct error *err)
{
	struct rest rest = { .last = last, .top = last };
	int rc = segment_set_each(set, look_behind, &rest);

	if (!rc && rest.kept)
		return error_set(err, -EBADMSG,
		                 "the log in %s ends with segment %" PRIu64 ", but segment %" PRIu64 " is there too",
		                 segment_set_dir(set), last, rest.kept);
	segment_no_t top = rest.top;
	bool any = top > last;

	for (; !rc && top > last; top--) {
		struct segment *s = segment_pin_known(set, top);
		if (!s)
			continue;
		r->dropped += s->local;
		if (r->dropping)
			r->dropping(r->arg, s);
		segment_unpin(s);
		rc = segment_forget(set, top);
	}
	if (!rc && any)
		rc = disk_sync_dir(segment_set_disk(set), segment_set_dir(set));
	return rc ? error_set(err, rc, "cannot delete segments in %s: %s", segment_set_dir(set), strerror(-rc)) : 0;
}

static uint32_t slots_used(const struct found *f)
{
	uint32_t n = 0;

	for (size_t i = 0; i < f->count; i++)
		n += record_has_slot(f->records[i].kind);
	return n;
}

static void carry(const struct found *f, struct recovery *r)
{
	for (size_t i = 0; i < f->count; i++) {
		if (f->records[i].kind == RECORD_RESIZE)
			r->image_size = f->records[i].value;
		if (f->records[i].kind == RECORD_CHECKPOINT)
			r->checkpoint = (struct log_position){ f->segment->number, (uint32_t)i };
	}
}

/* What the cache of the file system shows is not what the disk has when a sync failed before: that was told to who synced then, and to nobody
 * since. */
static int write_anew(const struct found *f)
{
	uint32_t bytes = f->file->shape.slot_bytes, most = CHUNK_BYTES / bytes ? CHUNK_BYTES / bytes : 1;
	uint32_t slots = slots_used(f);
	uint8_t *buf = malloc((size_t)most * bytes);
	int rc = buf ? 0 : -ENOMEM;

	for (uint32_t k = 0, n; !rc && k < slots; k += n) {
		n = slots - k < most ? slots - k : most;
		struct iovec iov = { buf, (size_t)n * bytes };
		rc = segment_file_read(f->file, k, 0, buf, iov.iov_len);
		if (!rc)
			rc = segment_file_write_slots(f->file, k, &iov, 1);
	}
	free(buf);
	return rc ? rc : segment_file_put_records(f->file, 0, f->records, f->count);
}

/* Makes the found segment the last of the recovery so far: sealed, in the chain. */
static int take(struct found *f, struct recovery *r, struct error *err)
{
	struct segment *s = f->segment;
	uint8_t digest[DIGEST_BYTES];
	uint64_t image = segment_set_image(s->set);
	int rc = 0;

	if (f->sealed) {
		memcpy(digest, f->file->header.digest, DIGEST_BYTES);
		rc = segment_digest_fits(image, s->number, r->digest, f->records, f->count, digest, NULL);
	} else {
		rc = (r->keep_all ? segment_digest_whole : segment_digest)(image, s->number, r->digest, f->records,
		                                                           f->count, digest);
	}
	if (rc && rc != -EBADMSG)
		return rc;
	carry(f, r);
	if (f->sealed) {
		if (rc || memcmp(f->file->header.prev_digest, r->digest, DIGEST_BYTES) != 0)
			return error_set(err, -EBADMSG, "%s is not the segment that follows in this log",
			                 f->file->path);
	} else {
		/* What was read may be in memory only: make it durable before anything is built on it. */
		rc = write_anew(f);
		if (!rc)
			rc = segment_sync(s);
		if (rc)
			return error_set(err, rc, "cannot write %s anew: %s", f->file->path, strerror(-rc));
		rc = segment_file_seal(f->file, (uint32_t)f->count, slots_used(f), r->digest, digest, err);
		if (rc)
			return rc;
		rc = segment_sync(s);
		if (rc)
			return error_set(err, rc, "cannot sync %s: %s", f->file->path, strerror(-rc));
		/* Slots of an open segment were checked one by one just now. */
		for (uint32_t c = 0; c < s->shape.chunks; c++)
			segment_chunk_set(s, c,
			                  (uint64_t)c * CHUNK_BYTES < (uint64_t)slots_used(f) * s->shape.slot_bytes
			                          ? CHUNK_PRESENT
			                          : CHUNK_ABSENT);
	}
	s->record_count = (uint32_t)f->count;
	s->slot_count = slots_used(f);
	s->image_size = r->image_size;
	s->checkpoint = r->checkpoint;
	memcpy(s->prev_digest, r->digest, DIGEST_BYTES);
	memcpy(s->digest, digest, DIGEST_BYTES);
	memcpy(r->digest, digest, DIGEST_BYTES);
	atomic_store(&s->life, LIFE_SEALED);
	r->last = s->number;
	r->segments++;
	return 0;
}

int log_recover(struct segment_set *set, struct recovery *r, struct error *err)
{
	struct found now = { 0 }, next = { 0 };
	int rc;

	r->segments = r->dropped = 0;
	rc = look(set, r->last + 1, &now, err);
	while (rc > 0) {
		rc = look(set, now.segment->number + 1, &next, err);
		if (rc < 0)
			break;
		bool goes_on = rc > 0 && (now.sealed || follows(&now, &next));
		rc = 0;
		if (!goes_on)
			found_destroy(&next); /* it is about to be deleted, and then nobody may have it pinned */
		/* A sealed one may yet turn out to be damaged: nothing is deleted before it is known to fit. */
		if (!goes_on && !now.sealed)
			rc = drop_after(set, now.segment->number, r, err);
		if (!rc)
			rc = take(&now, r, err);
		found_destroy(&now);
		now = next;
		next = (struct found){ 0 };
		if (!rc)
			rc = goes_on;
		if (!goes_on)
			break;
	}
	found_destroy(&now);
	found_destroy(&next);
	if (rc >= 0)
		rc = drop_after(set, r->last, r, err);
	return rc;
}
