/* SPDX-License-Identifier: GPL-3.0-only */
/* log_seal.c: closed segments become sealed ones, in order of their numbers: chained, given to the upload, and meanwhile synced and their
 * header rewritten. That they may be in the store before they are durable here does no harm: what the store has is part of the log.
 */
#include "log/log_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the records of a segment say about the image at its end. */
static void carry(const struct record *records, size_t count, segment_no_t number, uint64_t *size,
                  struct log_position *checkpoint)
{
	for (size_t i = 0; i < count; i++) {
		if (records[i].kind == RECORD_RESIZE)
			*size = records[i].value;
		if (records[i].kind == RECORD_CHECKPOINT)
			*checkpoint = (struct log_position){ number, (uint32_t)i };
	}
}

static int sync_segment(struct segment *s, struct error *err)
{
	int rc = segment_sync(s);

	if (rc)
		error_set(err, rc, "cannot sync segment %llu: %s", (unsigned long long)s->number, strerror(-rc));
	return rc;
}

/* What the segment says of itself in the store. */
static int chain_segment(struct log *l, struct segment *s, bool all, struct error *err)
{
	struct record *records = NULL;
	int rc = segment_file_read_index(atomic_load(&s->file), s->record_count, &records, err);

	if (rc)
		return rc;
	s->image_size = l->image_size;
	s->checkpoint = l->checkpoint;
	carry(records, s->record_count, s->number, &s->image_size, &s->checkpoint);
	memcpy(s->prev_digest, l->digest, sizeof s->prev_digest);
	rc = (all ? segment_digest_whole : segment_digest)(segment_set_image(l->options.set), s->number, l->digest,
	                                                   records, s->record_count, s->digest);
	free(records);
	return rc ? error_set(err, rc, "segment %llu: %s", (unsigned long long)s->number, strerror(-rc)) : 0;
}

static int seal_segment(struct segment *s, bool stream, struct error *err)
{
	struct segment_file *f = atomic_load(&s->file);
	int rc = sync_segment(s, err);

	if (!rc)
		rc = segment_file_seal(f, s->record_count, s->slot_count, s->prev_digest, s->digest, err);
	if (rc)
		return rc;
	if (stream)
		disk_drop_pages(f->fd);
	for (uint32_t i = 0; i < s->shape.chunks; i++)
		if ((uint64_t)i * CHUNK_BYTES >= (uint64_t)s->slot_count * s->shape.slot_bytes)
			segment_chunk_set(s, i, CHUNK_ABSENT);
	return 0;
}

/* It is the upload's from here on, whether or not it comes to be sealed. */
static void give_complete(struct log *l, struct segment *s)
{
	if (l->options.hooks.complete)
		l->options.hooks.complete(l->options.arg, s);
	pthread_mutex_lock(&l->mutex);
	l->closing_bytes -= (uint64_t)s->slot_count * l->shape.slot_bytes;
	pthread_mutex_unlock(&l->mutex);
}

void log_seal_job(void *arg)
{
	struct log *l = arg;
	struct closing *c;

	pthread_mutex_lock(&l->mutex);
	while ((c = TAILQ_FIRST(&l->closing)) && !l->failed) {
		struct segment *s = c->segment;
		struct error err = { 0 };

		l->frontier_waiters++;
		while ((atomic_load(&s->filling) || c->writing) && !l->failed)
			pthread_cond_wait(&l->changed, &l->mutex);
		l->frontier_waiters--;
		if (l->failed || (atomic_load(&s->stage) && log_write_out_closed(l, c)))
			break;
		bool stream = log_is_stream(l, s, s->slot_count), all = l->options.keep_all;
		pthread_mutex_unlock(&l->mutex);
		int rc = chain_segment(l, s, all, &err);
		if (!rc)
			give_complete(l, s);
		if (!rc)
			rc = seal_segment(s, stream, &err);
		if (rc) {
			log_fail(l, rc, error_text(&err));
			pthread_mutex_lock(&l->mutex);
			break;
		}
		pthread_mutex_lock(&l->mutex);
		TAILQ_REMOVE(&l->closing, c, link);
		l->last_sealed = s->number;
		memcpy(l->digest, s->digest, sizeof l->digest);
		l->image_size = s->image_size;
		l->checkpoint = s->checkpoint;
		atomic_store(&s->life, LIFE_SEALED);
		pthread_cond_broadcast(&l->changed);
		pthread_mutex_unlock(&l->mutex);
		free(c);
		if (l->options.hooks.sealed)
			l->options.hooks.sealed(l->options.arg, s);
		/* Nobody waits for that: what a power cut leaves is the same segment, to be sealed again. */
		rc = sync_segment(s, &err);
		segment_unpin(s);
		if (rc)
			log_fail(l, rc, error_text(&err));
		pthread_mutex_lock(&l->mutex);
	}
	l->sealing = false;
	pthread_mutex_unlock(&l->mutex);
	log_job_end(l);
}

void log_keep_all(struct log *l, bool all)
{
	pthread_mutex_lock(&l->mutex);
	l->options.keep_all = all;
	pthread_mutex_unlock(&l->mutex);
}

int log_wait_sealed(struct log *l, segment_no_t number, uint8_t digest[DIGEST_BYTES])
{
	int rc = 0;

	pthread_mutex_lock(&l->mutex);
	while (l->last_sealed < number && !l->failed)
		pthread_cond_wait(&l->changed, &l->mutex);
	if (l->last_sealed < number) {
		rc = -EIO;
	} else if (l->last_sealed == number) {
		memcpy(digest, l->digest, DIGEST_BYTES);
	} else {
		struct segment *s = segment_pin_known(l->options.set, number);
		if (!s || atomic_load(&s->life) < LIFE_SEALED)
			rc = -EIO;
		else
			memcpy(digest, s->digest, DIGEST_BYTES);
		if (s)
			segment_unpin(s);
	}
	pthread_mutex_unlock(&l->mutex);
	return rc;
}
