/* SPDX-License-Identifier: GPL-3.0-only */
/* session.c: one mount: what is agreed with the kernel, the loop, and the end.
 *
 * Signals are blocked in all threads and taken by one that waits for them, so that none is lost between two system calls and
 * none lands on a thread of the engine. At the end, in this order: the loop has stopped (no new requests), jobs and ops are
 * answered, the mount goes, images are closed, the engine uploads what its deadline allows. */
#include "fuse/session.h"

#include "base/report.h"
#include "ctl/ctl.h"
#include "fuse/front.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NAME_THREADS 8
#define OPEN_THREADS 8
#define BACKGROUND_MAX 256
#define STOP_DEADLINE_DEFAULT_MS 60000
#define WAKE_SIGNAL SIGUSR1 /* ends the loop's wait; only ever sent by ourselves */

struct session {
	struct front front;
	struct daemonize *daemonize;
	pthread_t main, signals;
	bool signals_started;
	atomic_bool mounted, serving, loop_ended, all_ended;
	char fuse_message[ERROR_TEXT_MAX]; /* the last that libfuse complained of while mounting */
};

/* libfuse's log function has no argument. */
static struct session *mounting;

/* ---- the mount point --------------------------------------------------------------------------------------------- */

int session_check_mountpoint(const char *mountpoint, struct error *err)
{
	struct dirent *entry;
	DIR *dir;
	int rc = 0;

	dir = opendir(mountpoint);
	if (!dir) {
		switch (errno) {
		case ENOENT:
			return error_set(err, -ENOENT, "%s: the mount point does not exist: mkdir it first",
			                 mountpoint);
		case ENOTDIR:
			return error_set(err, -ENOTDIR, "%s: the mount point is not a directory", mountpoint);
		case ENOTCONN:
			return error_set(err, -ENOTCONN, "%s: a dead mount is still there: fusermount3 -u it first",
			                 mountpoint);
		default:
			return error_set(err, -errno, "%s: %s", mountpoint, strerror(errno));
		}
	}
	errno = 0;
	while (rc == 0 && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			rc = error_set(err, -ENOTEMPTY, "%s: the mount point is not empty", mountpoint);
	if (rc == 0 && errno)
		rc = error_set(err, -errno, "%s: %s", mountpoint, strerror(errno));
	closedir(dir);
	return rc;
}

/* ---- what is agreed with the kernel ------------------------------------------------------------------------------ */

static void want(struct fuse_conn_info *conn, unsigned capability)
{
	conn->want |= conn->capable & capability;
}

static void session_init(void *arg, struct fuse_conn_info *conn)
{
	struct front *f = arg;

	conn->max_write = IO_BYTES_MAX;
	conn->max_background = BACKGROUND_MAX;
	conn->congestion_threshold = BACKGROUND_MAX * 3 / 4;
	conn->time_gran = 1;
	want(conn, FUSE_CAP_ASYNC_READ);
	want(conn, FUSE_CAP_ASYNC_DIO);
	want(conn, FUSE_CAP_ATOMIC_O_TRUNC);
	want(conn, FUSE_CAP_AUTO_INVAL_DATA);
	want(conn, FUSE_CAP_PARALLEL_DIROPS);
	want(conn, FUSE_CAP_READDIRPLUS);
	want(conn, FUSE_CAP_READDIRPLUS_AUTO);
	/* A log wants the bytes in memory of ours, summed there: splicing would move pages that others can still change. And
	 * the kernel must not answer a write before we have it. */
	conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
	                          FUSE_CAP_WRITEBACK_CACHE);
	f->ready(f->ready_arg);
}

