/* SPDX-License-Identifier: GPL-3.0-only */
/* private.h: the engine and its images from inside: what the files of this folder share.
 *
 * Threads: front ends' threads, the store's, `work` (continuations, log jobs: may block on the local disk), `packers`
 * (uploads), `prefetch` (what is to be fetched ahead: may block on the store), `sharing` (copies of ranges; likewise), one maintenance thread (saves, checkpoints,
 * hand-overs), one lease thread.
 * Lock order: image clean_mutex; image open_mutex; engine mutex; range locks (waited for without a thread); gate; log mutex; upload mutex;
 * segment mutex; map mutex. No lock but open_mutex and the gate is held over I/O; the gate only over page-cache writes.
 */
#ifndef GARNER_IMAGE_PRIVATE_H
#define GARNER_IMAGE_PRIVATE_H

#include "base/executor.h"
#include "base/hash.h"
#include "base/range_lock.h"
#include "base/report.h"
#include "cache/cache.h"
#include "cache/fetch.h"
#include "image/catalog.h"
#include "image/defrag.h"
#include "image/epoch.h"
#include "image/image.h"
#include "image/layers.h"
#include "image/policy.h"
#include "image/pool.h"
#include "image/readahead.h"
#include "image/snapshot.h"
#include "image/trace.h"
#include "log/log.h"
#include "log/upload.h"
#include "map/checkpoint.h"
#include "map/grain_list.h"
#include "map/grain_map.h"
#include "map/map_db.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

/* A checkpoint is written after this many segments, so that opening elsewhere never replays more. */
#define CHECKPOINT_SEGMENTS 128
/* So many of them are known while they wait for their upload. */
#define CHECKPOINTS_MADE 16
#define SAVE_INTERVAL_NS (10 * 1000000000ull)

struct counters {
	_Atomic uint64_t reads, writes, flushes, read_bytes, write_bytes, hits, misses;
	_Atomic uint64_t moved_bytes; /* by cleaning */
	_Atomic uint64_t retries;     /* puts of segments that failed; the store counts its own */
};

struct dirty_waiter {
	job_fn *wake;
	void *arg;
	STAILQ_ENTRY(dirty_waiter) link;
};

struct engine {
	struct engine_options options; /* defaults filled in; strings are the engine's */
	struct disk *disk;
	char *cache_dir;
	int lock_fd;
	struct pool *pool;
	struct catalog *catalog;
	struct map_db *db;
	struct map_budget *budget;
	struct spare_pool *spares;
	struct stage_pool *stages;
	struct cache *cache;
	struct executor *work, *packers, *prefetch, *sharing;
	struct host host;
	struct counters counters;

	pthread_mutex_t mutex;  /* guards what follows */
	struct hash *images;    /* id -> struct image: loaded ones */
	struct hash *sets;      /* id -> struct segment_set: of every image with files here */
	struct hash *old_sets;  /* address -> struct segment_set: of images that were deleted, with no segments */
	struct hash *unlinked;  /* id -> catalog entry: names gone, still open */
	struct hash *snapshots; /* id -> struct snapshot: those that were looked up or listed */
	struct hash *garbage;   /* image id -> what waits for its deletion (sweep.c) */
	atomic_bool stopping;
	atomic_bool fragmented;     /* some image has something for defrag_step() */
	bool ahead_stopped;         /* nothing is fetched ahead any more */
	unsigned aheads;            /* readahead_begin() without readahead_end() */
	pthread_cond_t ahead_ended; /* none of those is left, or none of an image's */
	char store_error[256];      /* "" when the store answers */
	atomic_bool store_away;     /* it does not */
	pthread_cond_t tick;        /* wakes the maintenance thread */
	bool tick_wanted;

	pthread_t maintenance, heartbeat, cleaner;
	bool maintenance_runs, heartbeat_runs, cleaner_runs;
	bool ended;                  /* in order: the next start need not check garner.db */
	pthread_mutex_t lease_mutex; /* one renewal at a time; guards lease_counter */
	uint64_t lease_counter;
	atomic_bool stop_waiting; /* nobody waits for another host's lease any more */
	struct hash *deletions;   /* ids of images in the trash, to be deleted; guarded by mutex */
	bool trash_wanted;        /* there is something new in the trash; likewise */
	uint64_t trash_next_ns;   /* not before that; likewise */
	uint64_t trash_due_ns;    /* at that time in any case; likewise */

