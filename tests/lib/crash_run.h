/* SPDX-License-Identifier: GPL-3.0-only */
/* crash_run.h: an engine at work on a recorded directory, and a journal of what it was asked and what it promised.
 *
 * The directory holds `store` (a pool) and `cache`. Each image is written by one thread, so that its disk after a crash must be
 * what its model was after some one step. The journal's length is noted in the recording (note 0), so a crash state
 * tells which of its events came before the cut.
 */
#ifndef GARNER_TESTS_CRASH_RUN_H
#define GARNER_TESTS_CRASH_RUN_H

#include "image/image.h"
#include "lib/disk_model.h"
#include "lib/random.h"
#include "lib/recorder.h"

#include <pthread.h>
#include <stdatomic.h>

#define RUN_IMAGES 2u
#define RUN_NO_STAGES 1u /* stage_size, less than one needs: all writes go to their segments at once */

/* ---- the journal ---- */

enum event_kind {
	EVENT_CREATED,  /* engine_create() was answered */
	EVENT_OPENED,   /* the image was opened and read: what it held is step 0 */
	EVENT_ISSUED,   /* the steps up to this one may have happened */
	EVENT_ANSWERED, /* ... and were answered */
	EVENT_LOCAL,    /* ... and a local flush after them was answered */
	EVENT_REMOTE,   /* ... likewise one to the store */
	EVENT_KINDS
};

struct event {
	enum event_kind kind;
	unsigned image;
	uint32_t step;
	uint64_t moment; /* of the recording */
};

struct journal {
	struct recording *recording; /* NULL: nothing is noted */
	pthread_mutex_t mutex;
	struct event *event;
	size_t count, room;
};

void journal_init(struct journal *j, struct recording *recording);
void journal_destroy(struct journal *j);
void journal_note(struct journal *j, enum event_kind kind, unsigned image, uint32_t step);

/* What the first `count` events say of an image: whether there is one of a kind, and the highest step of that kind. */
struct bounds {
	bool any[EVENT_KINDS];
	uint32_t step[EVENT_KINDS];
};
void journal_bounds(const struct journal *j, size_t count, unsigned image, struct bounds *b);

/* ---- one image being worked on ---- */

struct worker {
	struct image *image;
	struct image *source; /* ranges of it are copied; NULL: there is none */
	unsigned number;
	struct disk_model *model;
	struct journal *journal;
	struct random random;
	unsigned operations;
	_Atomic uint32_t answered; /* step */
	_Atomic bool done;
	char error[256]; /* "": all went well */
};

/* Does `operations` random ones; some are saves, checkpoints and cleanings. */
void *worker_run(void *worker);
/* Flushes at random until worker->done. */
void *worker_flush_run(void *worker);
/* 0 or -errno; noted when it was answered. */
int worker_flush(struct worker *w, enum image_flush_level level);

/* The image that the others copy from: it is whole and in the store before they are worked on, and does not change.
 * With `make`, it is made if it is not there; else -ENOENT then. */
int crash_source_open(struct engine *e, bool make, struct image **source, struct error *err);

/* Reads the image into `bytes` (room of the model). 0 or -errno. */
int image_read_all(struct image *i, uint8_t *bytes, uint64_t room, uint64_t *size);

/* ---- a whole run ---- */

struct crash_run {
	uint64_t seed;
	struct random random;
	char dir[200];
	struct recording *recording;
	struct journal journal;
	unsigned images, sessions;
	struct engine_options options; /* of all engines on this recording; paths and disk are not set */
	struct disk_model *model[RUN_IMAGES];
};

/* Records a run below `dir`, which is empty. Returns 0, or -1 with the reason on standard error. */
int crash_run_record(struct crash_run *r, const char *dir, uint64_t seed);
void crash_run_destroy(struct crash_run *r);

/* Opens an engine on `dir` with the run's options and this disk (NULL: the real one). */
int crash_run_open_engine(const struct crash_run *r, const char *dir, struct disk *disk, struct engine **e,
                          struct error *err);

#endif
