/* SPDX-License-Identifier: GPL-3.0-only */
/* fetch_private.h: what the files of a fetch share. Private to src/cache.
 *
 *   fetch.c       reads: from the local file, or by joining the fetch of a chunk
 *   fetch_run.c   a fetch's way: the segment's table, one request for neighbouring chunks, the local file, the answers
 *   fetch_wait.c  the same for those who may block
 */
#ifndef GARNER_CACHE_FETCH_PRIVATE_H
#define GARNER_CACHE_FETCH_PRIVATE_H

#include "base/report.h"
#include "cache/fetch.h"

/* One who waits for a chunk. */
struct fetch_reader {
	struct fetch_op *op;
	uint8_t *buf;  /* NULL: wants nothing of it but that it is here */
	uint32_t skip; /* into the chunk */
	size_t len;
	struct fetch_reader *next;
};

/* In place of a chunk's number: nothing but the segment's table is wanted. */
#define FETCH_TABLE UINT32_MAX

enum fetch_stage {
	FETCH_WAITS, /* for the segment's table */
	FETCH_META,  /* has the segment's turn: gets the table for all that wait */
	FETCH_CHUNK, /* its request is under way */
};

/* A chunk on its way. Lives in its segment's list until its readers are answered. */
struct fetch {
	struct segment *segment;           /* pinned */
	const struct fetch_source *source; /* of who asked first, and waits: other images may read the same segment */
	uint32_t chunk;
	enum fetch_stage stage;       /* guarded by the segment's mutex */
	struct fetch_reader *readers; /* likewise */
	bool ahead;                   /* likewise: nobody waits for it yet */
	bool asked_ahead;             /* likewise when it was asked for */
	bool in_request;              /* likewise: it waited when the request for the table was sent */
	bool got;                     /* the store gave what was asked for */
	bool again;                   /* it came damaged once, perhaps on the way, and is asked for once more */
	struct fetch *next;           /* likewise: segment->fetches */
	struct fetch *next_in_run;
	struct seal_box box;
	uint64_t offset; /* in the object */
};

/* Ends one part of an op, with its error if `rc` is not 0. */
void fetch_op_done(struct fetch_op *op, int rc);

/* Has the fetches of the segment that wait for its table go on, unless one of them has the turn already. The segment is pinned. */
void fetch_go_on(struct segment *s);

/* Reports why the segment cannot be read: one error and one warning until it was read again, however many chunks are asked for. */
__attribute__((format(printf, 3, 4))) void fetch_tell(struct segment *s, enum report_level level, const char *format,
                                                      ...);

#endif