	_Atomic unsigned waiting;   /* flushes and hand-overs that wait for the store */
	_Atomic unsigned settling;  /* cleanings that wait for it, and that nobody waits for */
	_Atomic uint64_t rush_ns;   /* until then guests write in a rush, monotonic */
	_Atomic uint64_t unsent;    /* bytes of slots not in the store, of all images */
	uint64_t unsent_since_ns;   /* when all was sent last; of the maintenance thread */
	pthread_mutex_t pace_mutex; /* guards what follows */
	uint64_t pace_next_ns;      /* when the next paced write may go */
	double drain_rate;          /* bytes per second that uploads take away */
	uint64_t drain_since_ns, drain_bytes;
	STAILQ_HEAD(, dirty_waiter) dirty_waiters;
};

struct image {
	struct engine *engine;
	uint64_t id;
	uint64_t log_id; /* of the image whose log it is: its own id, or that of which it is a snapshot */
	const struct snapshot *snapshot; /* NULL: it is none; owned */
	struct image_past
		*past; /* what comes on top of that, where it is no snapshot but a moment that was opened; owned */
	uint32_t grain_bytes;
	unsigned grain_shift;
	unsigned refs, opens, writers; /* guarded by engine->mutex */
	uint64_t idle_since_ns;        /* since when there is no writer; likewise */
	atomic_bool unlinked;          /* likewise */
	unsigned aheads;               /* likewise: readahead_begin() without readahead_end() */
	unsigned ahead_holds;          /* likewise: readahead_hold() without readahead_resume() */

	pthread_mutex_t
		open_mutex;   /* one load, acquisition, release, save or checkpoint at a time; guards what follows */
	atomic_bool loaded;   /* set there; read anywhere */
	bool following;       /* follow.c is at it, on another thread */
	uint64_t followed_ns; /* when the store was last looked at for readers */
	struct log_position position;     /* while there is no log of ours: the map is the log up to here */
	uint64_t end_epoch;               /* of which `last` was then, or would have been */
	segment_no_t stored_end, last;    /* at the last load: end of the stored run; of what is here after it */
	uint8_t end_digest[DIGEST_BYTES]; /* likewise, if we own it: of `last`, ... */
	uint64_t end_size;
	struct log_position end_checkpoint;
	struct map_state saved; /* what SQLite has; position.segment 0: nothing */
	uint64_t saved_ns;
	bool ahead;              /* the log as it was loaded, or since the last checkpoint, holds more than that */
	bool since_mark;         /* replaying: ... more than at the mark of the next checkpoint */
	uint64_t clean_sequence; /* of the log when the last checkpoint was complete */
	uint64_t cut_sequence;   /* of the log at the last cut */
	segment_no_t
		base_checkpoint; /* the map leads to no node that this one, or a later one, does not lead to; 0: not known */
	struct log_position head_checkpoint; /* what the store's head says */
	struct map_state made
		[CHECKPOINTS_MADE]; /* checkpoints written here in this term, oldest first: from the newest that is known to be in
	                                            the store on */
	unsigned made_count;
	bool flat;                       /* nothing leads into layers any more: the next checkpoint says so */
	atomic_bool layers_closed;       /* no new ones are added */
	bool remapped;                   /* the map has changed by other means than records since the last checkpoint */
	const struct beginning *rewound; /* what it is to be loaded as; NULL: as the end of its log */
	struct image_shared {
		struct snapshot held; /* the moment whose entries were taken over last ... */
		unsigned layer;       /* ... and as which layer; 0: none */
		uint64_t of; /* a log of which so many grains were asked for and could not be shared: not held, ... */
		uint64_t differs;  /* ... or not as they were at that moment */
		uint64_t refused;  /* the log of which no moment could be held ... */
		uint64_t retry_ns; /* ... and until when that is not tried again */
	} shared;                  /* of share.c */

	pthread_mutex_t clean_mutex; /* one cleaning at a time; taken before open_mutex */
	_Atomic unsigned moments;    /* snapshots that are being made: their checkpoints have no names yet */

