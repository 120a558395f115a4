/* SPDX-License-Identifier: GPL-3.0-only */
/* store.h: where objects live for good, behind one interface.
 *
 * A store holds immutable objects under keys such as "images/0123/segments/...". Keys are made of [A-Za-z0-9._-] and '/',
 * at most 200 bytes, no empty or dot components. Every call is asynchronous: it returns at once, and its `done` runs
 * once, later, on a thread of the store, with no lock held; it must not block for long. The caller keeps key (copied),
 * buffers and `arg` valid until then. A store retries passing faults itself within the deadline it was opened with.
 * Knows nothing of segments or keys of ciphers.
 *
 * A new store is one file with a `struct store_type` and one line in store_types[] (store.c).
 */
#ifndef GARNER_STORE_STORE_H
#define GARNER_STORE_STORE_H

#include "base/disk.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define STORE_KEY_MAX 200
#define STORE_REMOVE_MANY_MAX 1000 /* keys */

/* What a store promises; the engine relies on nothing that is not said here. */
enum store_capability {
	/* STORE_PUT_CREATE_ONLY is atomic among all hosts. Without it, puts at the same moment may all be answered 0, and one that
	 * comes later is refused with -EEXIST; or every such put is refused with -EOPNOTSUPP. */
	STORE_CREATE_ONLY = 1 << 0,
	STORE_LIST_CONSISTENT = 1 << 1, /* a listing shows every object whose put was answered before */
	STORE_DIRECTORY = 1 << 2,       /* a directory that was given by its path: an empty one is nobody else's */
	/* A head, and a get without STORE_GET_IMMUTABLE, sees every put that was answered before it was asked: of several puts of
	 * one key that one, or a later one, which lasts. */
	STORE_READ_LATEST = 1 << 3,
};

/* How a request is to be made. Of those that say who waits, none means that somebody does; such a request goes first. */
enum store_flags {
	STORE_PUT_CREATE_ONLY = 1 << 0, /* -EEXIST when the key exists, and the object is left as it was */
	STORE_PREFETCH = 1 << 1,        /* a get that somebody will probably ask for soon */
	STORE_UPLOAD =
		1
		<< 2, /* a put of a segment: a key that only one writer ever puts. A create-only put of it may rely on that */
	STORE_BACKGROUND = 1 << 3, /* verifying, cleaning: may wait */
	STORE_PUT_ONCE =
		1 << 5, /* sent once at most: one without an answer fails, and may be carried out later all the same */
	/* With STORE_UPLOAD and create-only: the writer has looked for the key since he became the only one, it was not there, and he
	 * has not put it since. See `looks_first` of struct store. */
	STORE_PUT_LOOKED = 1 << 6,
	STORE_GET_IMMUTABLE = 1 << 4, /* the object never changes: the store may ask twice and take what comes first */
};

/* One object in a listing. */
struct store_entry {
	char key[STORE_KEY_MAX + 1];
	uint64_t size;
	uint64_t version; /* changes whenever the object is replaced (mtime, ETag); compare only for equality */
};

/* `status` is 0 or a negative errno: -ENOENT no such object, -EEXIST, -ETIMEDOUT the store did not answer in time,
 * -EIO it answered with a fault, -EACCES, -ENOSPC. `err` holds the text, and lives only during the call. */
typedef void store_done_fn(void *arg, int status, const struct error *err);
/* `length`: bytes put into the caller's buffer (get), or the object's size (head). */
typedef void store_length_fn(void *arg, int status, uint64_t length, const struct error *err);
/* `entries` are in key order and live only during the call; `more` when the listing was cut at `max`. */
typedef void store_list_fn(void *arg, int status, const struct store_entry *entries, size_t count, bool more,
                           const struct error *err);

/* What was asked of the store since it was opened, each try counted: what a provider charges for. */
struct store_stats {
	uint64_t puts, gets, heads, removes, lists;
	uint64_t bytes_up, bytes_down;
	uint64_t retries;
	uint64_t hedges; /* gets that were asked for a second time before an answer came */
};

struct store;

struct store_ops {
	void (*put)(struct store *s, const char *key, const struct iovec *iov, int iovcnt, unsigned flags,
	            store_done_fn *done, void *arg);
	void (*get)(struct store *s, const char *key, uint64_t offset, void *buf, size_t len, unsigned flags,
	            store_length_fn *done, void *arg);
	void (*head)(struct store *s, const char *key, store_length_fn *done, void *arg);
	void (*remove)(struct store *s, const char *key, store_done_fn *done, void *arg);
	/* NULL: store_remove_each(). Keys are valid, and there is one at least. */
	void (*remove_many)(struct store *s, const char *const *keys, size_t count, store_done_fn *done, void *arg);
	void (*list)(struct store *s, const char *prefix, const char *after, size_t max, store_list_fn *done,
	             void *arg);
	void (*stats)(struct store *s, struct store_stats *stats); /* NULL: nothing is counted */
	/* NULL: there is no such text. */
	void (*acks)(struct store *s, char *text, size_t room);
	void (*close)(struct store *s);
};

