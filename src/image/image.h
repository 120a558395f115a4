/* SPDX-License-Identifier: GPL-3.0-only */
/* image.h: the engine's face: everything that a front end may know.
 *
 * An engine is one pool opened with one cache directory. It has a tree of names (directories and images) and opens images
 * for reading and writing. Below the name .snapshots in the root the tree is there a second time, with a directory of its snapshots
 * where an image is; nothing can be changed there, and .snapshots itself is not listed. Two kinds of calls:
 *   - names and opening (engine_*): may block on the store: call them on threads that can wait;
 *   - data (image_*): never hold the calling thread for the store. They answer at once where they can; else they return
 *     -EINPROGRESS and call done(arg, result) later, once, on a thread of the engine that the callback must not block.
 * "At once" may still include I/O on the local disk. Every call is allowed on any thread.
 */
#ifndef GARNER_IMAGE_IMAGE_H
#define GARNER_IMAGE_IMAGE_H

#include "base/disk.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define NODE_ROOT 1u
#define NAME_BYTES_MAX 255

enum sync_policy { SYNC_LOCAL, SYNC_REMOTE, SYNC_NONE };
enum full_policy { FULL_BLOCK, FULL_ERROR };

/* All sizes in bytes; 0 or NULL means the default that is given here. */
struct engine_options {
	const char *store_url;
	const char *cache_dir; /* /var/cache/garnerfs/<pool uuid> */
	const char *key_file, *passphrase_file;
	/* What a store over HTTP is reached with, as of struct store_options (store/store.h); a file: store has no use for it. */
	uint64_t store_timeout_ms;           /* 30000: until a request is answered, all its tries included */
	uint64_t upload_rate, download_rate; /* bytes per second; 0: no limit */
	const char *passwd_file, *ca_file, *client_cert, *client_key;
	bool allow_plain;
	uint64_t cache_size;    /* 20 GiB: local segments, sent and unsent */
	uint64_t dirty_limit;   /* 4 GiB: bytes not yet in the store; at most half of cache_size */
	uint32_t segment_size;  /* 8 MiB */
	uint32_t grain_size;    /* of new images; 0: what the pool was made with */
	uint64_t seal_after_ms; /* 5000 */
	uint64_t map_memory;    /* 64 MiB: memory for grain map nodes */
	uint64_t stage_size;    /* 64 MiB: memory in which writes are gathered */
	uint64_t share_min; /* 16 MiB: so much is copied between two images before a moment is held to share the rest */
	uint64_t lease_ms;  /* 15000: how long another host waits for this one */
	uint64_t gc_grace_ms; /* 10 min: how long garbage waits for its deletion; 1: no time */
	unsigned
		gc_target; /* 25: per cent of what is stored that may be garbage; 101: any amount: no cleaning by itself */
	uint64_t trash_ms;         /* 7 days: how long a deleted image can be had back; 1: it goes at once */
	bool keep_trash;           /* nothing is deleted for good: how long the trash is kept is for others to say */
	uint64_t stop_deadline_ms; /* 60000: how long engine_close() uploads before it keeps the rest for next time */
	unsigned uploads;          /* 4: parallel uploads */
	int compression;           /* zstd level, 1 */
	enum sync_policy sync;
	enum full_policy on_full;
	bool read_only;
	bool exclusive; /* no other host ever uses the pool: said where the store cannot tell hosts apart, needless elsewhere */
	bool boot_trace;   /* what was read first when an image was opened last is fetched before it is asked for */
	bool may_init;     /* make a plain pool where a file: store is an empty directory */
	struct disk *disk; /* NULL: disk_posix() */
};

struct engine;
struct image;

/* Opens the pool and the cache directory, recovers what a crash left, starts the engine's threads. One clear text in `err`
 * for: wrong URL, no pool there, wrong key, a pool of a newer version, a cache directory in use (-EBUSY, names the process)
 * or of another pool, a full disk. */
int engine_open(const struct engine_options *options, struct engine **engine, struct error *err);

/* Seals, uploads and hands over within stop_deadline_ms; what does not fit stays in the cache directory for next time (and
 * that is reported). All images are closed by then. Frees. Returns 0, or -EAGAIN when something was kept. */
