/* SPDX-License-Identifier: GPL-3.0-only */
/* trace.h: the boot trace: what was read first after an image was loaded, kept with the image, so that a host without it in its
 * cache can fetch it before it is asked for. Private to src/image.
 *
 * Recording: the order in which units of the disk are first read, until TRACE_SECONDS have passed since there were enough of them to
 * be worth it, or TRACE_UNITS are known. Who owns the image then, or hands it over before that, puts the trace into the store
 * (images/<id>/trace), unless the one that is there says the same.
 *
 * Using: when an image was loaded of which little is in the cache, its trace is fetched through the map in that order, as
 * readahead.h does it, and never more at a time than TRACE_WINDOW. It is a hint: without it, or with a wrong one, reads are
 * only slower. Knows nothing of what lies in the units.
 */
#ifndef GARNER_IMAGE_TRACE_H
#define GARNER_IMAGE_TRACE_H

#include "base/error.h"
#include "seal/object.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_UNIT_BYTES 65536u
#define TRACE_UNITS 16384u         /* 1 GiB of disk */
#define TRACE_UNITS_MIN 16u        /* fewer are not kept */
#define TRACE_UNIT_MAX 0xfffffffeu /* what lies farther out is not recorded */
#define TRACE_SECONDS 180u
#define TRACE_WINDOW (8u << 20)     /* bytes asked for and not yet come */
#define TRACE_TEXT_MAX (60 * 1024u) /* of an object's OBJECT_BYTES_MAX; a longer trace is cut */

struct image;
struct pool;

/* ---- what is kept ---- */

/* `count` units from `first` on, read in this order. */
struct trace_run {
	uint32_t first, count;
};

/* The object's fields, from units in the order of reading; what does not fit is left out. NULL when memory is short. */
struct fields *trace_encode(const uint32_t *units, size_t count);

/* The opposite. 0 with `*runs` (malloc'ed; at least one, at most TRACE_UNITS units together), -EBADMSG, or -ENOMEM. */
int trace_decode(const struct fields *f, struct trace_run **runs, size_t *count);

/* Whether a new trace is to replace the old one (NULL: there is none): it is long enough, and more than a tenth of it is not in
 * the old one; or, if it is `whole` and not of a session that ended early, more than a tenth of the old one is not in it. */
bool trace_is_news(const uint32_t *units, size_t count, bool whole, const struct trace_run *old, size_t old_count);

/* The trace in the store, as of trace_decode(). -ENOENT, -EBADMSG and -EPROTONOSUPPORT (damaged, or newer than this), or an error of
 * the store. Blocks. */
int trace_load(struct pool *p, uint64_t image, struct trace_run **runs, size_t *count, struct error *err);

/* ---- recording ---- */

struct trace_recording;

/* Of an image. Zeros to begin with. `recording` comes and goes under open_mutex. */
struct trace {
	_Atomic bool listening; /* reads are to be noted */
	_Atomic unsigned users; /* trace_note() at work */
	_Atomic(struct trace_recording *) recording;
};

/* Nobody uses the image any more. */
void trace_destroy(struct trace *t);

/* Whether trace_note() wants to hear of reads: a load on the hit path. */
static inline bool trace_listens(const struct trace *t)
{
	return atomic_load_explicit(&t->listening, memory_order_relaxed);
}

/* [offset, offset+len) is read; `len` is not 0. Any thread; never blocks. */
void trace_note(struct trace *t, uint64_t offset, uint64_t len);

/* ---- hooks: the image's open_mutex is held ---- */

/* The image has just been loaded: recording begins, and what the store has of a trace is fetched in the background. */
void trace_image_loaded(struct image *i);
/* Now and then: ends the recording when its time has come. May block on the store. */
void trace_tend(struct image *i);
/* The image is about to be handed over, and still has its log: ends the recording if there is enough of it. Blocks on the store. */
void trace_before_release(struct image *i);

#endif
