/* SPDX-License-Identifier: GPL-3.0-only */
/* readahead.h: has what a sequential reader will ask for next come before it asks. Private to src/image.
 *
 * Reads that miss the cache and go on where another one ended make a stream. A stream has a window, in disk order from where its
 * reader is: what lies in it and is not here is fetched ahead. The window doubles when the reader has to wait for what is on its
 * way, up to WINDOW_MAX, and halves when requests take so long that the link is full: then more of them would only delay
 * what somebody waits for. For as much again as the window the way is found out: map nodes come, and the tables of the segments that
 * they lead to, so that asking for data is one request.
 *
 * A reader that jumps about in one place, as a guest does that loads its programs, makes no stream: where it missed before and then
 * misses again, the whole patch of disk around is fetched. Reads all over a disk, or all at once, meet no patch twice and fetch
 * nothing. A boot trace (trace.h) is fetched in the same way.
 */
#ifndef GARNER_IMAGE_READAHEAD_H
#define GARNER_IMAGE_READAHEAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define READAHEAD_STREAMS 8
#define READAHEAD_PATCHES 64

struct engine;
struct image;

struct readahead_stream {
	uint64_t next;    /* where its reader is expected to go on; of a patch, where it begins */
	uint64_t fetched; /* up to here it was asked for */
	uint64_t scouted; /* up to here the way is known */
	uint64_t window;  /* bytes; 0: not sequential enough yet */
	unsigned run;     /* reads that went on; 0: a patch, or nothing */
	uint64_t used;    /* for choosing which one makes room */
	bool idle;        /* all of a long stretch was here: nothing is to be done until a read misses */
	uint64_t present; /* bytes found here since one was not */
};

/* Where a read missed. */
struct readahead_patch {
	uint64_t number;
	uint64_t missed_ns; /* 0: not, or it was fetched */
};

struct readahead {
	pthread_mutex_t mutex; /* guards what follows; taken by readers only if it is free */
	struct readahead_stream stream[READAHEAD_STREAMS];
	struct readahead_patch patch[READAHEAD_PATCHES]; /* by number, the newest of those that share a place */
	uint64_t clock;
	bool pumping;            /* a job looks for what is to be fetched */
	bool scouting;           /* a job looks for the way there */
	uint64_t under_way;      /* bytes */
	uint64_t quickest_ns;    /* of a request, lately */
	_Atomic unsigned active; /* streams with a window that are not idle */
};

void readahead_init(struct readahead *r);
void readahead_destroy(struct readahead *r);

/* A read of [offset, offset+len) was made, and had to wait if `missed`. Any thread; never blocks. */
void readahead_note(struct image *i, uint64_t offset, uint64_t len, bool missed);

/* Whether readahead_note() wants to hear of reads that did not miss: a load on the hit path. */
static inline bool readahead_listens(const struct readahead *r)
{
	return atomic_load_explicit(&r->active, memory_order_relaxed) != 0;
}

/* Called once when all that was asked for, `asked` bytes for the disk up to `at`, has come or failed (`result`: the first error, or
 * 0): at once or on a thread of the store. */
typedef void readahead_done_fn(void *arg, uint64_t asked, uint64_t at, int result);

/* Has what is mapped in [*at, end) come, as far as it is not here, until `room` bytes are asked for; moves *at, as far as the map can
 * be read. Blocks on map nodes. 0, `*asked` (in whole chunks), and done() is called, also when it was nothing; or -ENOMEM,
 * and it is not. */
int readahead_fetch(struct image *i, uint64_t *at, uint64_t end, uint64_t room, uint64_t *asked,
                    readahead_done_fn *done, void *arg);

/* Has the map nodes for [at, end) come, and the tables of the segments that they lead to, as far as they are not here. Blocks on the
 * nodes. 0, why a node cannot be read, or -ESHUTDOWN when nothing was begun. */
int readahead_find_way(struct image *i, uint64_t at, uint64_t end);

/* Keeps image and engine in place while something is fetched ahead. False when the engine is about to close, or the image is held. */
bool readahead_begin(struct image *i);
void readahead_end(struct image *i);
/* Nothing is begun for this image until it is resumed; waits for what is under way. For who must be alone with it; holds add up. */
void readahead_hold(struct image *i);
void readahead_resume(struct image *i);
/* Nothing is begun any more; waits for what is under way. */
void readahead_stop(struct engine *e);

#endif
