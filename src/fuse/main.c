/* SPDX-License-Identifier: GPL-3.0-only */
/* main.c: garnerfs and mount.garnerfs: reads the command line, goes to the background, serves one mount. Exits 0 when done, 1
 * when it failed, 2 when it was called wrongly. */
#include "base/report.h"
#include "fuse/front.h"
#include "fuse/session.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef PACKAGE_VERSION
#error "PACKAGE_VERSION comes from configure"
#endif

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static int print(const char *text)
{
	if (fputs(text, stdout) == EOF || fflush(stdout) != 0) {
		report_error("standard output: %s", strerror(errno));
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

static int fail(const struct error *err)
{
	report_error("%s", error_text(err));
	return EXIT_FAILED;
}

/* The mount point by its real name, which is what the kernel and umount(8) know it by. */
static int real_mountpoint(struct mount_options *o, struct error *err)
{
	char *real;
	int rc = session_check_mountpoint(o->mountpoint, err);

	if (rc < 0)
		return rc;
	real = realpath(o->mountpoint, NULL);
	if (!real)
		return error_set(err, -errno, "%s: %s", o->mountpoint, strerror(errno));
	free(o->mountpoint);
	o->mountpoint = real;
	return 0;
}

static int mount_and_serve(struct mount_options *o)
{
	struct daemonize d = DAEMONIZE_NONE;
	struct error err = { 0 };

	report_init("garnerfs", o->debug ? REPORT_DEBUG : REPORT_NOTICE);
	if (options_make_absolute(o, &err) < 0 || real_mountpoint(o, &err) < 0)
		return fail(&err);
	if (!o->foreground && daemonize_start(&d, &err) < 0)
		return fail(&err);
	if (session_run(o, &d, &err) < 0)
		return fail(&err);
	return EXIT_DONE;
}

/* Requests to the store take and give back buffers of a megabyte all the time. Giving each back to the kernel costs more, in page
 * faults, than what is done with its bytes. */
static void keep_buffers(void)
{
	mallopt(M_MMAP_THRESHOLD, 16 << 20);
	mallopt(M_TRIM_THRESHOLD, 64 << 20);
}

int main(int argc, char **argv)
{
	struct mount_options options;
	struct error err = { 0 };
	char version[128];
	int code;

	keep_buffers();
	report_init("garnerfs", REPORT_NOTICE);
	if (options_parse(argc, argv, geteuid() == 0, &options, &err) < 0) {
		report_error("%s", error_text(&err));
		options_free(&options);
		return err.code == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
	}
	switch (options.action) {
	case ACTION_HELP:
		code = print(options_help);
		break;
	case ACTION_VERSION:
		snprintf(version, sizeof version, "garnerfs %s (libfuse %s)\n", PACKAGE_VERSION, fuse_pkgversion());
		code = print(version);
		break;
	case ACTION_NOTHING:
		code = EXIT_DONE;
		break;
	default:
		code = mount_and_serve(&options);
	}
	options_free(&options);
	return code;
}