int engine_close(struct engine *e, struct error *err);

/* ---- names ------------------------------------------------------------------------------------------------------- */

enum node_type { NODE_FILE = 1, NODE_DIRECTORY = 2 };

struct node_attr {
	uint64_t id; /* the inode number: the same on every host, for good */
	enum node_type type;
	uint32_t mode; /* permission bits only */
	uint32_t uid, gid;
	uint64_t size;            /* bytes */
	uint64_t allocated_bytes; /* what is mapped */
	uint64_t mtime_ns, ctime_ns;
	uint32_t nlink; /* 0 once unlinked */
	uint32_t grain_bytes;
};

int engine_lookup(struct engine *e, uint64_t dir, const char *name, struct node_attr *attr, struct error *err);

/* Of a node that was looked up, listed or created before by this engine. -ENOENT otherwise. Does not block on the store
 * for an image that is open for writing here. */
int engine_getattr(struct engine *e, uint64_t id, struct node_attr *attr, struct error *err);

#define ATTR_MODE 1u
#define ATTR_OWNER 2u /* uid and gid, both */
/* Sets what `mask` says from `attr`. */
int engine_setattr(struct engine *e, uint64_t id, unsigned mask, const struct node_attr *attr, struct error *err);

/* Creates a directory or an image of size 0. -EEXIST, -ENAMETOOLONG, -EINVAL (a name that is empty, ".", "..", or has '/'),
 * -EROFS. */
int engine_create(struct engine *e, uint64_t dir, const char *name, enum node_type type, uint32_t mode, uint32_t uid,
                  uint32_t gid, struct node_attr *attr, struct error *err);

/* -ENOENT, -EISDIR / -ENOTDIR, -ENOTEMPTY. The data of an image goes later, once nobody has it open. */
int engine_unlink(struct engine *e, uint64_t dir, const char *name, struct error *err);
int engine_rmdir(struct engine *e, uint64_t dir, const char *name, struct error *err);

/* An image that was deleted and whose data is still there. */
struct trashed_image {
	uint64_t id;
	uint64_t dir; /* where it was ... */
	const char *name;
	uint64_t deleted_ns, expires_ns; /* wall clock */
};

/* Calls each() for every image in the trash, oldest first, until it returns non-zero, which is returned. Blocks. */
int engine_trash_each(struct engine *e, int (*each)(void *arg, const struct trashed_image *t), void *arg,
                      struct error *err);

/* Brings a deleted image back, as `name` in `dir` (0 and NULL: as it was). -EEXIST, -ESTALE when its directory is gone, -ENOENT,
 * -ETIME when its time is up, so that it may just be going. Blocks. */
int engine_undelete(struct engine *e, uint64_t id, uint64_t dir, const char *name, struct error *err);

/* rename(2), with `no_replace` as RENAME_NOREPLACE. What was at the new name goes to the trash first. */
int engine_rename(struct engine *e, uint64_t dir, const char *name, uint64_t new_dir, const char *new_name,
                  bool no_replace, struct error *err);

/* Calls each() for every entry of a directory, in no order, until it returns non-zero (which is returned). Of an image whose size cannot be read
 * nlink is 0, and neither size nor times are true. */
int engine_list(struct engine *e, uint64_t dir, int (*each)(void *arg, const char *name, const struct node_attr *attr),
                void *arg, struct error *err);

/* Resolves "a/b/c" (from the root; leading slashes are ignored). */
int engine_resolve(struct engine *e, const char *path, struct node_attr *attr, struct error *err);

/* ---- images ------------------------------------------------------------------------------------------------------ */

enum image_open_flags { IMAGE_READ = 1, IMAGE_WRITE = 2 };

/* Opens an image. For writing, this host becomes its owner: -EBUSY when another host is (the text names it and says what
 * to do), after waiting for its lease to run out where it shows no sign of life; -EROFS. For reading, an image that
 * another host owns is seen as of its newest checkpoint. Opened several times, it is one image. */
int image_open(struct engine *e, uint64_t id, unsigned flags, struct image **image, struct error *err);