	struct clean_state {
		_Atomic uint64_t slots;       /* that went into the store, ... */
		_Atomic uint64_t written;     /* ... and those of the same segments before packing */
		pthread_mutex_t mutex;        /* guards what follows */
		uint64_t stored, live;        /* slots, when the maps were walked last; 0: never */
		uint64_t allocated, appended; /* grains mapped by that map, and `slots` then */
		uint64_t looked_ns;           /* when that was; 0: never */
		bool stuck;                   /* there was too much garbage, and nothing to be moved */
		bool again;              /* what the last round has moved is to be deleted, and there may be more */
		uint64_t rest_until_ns;  /* not cleaned by itself before that */
		uint64_t removed, moved; /* segments, of which nothing was told yet */

		/* Guarded by clean_mutex: */
		uint64_t held_ns;        /* when it was looked by itself for what is held; 0: never */
		segment_no_t checkpoint; /* the one whose map was walked last is there */
		struct emptied {
			segment_no_t number;
			struct log_position until; /* what was moved out of it lies before that */
		} * emptied; /* segments that such a checkpoint does not know to be empty, by number */
		size_t emptied_count;
	} clean_state;

	pthread_mutex_t view_mutex; /* guards view */
	struct log_view view;

	struct segment_set *set; /* the engine's; constant from here on */
	struct fetch_source source;
	_Atomic(struct layer_table *) layers; /* the other logs that the map may point into; set under open_mutex */
	struct readahead readahead;
	struct defrag defrag;
	struct trace trace;
	struct grain_map *map;      /* set under open_mutex and state_mutex */
	pthread_rwlock_t node_lock; /* read: a node's row is read and installed; write: saved nodes become droppable */
	struct range_locks locks;
	pthread_rwlock_t gate; /* read: reservation to map update; write: a cut of the log */
	_Atomic uint64_t size, mtime_ns;

	_Atomic unsigned users;    /* operations that use log or upload */
	_Atomic(struct log *) log; /* NULL: not writable here */
	struct upload *upload;     /* with log */
	_Atomic int64_t unsent;    /* its part of the engine's; below 0 when that was let go of */
	uint64_t epoch;
	struct policy policy;        /* as the owner goes by; guarded by open_mutex */
	uint64_t policy_looked_ns;   /* when it was looked for in the store; likewise */
	_Atomic int failed;          /* -errno: writes are refused */
	_Atomic bool rows_damaged;   /* what SQLite has of the map is not to be used again */
	_Atomic bool rows_gone;      /* and is deleted, as nobody seemed to need it */
	pthread_mutex_t state_mutex; /* guards what follows */
	char state[32], detail[256];
	struct image_last_flush last_flush;
};

/* ---- op.c: operations that may go on later ---- */

struct op {
	struct fetch_op fetch; /* first: fetch completion finds the op by it */
	struct image *image;
	int64_t (*step)(struct op *op); /* result, or -EINPROGRESS: somebody will call image_op_resume() */
	void (*destroy)(struct op *op); /* frees what the kind holds, may be NULL */
	image_done_fn *done;
	void *arg;
	bool uses_log;

	bool node_coming; /* a map node is on its way into node_bytes */
	struct map_need need;
	uint8_t *node_bytes;
};

/* Runs the first step. Frees the op unless it goes on later. */
int64_t image_op_start(struct op *op);
/* Runs the next step on this thread, and answers if it is the last. For executors: arg is the op. */
void image_op_resume(void *arg);
/* fetch_op completion: resumes on the work executor. */
void image_op_fetched(struct fetch_op *fetch);

/* Keeps log and upload alive; NULL when the image is not writable here. Who is no writer has to use this log, and not i->log once more, which
 * is gone as soon as the image is being handed over. */
struct log *image_use_log(struct image *i);
void image_unuse_log(struct image *i);

/* ---- layers.c: the logs that entries point into ---- */

/* The log of an image as the store has it, to be read by whoever; who makes it sees to the view. */
struct stored_log {
	struct log_view view;
	struct fetch_source source;
};
/* NULL when memory is short. */
struct stored_log *stored_log_new(struct engine *e, uint64_t image, uint32_t grain_bytes);
/* NULL is ignored. */
void stored_log_free(struct stored_log *l);

