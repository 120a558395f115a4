/* SPDX-License-Identifier: GPL-3.0-only */
/* daemonize.c: goes to the background. */
#include "base/daemonize.h"

#include "base/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void parent_wait(pid_t child, int fd)
{
	char byte;
	ssize_t n;
	int status;

	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		_exit(0);
	/* The pipe closed without a word: the child has ended, and has told why. */
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR) {
			report_error("waiting for the daemon: %s", strerror(errno));
			_exit(1);
		}
	}
	if (WIFSIGNALED(status)) {
		report_error("the daemon was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
		_exit(1);
	}
	_exit(WEXITSTATUS(status) ? WEXITSTATUS(status) : 1);
}

int daemonize_start(struct daemonize *d, struct error *err)
{
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	fflush(NULL);
	child = fork();
	if (child < 0) {
		int rc = error_set(err, -errno, "cannot fork: %s", strerror(errno));

		close(ends[0]);
		close(ends[1]);
		return rc;
	}
	if (child > 0) {
		close(ends[1]);
		parent_wait(child, ends[0]);
	}
	close(ends[0]);
	d->ready_fd = ends[1];
	if (setsid() < 0)
		return error_set(err, -errno, "setsid: %s", strerror(errno));
	return 0;
}

void daemonize_ready(struct daemonize *d)
{
	int null, fd = d->ready_fd;

	if (fd < 0)
		return;
	d->ready_fd = -1;
	report_to_syslog();
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0) {
		report_warning("/dev/null: %s", strerror(errno));
	} else {
		/* dup2 clears O_CLOEXEC on the copies. */
		if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0)
			report_warning("dup2: %s", strerror(errno));
		if (null > STDERR_FILENO)
			close(null);
	}
	if (chdir("/") < 0)
		report_warning("chdir: %s", strerror(errno));
	if (write(fd, "", 1) != 1)
		report_debug("nobody waited for the daemon");
	close(fd);
}
