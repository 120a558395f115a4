/* SPDX-License-Identifier: GPL-3.0-only */
/* target.c: what a word on the command line names. */
#include "cli/target.h"

#include "ctl/ctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static bool is_url(const char *word)
{
	return strstr(word, "://") != NULL;
}

static int not_there(const char *path, int rc, struct error *err)
{
	if (rc == -ENOTCONN)
		return error_set(err, rc,
		                 "%s: the daemon of this mount is gone: fusermount3 -u the mount point, mount it again",
		                 path);
	return error_set(err, rc, "%s: %s", path, strerror(-rc));
}

/* 1, 0, or -errno. Only being is asked, so that a socket path of any length will do. */
static int in_mount(const char *path, struct error *err)
{
	if (getxattr(path, CTL_XATTR_SOCKET, NULL, 0) > 0)
		return 1;
	switch (errno) {
	case ENODATA:
	case ENOTSUP:
	case EPERM: /* user attributes of special files */
		return 0;
	default:
		return not_there(path, -errno, err);
	}
}

static bool holds_pool(const char *path)
{
	char object[PATH_MAX];
	int n = snprintf(object, sizeof object, "%s/%s", path, POOL_KEY);

	return n > 0 && (size_t)n < sizeof object && access(object, F_OK) == 0;
}

int target_find(const char *word, enum target_kind *kind, struct error *err)
{
	struct stat st;
	int rc;

	if (is_url(word)) {
		*kind = TARGET_STORE;
		return 0;
	}
	if (stat(word, &st) < 0)
		return not_there(word, -errno, err);
	rc = in_mount(word, err);
	if (rc < 0)
		return rc;
	if (rc == 1) {
		*kind = S_ISDIR(st.st_mode) ? TARGET_DIRECTORY : TARGET_IMAGE;
		return 0;
	}
	if (!S_ISDIR(st.st_mode))
		return error_set(err, -ENOTSUP, "%s is not in a garnerfs mount", word);
	if (!holds_pool(word))
		return error_set(err, -ENOTSUP, "%s is neither in a garnerfs mount nor a pool", word);
	*kind = TARGET_STORE;
	return 0;
}

int target_want_mount(const char *word, struct error *err)
{
	enum target_kind kind;
	int rc = target_find(word, &kind, err);

	if (rc < 0)
		return rc;
	if (kind == TARGET_STORE)
		return error_set(err, -ENOTSUP,
		                 "%s is a store: this works on a mount of it (garnerfs STORE MOUNTPOINT)", word);
	return 0;
}

int target_want_image(const char *word, struct error *err)
{
	enum target_kind kind;
	int rc = target_find(word, &kind, err);

	if (rc < 0)
		return rc;
	if (kind == TARGET_IMAGE)
		return 0;
	if (kind == TARGET_DIRECTORY)
		return error_set(err, -EISDIR, "%s is a directory, not an image", word);
	return error_set(err, -ENOTSUP,
	                 "%s is a store: this works on an image in a mount of it (garnerfs STORE MOUNTPOINT)", word);
}

int target_parent(const char *path, char out[PATH_MAX], struct error *err)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 1;

	if (len >= PATH_MAX)
		return error_set(err, -ENAMETOOLONG, "%.40s...: the path is too long", path);
	if (slash && len == 0)
		len = 1; /* "/name" */
	memcpy(out, slash ? path : ".", len);
	out[len] = '\0';
	return 0;
}

int target_want_place(const char *path, struct error *err)
{
	char parent[PATH_MAX];
	int rc;

	if (is_url(path))
		return error_set(err, -ENOTSUP,
		                 "%s is a store: this makes a file in a mount of it (garnerfs STORE MOUNTPOINT)", path);
	rc = target_parent(path, parent, err);
	if (rc < 0)
		return rc;
	rc = in_mount(parent, err);
	if (rc < 0)
		return rc;
	return rc == 1 ? 0 : error_set(err, -ENOTSUP, "%s is not in a garnerfs mount", parent);
}

int target_mount_point(const char *path, char out[PATH_MAX], struct error *err)
{
	char parent[PATH_MAX];
	struct stat here, above;
	int rc;

	if (!realpath(path, out) || stat(out, &here) < 0)
		return not_there(path, -errno, err);
	while (strcmp(out, "/") != 0) {
		rc = target_parent(out, parent, err);
		if (rc < 0)
			return rc;
		if (stat(parent, &above) < 0)
			return not_there(parent, -errno, err);
		if (above.st_dev != here.st_dev)
			break;
		strcpy(out, parent); /* shorter than what was there */
	}
	return 0;
}