/* How many there are besides the image's own; grows while the open_mutex is held, never shrinks. */
size_t image_layer_count(const struct image *i);
/* Where the entry's layer is read. NULL: there is no such layer. */
const struct fetch_source *image_source(const struct image *i, map_entry_t entry);
/* fetch_read(), fetch_read_now(), fetch_read_wait() of what an entry points at. */
void image_fetch(struct image *i, struct fetch_op *op, map_entry_t entry, uint32_t skip, uint8_t *buf, size_t len);
int image_fetch_now(struct image *i, map_entry_t entry, uint32_t skip, void *buf, size_t len);
int image_fetch_wait(struct image *i, map_entry_t entry, void *buf, size_t len);
/* Has at least `count` layers known; the open_mutex is held. Blocks on the store. -EBADMSG: the list in the store has not so many. */
int image_layers_need(struct image *i, size_t count, struct error *err);
/* Whether those that are known are still the image's: 0, or -ESTALE when it was flattened, here or elsewhere, and it has
 * others since. The open_mutex is held. Blocks on the store. */
int image_layers_check(struct image *i, struct error *err);
/* image_layers_need(), and gives the list (to be destroyed; empty when there is none and `count` is 0). */
int image_layers_load(struct image *i, size_t count, struct layer_list *list, struct error *err);
void image_layers_free(struct image *i);
/* Adds those of a moment that is held to an image that is owned here, the open_mutex held: the first is number `*first`. Blocks on the store. */
int image_layers_add(struct image *i, const struct snapshot *held, uint64_t hold, unsigned *first, struct error *err);

/* ---- node.c: map nodes from SQLite or the log ---- */

/* Brings the node of `need` into the map. 0; -EINPROGRESS (op: call again from its next step: image_op_node_arrived()); or an error. */
int image_load_node(struct image *i, const struct map_need *need, struct op *op);
/* To be called at the begin of a step: installs the node that the op waited for. 0 or an error. */
int image_op_node_arrived(struct op *op);
/* The same, blocking. */
int image_load_node_wait(struct image *i, const struct map_need *need, struct error *err);
/* grain_map_lookup(), grain_map_pin() and grain_map_touch() with the nodes that they need. Block. */
int image_look_up_wait(struct image *i, grain_no_t first, size_t count, map_entry_t *entries, struct error *err);
int image_pin_wait(struct image *i, grain_no_t first, size_t count, bool existing_only, struct error *err);
int image_touch_node_wait(struct image *i, unsigned level, uint64_t index, struct error *err);
/* The entries of a node as it is in SQLite, or else in the log at `address`. Blocks. */
int image_read_node(struct image *i, const struct map_need *need, map_entry_t *entries, struct error *err);
/* The same from the log, whatever SQLite has. */
int image_read_logged(struct image *i, const struct map_need *need, map_entry_t *entries, struct error *err);

/* ---- read.c ---- */

/* Reads one whole grain into `buf` as part of an op: 0, -EINPROGRESS, or an error. Call again with the same arguments after -EINPROGRESS, with
 * *fetched true then. */
int image_op_read_grain(struct op *op, grain_no_t grain, uint8_t *buf, bool *fetched);

/* ---- append.c: records into the log and the map ---- */

/* Appends one record that is no guest data (a map node, a checkpoint) with its slot's bytes, waiting for room. Sets r->slot,
 * the segment's number, and the sequence after it. Blocks. */
int image_append_wait(struct image *i, struct record *r, const void *data, segment_no_t *number, uint64_t *sequence);

/* Waits for its turn among those who write. 0 or an error. */
int image_pace_wait(struct image *i, uint64_t bytes);
/* Appends records and has `apply` change the map accordingly, as writes do: what that needs is in memory and stays
 * there, and the grains are locked. Blocks until there is room. */
typedef void append_apply_fn(void *arg, const struct log_append *append, const struct record *records);
int image_append_applied(struct image *i, struct record *records, size_t count, const void *const *data,
                         append_apply_fn *apply, void *arg);