/* Undoes one image_open(). The last writer's close starts the hand-over in the background after a while. Never blocks. */
void image_close(struct image *i, unsigned flags);

typedef void image_done_fn(void *arg, int64_t result);

/* Reads up to `len` bytes; fewer only at the end of the image. `buf` stays valid until answered. Returns or answers with the
 * number of bytes, or a negative errno. */
int64_t image_read(struct image *i, uint64_t offset, void *buf, size_t len, image_done_fn *done, void *arg);

/* Writes `len` bytes, extending the image when they end past it. `buf` need only be valid during the call, and nobody may
 * change it meanwhile. Answers with `len`, or -ENOSPC (on_full=error, while the store is away or the local disk is full), -EIO
 * (fenced, or the local disk failed), -EROFS, -EFBIG. */
int64_t image_write(struct image *i, uint64_t offset, const void *buf, size_t len, image_done_fn *done, void *arg);

enum image_flush_level {
	IMAGE_FLUSH_POLICY, /* what the sync= policy says */
	IMAGE_FLUSH_LOCAL,  /* on the local disk */
	IMAGE_FLUSH_REMOTE, /* in the store */
};
/* Answers 0 once everything written (answered) before is as durable as `level` says. */
int64_t image_flush(struct image *i, enum image_flush_level level, image_done_fn *done, void *arg);

/* Makes [offset, offset+len) read as zeros and gives its space back. Does not change the size; what lies past it is ignored.
 * Answers 0. */
int64_t image_discard(struct image *i, uint64_t offset, uint64_t len, image_done_fn *done, void *arg);

/* Sets the size in bytes. What is cut off is gone; what is added reads as zeros. */
int64_t image_resize(struct image *i, uint64_t size, image_done_fn *done, void *arg);

/* Sets the modification time. */
int64_t image_set_mtime(struct image *i, uint64_t mtime_ns, image_done_fn *done, void *arg);

/* SEEK_DATA (data true) or SEEK_HOLE from `offset`: answers with the offset found, or -ENXIO. */
int64_t image_seek(struct image *i, uint64_t offset, bool data, image_done_fn *done, void *arg);

/* Copies between two images, or within one (ranges may not overlap then: -EINVAL). What is large is shared, not copied, where grains lie alike and all of
 * the source is known to the store, or can be put there. Answers with the bytes copied. Always
 * answers by `done` (returns -EINPROGRESS), unless it fails at once. Holes stay holes. */
int64_t image_copy(struct image *from, uint64_t offset, struct image *to, uint64_t to_offset, uint64_t len,
                   image_done_fn *done, void *arg);

/* Size, allocation and times, from memory; never blocks. Only the fields that the log knows are set (size,
 * allocated_bytes, mtime_ns, grain_bytes). */
void image_stat(struct image *i, struct node_attr *attr);

/* ---- snapshots ---------------------------------------------------------------------------------------------------- */

#define SNAPSHOT_NAME_MAX 64

/* Letters, digits and . _ : + - (the first one a letter or digit, or one of _ : +), so that a name is also a file name. */
bool snapshot_name_valid(const char *name);

struct snapshot_info {
	char name[SNAPSHOT_NAME_MAX + 1];
	uint64_t id; /* its inode number, for image_open(); the same on every host */
	uint64_t
		origin; /* of which snapshot it holds the content, of this pool or of another: its own id, unless it was imported */
	uint64_t time_ns; /* the moment */
	uint64_t size, allocated_bytes, mtime_ns;
	bool is_protected;
};

/* Names this moment of the images, the same one for all of them: what was answered before is in, what is written after the
 * answer is not. Writers wait only while the moment is taken. This host becomes the owner as for writing. Answers when all of it is in
 * the store. Blocks. -EEXIST, -EINVAL, and as image_open(). */
int engine_snapshot_create(struct engine *e, const uint64_t *images, size_t count, const char *name, struct error *err);

/* Whether it could be created: everything that may take long is asked for before the moment counts. Answers as creating does. */
int engine_snapshot_check(struct engine *e, const uint64_t *images, size_t count, const char *name, struct error *err);

