/* SPDX-License-Identifier: GPL-3.0-only */
/* object_store.h: the objects of one storage node, on its own drives: the rules by which a replica takes or refuses what it is given.
 *
 * Of each name "POOL/KEY" it keeps the highest version that it has accepted; a removed object is a tombstone. What was answered
 * with 0 is durable: file and directory are synced. Each drive is a directory with files and an index of them (drive.h); an
 * object is on one drive. Knows nothing of other nodes, of quorums, or of networks.
 *
 * Every call but open, close and those that say so returns at once, and its `done` runs once, later, on a thread of the store, with
 * no lock held; it must not block for long, and may call everything here but object_store_close(). Names, metas and versions are
 * copied. A name that is not object_name_valid() is answered -EINVAL. Operations on one name take effect one after the other,
 * each at some moment between its call and its `done`; what was answered is seen by every call that begins after. Only -EINVAL for
 * what was asked wrongly, and -ENOMEM, may be answered within the call.
 *
 * Statuses: -ENOMEM memory is short; -EIO a drive failed and no other could do it; -ENOSPC, -EROFS no drive takes new objects.
 */
#ifndef GARNER_NODE_OBJECT_STORE_H
#define GARNER_NODE_OBJECT_STORE_H

#include "base/disk.h"
#include "base/error.h"
#include "store/object_version.h"

#include <stddef.h>

#define OBJECT_STORE_DRIVES_MAX 32
#define OBJECT_CLUSTER_ID_TEXT 33 /* 32 hex digits */

/* A flag beside those of object_version.h, local too and never sent to others: the version is known to have been stored here, but
 * its bytes are damaged. It counts as there (so that no older version is accepted), cannot be read (-EBADMSG), and is repaired by a
 * put of the same version. */
#define OBJECT_DAMAGED (1u << 3)
/* What goes to other nodes, and what anti-entropy compares. */
#define OBJECT_FLAGS_SHARED ((unsigned)(OBJECT_TOMBSTONE | OBJECT_CLAIMED))

struct object_store;

/* ---- open and close ---- */

struct object_store_options {
	const char *const *drives; /* their directories, which exist */
	size_t drive_count;        /* 1 to OBJECT_STORE_DRIVES_MAX */
	const char *cluster_id;    /* 32 hex digits */
	unsigned node_id;          /* 1.. */
	struct disk *disk;         /* NULL: disk_posix() */
	unsigned threads;          /* for writing, and as many for reading; 0: the store's choice */
	uint64_t reserve;          /* bytes a drive keeps free; 0: 2 % of the drive, at most 1 GiB. Tests set it. */
};

/* Opens the drives; makes empty directories into drives. After an unclean end it compares files and index first, which takes some
 * seconds per million objects; without an index, it reads every object. Returns 0 and *store; -EBUSY when another process has one of
 * the drives open; -EINVAL for a directory that is no drive of this node (of another cluster or node, not empty, or left out
 * before: the text says what to do); -EIO ... A drive that fails is left out while another works. Blocks. */
int object_store_open(const struct object_store_options *options, struct object_store **store, struct error *err);

/* Waits for what is under way, ends scrubbing, frees. Puts that were begun must be finished or aborted before. Not from a callback.
 * NULL is ignored. Blocks. */
void object_store_close(struct object_store *s);

/* Whether everything that was ever answered as stored is still here. */
enum object_store_state {
	OBJECT_STORE_COMPLETE,
	OBJECT_STORE_NEW,  /* was first started with empty drives, and object_store_recovered() was not called yet */
	OBJECT_STORE_LOST, /* a drive failed, is missing, or was wiped; or acknowledged objects are missing */
};

/* Ask after an answer has come whether the answer may count as a vote: when a drive fails, the state changes before the first answer
 * that lacks its objects. And before it was asked for, as what was missing then may have been got meanwhile. *loss (NULL: not wanted) says which loss it is. Any thread; never
 * blocks. */
enum object_store_state object_store_state(struct object_store *s, uint64_t *loss);

/* Everything was pulled from the other nodes in a pass that began after object_store_state() gave this `loss`. The state is complete
 * from then on, durably. -EAGAIN when more was lost since: pull again. Blocks: not on a thread that must not. */
int object_store_recovered(struct object_store *s, uint64_t loss);

/* The directory for what the node itself keeps (hints.h): "node" on the first drive that works; it is lost with it. Lives as long as
 * the store. Any thread. */
const char *object_store_node_dir(struct object_store *s);

/* ---- put and remove ---- */