/* Appends MOVE records with the bytes of their grains, which are locked and pinned, and points the map at them. Blocks. */
int image_append_moves(struct image *i, struct record *records, size_t count, const void *const *data);
struct room_wait {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool woken;
};
/* The same, if there is room; `anew`: as the begin of a segment. Else -EAGAIN, and image_wait_for_room() is to be called, without the locks. */
int image_try_append_moves(struct image *i, struct record *records, size_t count, const void *const *data, bool anew,
                           struct room_wait *w);
void image_wait_for_room(struct room_wait *w);
/* Appends a record without a slot at a cut: on success the gate is held for writing, and the record is the last of the log. Else it is not
 * held; -EAGAIN: image_wait_for_room() is to be called, without a gate. */
int image_try_append_at_cut(struct image *i, struct record *r, struct room_wait *w);

/* ---- gather.c: moves ---- */

/* In one call of image_move_grains(). */
#define MOVE_GRAINS_MAX 128
/* Appends a run of grains again, as a move, as far as the map still points where `old` says; data[k]: the bytes of grain first + k. Returns how many
 * were moved, or an error. Blocks. */
int image_move_grains(struct image *i, grain_no_t first, size_t count, const map_entry_t *old, const void *const *data,
                      struct error *err);

struct gathered {
	grain_no_t grain;
	map_entry_t old;     /* where it was */
	const uint8_t *data; /* its bytes */
};
/* In one call of image_move_gathered(): so many grains, and bytes. */
#define GATHERED_MAX 256
#define GATHERED_BYTES_MAX ((size_t)1 << 20)
/* The same of grains from anywhere, in ascending order: they come to lie one behind the other, and with `anew` at the begin of a segment, but
 * for those that somebody writes at this moment. Guests wait for no more than the append itself. Returns how many were moved, or an error.
 * Blocks. */
int image_move_gathered(struct image *i, const struct gathered *g, size_t count, bool anew, struct error *err);

/* Locks grains; waits until that is done. range_unlock() gives them back. */
void image_lock_grains(struct image *i, struct range_lock *lock, grain_no_t first, grain_no_t last);

/* ---- pace.c: back-pressure ---- */

/* Whether a write of `len` bytes may go now: 0; -EAGAIN: wake(arg) is called on the work executor later; -ENOSPC. */
int image_pace(struct image *i, uint64_t len, bool *paced, job_fn *wake, void *arg);
/* The same of one that changes nodes of the map: not -ENOSPC, and not for long. */
int engine_pace_map(struct engine *e, bool *paced, job_fn *wake, void *arg);
/* Bytes of slots that the image has in its log, and that have come into the store. */
void image_unsent_add(struct image *i, uint64_t bytes);
void image_unsent_sent(struct image *i, uint64_t bytes);
/* What is left, and what is added from now on, does not count any more: nothing of it will be sent, and others' writes do not wait for it. */
void image_unsent_let_go(struct image *i);
void engine_wake_dirty_waiters(struct engine *e);
/* Gives a part of the cache back, as the local disk has no room. Blocks on it. */
void engine_make_room(struct engine *e);
/* Somebody begins or ceases to wait for the store: packing is urgent meanwhile. */
void engine_wait_begin(struct engine *e);
void engine_wait_end(struct engine *e);
/* Guests write in a rush: packing, which can wait, waits a little, and is urgent for no cleaning that nobody waits for. */
void engine_rush(struct engine *e);
/* Sets how urgent packing is. Now and then. */
void engine_set_urgency(struct engine *e);

/* ---- load.c: the map as of the end of the log ---- */

/* Loads or catches up: looks at the store (by i->view) and the local segments, and replays up to their end. open_mutex is held.
 * `ours`: the newest term is this host's, and the epoch has been claimed: local segments past the store's end go on with the log.
 * Else they are set aside. */
int image_load(struct image *i, bool ours, struct error *err);
/* Whether the log that `view` tells of has what the map in memory was made of. A host that was fenced may have put a segment that never became
 * part of the log, after its successor looked for the end and before that could say so. Else -ESTALE: the image is to be loaded anew. */