/* Creates it, and tells how it comes on; either function returns false to give the snapshot up (-EINTR), of which nothing
 * is left then. They are called on the caller's thread, under locks: they call nothing of the engine. */
struct snapshot_watch {
	bool (*taken)(void *arg);                     /* once: what is written from here on is not in it */
	bool (*left)(void *arg, uint64_t bytes_left); /* now and then: what is not in the store yet */
	void *arg;
};
int engine_snapshot_create_watched(struct engine *e, const uint64_t *images, size_t count, const char *name,
                                   const struct snapshot_watch *watch, struct error *err);

/* The same of one image that was made equal to snapshot `origin` of any pool. */
int engine_snapshot_import(struct engine *e, uint64_t image, const char *name, uint64_t origin, struct error *err);

/* -ENOENT; -EBUSY when it is protected. One that is damaged can be deleted. What it alone needed is garbage from then on. Who has it open goes on reading. Blocks. */
int engine_snapshot_delete(struct engine *e, uint64_t image, const char *name, struct error *err);

/* A protected one is not deleted before it is unprotected. Blocks. */
int engine_snapshot_protect(struct engine *e, uint64_t image, const char *name, bool on, struct error *err);

/* Calls each() for every snapshot of the image, oldest first, until it returns non-zero, which is returned. Blocks. */
int engine_snapshot_each(struct engine *e, uint64_t image, int (*each)(void *arg, const struct snapshot_info *s),
                         void *arg, struct error *err);

/* ---- clones ------------------------------------------------------------------------------------------------------- */

/* Makes an image `name` in `dir` that begins as `source` is: an image, as of now (this host becomes its owner, and it answers when all of that
 * is in the store), or a snapshot that was looked up or listed (then on any host). They share what they have in common; what is written to one is not
 * seen in the other; either can be deleted first. Costs the same for any size. Mode and owner are the source's. Blocks. -EEXIST,
 * -E2BIG (a clone of a clone of ... too many), and as image_open(). */
int engine_clone(struct engine *e, uint64_t source, uint64_t dir, const char *name, struct node_attr *attr,
                 struct error *err);

/* ---- the past ------------------------------------------------------------------------------------------------------ */

/* A moment of an image: its log up to a position, after `record` records of segment `segment`. */
struct image_moment {
	uint64_t segment;
	uint32_t record;
	uint64_t time_ns; /* wall clock: of the last change before it */
};

/* Makes an image `name` in `dir` that begins as `image` was at a moment: at the position in `*m`, or, where that is segment 0, at the last
 * one before the first change that is later than its time. `*m` becomes the moment that was found. What the store has of the
 * image is enough; what this host has written to it and not uploaded is uploaded first when that is needed. Otherwise as
 * engine_clone(). -ERANGE: no such moment (the text says which there are); -ENODATA; -EAGAIN: another host has not uploaded it yet. */
int engine_rewind(struct engine *e, uint64_t image, struct image_moment *m, uint64_t dir, const char *name,
                  struct node_attr *attr, struct error *err);

/* Has an image itself be as it was at a moment, which is found as above. Nobody may have it open: -EBUSY; this host becomes its owner, as for
 * writing. Nothing is lost: `*now` becomes the moment that it was at before, and can be rewound to. Its modification time is that of
 * the call. With the id of a snapshot that was looked up: its image, and that moment. Answers when it is in the store. Blocks. */
int engine_rewind_in_place(struct engine *e, uint64_t image, struct image_moment *m, struct image_moment *now,
                           struct error *err);

/* The moment of an image that is meant by `*m`, found and filled in as above; nothing is made. Blocks on the store. */
int engine_moment_find(struct engine *e, uint64_t image, struct image_moment *m, struct error *err);
/* Opens an image as it was at a moment, for reading: to be compared (image_diff()), and closed by image_close(). For some time after
 * that it is opened again at once. What it needs is held in the store meanwhile: -EROFS where the engine may not write. Else errors as above. Blocks. */
int engine_moment_open(struct engine *e, uint64_t image, struct image_moment *m, struct image **i, struct error *err);

