/* SPDX-License-Identifier: GPL-3.0-only */
/* fake_engine.h: as much of an engine as the control socket asks for, with answers that a test sets. Link it into the
 * one test that wants it, before the real engine, and never into a library that all tests share. */
#ifndef GARNER_TESTS_FAKE_ENGINE_H
#define GARNER_TESTS_FAKE_ENGINE_H

#include "image/image.h"

#include <pthread.h>

struct fake_engine {
	struct engine_status status;
	struct image_status image[4];
	unsigned image_count;
	uint64_t taken_over;           /* the last id that engine_takeover() was given */
	char snapshot[400];            /* what was asked about snapshots last: "create NAME 00000000000000a1 ..." */
	char cleaned[64];              /* which image engine_clean() was called for last, and how */
	char cloned[300];              /* "ID DIR NAME" of the last engine_clone() */
	char rewound[400];             /* "ID SEGMENT.RECORD TIME DIR NAME" of the last engine_rewind() */
	char moment[40];               /* that was opened last: "SEGMENT.RECORD" */
	uint64_t kept_s;               /* of the last engine_history_keep() */
	char undeleted[300];           /* "ID DIR NAME" of the last engine_undelete() */
	uint64_t ranges;               /* that image_diff() finds */
	struct fake_engine *handle[2]; /* what stands for open snapshots: they point here */
	_Atomic unsigned opened;       /* image_open() without image_close() */
	uint64_t flattened;            /* the last id of engine_flatten() */
	uint64_t flushed;              /* the last id of a finished flush */
	bool flush_blocks;             /* a flush goes on until it is given up */
	pthread_mutex_t mutex;         /* guards the next two */
	pthread_cond_t changed;
	unsigned flushes_running, flushes_given_up;
};

void fake_engine_init(struct fake_engine *fake, const char *cache_dir);
void fake_engine_destroy(struct fake_engine *fake);
struct engine *fake_engine(struct fake_engine *fake);

/* Waits, ten seconds at most, until so many flushes run, and so many have been given up. Returns whether they have. */
bool fake_engine_wait(struct fake_engine *fake, unsigned running, unsigned given_up);

#endif