/* What every implementation begins with. */
struct store {
	const struct store_ops *ops;
	unsigned capabilities; /* enum store_capability */
	bool looks_first; /* a create-only put of a segment looks for the key first, unless the writer did: STORE_PUT_LOOKED */
	char url[512]; /* as given, without secrets: for messages */
};

struct store_options {
	struct disk *disk;    /* for stores on the local file system; NULL: disk_posix() */
	unsigned threads;     /* 0: the store's default */
	uint64_t deadline_ms; /* per request; 0: 30 s */
	bool create; /* make the place (directory) when it is missing: init, and a mount on an empty file: store */
	/* For stores over HTTP; strings may be NULL. */
	const char *passwd_file; /* "KEY:SECRET", readable by nobody else; before what the environment says */
	const char *ca_file;     /* PEM: the authorities that count */
	const char *client_cert, *client_key; /* PEM: shown to a server that asks */
	bool allow_plain;                     /* plain HTTP to hosts other than this one */
	uint64_t upload_rate, download_rate;  /* bytes per second; 0: no limit */
};

struct store_type {
	const char *scheme; /* "file" */
	int (*open)(const char *url, const struct store_options *options, struct store **store, struct error *err);
};

/* Opens the store that `url` names (file:///srv/pool, or a plain absolute path, which means the same). Returns 0 and
 * `*store`, to be closed with store_close(); or -EINVAL for a URL that is wrong (the text says which schemes there are and
 * shows an example), -ENOENT when the place does not exist (and says to run garner init), -EACCES, ... Blocks. */
int store_open(const char *url, const struct store_options *options, struct store **store, struct error *err);

/* Waits for what is under way, then frees. Not from a callback. NULL is ignored. */
void store_close(struct store *s);

/* Stores the bytes of `iov` as one object, replacing what was there (atomically: a reader sees all of one or the other),
 * durable when done(0) is called. */
void store_put(struct store *s, const char *key, const struct iovec *iov, int iovcnt, unsigned flags,
               store_done_fn *done, void *arg);

/* Reads [offset, offset+len) of the object into `buf`; fewer bytes when the object ends first (0 at or past its end). */
void store_get(struct store *s, const char *key, uint64_t offset, void *buf, size_t len, unsigned flags,
               store_length_fn *done, void *arg);

void store_head(struct store *s, const char *key, store_length_fn *done, void *arg);

/* Removing what is not there is success. */
void store_remove(struct store *s, const char *key, store_done_fn *done, void *arg);

/* The same for up to STORE_REMOVE_MANY_MAX keys (copied, as is `keys` itself), with few requests where the store can. 0 when all
 * are gone; otherwise the error of one of them, and each of the others may be gone or not. -EINVAL, and nothing is removed, when
 * a key is none that a store accepts, or there are too many. `done` runs within the call only when there are too many or
 * none, or memory is short. */
void store_remove_many(struct store *s, const char *const *keys, size_t count, store_done_fn *done, void *arg);

/* Lists up to `max` (0: the store's choice, at most 1000) objects whose key begins with `prefix`, in byte order of their
 * keys, beginning after key `after` (NULL: from the start). Recursive: '/' means nothing. */
void store_list(struct store *s, const char *prefix, const char *after, size_t max, store_list_fn *done, void *arg);

/* The same calls for callers that may block: not on a store's thread, not on a front end's data thread. */
int store_put_wait(struct store *s, const char *key, const void *buf, size_t len, unsigned flags, struct error *err);
/* `*length` may be NULL. */
int store_get_wait(struct store *s, const char *key, uint64_t offset, void *buf, size_t len, size_t *length,
                   struct error *err);
int store_head_wait(struct store *s, const char *key, uint64_t *size, struct error *err);
int store_remove_wait(struct store *s, const char *key, struct error *err);
int store_remove_many_wait(struct store *s, const char *const *keys, size_t count, struct error *err);

/* Calls each(arg, entry) for every object under `prefix` after `after`, page by page, until it returns non-zero, which is
 * then returned. The callback runs on the calling thread and may use the store. */
int store_list_each(struct store *s, const char *prefix, const char *after,
                    int (*each)(void *arg, const struct store_entry *entry), void *arg, struct error *err);

/* Whether there is an object under `prefix`: 1, 0, or an error. */
int store_any(struct store *s, const char *prefix, struct error *err);

/* What was asked of it so far; zeros for a store that does not count. Any thread. */
void store_get_stats(struct store *s, struct store_stats *stats);

/* Who acknowledged the newest put, and how fast, as a text for people: "coordinator h1:7070 410 us, n1 350 us, n2 900 us"; "" for a store
 * whose answers do not say, and before the first put. Any thread. */
#define STORE_ACKS_TEXT 400
void store_get_acks(struct store *s, char *text, size_t room);

/* Whether `key` is one that a store accepts. */
bool store_key_valid(const char *key);

/* For stores: store_remove_many() by one store_remove() for each of the keys, some at a time. */
void store_remove_each(struct store *s, const char *const *keys, size_t count, store_done_fn *done, void *arg);

#endif