/* Every moment of the last so many seconds can be had from now on; 0: those between which nothing was overwritten soon, and the ends of segments.
 * An owner elsewhere goes by it when it opens the image next. Blocks. -EINVAL: more than HISTORY_MAX_S. */
#define HISTORY_MAX_S UINT64_C(315360000)
int engine_history_keep(struct engine *e, uint64_t image, uint64_t seconds, struct error *err);

/* What there is of an image's past, in the store. */
struct history {
	uint64_t keep_s; /* see engine_history_keep() */
	struct image_moment oldest, newest;
	uint64_t segments;
};

/* From one time to the next one that is told, about so much was written. */
struct history_span {
	struct image_moment begin;
	uint64_t bytes; /* of the disk; each time that it was written */
};

/* `span` is called for spans from `since_ns` on, oldest first, until it returns non-zero, which is returned; a last one of 0 bytes is the end.
 * There are some hundred at most: of a long log samples are read. Blocks. -ENODATA, as engine_rewind(). */
int engine_history(struct engine *e, uint64_t image, uint64_t since_ns, struct history *h,
                   int (*span)(void *arg, const struct history_span *s), void *arg, struct error *err);
/* The snapshot of that name, which can then be opened by its id. -ENOENT. Blocks. */
int engine_snapshot_find(struct engine *e, uint64_t image, const char *name, struct snapshot_info *info,
                         struct error *err);

struct image_range {
	uint64_t offset, length; /* bytes */
	bool data;               /* false: reads as zeros, or lies past the end */
};
/* Returns 0 to go on; anything else ends the call, which returns that value. */
typedef int image_range_fn(void *arg, const struct image_range *range);

/* Calls each() for every range from offset `begin` on in which `to` may differ from `from` (NULL: from an empty image), in order,
 * neighbours of one kind joined. Both are snapshots, or engine_moment_open() opened them, and of one image (else -EINVAL). What was
 * written again with the same bytes counts, and so does all between the ends when the sizes differ. Costs what differs and not
 * what is there: `nodes_read` (may be NULL) is how many map nodes had to be read. Blocks on the store. */
int image_diff(struct image *from, struct image *to, uint64_t begin, image_range_fn *each, void *arg,
               uint64_t *nodes_read, struct error *err);
/* ---- cleaning ---------------------------------------------------------------------------------------------------- */

struct clean_options {
	bool dry_run; /* only tell: nothing is written anywhere */
	bool now;     /* do not wait for the grace time, nor for guests */
};

enum clean_phase {
	CLEAN_SETTLE, /* a checkpoint goes into the store */
	CLEAN_MARK,   /* done: map nodes read */
	CLEAN_MOVE,   /* done and all: segments */
	CLEAN_DELETE, /* likewise */
};

struct clean_result {
	uint64_t segments, bytes;                 /* in the store, when it began */
	uint64_t moved_segments, moved_bytes;     /* out of segments with little in them; dry run: would be */
	uint64_t removed_segments, removed_bytes; /* dry run: nothing leads to them */
	uint64_t waiting_segments, waiting_bytes; /* garbage that waits for its deletion */
	uint64_t orphans;                         /* objects of fenced writers, among the last two */
};

/* Called now and then; `all` may be 0: not known. Returns false to stop. */
typedef bool clean_progress_fn(void *arg, enum clean_phase phase, uint64_t done, uint64_t all);

/* Finds what nothing needs any more of an image, moves what is needed out of segments with little in them, and deletes what has been
 * garbage for the grace time. This host becomes the owner as for writing (not for a dry run). The image may be in use. Blocks on the store.
 * -EINTR when `progress` (may be NULL) ended it: what was done is done; else as image_open(). */
int engine_clean(struct engine *e, uint64_t image, const struct clean_options *options, clean_progress_fn *progress,
                 void *arg, struct clean_result *result, struct error *err);

/* Images that have objects in the store and no name, for a day at least, such as a crash leaves, are put into the trash: how many, or would be
 * (`dry_run`). Blocks on the store. -EOPNOTSUPP where a listing of the store may not show all there is. */
int engine_find_orphans(struct engine *e, bool dry_run, uint64_t *found, struct error *err);