int image_same_log(struct image *i, const struct log_view *view, struct error *err);
/* The newest checkpoint in a segment. Blocks. */
int image_read_checkpoint(struct image *i, segment_no_t number, struct checkpoint *c, struct error *err);
/* Before the image is loaded: what was uploaded is marked so, what is not of this log is dropped or set aside. */
int image_reconcile(struct image *i, segment_no_t end, bool ours, struct error *err);
/* Before a log is read up to `last` by who does not own it: moves local segments that are not what the store has out of the way. -EBUSY
 * when the image is in memory. Blocks on the store. */
int image_settle_log(struct engine *e, const struct fetch_source *source, const struct log_view *view,
                     segment_no_t last, struct error *err);
/* A snapshot's map, as it will always be; the open_mutex is held. Blocks on the store. */
int image_load_snapshot(struct image *i, struct error *err);

/* ---- replay.c ---- */

/* Whose records are replayed: the image's own as its log goes on, or (`past`) what the image is to begin with. */
struct replayed_log {
	const struct fetch_source *source;
	unsigned layer;
	bool past;
	bool checked;               /* that the layers that are known are the image's */
	struct grain_list *touched; /* gets which grains records are of, in any order; or NULL */
};
/* Has the image be what it is after the record, which is of segment `number`. The open_mutex is held. Blocks on the
 * store. -ESTALE: nothing leads from here over that record. */
int image_replay_record(struct image *i, struct replayed_log *log, segment_no_t number, const struct record *r,
                        struct error *err);

/* The last checkpoint among the first `before` records of a segment. 1: there is none. Blocks on the store. */
int checkpoint_read(const struct fetch_source *source, segment_no_t number, size_t before, struct checkpoint *c,
                    struct error *err);
/* The map in memory is that of this checkpoint now; `at`: where that is. */
void image_begin_at(struct image *i, struct log_position at, const struct checkpoint *c);

/* ---- refresh.c ---- */

/* The image is in memory, as of a moment before the newest checkpoint: goes over to that, whatever lies between. The open_mutex is
 * held; others may read meanwhile. Blocks on the store. */
int image_start_over(struct image *i, struct error *err);

/* The image is in memory, as of an older checkpoint and what came after, up to or past the newest one: when what only that leads to may
 * be gone, goes over to the newest one. The open_mutex is held. Blocks on the store. */
int image_refresh(struct image *i, struct error *err);

/* ---- own.c: ownership ---- */

int image_acquire(struct image *i, bool force, struct error *err);
/* Hands over: checkpoints, seals, uploads, releases; open_mutex is held. When the deadline (monotonic) passes: -EAGAIN, and with `leave`
 * the log is stopped all the same, and what is not sent stays for next time; without, the image goes on as it was. */