int target_place(const char *path, uint64_t *dir, char name[NAME_BYTES_MAX + 1], struct error *err)
{
	char parent[PATH_MAX];
	const char *base = strrchr(path, '/');
	struct stat st;
	int rc = target_want_place(path, err);

	if (!rc)
		rc = target_parent(path, parent, err);
	if (rc)
		return rc;
	if (stat(parent, &st))
		return not_there(parent, -errno, err);
	base = base ? base + 1 : path;
	if (!*base || strlen(base) > NAME_BYTES_MAX)
		return error_set(err, -EINVAL, "%s: not a file name", path);
	*dir = st.st_ino;
	snprintf(name, NAME_BYTES_MAX + 1, "%s", base);
	return 0;
}

int target_place_beside(const char *path, const char *beside, uint64_t *dir, char name[NAME_BYTES_MAX + 1],
                        struct error *err)
{
	char parent[PATH_MAX];
	struct stat a, b;
	int rc = target_place(path, dir, name, err);

	if (!rc)
		rc = target_parent(path, parent, err);
	if (rc)
		return rc;
	if (stat(beside, &a) || stat(parent, &b))
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	if (a.st_dev != b.st_dev || b.st_ino != *dir)
		return error_set(err, -EXDEV, "%s is not in the mount of %s: use garner copy between pools", path,
		                 beside);
	return 0;
}

int target_snapshot(const char *image, const char *name, char out[PATH_MAX], struct error *err)
{
	char mount[PATH_MAX], full[PATH_MAX];
	size_t len;
	int n, rc = target_mount_point(image, mount, err);

	if (rc)
		return rc;
	if (!realpath(image, full))
		return not_there(image, -errno, err);
	len = strlen(mount) > 1 ? strlen(mount) : 0;
	mount[len] = '\0';
	n = snprintf(out, PATH_MAX, "%s/.snapshots%s/%s", mount, full + len, name);
	return n > 0 && n < PATH_MAX ? 0 : error_set(err, -ENAMETOOLONG, "%.40s...: the path is too long", image);
}

int target_moment(const char *word, char out[PATH_MAX], struct error *err)
{
	const char *at = strrchr(word, '@');
	char image[PATH_MAX];
	struct stat st;
	int rc;

	if (!at || at == word || !stat(word, &st)) {
		rc = target_want_image(word, err);
		snprintf(out, PATH_MAX, "%s", word);
		return rc;
	}
	if (at - word >= PATH_MAX)
		return error_set(err, -ENAMETOOLONG, "%.40s...: the path is too long", word);
	snprintf(image, sizeof image, "%.*s", (int)(at - word), word);
	rc = target_want_image(image, err);
	if (!rc)
		rc = target_snapshot(image, at + 1, out, err);
	if (rc)
		return rc;
	if (stat(out, &st))
		return error_set(err, -errno, "%s: there is no snapshot \"%s\" (garner snapshot list %s)", image,
		                 at + 1, image);
	return 0;
}

int target_url(const char *word, char out[PATH_MAX], struct error *err)
{
	char here[PATH_MAX] = "";
	bool relative = !is_url(word) && word[0] != '/';
	int n;

	if (relative && !getcwd(here, sizeof here))
		return error_set(err, -errno, "cannot tell the current directory: %s", strerror(errno));
	n = snprintf(out, PATH_MAX, "%s%s%s", here, relative ? "/" : "", word);
	if (n < 0 || n >= PATH_MAX)
		return error_set(err, -ENAMETOOLONG, "%.40s...: the path is too long", word);
	return 0;
}

bool target_key_given(const struct target_key *key)
{
	return key->key_file || key->passphrase_file || key->passwd_file;
}

int target_open_pool(const char *word, const struct target_key *key, struct pool **pool, struct error *err)
{
	const struct store_options options = { .passwd_file = key->passwd_file };
	struct secret *secret = NULL;
	char url[PATH_MAX];
	int rc = target_url(word, url, err);

	if (rc == 0)
		rc = pool_secret(key->key_file, key->passphrase_file, &secret, err);
	if (rc == 0)
		rc = pool_open(url, &options, secret, pool, err);
	if (rc == -ENOKEY && isatty(STDIN_FILENO)) {
		rc = secret_from_terminal("Passphrase of the pool: ", false, &secret, err);
		if (rc == 0)
			rc = pool_open(url, &options, secret, pool, err);
	}
	secret_free(secret);
	return rc;
}