static const struct fuse_lowlevel_ops operations = {
	.init = session_init,
	.lookup = names_lookup,
	.getattr = names_getattr,
	.setattr = names_setattr,
	.mknod = names_mknod,
	.mkdir = names_mkdir,
	.unlink = names_unlink,
	.rmdir = names_rmdir,
	.symlink = names_symlink,
	.link = names_link,
	.rename = names_rename,
	.statfs = names_statfs,
	.open = open_open,
	.create = open_create,
	.release = open_release,
	.read = data_read,
	.write = data_write,
	.flush = data_flush,
	.fsync = data_fsync,
	.fallocate = data_fallocate,
	.lseek = data_lseek,
	.copy_file_range = data_copy,
	.opendir = directory_open,
	.readdir = directory_read,
	.readdirplus = directory_read_plus,
	.releasedir = directory_release,
	.fsyncdir = directory_fsync,
	.getxattr = xattr_get,
	.listxattr = xattr_list,
	.setxattr = xattr_set,
	.removexattr = xattr_remove,
};

/* ---- messages of libfuse ----------------------------------------------------------------------------------------- */

static void fuse_message(enum fuse_log_level level, const char *format, va_list args)
{
	char line[ERROR_TEXT_MAX];
	char *end;

	if (level > FUSE_LOG_WARNING)
		return;
	vsnprintf(line, sizeof line, format, args);
	end = line + strcspn(line, "\n");
	*end = '\0';
	if (!line[0])
		return;
	if (mounting)
		memcpy(mounting->fuse_message, line, sizeof line);
	else
		report(level <= FUSE_LOG_ERR ? REPORT_ERROR : REPORT_WARNING, "%s", line);
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

static void stop_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
}

static void wake_handler(int number)
{
	(void)number;
}

/* The end has its own deadline: the engine's, twice, and some time for what hangs before it. */
static uint64_t end_limit_ms(const struct session *s)
{
	uint64_t ms = s->front.options->engine.stop_deadline_ms;

	return 2 * (ms ? ms : STOP_DEADLINE_DEFAULT_MS) + 30000;
}

/* Since the log is on the local disk, leaving at once loses no more than a crash does: nothing that was flushed. */
static _Noreturn void give_up(struct session *s, const char *why)
{
	report_error(
		"%s: leaving at once; what was flushed is kept in the cache directory and is sent at the next mount",
		why);
	if (s->mounted)
		fuse_session_unmount(s->front.session);
	_exit(1);
}

static void *signals_thread(void *arg)
{
	struct session *s = arg;
	const struct timespec tick = { .tv_nsec = 100 * 1000 * 1000 };
	uint64_t waited_ms = 0;
	sigset_t set;

	stop_signals(&set);
	while (!s->loop_ended) {
		int number = sigwaitinfo(&set, NULL);

		if (number < 0 || s->loop_ended)
			continue;
		if (!s->serving)
			give_up(s, strsignal(number));
		report_notice("%s: stopping", strsignal(number));
		fuse_session_exit(s->front.session);
		/* Again and again: the loop may just be about to wait. */
		while (!s->loop_ended) {
			pthread_kill(s->main, WAKE_SIGNAL);
			nanosleep(&tick, NULL);
		}
	}
	while (!s->all_ended) {
		sigtimedwait(&set, NULL, &tick);
		waited_ms += 100;
		if (waited_ms >= end_limit_ms(s) && !s->all_ended)
			give_up(s, "requests still wait for the store");
	}
	return NULL;
}

/* Before any other thread exists, so that all inherit the mask. */
static int signals_prepare(struct error *err)
{
	struct sigaction wake = { .sa_handler = wake_handler }, ignore = { .sa_handler = SIG_IGN };
	sigset_t set;
	int rc;

	if (sigaction(WAKE_SIGNAL, &wake, NULL) < 0 || sigaction(SIGPIPE, &ignore, NULL) < 0)
		return error_set(err, -errno, "sigaction: %s", strerror(errno));
	stop_signals(&set);
	sigaddset(&set, WAKE_SIGNAL);
	rc = -pthread_sigmask(SIG_BLOCK, &set, NULL);
	return rc < 0 ? error_set(err, rc, "pthread_sigmask: %s", strerror(-rc)) : 0;
}