int image_release(struct image *i, uint64_t deadline_ns, bool leave, struct error *err);
/* A segment's file is about to be deleted, by log or recovery: the cache no longer counts it. `image` is one. */
void image_segment_dropped(void *image, struct segment *s);
/* Whether the log holds anything that the last checkpoint does not. */
bool image_changed(struct image *i);
/* Goes by the policy that another host may have put, if it is time to look. The open_mutex is held, and the log is ours. Blocks. (history.c) */
void image_look_at_policy(struct image *i);
/* Stops the image: a newer epoch than ours was seen. */
void image_fenced(struct image *i);
/* Whether something that only the owner does may be done: 0, or -EIO (and the image is fenced). Blocks on the store. */
int image_entitled(struct image *i);
/* Ends writing for good; the first reason stands: returns whether this is it. image_fail() says it in the log, too. */
bool image_stop(struct image *i, const char *state, int error, const char *detail);
void image_fail(struct image *i, const char *state, int error, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* ---- save.c ---- */

int image_save(struct image *i, struct error *err);
int image_checkpoint(struct image *i, struct error *err);
/* Checkpoints as of one moment for all; the open_mutex of each is held. When it fails some may have one all the same. `watch`
 * (may be NULL) is told when the moment is over, long before the checkpoints are written. */
int images_checkpoint(struct image *const *images, size_t count, const struct snapshot_watch *watch, struct error *err);
/* The newest checkpoint written here in this term that is in the store; NULL: there is none. The open_mutex is held. */
const struct map_state *image_stored_checkpoint(struct image *i);
/* Rewrites the head if a newer checkpoint has reached the store. */
int image_update_head(struct image *i, struct error *err);

/* ---- maintain.c ---- */
int engine_start_threads(struct engine *e, struct error *err);
void engine_stop_threads(struct engine *e);
void engine_kick(struct engine *e);
/* Renews the lease now. */
int engine_renew_lease(struct engine *e, struct error *err);

/* ---- engine.c ---- */
/* The segments of an image, made known if they are not. NULL when memory is short. */
struct segment_set *engine_set(struct engine *e, uint64_t image);
/* Whether the engine is being closed. */
bool engine_is_stopping(struct engine *e);
/* 0, or -EROFS. */
int engine_writable(struct engine *e, struct error *err);
/* Notes whether the store answers, and says so once when that changes. */
void engine_store_state(struct engine *e, const struct error *err);

/* ---- open.c: which images are in memory ---- */

/* Takes a reference to an image in memory; NULL if it is not. image_put() gives it back. */
struct image *image_get(struct engine *e, uint64_t id);
void image_put(struct image *i);
/* Whether this host owns the image now: its log is here, and more of it may be here than in the store. */
bool image_is_owned(struct engine *e, uint64_t id);
/* Grains that are mapped. For who only looks at the image: it may be rewound or loaded meanwhile. */
uint64_t image_allocated(struct image *i);
/* Gives it another map, and frees the one that it had. Nobody uses that but by image_allocated(); the open_mutex is held. */
void image_replace_map(struct image *i, struct grain_map *map);
/* References to all images in memory: `*images` is malloc'ed. */
int images_get_all(struct engine *e, struct image ***images, size_t *count);
/* Calls each() with every image in memory, one after the other, and a reference to that one alone, which it gives back. May take long. */
void images_each(struct engine *e, void (*each)(struct image *i));
/* Saves and frees an image that nobody refers to and that has no log. False when somebody does. */
bool image_unload(struct image *i, bool even_recent);
/* The same when the engine closes: who looks at it for a moment, as the heartbeat does, is waited for. False when somebody has it open. */
bool image_unload_at_end(struct image *i);
/* Brings the image that is open for reading to the newest end in the store; the open_mutex is held. Blocks on the store. */
int image_load_to_read(struct image *i, struct error *err);
/* Whether segments of the set wait for their upload. */
bool set_has_unsent(struct segment_set *set);
/* Opens for writing every image that has unsent segments here, so that they are recovered and uploaded. */
void engine_recover_images(struct engine *e);

/* ---- snapshot_engine.c ---- */

/* engine_snapshot_create_watched() under any name; `first` (may be NULL) gets that of the image with the lowest id. */
int snapshot_take(struct engine *e, const uint64_t *images, size_t count, const char *name,
                  const struct snapshot_watch *watch, struct snapshot *first, struct error *err);
/* Remembers a snapshot by its id, so that it can be opened. */
int snapshot_remember(struct engine *e, const struct snapshot *s);
void snapshot_forget(struct engine *e, uint64_t id);
/* By id, of those remembered. -ENOENT. */
int snapshot_get(struct engine *e, uint64_t id, struct snapshot *s);

/* ---- share.c ---- */

/* Whether image_share() is worth trying. */
bool image_can_share(struct image *from, uint64_t offset, const struct image *to, uint64_t to_offset, uint64_t len);
/* Has a range of `to`, which is not past its end, be what it is in `from`, without copying it: how many bytes of it, or
 * an error, after which they are to be copied; `*copy`: so many after those are to be copied first, and then the next
 * can be shared again. On the executor `sharing`. Blocks on the store. */
int64_t image_share(struct image *from, uint64_t offset, struct image *to, uint64_t to_offset, uint64_t len,
                    uint64_t *copy, struct error *err);

/* ---- clone.c ---- */

/* What a new image begins as: a moment of another one, which is held. */
struct beginning {
	struct snapshot held;
	uint64_t hold;
	bool of_base;           /* its root is what that image began with, and so does this one */
	struct log_position to; /* with held.whole_from: the records from there to here come on top */
};

/* A moment of an image that is open for reading: an image in memory that has no name, whose map is that of the snapshot `held`, and the records
 * after it. What is held goes when it leaves memory. */
struct image_past {
	struct beginning b;
	struct grain_list touched; /* where the records may have changed that map: in order, and apart */
};
/* Opens such an image for reading; takes over what is held, also when it fails. Close it as any other. Blocks. */
int image_open_past(struct engine *e, const struct beginning *b, struct image **image, struct error *err);

/* Makes the image: its layers, and then its name. `entry` is that of the other image. When it fails what is held is let go
 * of, unless the image may have been made all the same. */
int image_begin(struct engine *e, const struct beginning *b, const struct catalog_entry *entry, uint64_t dir,
                const char *name, uint64_t id, struct node_attr *attr, struct error *err);
/* Holds a moment for `holder`, an image, of which no name need be there yet: of `source` as it is now, or (not NULL) of that snapshot. It is in the store
 * then. `watch` (NULL: nobody) is for the former, as in snapshot_take(). `*hold` is for the list of layers, `*held` the snapshot that was
 * made. Blocks. */
int moment_hold(struct engine *e, uint64_t source, const struct snapshot *snapshot, uint64_t holder,
                const struct snapshot_watch *watch, uint64_t *hold, struct snapshot *held, struct error *err);
/* The same of one that is no snapshot: `*held` says all but its name and id. */
int moment_hold_past(struct engine *e, struct snapshot *held, uint64_t holder, uint64_t *hold, struct error *err);
/* The same for the image itself, whose log goes on with segment `next` as it was at that moment: while there are moments from before
 * `next`, those after it need more than what these need. */
int moment_hold_rewound(struct engine *e, struct snapshot *held, segment_no_t next, struct error *err);
/* It is not needed: nothing was made of it. */
void moment_let_go(struct engine *e, const struct snapshot *held);

/* Lets go of what the image holds in other images' logs, as its list says. 1: something may go now. */
int layers_let_go(struct engine *e, uint64_t id, const struct layer_list *list, struct error *err);
/* The same of the list in the store: the image is being deleted. */
int engine_layers_release(struct engine *e, uint64_t id, struct error *err);

/* ---- names.c ---- */

/* Whether a node may be made under the name: -EEXIST, -EROFS, -EINVAL, -ENAMETOOLONG. */
int engine_name_free(struct engine *e, uint64_t dir, const char *name, struct error *err);

/* ---- snapshot_names.c: what is below .snapshots. 1: it is something else that is asked for ---- */

int snapshot_names_lookup(struct engine *e, uint64_t dir, const char *name, struct node_attr *attr, struct error *err);
int snapshot_names_getattr(struct engine *e, uint64_t id, struct node_attr *attr, struct error *err);
int snapshot_names_list(struct engine *e, uint64_t dir,
                        int (*each)(void *arg, const char *name, const struct node_attr *attr), void *arg,
                        struct error *err);
/* Whether `name` in `dir` is, or would be, there: it cannot be changed. */
bool snapshot_names_have(struct engine *e, uint64_t dir, const char *name);

/* ---- clean_itself.c: see clean.h for the rest ---- */

/* So many slots more are in the store, of so many written. */
void clean_note_stored(struct image *i, uint64_t slots, uint64_t written);

/* ---- follow.c ---- */

/* Has the image brought to the newest end in the store, on another thread, when it is open for reading only and that was not done
 * just now. The open_mutex and a reference are held. */
void image_follow(struct image *i);

/* ---- remove.c: images whose names are gone ---- */

/* An image was put into the trash: its data is deleted soon. */
void engine_delete_later(struct engine *e);
/* Finds what is to be deleted, when there may be something new. In a big pool this lists many names: only a small part of the time
 * is spent on it, unless `now`. */
void engine_read_trash(struct engine *e, bool now);
/* Deletes what is in the trash and can be deleted now; with `at_end` nothing new is left for later. Blocks on the store. On the maintenance
 * thread, or when that does not run. */
void engine_delete_now(struct engine *e, bool at_end);

static inline uint64_t seconds_ns(uint64_t s)
{
	return s * 1000000000ull;
}

static inline grain_no_t grain_of(const struct image *i, uint64_t offset)
{
	return offset >> i->grain_shift;
}

#endif
