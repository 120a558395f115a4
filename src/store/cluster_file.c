/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_file.c: reads a cluster's file, and finds what is beside it. */
#include "store/cluster_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_regular(const char *path, int *fd, struct stat *st, struct error *err)
{
	/* Not blocking, so that a FIFO is refused and not waited for. */
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (*fd < 0)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	if (fstat(*fd, st) < 0 || !S_ISREG(st->st_mode)) {
		close(*fd);
		return error_set(err, -EINVAL, "%s is not a regular file", path);
	}
	return 0;
}

static int read_map(const char *path, struct cluster_map *map, struct error *err)
{
	char text[CLUSTER_TEXT_MAX + 1];
	size_t length = 0;
	struct stat st;
	int fd, rc = open_regular(path, &fd, &st, err);

	if (rc == -ENOENT)
		error_set(err, rc,
		          "there is no cluster's file %s: copy it, and what is beside it, from where 'garner cluster "
		          "init' "
		          "wrote it",
		          path);
	if (rc)
		return rc;
	while (length < sizeof text) {
		ssize_t n = read(fd, text + length, sizeof text - length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			rc = error_set(err, -errno, "%s: %s", path, strerror(errno));
		if (n <= 0)
			break;
		length += (size_t)n;
	}
	close(fd);
	if (rc)
		return rc;
	rc = cluster_map_parse(text, length, map, err);
	return rc ? error_prefix(err, rc, "%s", path) : 0;
}

/* `name` beside `path`. */
static int beside(const char *path, const char *name, char out[PATH_MAX], struct error *err)
{
	const char *slash = strrchr(path, '/');
	int dir = slash ? (int)(slash - path) + 1 : 0;

	if (snprintf(out, PATH_MAX, "%.*s%s", dir, path, name) >= PATH_MAX)
		return error_set(err, -ENAMETOOLONG, "the path of the cluster's file is too long");
	return 0;
}

static int check_pem(const char *path, struct error *err)
{
	struct stat st;
	int fd, rc = open_regular(path, &fd, &st, err);

	if (rc == -ENOENT)
		error_set(err, rc, "%s is missing: with ca.pem there has to be a certificate", path);
	if (rc)
		return rc;
	close(fd);
	if (st.st_mode & 077)
		return error_set(err, -EACCES, "%s can be used by others (mode %03o); run: chmod 600 '%s'", path,
		                 (unsigned)(st.st_mode & 0777), path);
	return 0;
}

int cluster_file_load(const char *path, const char *pem, struct cluster_file *file, struct error *err)
{
	char key[PATH_MAX];
	int rc;

	*file = (struct cluster_file){ 0 };
	rc = read_map(path, &file->map, err);
	if (!rc)
		rc = beside(path, "cluster.key", key, err);
	if (!rc)
		rc = beside(path, "ca.pem", file->ca, err);
	if (!rc)
		rc = beside(path, pem, file->pem, err);
	if (!rc)
		rc = node_key_load(key, &file->key, err);
	/* That it is there and cannot be read must not mean that nothing is encrypted. */
	file->tls = !rc && (access(file->ca, F_OK) == 0 || errno != ENOENT);
	if (file->tls)
		rc = check_pem(file->pem, err);
	if (rc)
		cluster_file_destroy(file);
	return rc;
}

void cluster_file_destroy(struct cluster_file *file)
{
	node_key_wipe(&file->key);
	*file = (struct cluster_file){ 0 };
}

struct http_tls cluster_file_tls(const struct cluster_file *file)
{
	if (!file->tls)
		return (struct http_tls){ .allow_plain = true };
	return (struct http_tls){ .ca_file = file->ca, .client_cert = file->pem };
}