enum object_rule {
	OBJECT_RULE_NEWER,  /* taken when newer than what is there; where nothing is, when above the floor */
	OBJECT_RULE_ABSENT, /* taken when, beside, nothing live is there */
	OBJECT_RULE_COPY,   /* of what another replica has: taken when newer than what is there, whatever the floor */
};

/* The floor: the highest version of a tombstone that was ever forgotten here, one for the whole store, kept durably. Where nothing is
 * there of a name, a client's put that is not above it is refused, as if a tombstone of that version were there: perhaps one was, and
 * other replicas have it still. */
struct object_version object_store_floor(struct object_store *s);
/* Raises it, if it is lower. 0 or -EIO. Blocks: not on a thread that must not. */
int object_store_raise_floor(struct object_store *s, struct object_version floor);

/* 0: it is there now, or was already (the same version), durably.
 * -ESTALE: a newer version is there, or nothing is and the version is not above the floor (`was` is then a tombstone of the floor's
 * version). -EEXIST (OBJECT_RULE_ABSENT): another live version is there, older or newer.
 * -EBADMSG: length or digest are not as announced, or the same version is there with another digest; nothing was stored. */
struct object_put_result {
	int status;
	bool had; /* something was there before; `was` says what: also of refusals, and of the same version */
	struct object_meta was; /* all zero when nothing was there */
	bool claimed; /* `was` has OBJECT_CLAIMED, or had it once: the flag sticks to the name until it is forgotten */
	bool already; /* the same version was there, and nothing had to be done */
};

typedef void object_put_fn(void *arg, const struct object_put_result *result);

struct object_put;

/* Begins a put of an object with this version, length, digest and flags (of which OBJECT_CLAIMED counts). Returns 0 and *put, to
 * be ended with object_put_finish() or object_put_abort(); -EINVAL (name, version none, length above OBJECT_LENGTH_MAX); -ENOMEM.
 * Calls on one put are made one after the other; different puts go in parallel, also of one name. Never blocks. */
int object_put_begin(struct object_store *s, const char *name, const struct object_meta *meta, enum object_rule rule,
                     struct object_put **put);

/* The next bytes of the body. They stay as they are until release(arg) was called, once, on a thread of the store (or within the
 * call, when memory is short): when they are written, or no longer needed. A caller that waits for that before it takes more from the
 * network bounds what is in memory. What goes wrong is said by finish. Never blocks. */
void object_put_append(struct object_put *put, const void *bytes, size_t len, void (*release)(void *arg), void *arg);

/* The same for bytes that the caller keeps for itself: copied. */
void object_put_append_copy(struct object_put *put, const void *bytes, size_t len);

/* Whether the result is known before the body is complete: it is refused, the very version is there already, or writing failed.
 * What is appended from then on is dropped, and object_put_finish() may be called at once. May stay false although it will be
 * refused. Any thread; never blocks. */
bool object_put_settled(const struct object_put *put);

/* The body is complete. `put` belongs to the store from here on. Never blocks. */
void object_put_finish(struct object_put *put, object_put_fn *done, void *arg);

/* Nothing is stored. What was appended is released, soon. `put` is gone. Never blocks. */
void object_put_abort(struct object_put *put);

/* Puts a tombstone with this version. `flags`: OBJECT_CLAIMED when a copied tombstone has it, else 0. Results as of a put; removing
 * what is not there makes a tombstone too. */
void object_store_remove(struct object_store *s, const char *name, struct object_version version, unsigned flags,
                         enum object_rule rule, object_put_fn *done, void *arg);

/* ---- read ---- */

/* What is there, tombstones too; flags with the local ones. `meta` lives only during the call. -ENOENT: nothing was ever there. */
typedef void object_look_fn(void *arg, int status, const struct object_meta *meta);
void object_store_look(struct object_store *s, const char *name, object_look_fn *done, void *arg);

/* `bytes` (malloc'ed; may be NULL when `len` is 0) belongs to the receiver. `meta` lives only during the call, and is of the version
 * that was read; it is there (not NULL) with 0 and -EBADMSG. */
typedef void object_read_fn(void *arg, int status, const struct object_meta *meta, void *bytes, size_t len);

/* Reads [offset, offset + len) or what there is of it; a len of SIZE_MAX is all. What is given was verified: all of an object by its
 * digest, a range by the sums of its blocks. -ENOENT also for a tombstone. -EBADMSG: this copy is damaged; it was moved aside,
 * and counts as OBJECT_DAMAGED until it is put again. */
void object_store_read(struct object_store *s, const char *name, uint64_t offset, size_t len, object_read_fn *done,
                       void *arg);
/* The same, but before memory is taken for so many bytes, admit(arg, bytes) is asked, on a thread of the store: when it refuses, the
 * status is -ENOBUFS. It is asked once at most. */
