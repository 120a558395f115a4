/* SPDX-License-Identifier: GPL-3.0-only */
/* fetch_wait.c: the calls of fetch.h that wait: used when images are opened, not while guests read. */
#include "base/report.h"
#include "cache/fetch.h"
#include "cache/object_heads.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct op_wait {
	struct fetch_op op;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool done;
};

static void op_wake(struct fetch_op *op)
{
	struct op_wait *w = (struct op_wait *)op;

	pthread_mutex_lock(&w->mutex);
	w->done = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->mutex);
}

int fetch_read_wait(const struct fetch_source *source, segment_no_t number, uint32_t slot, uint32_t skip, void *buf,
                    size_t len)
{
	struct op_wait w = { .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };

	fetch_op_begin(&w.op, op_wake);
	fetch_read(source, &w.op, number, slot, skip, buf, len);
	if (!fetch_op_end(&w.op)) {
		pthread_mutex_lock(&w.mutex);
		while (!w.done)
			pthread_cond_wait(&w.cond, &w.mutex);
		pthread_mutex_unlock(&w.mutex);
	}
	pthread_cond_destroy(&w.cond);
	pthread_mutex_destroy(&w.mutex);
	return atomic_load(&w.op.result);
}

static int decode(const struct fetch_source *source, segment_no_t number, uint64_t epoch, const uint8_t *buf,
                  size_t len, struct segment_meta *meta, struct error *err)
{
	int rc = segment_meta_decode(buf, len, &source->key, meta, err);

	if (!rc && (meta->image != segment_set_image(source->set) || meta->number != number || meta->epoch != epoch ||
	            memcmp(meta->pool, segment_set_pool(source->set), sizeof meta->pool) != 0))
		rc = error_set(err, -EBADMSG, "is a segment of another place");
	return rc;
}

/* Gets the first `*len` bytes of the segment's object (fewer if it is shorter) and decodes its header. */
static int get_meta(const struct fetch_source *source, segment_no_t number, uint8_t *buf, size_t *len,
                    struct segment_meta *meta, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	uint64_t epoch = source->epoch_of(source->arg, number), image = segment_set_image(source->set);
	struct object_heads *heads = cache_heads(source->cache);
	size_t want = *len;
	int rc;

	if (!epoch)
		return error_set(err, -ENOENT, "segment %llu is not in the store", (unsigned long long)number);
	segment_object_key(image, number, epoch, key, sizeof key);
	if (object_heads_read(heads, key, 0, buf, len) && !decode(source, number, epoch, buf, *len, meta, NULL))
		return 0;
	*len = want;
	rc = store_get_wait(source->store, key, 0, buf, want, len, err);
	if (rc)
		return rc;
	rc = decode(source, number, epoch, buf, *len, meta, err);
	if (rc)
		return error_prefix(err, rc, "%s", key);
	if (want >= SEGMENT_OBJECT_META_GUESS)
		object_heads_keep(heads, key, buf, *len, *len < want);
	return 0;
}

int fetch_meta(const struct fetch_source *source, segment_no_t number, struct segment_meta *meta, struct error *err)
{
	uint8_t buf[SEGMENT_OBJECT_HEADER];
	size_t len = sizeof buf;

	return get_meta(source, number, buf, &len, meta, err);
}

int fetch_head(const struct fetch_source *source, segment_no_t number, struct segment_meta *meta, struct error *err)
{
	size_t len = SEGMENT_OBJECT_META_GUESS;
	uint8_t *buf = malloc(len);
	int rc = buf ? get_meta(source, number, buf, &len, meta, err) : error_set(err, -ENOMEM, "out of memory");

	free(buf);
	return rc;
}

/* What was kept of it is not asked for again. */
static void forget_head(const struct fetch_source *source, segment_no_t number)
{
	char key[STORE_KEY_MAX + 1];

	segment_object_key(segment_set_image(source->set), number, source->epoch_of(source->arg, number), key,
	                   sizeof key);
	object_heads_drop(cache_heads(source->cache), key);
}

static int stored_records(const struct fetch_source *source, segment_no_t number, struct record **records,
                          size_t *count, struct error *err)
{
	struct segment_meta meta;
	size_t len = SEGMENT_OBJECT_META_GUESS;
	uint8_t *buf = malloc(len);
	int rc = buf ? get_meta(source, number, buf, &len, &meta, err) : -ENOMEM;

	if (!rc && segment_meta_bytes(&meta) > len) {
		uint64_t need = segment_meta_bytes(&meta);
		uint8_t *more = need <= SEGMENT_OBJECT_META_MAX ? realloc(buf, need) : NULL;
		if (more) {
			buf = more;
			len = need;
			rc = get_meta(source, number, buf, &len, &meta, err);
		} else {
			rc = need <= SEGMENT_OBJECT_META_MAX ? -ENOMEM
			                                     : error_set(err, -EBADMSG, "absurd segment header");
		}
	}
	if (!rc)
		rc = segment_meta_open(&meta, buf, len, &source->key, records, NULL, err);
	if (!rc)
		*count = meta.record_count;
	else if (rc == -EBADMSG && buf)
		forget_head(source, number);
	free(buf);
	return rc;
}

int fetch_records(const struct fetch_source *source, segment_no_t number, struct record **records, size_t *count,
                  struct error *err)
{
	struct segment *s = segment_pin_known(source->set, number);
	int rc = -ENOENT;

	if (s && atomic_load(&s->life) >= LIFE_SEALED) {
		struct segment_file *f = segment_open_file(s, err);
		rc = f ? segment_file_read_records(f, false, records, count, err) : -ENOENT;
		if (!rc && segment_digest_fits(segment_set_image(source->set), number, s->prev_digest, *records, *count,
		                               s->digest, NULL)) {
			free(*records);
			rc = error_set(err, -EBADMSG, "the index of %s does not match its digest", f->path);
		}
		if (rc && f && atomic_load(&s->life) == LIFE_SEALED) {
			segment_unpin(s);
			return rc; /* nobody else has it */
		}
		if (rc && f)
			report_warning("cache: %s: %s; reading it from the store", f->path, error_text(err));
	}
	if (s)
		segment_unpin(s);
	return rc ? stored_records(source, number, records, count, err) : 0;
}
