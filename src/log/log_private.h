/* SPDX-License-Identifier: GPL-3.0-only */
/* log_private.h: what the files of log.h share. */
#ifndef GARNER_LOG_LOG_PRIVATE_H
#define GARNER_LOG_LOG_PRIVATE_H

#include "base/report.h"
#include "log/log.h"

#include <pthread.h>

/* A closed segment on its way to being sealed. */
struct closing {
	struct segment *segment; /* pinned */
	bool synced;             /* a flush synced it after its last record */
	bool writing;            /* its stage is being written out for good */
	TAILQ_ENTRY(closing) link;
};

struct room_waiter {
	job_fn *wake;
	void *arg;
	STAILQ_ENTRY(room_waiter) link;
};

struct flush {
	uint64_t target; /* every sequence below is to be durable */
	log_done_fn *done;
	void *arg;
	int64_t *result; /* where to put the result instead of calling done (the leader's own) */
	TAILQ_ENTRY(flush) link;
};

struct log {
	struct log_options options; /* constant */
	struct segment_shape shape; /* constant */

	pthread_mutex_t mutex;             /* guards all that follows */
	pthread_cond_t changed;            /* completion (if frontier_waiters), sealing, failure, jobs */
	struct segment *open;              /* pinned; NULL: none */
	uint32_t slots_used, records_used; /* of open */
	uint32_t last_records;             /* how many the segment closed last holds */
	segment_no_t last_opened;
	struct segment
		*ahead[LOG_AHEAD_MAX]; /* pinned; ready to be opened next, by number % LOG_AHEAD_MAX; NULL: not made */
	bool making[LOG_AHEAD_MAX];
	unsigned makers;               /* jobs that make one */
	struct closing *spare_closing; /* allocated while open is set, so that closing cannot fail */
	bool stream;                   /* the segment closed last belonged to one */
	int no_room;                   /* why the last attempt to make a segment failed, */
	uint64_t no_room_ns;           /* and when */
	STAILQ_HEAD(, room_waiter) room_waiters;

	uint64_t next_sequence;          /* records reserved so far */
	uint64_t synced_sequence;        /* all below are durable */
	TAILQ_HEAD(, log_part) inflight; /* reserved, not completed: in order */
	unsigned frontier_waiters;
	bool eager; /* a flush follows each write: its bytes are sent to the disk before that */

	TAILQ_HEAD(, flush) flushes;
	bool syncing; /* somebody leads a sync */

	TAILQ_HEAD(closing_list, closing) closing; /* in order of numbers */
	uint64_t closing_bytes;                    /* of those that are not complete */
	unsigned closing_stages;                   /* how many of closing hold a stage */
	bool writing_open;                         /* a job writes out what is in the open segment's stage */
	unsigned writers;                          /* jobs that write out */
	bool sealing;
	segment_no_t last_sealed;
	uint8_t digest[DIGEST_BYTES];   /* of last_sealed */
	uint64_t image_size;            /* after last_sealed */
	struct log_position checkpoint; /* the newest at or before its end */

	int failed; /* -errno once the log stopped */
	unsigned jobs;
	bool draining;
};

/* Called without the mutex. */
void log_job_end(struct log *l);
void log_seal_job(void *arg);
/* A segment that belongs to a stream, `slots` slots of it being used. */
bool log_is_stream(const struct log *l, const struct segment *s, uint32_t slots);

/* Called with the mutex held. log_job_start() returns false when memory is too short to queue a job. */
bool log_job_start(struct log *l, job_fn *job, uint64_t delay_ms);
void log_prepare_next(struct log *l);
void log_close_locked(struct log *l);
void log_wake_room_waiters(struct log *l);

/* Writes a filled one out and gives its stage back; the mutex is let go of meanwhile. 0 or -errno: the log has failed. */
int log_write_out_closed(struct log *l, struct closing *c);

/* How much of a segment, from its beginning, is filled. */
struct log_filled {
	uint32_t slots, records;
};
struct log_filled log_filled(const struct log *l, const struct segment *s);

/* Every sequence below is completed. */
static inline uint64_t log_frontier(const struct log *l)
{
	const struct log_part *first = TAILQ_FIRST(&l->inflight);

	return first ? first->sequence : l->next_sequence;
}

#endif
