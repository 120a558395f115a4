/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_init.c: writes what a new cluster needs. */
#include "cli/cluster_init.h"

#include "cli/cluster_certificates.h"
#include "cli/cluster_units.h"
#include "store/node_auth.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PART ".garner-part"
#define FILE_MAX 65536

/* What is written for each node alike. */
struct writing {
	const struct cluster_map *map;
	struct cluster_units units;
	char map_text[CLUSTER_TEXT_MAX];
	char key[2 * NODE_KEY_BYTES + 2]; /* hexadecimal, and a line's end */
	struct authority *authority;      /* NULL: plain */
	char *ca;
};

/* ---- files ---- */

static int write_file(const char *dir, const char *name, const char *text, mode_t mode, struct error *err)
{
	char path[PATH_MAX];
	size_t length = strlen(text), done = 0;
	int fd, rc = 0;

	if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
		return error_set(err, -ENAMETOOLONG, "%s: the path is too long", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	while (done < length && !rc) {
		ssize_t n = write(fd, text + done, length - done);

		if (n < 0 && errno != EINTR)
			rc = -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	if (!rc && (fchmod(fd, mode) < 0 || fsync(fd) < 0))
		rc = -errno;
	if (close(fd) < 0 && !rc)
		rc = -errno;
	return rc ? error_set(err, rc, "%s: %s", path, strerror(-rc)) : 0;
}

/* Writes a text that was malloc'ed, or could not be, and wipes it. */
static int write_made(const char *dir, const char *name, char *text, mode_t mode, struct error *err)
{
	int rc = text ? write_file(dir, name, text, mode, err)
	              : error_set(err, -ENOMEM, "%s/%s: out of memory", dir, name);

	pem_free(text);
	return rc;
}

/* A text file beside `path`; malloc'ed. */
static int read_beside(const char *path, const char *name, char **text, struct error *err)
{
	const char *slash = strrchr(path, '/');
	char full[PATH_MAX];
	size_t got;
	FILE *f;

	*text = NULL;
	if (snprintf(full, sizeof full, "%.*s%s", slash ? (int)(slash - path) + 1 : 0, path, name) >= (int)sizeof full)
		return error_set(err, -ENAMETOOLONG, "%s: the path is too long", path);
	f = fopen(full, "re");
	if (!f)
		return error_set(err, -errno, "%s: %s", full, strerror(errno));
	*text = calloc(1, FILE_MAX + 1);
	got = *text ? fread(*text, 1, FILE_MAX, f) : 0;
	fclose(f);
	if (*text && got)
		return 0;
	free(*text);
	*text = NULL;
	return error_set(err, -EIO, "%s cannot be read, or is empty", full);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st;
	(void)type;
	(void)where;
	return remove(path);
}

/* ---- nodes ---- */

int cluster_node_parse(const char *text, size_t length, struct cluster_node *node, struct error *err)
{
	const char *at = memchr(text, '@', length), *colon;
	size_t address = at ? (size_t)(at - text) : length, rack = at ? length - address - 1 : 0, host;
	char *end;
	unsigned long port;

	colon = memrchr(text, ':', address);
	host = colon ? (size_t)(colon - text) : 0;
	port = colon ? strtoul(colon + 1, &end, 10) : 0;
	if (!host || end != text + address || !port || port > 65535 || rack > CLUSTER_RACK_MAX || (at && !rack) ||
	    host - 2 * (text[0] == '[') > CLUSTER_HOST_MAX || (text[0] == '[') != (text[host - 1] == ']'))
		return error_set(err, -EINVAL,
		                 "'%.*s' is no node: write HOST:PORT or HOST:PORT@RACK, such as h1:7070@a",
		                 (int)(length < 100 ? length : 100), text);
	*node = (struct cluster_node){ .port = (uint16_t)port, .weight = 100, .state = NODE_UP };
	if (text[0] == '[')
		memcpy(node->host, text + 1, host - 2);
	else
		memcpy(node->host, text, host);
	memcpy(node->rack, at ? at + 1 : "", rack);
	return 0;
}

/* The map of the plan, of version 1. */
static int make_map(const struct cluster_plan *plan, struct cluster_map *map, struct error *err)
{
	struct cluster_units units = { .map = map, .plain = plan->plain, .etcd_port = plan->etcd_port };
	const char *text = plan->nodes;
	uint8_t id[16];

	*map = (struct cluster_map){ .version = 1 };
	randombytes_buf(id, sizeof id);
	sodium_bin2hex(map->id, sizeof map->id, id, sizeof id);
	for (bool more = true; more;) {
		size_t length = strcspn(text, ",");
		int rc;

		if (map->node_count == CLUSTER_NODES_MAX)
			return error_set(err, -EINVAL, "a cluster has at most %d nodes", CLUSTER_NODES_MAX);
		rc = cluster_node_parse(text, length, &map->node[map->node_count], err);
		if (rc)
			return rc;
		map->node_count++;
		map->node[map->node_count - 1].id = (unsigned)map->node_count;
		more = text[length];
		text += length + more;
	}
	map->replicas = plan->replicas ? plan->replicas : map->node_count < 3 ? (unsigned)map->node_count : 3;
	map->quorum = plan->quorum ? plan->quorum : map->replicas / 2 + 1;
	if (!cluster_etcd_members(map->node_count))
		snprintf(map->agreement, sizeof map->agreement, "local");
	else if (cluster_etcd_endpoints(&units, map->agreement, sizeof map->agreement) < 0)
		return error_set(err, -EINVAL, "the names of the nodes are too long for the map");
	return cluster_map_check(map, err);
}

/* ---- the directory ---- */

static int write_node(const struct writing *w, const char *dir, const struct cluster_node *node, struct error *err)
{
	size_t index = (size_t)(node - w->map->node);
	char sub[PATH_MAX], name[64];
	int rc;

	if (snprintf(sub, sizeof sub, "%s/node-%u", dir, node->id) >= (int)sizeof sub)
		return error_set(err, -ENAMETOOLONG, "%s: the path is too long", dir);
	if (mkdir(sub, 0700) < 0)
		return error_set(err, -errno, "%s: %s", sub, strerror(errno));
	snprintf(name, sizeof name, "garnerfs node %u", node->id);
	rc = write_file(sub, "cluster", w->map_text, 0644, err);
	if (!rc)
		rc = write_file(sub, "cluster.key", w->key, 0600, err);
	if (!rc && w->authority)
		rc = write_file(sub, "ca.pem", w->ca, 0644, err);
	if (!rc && w->authority) {
		char *pem = authority_issue(w->authority, name, node->host, err);

		rc = pem ? write_made(sub, "node.pem", pem, 0600, err) : -EIO;
	}
	if (!rc)
		rc = write_made(sub, "garnerd.service", cluster_garnerd_service(&w->units, node), 0644, err);
	if (!rc && index < cluster_etcd_members(w->map->node_count) && w->map->version == 1) {
		rc = write_made(sub, "etcd.yaml", cluster_etcd_yaml(&w->units, node), 0644, err);
		if (!rc)
			rc = write_made(sub, "etcd.service", cluster_etcd_service(&w->units), 0644, err);
	}
	return rc;
}

static int write_all(const struct writing *w, const char *dir, struct error *err)
{
	int rc = write_file(dir, "cluster", w->map_text, 0644, err);

	if (!rc)
		rc = write_file(dir, "cluster.key", w->key, 0600, err);
	if (!rc && w->authority) {
		char *pem = authority_issue(w->authority, "garnerfs gateway", NULL, err);

		rc = pem ? write_made(dir, "gateway.pem", pem, 0600, err) : -EIO;
		if (!rc)
			rc = write_file(dir, "ca.pem", w->ca, 0644, err);
		if (!rc)
			rc = write_made(dir, "ca.key", authority_key(w->authority), 0600, err);
	}
	for (size_t i = 0; i < w->map->node_count && !rc; i++)
		rc = write_node(w, dir, &w->map->node[i], err);
	return rc;
}

/* Key, map's text and authority of a new cluster. */
static int prepare(struct writing *w, const struct cluster_plan *plan, const struct cluster_map *map, struct error *err)
{
	uint8_t key[NODE_KEY_BYTES];
	char name[80];

	w->map = map;
	w->units = (struct cluster_units){ .map = map,
		                           .plain = plan->plain,
		                           .data = plan->data,
		                           .garnerd = plan->garnerd,
		                           .etcd_port = plan->etcd_port };
	if (cluster_map_format(map, w->map_text, sizeof w->map_text) < 0)
		return error_set(err, -EINVAL, "the cluster's map is too long");
	randombytes_buf(key, sizeof key);
	sodium_bin2hex(w->key, sizeof w->key - 1, key, sizeof key);
	memcpy(w->key + 2 * NODE_KEY_BYTES, "\n", 2);
	sodium_memzero(key, sizeof key);
	if (plan->plain)
		return 0;
	snprintf(name, sizeof name, "garnerfs cluster %.8s", map->id);
	w->authority = authority_new(name, err);
	w->ca = w->authority ? authority_certificate(w->authority) : NULL;
	return w->ca ? 0 : error_prefix(err, -EIO, "the cluster's certificates");
}

static void writing_destroy(struct writing *w)
{
	sodium_memzero(w->key, sizeof w->key);
	authority_free(w->authority);
	free(w->ca);
}

static int sync_directory(const char *path, struct error *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

	if (fd < 0 || fsync(fd) < 0)
		rc = error_set(err, -errno, "%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return rc;
}

int cluster_init(const struct cluster_plan *plan, struct cluster_map *map, struct error *err)
{
	struct writing w = { 0 };
	char part[PATH_MAX];
	size_t length = strlen(plan->out);
	int rc = sodium_init() < 0 ? error_set(err, -EIO, "libsodium cannot be used") : make_map(plan, map, err);

	if (rc)
		return rc;
	while (length > 1 && plan->out[length - 1] == '/')
		length--;
	if (snprintf(part, sizeof part, "%.*s%s", (int)length, plan->out, PART) >= (int)sizeof part)
		return error_set(err, -ENAMETOOLONG, "%s: the path is too long", plan->out);
	/* An empty directory is as good as none, and rename() takes its place. */
	if (rmdir(plan->out) < 0 && errno != ENOENT)
		return error_set(err, -EEXIST,
		                 "%s is there already, and is not overwritten: it may be a cluster's only key",
		                 plan->out);
	if (mkdir(part, 0700) < 0)
		return error_set(err, -errno, "%s: %s", part, strerror(errno));
	rc = prepare(&w, plan, map, err);
	if (!rc)
		rc = write_all(&w, part, err);
	if (!rc)
		rc = sync_directory(part, err);
	/* A directory that came in between stays, unless it is empty. */
	if (!rc && rename(part, plan->out) < 0)
		rc = error_set(err, -errno, "%s: %s", plan->out, strerror(errno));
	if (rc)
		nftw(part, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	writing_destroy(&w);
	return rc;
}

/* ---- one more node ---- */

static int read_authority(const char *cluster_file, struct writing *w, struct error *err)
{
	char *key = NULL;
	int rc = read_beside(cluster_file, "ca.pem", &w->ca, err);

	if (rc == -ENOENT) /* plain */
		return 0;
	if (!rc)
		rc = read_beside(cluster_file, "ca.key", &key, err);
	if (!rc) {
		w->authority = authority_read(w->ca, key, err);
		rc = w->authority ? 0 : -EBADMSG;
	}
	pem_free(key);
	return rc;
}

int cluster_add_node(const char *cluster_file, const struct cluster_map *map, unsigned node,
                     const struct cluster_plan *plan, struct error *err)
{
	const struct cluster_node *n = cluster_map_node(map, node);
	const char *slash = strrchr(cluster_file, '/');
	struct writing w = { .map = map };
	char dir[PATH_MAX], *key = NULL;
	int rc;

	if (!n || snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - cluster_file) : 1,
	                   slash ? cluster_file : ".") >= (int)sizeof dir)
		return error_set(err, -EINVAL, "the cluster has no node %u", node);
	rc = read_beside(cluster_file, "cluster.key", &key, err);
	if (!rc) {
		snprintf(w.key, sizeof w.key, "%s", key);
		rc = read_authority(cluster_file, &w, err);
	}
	w.units = (struct cluster_units){ .map = map,
		                          .plain = !w.authority,
		                          .data = plan->data,
		                          .garnerd = plan->garnerd,
		                          .etcd_port = plan->etcd_port };
	if (!rc && cluster_map_format(map, w.map_text, sizeof w.map_text) < 0)
		rc = error_set(err, -EINVAL, "the cluster's map is too long");
	if (!rc)
		rc = write_node(&w, dir, n, err);
	pem_free(key);
	writing_destroy(&w);
	return rc;
}