/* ---- parts of the session ---------------------------------------------------------------------------------------- */

/* Adds -o name or -o name=value. The value is escaped, since a URL may have a comma. */
static int add_option(struct fuse_args *args, const char *name, const char *value)
{
	char *option = NULL, *list = NULL;
	int rc = -ENOMEM;

	if (asprintf(&option, "%s%s%s", name, value ? "=" : "", value ? value : "") < 0)
		return -ENOMEM;
	if (fuse_opt_add_opt_escaped(&list, option) == 0 && fuse_opt_add_arg(args, "-o") == 0 &&
	    fuse_opt_add_arg(args, list) == 0)
		rc = 0;
	free(option);
	free(list);
	return rc;
}

static int mount_arguments(const struct mount_options *o, struct fuse_args *args)
{
	int rc = fuse_opt_add_arg(args, "garnerfs") < 0 ? -ENOMEM : 0;

	if (rc == 0)
		rc = add_option(args, "fsname", o->store);
	if (rc == 0)
		rc = add_option(args, "subtype", "garnerfs");
	if (rc == 0 && o->allow_other)
		rc = add_option(args, "allow_other", NULL);
	if (rc == 0 && o->default_permissions)
		rc = add_option(args, "default_permissions", NULL);
	if (rc == 0 && o->engine.read_only)
		rc = add_option(args, "ro", NULL);
	if (rc == 0 && o->kernel_options[0] &&
	    (fuse_opt_add_arg(args, "-o") < 0 || fuse_opt_add_arg(args, o->kernel_options) < 0))
		rc = -ENOMEM;
	return rc;
}

static int session_mount(struct session *s, struct error *err)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct front *f = &s->front;
	const char *why = s->fuse_message;
	int rc;

	rc = mount_arguments(f->options, &args);
	if (rc < 0) {
		fuse_opt_free_args(&args);
		return error_set(err, rc, "out of memory");
	}
	mounting = s;
	fuse_set_log_func(fuse_message);
	f->session = fuse_session_new(&args, &operations, sizeof operations, f);
	fuse_opt_free_args(&args);
	if (f->session && fuse_session_mount(f->session, f->options->mountpoint) == 0)
		s->mounted = true;
	mounting = NULL;
	if (s->mounted)
		return 0;
	if (strncmp(why, "fuse: ", 6) == 0)
		why += 6;
	return error_set(err, -EIO, "%s: cannot mount: %s", f->options->mountpoint,
	                 why[0] ? why : "libfuse gives no reason; is /dev/fuse there, and may you use it?");
}

static void session_ready(void *arg)
{
	struct session *s = arg;

	daemonize_ready(s->daemonize);
}

static int start_executors(struct front *f, struct error *err)
{
	f->names = executor_new("names", NAME_THREADS, false);
	f->opens = f->names ? executor_new("opens", OPEN_THREADS, false) : NULL;
	return f->opens ? 0 : error_set(err, -EAGAIN, "cannot start threads: %s", strerror(errno));
}

static int start_signals(struct session *s, struct error *err)
{
	int rc = -pthread_create(&s->signals, NULL, signals_thread, s);

	s->signals_started = rc == 0;
	return rc < 0 ? error_set(err, rc, "cannot start threads: %s", strerror(-rc)) : 0;
}

/* Each thread reads requests from a descriptor of its own, and stays once it is there. */
static int run_loop(struct session *s)
{
	unsigned threads = s->front.options->threads;
	int rc;
#if FUSE_USE_VERSION >= 312
	struct fuse_loop_config *config = fuse_loop_cfg_create();

	if (!config)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(config, 1);
	fuse_loop_cfg_set_max_threads(config, threads);
	fuse_loop_cfg_set_idle_threads(config, threads);
	rc = fuse_session_loop_mt(s->front.session, config);
	fuse_loop_cfg_destroy(config);
#else
	struct fuse_loop_config config = { .clone_fd = 1, .max_idle_threads = threads };

	rc = fuse_session_loop_mt(s->front.session, &config);
#endif
	return rc < 0 ? rc : 0; /* a positive number is the signal that ended it */
}