typedef bool object_admit_fn(void *arg, size_t bytes);
void object_store_read_admitted(struct object_store *s, const char *name, uint64_t offset, size_t len,
                                object_admit_fn *admit, object_read_fn *done, void *arg);

/* ---- other changes ---- */

typedef void object_done_fn(void *arg, int status);

/* Marks that version, if it is still the one there, as OBJECT_CONFIRMED. The mark may be lost in a crash. -ENOENT: another one is there,
 * or none. `done` may be NULL. */
void object_store_confirm(struct object_store *s, const char *name, struct object_version version, object_done_fn *done,
                          void *arg);

/* Drops the object or tombstone entirely, durably (the floor is first raised to a tombstone's version), with its claimed mark, if that version is still the one there; else -ENOENT. -EROFS
 * while a drive is out of use or read-only that may hold an older version, which would come back. */
void object_store_forget(struct object_store *s, const char *name, struct object_version version, object_done_fn *done,
                         void *arg);

/* Whether a drive takes a new object of so many bytes now, as far as is known. Any thread; does not wait for I/O but for statvfs(2). */
bool object_store_takes(struct object_store *s, uint64_t bytes);

/* ---- many ---- */

struct object_entry {
	char name[OBJECT_NAME_MAX + 1];
	struct object_meta meta; /* with the local flags */
	uint64_t stored_s;       /* wall clock of this node, in seconds, when it was stored here */
};

/* `entries` are in byte order of their names and live only during the call; `more` when the listing was cut at `max`. */
typedef void object_list_fn(void *arg, int status, const struct object_entry *entries, size_t count, bool more);

#define OBJECT_LIST_MAX 10000

/* Up to `max` (0: OBJECT_LIST_MAX) entries whose name ("POOL/KEY") begins with `prefix` ("": all), after the name `after` (NULL: from
 * the first), tombstones and damaged ones too. */
void object_store_list(struct object_store *s, const char *prefix, const char *after, size_t max, object_list_fn *done,
                       void *arg);

/* Anti-entropy: names fall into OBJECT_BUCKETS buckets by their hash, the same on every node. Two nodes that hold the same names of
 * a bucket in the same versions, with the same shared flags, have the same digest of it. What is damaged has another digest than what
 * is whole, and than nothing: so it is found missing here, and who has not even its version is told of it. */
#define OBJECT_BUCKETS 256u
struct object_bucket {
	uint8_t digest[16]; /* XOR of a hash of each entry: all zero for none */
	uint64_t count;
};

/* Which names count: runs on threads of the store, from several at a time; must be quick. NULL: all. */
typedef bool object_want_fn(void *arg, const char *name);
typedef void object_buckets_fn(void *arg, int status, const struct object_bucket buckets[OBJECT_BUCKETS]);

/* The digests of all buckets. Reads the whole index, in pages, between which other work goes on: two to four seconds of one
 * processor per million objects. `want_arg` stays valid until `done`. `buckets` lives only during the call. */
void object_store_buckets(struct object_store *s, object_want_fn *want, void *want_arg, object_buckets_fn *done,
                          void *arg);

/* The entries of one bucket (0 to OBJECT_BUCKETS-1) after the name `after` (NULL: from the first), up to `max`, as a listing. Costs as
 * many index rows as it gives or leaves out: the 256th part of the whole. */
void object_store_bucket(struct object_store *s, unsigned bucket, const char *after, size_t max, object_want_fn *want,
                         void *want_arg, object_list_fn *done, void *arg);

/* The bucket that a name falls into. Pure. */
unsigned object_bucket_of(const char *name);

/* ---- what is visible ---- */

struct object_drive_stats {
	const char *path;  /* lives as long as the store */
	const char *state; /* "ok", "full", "read-only", "failed", "index damaged": static */
	bool takes_new;
	uint64_t objects, tombstones; /* live ones (damaged ones too), and tombstones */
	uint64_t bytes;               /* of bodies */
	uint64_t free_bytes, capacity_bytes;
	uint64_t quarantined; /* files in the drive's directory "quarantine" */
};

struct object_store_stats {
	size_t drive_count;
	struct object_drive_stats drive[OBJECT_STORE_DRIVES_MAX];
	uint64_t objects, tombstones, bytes;
	uint64_t damaged;      /* copies found damaged since the store was opened */
	uint64_t puts, reads;  /* that were answered 0 */
	uint64_t groups;       /* index transactions: puts / groups objects share one */
	unsigned puts_waiting; /* finished by their callers and not answered yet */
};

/* Any thread; does not wait for I/O but for statvfs(2). */
void object_store_stats(struct object_store *s, struct object_store_stats *stats);

#endif
