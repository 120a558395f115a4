/* SPDX-License-Identifier: GPL-3.0-only */
/* main.c: garnerd: reads the command line, goes to the background, serves as one node until it is told to stop. Exits 0 when done, 1 when
 * it failed, 2 when it was called wrongly. */
#include "base/daemonize.h"
#include "base/report.h"
#include "node/node.h"
#include "node/options.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

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

static int serve(struct node_options *o)
{
	struct daemonize d = DAEMONIZE_NONE;
	struct error err = { 0 };
	struct node *n;
	sigset_t stop;
	int signal;

	report_init("garnerd", o->debug ? REPORT_DEBUG : REPORT_NOTICE);
	if (node_options_make_absolute(o, &err) < 0)
		return fail(&err);
	if (!o->foreground && daemonize_start(&d, &err) < 0)
		return fail(&err);
	/* For every thread; this one waits for them. */
	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	sigaddset(&stop, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &stop, NULL);
	if (node_start(o, &n, &err) < 0)
		return fail(&err);
	daemonize_ready(&d);
	while (sigwait(&stop, &signal) != 0 || signal == SIGHUP)
		;
	report_notice("stopping");
	node_stop(n);
	return EXIT_DONE;
}

int main(int argc, char **argv)
{
	struct node_options options;
	struct error err = { 0 };
	int code;

	/* Bodies come and go all the time: memory is kept rather than given back to the kernel each time. */
	mallopt(M_MMAP_THRESHOLD, 16 << 20);
	mallopt(M_TRIM_THRESHOLD, 64 << 20);
	signal(SIGPIPE, SIG_IGN);
	report_init("garnerd", REPORT_NOTICE);
	if (sodium_init() < 0) {
		report_error("libsodium cannot be used");
		return EXIT_FAILED;
	}
	if (node_options_parse(argc, argv, &options, &err) < 0) {
		report_error("%s", error_text(&err));
		node_options_free(&options);
		return err.code == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
	}
	if (options.action == NODE_HELP)
		code = print(node_options_help);
	else if (options.action == NODE_VERSION)
		code = print("garnerd " PACKAGE_VERSION "\n");
	else
		code = serve(&options);
	node_options_free(&options);
	return code;
}
