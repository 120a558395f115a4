/* SPDX-License-Identifier: GPL-3.0-only */
/* fuse_floor.c: the floor of the benchmark: one file in a FUSE mount, answered from memory.
 *
 * What this costs is what FUSE costs: no front end can be quicker than a memcpy. It uses the low-level interface, threads,
 * request sizes and open flags that garnerfs uses. Nothing is kept: fsync does nothing, and the bytes go when it ends.
 *
 *   fuse_floor [-s SIZE] [-t THREADS] MOUNTPOINT        runs in the foreground until it is unmounted or gets SIGTERM
 */
#define FUSE_USE_VERSION 312

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <inttypes.h>
#include <linux/fuse.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FILE_NAME "floor"
#define FILE_INO 2
#define REQUEST_BYTES (1u << 20)
#define ATTR_SECONDS 60.0

struct floor {
	uint8_t *bytes;
	size_t size;
};

static struct stat node_stat(const struct floor *f, fuse_ino_t ino)
{
	struct stat st = { .st_ino = ino, .st_nlink = 1, .st_blksize = 4096 };

	if (ino == FUSE_ROOT_ID) {
		st.st_mode = S_IFDIR | 0755;
		st.st_nlink = 2;
	} else {
		st.st_mode = S_IFREG | 0666;
		st.st_size = (off_t)f->size;
		st.st_blocks = (blkcnt_t)(f->size / 512);
	}
	return st;
}

static void floor_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->max_write = REQUEST_BYTES;
	conn->max_readahead = REQUEST_BYTES;
	conn->max_background = 256;
	conn->congestion_threshold = 192;
}

static void floor_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct floor *f = fuse_req_userdata(req);
	struct fuse_entry_param e = { .ino = FILE_INO, .attr_timeout = ATTR_SECONDS, .entry_timeout = ATTR_SECONDS };

	if (parent != FUSE_ROOT_ID || strcmp(name, FILE_NAME) != 0) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	e.attr = node_stat(f, FILE_INO);
	fuse_reply_entry(req, &e);
}

static void floor_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st = node_stat(fuse_req_userdata(req), ino);

	(void)fi;
	fuse_reply_attr(req, &st, ATTR_SECONDS);
}

/* Size and times stay what they are. */
static void floor_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct stat st = node_stat(fuse_req_userdata(req), ino);

	(void)attr;
	(void)to_set;
	(void)fi;
	fuse_reply_attr(req, &st, ATTR_SECONDS);
}

static void floor_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_open_out out = { .open_flags = FOPEN_KEEP_CACHE };

	if (ino != FILE_INO) {
		fuse_reply_err(req, EISDIR);
		return;
	}
	/* struct fuse_file_info of libfuse 3.14 cannot say FOPEN_PARALLEL_DIRECT_WRITES, so the answer is written by hand. */
	if (fi->flags & O_DIRECT)
		out.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
	fuse_reply_buf(req, (const char *)&out, sizeof out);
}

static void floor_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	const struct floor *f = fuse_req_userdata(req);
	size_t from = (size_t)offset;

	(void)ino;
	(void)fi;
	if (from >= f->size)
		size = 0;
	else if (size > f->size - from)
		size = f->size - from;
	fuse_reply_buf(req, size ? (const char *)f->bytes + from : NULL, size);
}

static void floor_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset,
                        struct fuse_file_info *fi)
{
	const struct floor *f = fuse_req_userdata(req);
	size_t from = (size_t)offset;

	(void)ino;
	(void)fi;
	if (from > f->size || size > f->size - from) {
		fuse_reply_err(req, EFBIG);
		return;
	}
	memcpy(f->bytes + from, buf, size);
	fuse_reply_write(req, size);
}

static void floor_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino;
	(void)datasync;
	(void)fi;
	fuse_reply_err(req, 0);
}

static void floor_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                            struct fuse_file_info *fi)
{
	(void)ino;
	(void)offset;
	(void)length;
	(void)fi;
	fuse_reply_err(req, mode ? EOPNOTSUPP : 0);
}

