/* SPDX-License-Identifier: GPL-3.0-only */
/* reply.c: answers to the kernel that libfuse has no words for, and attributes.
 *
 * FOPEN_PARALLEL_DIRECT_WRITES and FOPEN_NOFLUSH came to the kernel before libfuse had fields for them. Where the headers
 * have none, the structures of the kernel's protocol are sent as they are: fuse_reply_buf() puts the same header before
 * them as fuse_reply_open() and fuse_reply_create() would. */
#include "fuse/front.h"

#include <linux/fuse.h>
#include <string.h>

void attr_to_stat(const struct node_attr *a, struct stat *st)
{
	bool dir = a->type == NODE_DIRECTORY;

	memset(st, 0, sizeof *st);
	st->st_ino = a->id;
	st->st_mode = (dir ? S_IFDIR : S_IFREG) | (a->mode & 07777);
	st->st_nlink = dir && a->nlink ? 2 : a->nlink;
	st->st_uid = a->uid;
	st->st_gid = a->gid;
	st->st_size = dir ? 4096 : (off_t)a->size;
	st->st_blocks = (blkcnt_t)(a->allocated_bytes / 512);
	st->st_blksize = dir ? 4096 : BLOCK_BYTES;
	st->st_mtim.tv_sec = (time_t)(a->mtime_ns / 1000000000u);
	st->st_mtim.tv_nsec = (long)(a->mtime_ns % 1000000000u);
	st->st_ctim.tv_sec = (time_t)(a->ctime_ns / 1000000000u);
	st->st_ctim.tv_nsec = (long)(a->ctime_ns % 1000000000u);
	st->st_atim = st->st_mtim; /* no access times are kept */
}

void attr_to_entry(const struct node_attr *a, struct fuse_entry_param *e)
{
	memset(e, 0, sizeof *e);
	e->ino = a->id;
	e->generation = 1; /* ids are never used again */
	e->attr_timeout = ATTR_TIMEOUT_S;
	e->entry_timeout = ATTR_TIMEOUT_S;
	attr_to_stat(a, &e->attr);
}

#ifdef HAVE_FUSE_PARALLEL_DIRECT_WRITES

static struct fuse_file_info open_info(struct handle *h, bool keep_cache)
{
	struct fuse_file_info fi = { .fh = (uintptr_t)h };

	fi.direct_io = h->direct;
	fi.parallel_direct_writes = h->direct;
	fi.keep_cache = !h->direct && keep_cache;
	fi.noflush = !(h->flags & IMAGE_WRITE);
	return fi;
}

int reply_open(fuse_req_t req, struct handle *h, bool keep_cache)
{
	struct fuse_file_info fi = open_info(h, keep_cache);

	return fuse_reply_open(req, &fi);
}

int reply_create(fuse_req_t req, const struct node_attr *a, struct handle *h, bool keep_cache)
{
	struct fuse_file_info fi = open_info(h, keep_cache);
	struct fuse_entry_param e;

	attr_to_entry(a, &e);
	return fuse_reply_create(req, &e, &fi);
}

#else

#ifndef FOPEN_NOFLUSH
#define FOPEN_NOFLUSH (1u << 5)
#endif
#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1u << 6) /* a kernel that does not know it ignores it */
#endif

static struct fuse_open_out open_out(struct handle *h, bool keep_cache)
{
	struct fuse_open_out out = { .fh = (uintptr_t)h };

	if (h->direct)
		out.open_flags |= FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
	else if (keep_cache)
		out.open_flags |= FOPEN_KEEP_CACHE;
	if (!(h->flags & IMAGE_WRITE))
		out.open_flags |= FOPEN_NOFLUSH;
	return out;
}

int reply_open(fuse_req_t req, struct handle *h, bool keep_cache)
{
	struct fuse_open_out out = open_out(h, keep_cache);

	return fuse_reply_buf(req, (const char *)&out, sizeof out);
}

static void fill_attr(const struct stat *st, struct fuse_attr *a)
{
	a->ino = st->st_ino;
	a->size = (uint64_t)st->st_size;
	a->blocks = (uint64_t)st->st_blocks;
	a->atime = (uint64_t)st->st_atim.tv_sec;
	a->mtime = (uint64_t)st->st_mtim.tv_sec;
	a->ctime = (uint64_t)st->st_ctim.tv_sec;
	a->atimensec = (uint32_t)st->st_atim.tv_nsec;
	a->mtimensec = (uint32_t)st->st_mtim.tv_nsec;
	a->ctimensec = (uint32_t)st->st_ctim.tv_nsec;
	a->mode = st->st_mode;
	a->nlink = (uint32_t)st->st_nlink;
	a->uid = st->st_uid;
	a->gid = st->st_gid;
	a->blksize = (uint32_t)st->st_blksize;
}

int reply_create(fuse_req_t req, const struct node_attr *a, struct handle *h, bool keep_cache)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out = { 0 };
	struct stat st;

	attr_to_stat(a, &st);
	out.entry.nodeid = a->id;
	out.entry.generation = 1;
	out.entry.entry_valid = (uint64_t)ATTR_TIMEOUT_S;
	out.entry.attr_valid = (uint64_t)ATTR_TIMEOUT_S;
	fill_attr(&st, &out.entry.attr);
	out.open = open_out(h, keep_cache);
	return fuse_reply_buf(req, (const char *)&out, sizeof out);
}

#endif