static int serve(struct session *s, struct error *err)
{
	sigset_t wake;
	int rc;

	sigemptyset(&wake);
	sigaddset(&wake, WAKE_SIGNAL);
	rc = -pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
	if (rc == 0)
		rc = run_loop(s);
	pthread_sigmask(SIG_BLOCK, &wake, NULL);
	return rc < 0 ? error_set(err, rc, "serving requests: %s", strerror(-rc)) : 0;
}

static int front_init(struct front *f, const struct mount_options *o, struct error *err)
{
	int rc;

	f->options = o;
	TAILQ_INIT(&f->handles);
	f->opened = hash_new();
	rc = -pthread_mutex_init(&f->mutex, NULL);
	if (!f->opened || rc < 0)
		return error_set(err, -ENOMEM, "out of memory");
	rc = ops_init(f);
	return rc < 0 ? error_set(err, rc, "cannot set up requests: %s", strerror(-rc)) : 0;
}

/* Waits until every request that was read has been answered. The signals' thread sees to it that this ends. */
static void answer_all(struct front *f)
{
	const struct timespec nap = { .tv_nsec = 2 * 1000 * 1000 };

	executor_free(f->opens);
	executor_free(f->names);
	f->opens = f->names = NULL;
	while (atomic_load(&f->away) > 0)
		nanosleep(&nap, NULL);
}

/* Undoes whatever of the session exists. */
static int session_end(struct session *s, int rc, struct error *err)
{
	struct front *f = &s->front;
	struct error kept = { 0 };
	int closed = 0;

	s->loop_ended = true;
	if (s->signals_started)
		pthread_kill(s->signals, SIGTERM);
	ctl_server_stop(f->ctl);
	answer_all(f);
	if (s->mounted) {
		s->mounted = false;
		fuse_session_unmount(f->session);
	}
	handles_end(f);
	if (f->engine)
		closed = engine_close(f->engine, &kept);
	if (closed == -EAGAIN)
		report_notice("%s", kept.text[0] ? kept.text
		                                 : "not all is in the store: the rest is kept for the next mount");
	else if (closed < 0 && rc == 0)
		rc = error_set(err, closed, "%s", error_text(&kept));
	s->all_ended = true;
	if (s->signals_started) {
		pthread_kill(s->signals, SIGTERM);
		pthread_join(s->signals, NULL);
	}
	if (f->session)
		fuse_session_destroy(f->session);
	ops_end(f);
	hash_free(f->opened);
	pthread_mutex_destroy(&f->mutex);
	return rc;
}

int session_run(const struct mount_options *options, struct daemonize *d, struct error *err)
{
	struct session s = { .daemonize = d };
	struct front *f = &s.front;
	int rc;

	s.main = pthread_self();
	f->ready = session_ready;
	f->ready_arg = &s;
	rc = signals_prepare(err);
	if (rc == 0)
		rc = front_init(f, options, err);
	if (rc < 0) {
		hash_free(f->opened);
		return rc;
	}
	rc = start_signals(&s, err);
	if (rc == 0) {
		rc = engine_open(&options->engine, &f->engine, err);
		if (rc < 0)
			f->engine = NULL;
	}
	if (rc == 0)
		rc = ctl_server_start(f->engine, &f->ctl, err);
	if (rc == 0)
		rc = start_executors(f, err);
	if (rc == 0)
		rc = session_mount(&s, err);
	if (rc == 0) {
		s.serving = true;
		if (options->engine.sync == SYNC_NONE)
			report_warning(
				"sync=none: flushes promise nothing; a crash may lose what was written before it");
		rc = serve(&s, err);
	}
	return session_end(&s, rc, err);
}
