/* SPDX-License-Identifier: GPL-3.0-only */
/* etcd_server.h: a real etcd for unit tests, started and stopped by tests/servers/etcd. For tests only. */
#ifndef GARNER_TESTS_ETCD_SERVER_H
#define GARNER_TESTS_ETCD_SERVER_H

#include "lib/remove_tree.h"

#include <fcntl.h>
#include <libgen.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct etcd_server {
	char dir[64], endpoints[300], script[600];
	bool up;
};

/* tests/servers/etcd VERB DIR [NUMBER]; its output to the file `out`. Returns its wait status. */
static inline int etcd_server_run(struct etcd_server *e, const char *verb, const char *number, const char *out)
{
	char *argv[] = { e->script, (char *)(uintptr_t)verb, e->dir, (char *)(uintptr_t)number, NULL };
	posix_spawn_file_actions_t files;
	int status = -1;
	pid_t pid;

	posix_spawn_file_actions_init(&files);
	if (out)
		posix_spawn_file_actions_addopen(&files, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (posix_spawn(&pid, e->script, &files, NULL, argv, environ) != 0 || waitpid(pid, &status, 0) != pid)
		status = -1;
	posix_spawn_file_actions_destroy(&files);
	return status;
}

/* Starts one with so many members. 0 with e->up, or, where etcd is not installed, without; -1 when it does not start. `file`: of the
 * test, __FILE__. */
static inline int etcd_server_start(struct etcd_server *e, const char *members, const char *file)
{
	const char *srcdir = getenv("srcdir");
	char out[96], *copy = strdup(file);
	FILE *f;
	int rc;

	memset(e, 0, sizeof *e);
	if (!srcdir)
		snprintf(e->script, sizeof e->script, "%s/../servers/etcd", dirname(copy));
	else
		snprintf(e->script, sizeof e->script, "%s/tests/servers/etcd", srcdir);
	free(copy);
	if (access("/usr/bin/etcd", X_OK) != 0 && system("command -v etcd >/dev/null") != 0) {
		print_message("etcd is not installed (Debian: etcd-server)\n");
		return 0;
	}
	snprintf(e->dir, sizeof e->dir, "/tmp/garner-etcd-XXXXXX");
	if (!mkdtemp(e->dir))
		return -1;
	snprintf(out, sizeof out, "%s/out", e->dir);
	if (etcd_server_run(e, "up", members, out))
		return -1;
	f = fopen(out, "r");
	rc = f && fscanf(f, "ETCD_ENDPOINTS=%299s", e->endpoints) == 1 ? 0 : -1;
	if (f)
		fclose(f);
	e->up = rc == 0;
	return rc;
}

static inline void etcd_server_stop(struct etcd_server *e)
{
	if (!e->dir[0])
		return;
	etcd_server_run(e, "down", NULL, NULL);
	remove_tree(e->dir);
	e->dir[0] = '\0';
}

#endif