/* What an image takes. Bytes in the store, sealed and compressed, but for logical, allocated and shared. */
struct image_space {
	uint64_t logical;   /* its size */
	uint64_t allocated; /* of that: mapped */
	uint64_t live;      /* what the newest map needs */
	uint64_t shared;    /* what it needs of other images' logs */
	uint64_t history;   /* what only snapshots need, and the moments that are kept */
	uint64_t garbage;   /* what nothing needs */
	uint64_t stored;    /* all of it, and small objects not counted */
	uint64_t segments;
	uint64_t snapshots;
	double ratio; /* bytes of slots over bytes stored; 0: nothing is stored */
};

/* As of the newest checkpoint; what came after it counts as live. Blocks on the store. */
int engine_space(struct engine *e, uint64_t image, struct image_space *space, struct error *err);

/* Copies what the image shares with those that it is a clone of into its own log, and lets them go: nothing to do for one that is no clone. This host becomes
 * its owner; guests go on meanwhile. `progress` (may be NULL) as of engine_flush(). Can be called again after an interruption. Blocks.
 * -EBUSY when snapshots or clones of it need those, too. */
int engine_flatten(struct engine *e, uint64_t id, bool (*progress)(void *arg, uint64_t bytes_left), void *arg,
                   struct error *err);

/* ---- state ------------------------------------------------------------------------------------------------------- */

/* How long the newest flush took, and who has acknowledged it. */
struct image_last_flush {
	uint64_t wall_ns;   /* when it was answered; 0: there was none */
	bool remote;        /* the store has acknowledged it, not only the local disk */
	uint64_t us;        /* from the call to the answer */
	uint64_t stored_us; /* remote: until the store had all of it */
	char acks[400]; /* remote, of a store that replicates: who acknowledged the store's last put, after how long */
};

struct image_status {
	uint64_t id;
	char owner[128]; /* "hostname (host id)", "" when nobody owns it */
	bool writable_here;
	uint64_t epoch;
	uint64_t size, allocated_bytes;
	uint64_t segment;        /* the open segment's number */
	uint64_t stored_segment; /* everything up to this one is in the store */
	uint64_t lag_bytes;      /* written here and not yet in the store */
	double lag_seconds;      /* age of the oldest of them */
	const char *sync;        /* local, remote, none */
	char state[32];          /* "ok", "fenced", "failed", "store away" */
	char detail[256];        /* for the last two: what happened and what to do */
	struct image_last_flush last_flush;
};

struct engine_status {
	char store_url[512];
	uint8_t pool_uuid[16];
	bool sealed; /* the pool has a key */
	char cache_dir[512];
	uint64_t cache_size, cache_used;
	uint64_t dirty_limit, lag_bytes;
	double lag_seconds;
	bool store_ok;
	char store_error[256];
	uint64_t reads, writes, flushes, read_bytes, write_bytes;
	uint64_t cache_hits, cache_misses;
	uint64_t store_puts, store_gets, store_lists, store_heads, store_removes, store_put_bytes, store_get_bytes;
	uint64_t retries;
	uint64_t hedges;      /* gets that were asked for a second time before an answer came; among store_gets */
	uint64_t moved_bytes; /* written anew by cleaning */
	uint64_t map_bytes;
	unsigned images_open;
};

void engine_status(struct engine *e, struct engine_status *status);

/* Of an image by id, open or not; blocks on the store when it is not open. */
int engine_image_status(struct engine *e, uint64_t id, struct image_status *status, struct error *err);

/* Calls each() for every image that is open or has unsent data here. */
int engine_each_image(struct engine *e, int (*each)(void *arg, const struct image_status *status), void *arg);

/* Waits until everything written before to image `id` (0: to all images) is in the store. `progress` (may be NULL) is
 * called now and then with what is left; it returns false to give up (-EINTR). */
int engine_flush(struct engine *e, uint64_t id, bool (*progress)(void *arg, uint64_t bytes_left), void *arg,
                 struct error *err);

/* Takes the image over from its owner without waiting for the lease, fencing that owner. What it had not uploaded stays in
 * its cache directory and is not part of the image any more. */
int engine_takeover(struct engine *e, uint64_t id, struct error *err);

#endif
