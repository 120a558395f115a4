/* SPDX-License-Identifier: GPL-3.0-only */
/* front.h: what the files of the FUSE front end share.
 *
 * A request takes one of two ways. Data requests run on the loop's thread in an `op`, one of which every thread keeps; when the
 * engine answers later, the op goes with the request and the thread takes another. All others (names, opening) may block
 * on the store and run as a `job` on an executor. Nothing on the data way allocates.
 *
 * Locks: front.mutex only, held for a few instructions, never over a call into the engine or libfuse.
 */
#ifndef GARNER_FUSE_FRONT_H
#define GARNER_FUSE_FRONT_H

/* The newest interface that the headers at hand have. */
#if defined __has_include
#if __has_include(<libfuse_config.h>)
#include <libfuse_config.h>
#endif
#endif
#if defined FUSE_MINOR_VERSION && FUSE_MAJOR_VERSION == 3 && FUSE_MINOR_VERSION >= 12
#define FUSE_USE_VERSION 312
#else
#define FUSE_USE_VERSION 35
#endif
#include <fuse_lowlevel.h>

#include "base/error.h"
#include "base/executor.h"
#include "base/hash.h"
#include "fuse/options.h"
#include "image/image.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/stat.h>

#define IO_BYTES_MAX (1024u * 1024) /* of one read or write */
#define ATTR_TIMEOUT_S 1.0
#define BLOCK_BYTES 65536 /* st_blksize: what tools like to copy by */

struct ctl_server;
struct op;

struct front {
	const struct mount_options *options;
	struct engine *engine;
	struct ctl_server *ctl;
	struct fuse_session *session;
	struct executor *names;   /* lookups and changes of names */
	struct executor *opens;   /* opening: may wait for another host's lease, and must not hold up the names */
	void (*ready)(void *arg); /* the kernel has been answered: the mount is usable */
	void *ready_arg;

	pthread_key_t op_key;  /* each loop thread's op */
	atomic_long away;      /* ops that the engine has yet to answer; may pass below 0 for a moment */
	pthread_mutex_t mutex; /* guards all below */
	TAILQ_HEAD(, handle) handles;
	struct hash *opened; /* inode number -> struct opened */
	struct op *free_ops;
	unsigned free_op_count;
};

/* What is known of an image beyond its handles: whether the kernel's page cache of it can still be believed. */
struct opened {
	uint64_t id;
	unsigned handles;         /* these and the next two: front.mutex */
	unsigned direct_writers;  /* handles that write around the page cache */
	bool direct_written;      /* one did since the page cache was last dropped */
	atomic_bool page_written; /* mapped pages were written back, by whichever handle the kernel took */
};

/* An open file. Made by open and create, ended by release, or after the loop for those that were never released. */
struct handle {
	TAILQ_ENTRY(handle) link;
	struct image *image;
	struct opened *opened;
	unsigned flags; /* enum image_open_flags */
	bool direct;
	bool sync;           /* O_SYNC or O_DSYNC */
	atomic_bool written; /* since the last flush */
};

static inline struct handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct handle *)(uintptr_t)fi->fh;
}

static inline struct front *front_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* ---- op.c: data requests ----------------------------------------------------------------------------------------- */

/* Makes the next call for a request, given the (not negative) result of the last. Returns as image_*() do. */
typedef int64_t op_step_fn(struct op *op, int64_t result);
typedef void op_reply_fn(struct op *op, int64_t result);

struct op {
	struct front *front;
	struct op *next_free;
	fuse_req_t req;
	struct handle *handle;
	op_step_fn *step;   /* NULL: the next result is the answer */
	op_reply_fn *reply; /* answers the kernel; called once */
	uint64_t size;      /* for the steps */
	int64_t kept;
	void *buf; /* IO_BYTES_MAX, made at the first read */
};

int ops_init(struct front *f);
/* No loop thread runs any more, and no op is away. */
void ops_end(struct front *f);