static void floor_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	static const char *const names[] = { ".", "..", FILE_NAME };
	const struct floor *f = fuse_req_userdata(req);
	char buf[512];
	size_t used = 0;

	(void)fi;
	if (ino != FUSE_ROOT_ID) {
		fuse_reply_err(req, ENOTDIR);
		return;
	}
	if (size > sizeof buf)
		size = sizeof buf;
	for (size_t i = (size_t)offset; i < sizeof names / sizeof names[0]; i++) {
		struct stat st = node_stat(f, i < 2 ? FUSE_ROOT_ID : FILE_INO);
		size_t n = fuse_add_direntry(req, buf + used, size - used, names[i], &st, (off_t)i + 1);
		if (n > size - used)
			break;
		used += n;
	}
	fuse_reply_buf(req, buf, used);
}

static const struct fuse_lowlevel_ops floor_ops = {
	.init = floor_init,
	.lookup = floor_lookup,
	.getattr = floor_getattr,
	.setattr = floor_setattr,
	.open = floor_open,
	.read = floor_read,
	.write = floor_write,
	.fsync = floor_fsync,
	.fallocate = floor_fallocate,
	.readdir = floor_readdir,
};

/* Bytes that neither repeat nor are zero, so that nobody on the way can save work on them. */
static void fill(uint8_t *bytes, size_t size)
{
	uint64_t x = 0x9e3779b97f4a7c15u;

	for (size_t i = 0; i + sizeof x <= size; i += sizeof x) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(bytes + i, &x, sizeof x);
	}
}

static size_t size_of(const char *text)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || end == text)
		return 0;
	switch (*end) {
	case 'G':
	case 'g':
		n <<= 10; /* fall through */
	case 'M':
	case 'm':
		n <<= 10; /* fall through */
	case 'K':
	case 'k':
		n <<= 10;
		end++;
		break;
	default:
		break;
	}
	return *end ? 0 : (size_t)n;
}

static int serve(struct floor *f, const char *mountpoint, unsigned threads)
{
	char *argv[] = { (char *)"fuse_floor", (char *)"-ofsname=fuse_floor,default_permissions,allow_other", NULL };
	struct fuse_args args = FUSE_ARGS_INIT(2, argv);
	struct fuse_loop_config *config = NULL;
	struct fuse_session *se;
	int rc = -1;

	se = fuse_session_new(&args, &floor_ops, sizeof floor_ops, f);
	if (!se)
		return -1;
	if (fuse_set_signal_handlers(se) < 0)
		goto out_session;
	if (fuse_session_mount(se, mountpoint) < 0)
		goto out_signals;
	config = fuse_loop_cfg_create();
	if (!config)
		goto out_mount;
	fuse_loop_cfg_set_clone_fd(config, 1);
	fuse_loop_cfg_set_max_threads(config, threads);
	fuse_loop_cfg_set_idle_threads(config, threads);
	rc = fuse_session_loop_mt(se, config);
	fuse_loop_cfg_destroy(config);
out_mount:
	fuse_session_unmount(se);
out_signals:
	fuse_remove_signal_handlers(se);
out_session:
	fuse_session_destroy(se);
	fuse_opt_free_args(&args);
	return rc < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct floor f = { .size = (size_t)1 << 30 };
	unsigned threads = 16;
	int opt, rc;

	while ((opt = getopt(argc, argv, "s:t:")) != -1) {
		if (opt == 's')
			f.size = size_of(optarg);
		else if (opt == 't')
			threads = (unsigned)strtoul(optarg, NULL, 10);
		else
			f.size = 0;
	}
	if (argc - optind != 1 || f.size < 4096 || threads == 0) {
		fprintf(stderr, "usage: fuse_floor [-s SIZE] [-t THREADS] MOUNTPOINT\n");
		return 2;
	}
	f.bytes = mmap(NULL, f.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (f.bytes == MAP_FAILED) {
		perror("fuse_floor: memory");
		return 1;
	}
	fill(f.bytes, f.size);
	rc = serve(&f, argv[optind], threads);
	munmap(f.bytes, f.size);
	return rc < 0 ? 1 : 0;
}