/* This thread's op, set up for `req`; NULL (after having replied ENOMEM) when memory is short. */
struct op *op_take(fuse_req_t req, const struct fuse_file_info *fi, op_reply_fn *reply);
/* The op's read buffer, page aligned; NULL when memory is short. */
void *op_buffer(struct op *op);
/* Goes on with what a first image_*() call returned. That call may already have been answered, and the op be another
 * request's, so the caller does not touch the op after it. */
void op_start(struct front *f, struct op *op, int64_t result);
/* The image_done_fn of every op. */
void op_done(void *arg, int64_t result);

/* ---- job.c: requests that may block ------------------------------------------------------------------------------ */

struct job;
/* Does it and replies. */
typedef void job_fn_t(struct job *job);

struct job {
	struct front *front;
	fuse_req_t req;
	job_fn_t *run;
	uint64_t id, new_id; /* inode numbers */
	bool has_fi;
	struct fuse_file_info fi;
	uint32_t mode;
	uint32_t uid, gid; /* the caller's */
	unsigned flags;
	int to_set;
	struct stat attr;
	size_t size;
	off_t offset;
	char name[NAME_BYTES_MAX + 1], new_name[NAME_BYTES_MAX + 1];
};

/* A job with `req`, `id` and the caller's ids set; `fi` may be NULL. NULL after having replied ENOMEM. */
struct job *job_new(fuse_req_t req, fuse_ino_t id, const struct fuse_file_info *fi, job_fn_t *run);
/* Copies a name in; on ENAMETOOLONG replies, frees the job and returns false. */
bool job_name(struct job *job, char to[NAME_BYTES_MAX + 1], const char *name);
/* Hands it to an executor, which owns it then. */
void job_start(struct job *job, struct executor *e);
/* Replies with an error, and tells the log what a program would not expect. */
void job_fail(struct job *job, const char *what, int rc, const struct error *err);

/* Waits for one image_*() call on a thread that may block: pass wait_done and the waiter as its callback. */
struct waiter {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool answered;
	int64_t result;
};
#define WAITER_INIT                                                           \
	{                                                                     \
		PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0 \
	}
void wait_done(void *arg, int64_t result);
/* The result, given what the call returned. Ends the waiter. */
int64_t wait_result(struct waiter *w, int64_t returned);

/* ---- reply.c: answers -------------------------------------------------------------------------------------------- */

void attr_to_stat(const struct node_attr *a, struct stat *st);
void attr_to_entry(const struct node_attr *a, struct fuse_entry_param *e);
/* Each returns what libfuse does: negative when the kernel did not take it, so that nobody will release the handle. */
int reply_open(fuse_req_t req, struct handle *h, bool keep_cache);
int reply_create(fuse_req_t req, const struct node_attr *a, struct handle *h, bool keep_cache);

/* ---- open.c ------------------------------------------------------------------------------------------------------ */

/* Closes what the kernel never released. No request is under way. */
void handles_end(struct front *f);

/* ---- the operations, by subject ---------------------------------------------------------------------------------- */

/* data.c */
void data_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void data_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi);
void data_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void data_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void data_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi);
void data_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
void data_copy(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in, fuse_ino_t ino_out,
               off_t off_out, struct fuse_file_info *fi_out, size_t len, int flags);

/* open.c */
void open_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void open_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void open_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

/* names.c */
void names_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void names_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void names_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);
void names_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void names_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void names_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void names_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void names_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name);
void names_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name);
void names_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
                  unsigned flags);
void names_statfs(fuse_req_t req, fuse_ino_t ino);

/* directory.c */
void directory_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void directory_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void directory_read_plus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void directory_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void directory_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);

/* xattr.c */
void xattr_get(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void xattr_list(fuse_req_t req, fuse_ino_t ino, size_t size);
void xattr_set(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags);
void xattr_remove(fuse_req_t req, fuse_ino_t ino, const char *name);

#endif
