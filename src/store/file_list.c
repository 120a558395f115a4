/* SPDX-License-Identifier: GPL-3.0-only */
/* file_list.c: the walk.
 *
 * A directory's names are sorted with a '/' behind those of directories. All keys below "a" then sort where "a/" does,
 * after "a.b" and before "ab", so that visiting names in this order visits whole keys in byte order. Must never change
 * anything.
 */
#include "store/file_list.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LIST_PATH_MAX 1024

struct walk {
	const char *root;
	const char *prefix;
	const char *after; /* "" for none: every key is greater */
	size_t limit;      /* stop at so many entries */
	struct store_entry *entries;
	size_t count, room;
	char key[STORE_KEY_MAX + 2]; /* of the directory being walked, with its '/' */
	struct error *err;
};

/* Names of one directory, those of directories with '/' behind. */
struct names {
	char **list;
	size_t count, room;
};

static void names_free(struct names *n)
{
	for (size_t i = 0; i < n->count; i++)
		free(n->list[i]);
	free(n->list);
}

static int names_add(struct names *n, const char *name)
{
	char *copy;

	if (n->count == n->room) {
		size_t room = n->room ? n->room * 2 : 64;
		char **list = reallocarray(n->list, room, sizeof *list);

		if (!list)
			return -ENOMEM;
		n->list = list;
		n->room = room;
	}
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	n->list[n->count++] = copy;
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool begins_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

/* Whether the directory `key` (ending in '/') can hold a key that is wanted. */
static bool directory_wanted(const struct walk *w, const char *key)
{
	if (!begins_with(key, w->prefix) && !begins_with(w->prefix, key))
		return false;
	return strcmp(key, w->after) > 0 || begins_with(w->after, key);
}

static bool object_wanted(const struct walk *w, const char *key)
{
	return begins_with(key, w->prefix) && strcmp(key, w->after) > 0;
}

/* What kind of thing a directory entry is: S_IFREG, S_IFDIR, or 0 for what is passed over. */
static mode_t entry_type(DIR *dir, const struct dirent *d)
{
	struct stat st;

	if (d->d_type == DT_REG)
		return S_IFREG;
	if (d->d_type == DT_DIR)
		return S_IFDIR;
	if (d->d_type != DT_UNKNOWN && d->d_type != DT_LNK)
		return 0;
	if (fstatat(dirfd(dir), d->d_name, &st, 0) < 0)
		return 0;
	return S_ISREG(st.st_mode) ? S_IFREG : S_ISDIR(st.st_mode) ? S_IFDIR : 0;
}

/* Adds one directory entry to `names` if it is wanted. */
static int consider(const struct walk *w, DIR *dir, const struct dirent *d, struct names *names)
{
	char key[STORE_KEY_MAX + sizeof d->d_name + 2];
	size_t length = strlen(w->key);
	mode_t type;

	if (strchr(d->d_name, '/') || !store_key_valid(d->d_name))
		return 0;
	snprintf(key, sizeof key, "%s%s", w->key, d->d_name);
	if (!store_key_valid(key))
		return 0; /* too long as a whole */
	type = entry_type(dir, d);
	if (type == S_IFDIR)
		strcat(key, "/");
	if (type == S_IFDIR ? directory_wanted(w, key) : type == S_IFREG && object_wanted(w, key))
		return names_add(names, key + length);
	return 0;
}

static int read_names(const struct walk *w, struct names *names)
{
	char path[LIST_PATH_MAX];
	struct dirent *d;
	DIR *dir;
	int rc = 0;

	snprintf(path, sizeof path, "%s/%s", w->root, w->key);
	dir = opendir(path);
	if (!dir) {
		/* Removed meanwhile, or never there. */
		if (errno == ENOENT || errno == ENOTDIR)
			return 0;
		return error_set(w->err, -errno, "listing %s: %s", path, strerror(errno));
	}
	for (;;) {
		errno = 0;
		d = readdir(dir);
		if (!d && errno)
			rc = error_set(w->err, -errno, "listing %s: %s", path, strerror(errno));
		if (!d)
			break;
		rc = consider(w, dir, d, names);
		if (rc < 0) {
			error_set(w->err, rc, "listing %s: %s", path, strerror(-rc));
			break;
		}
	}
	closedir(dir);
	if (names->count)
		qsort(names->list, names->count, sizeof *names->list, compare_names);
	return rc;
}

/* A number that changes when the object is replaced: a replacement is another inode, written later. */
static uint64_t version_of(const struct stat *st)
{
	uint64_t v = (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;

	v = (v ^ (uint64_t)st->st_ino * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
	v = (v ^ v >> 31 ^ (uint64_t)st->st_size) * 0x94d049bb133111ebu;
	return v ^ v >> 29;
}

static int add_entry(struct walk *w, const char *key)
{
	char path[LIST_PATH_MAX];
	struct store_entry *e;
	struct stat st;

	snprintf(path, sizeof path, "%s/%s", w->root, key);
	if (stat(path, &st) < 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			return 0;
		return error_set(w->err, -errno, "listing %s: %s", path, strerror(errno));
	}
	if (w->count == w->room) {
		size_t room = w->room ? w->room * 2 : 16;
		struct store_entry *entries = reallocarray(w->entries, room, sizeof *entries);

		if (!entries)
			return error_set(w->err, -ENOMEM, "listing %s: out of memory", path);
		w->entries = entries;
		w->room = room;
	}
	e = &w->entries[w->count++];
	memset(e, 0, sizeof *e);
	memcpy(e->key, key, strlen(key));
	e->size = (uint64_t)st.st_size;
	e->version = version_of(&st);
	return 0;
}

/* Walks the directory w->key, which is put back before returning. As deep as a key has components. */
static int walk_directory(struct walk *w)
{
	struct names names = { 0 };
	size_t length = strlen(w->key);
	int rc;

	rc = read_names(w, &names);
	for (size_t i = 0; i < names.count && rc == 0 && w->count < w->limit; i++) {
		size_t len = strlen(names.list[i]);

		memcpy(w->key + length, names.list[i], len + 1);
		rc = names.list[i][len - 1] == '/' ? walk_directory(w) : add_entry(w, w->key);
		w->key[length] = '\0';
	}
	names_free(&names);
	return rc;
}

/* Puts the directory that holds all keys with this prefix into `dir`, with its '/', or "". */
static int prefix_directory(const char *prefix, char dir[STORE_KEY_MAX + 2])
{
	const char *slash = strrchr(prefix, '/');
	size_t len = slash ? (size_t)(slash - prefix) : 0;

	if (slash && (len == 0 || len >= STORE_KEY_MAX))
		return -EINVAL;
	memcpy(dir, prefix, len);
	dir[len] = '\0';
	if (!slash)
		return 0;
	if (!store_key_valid(dir))
		return -EINVAL;
	strcpy(dir + len, "/");
	return 0;
}

int file_list(const char *root, const char *prefix, const char *after, size_t max, struct store_entry **entries,
              size_t *count, bool *more, struct error *err)
{
	struct walk w = { .root = root, .prefix = prefix, .after = after ? after : "", .limit = max + 1, .err = err };
	int rc;

	*entries = NULL;
	*count = 0;
	*more = false;
	if (strlen(root) + 1 + sizeof w.key > LIST_PATH_MAX)
		return error_set(err, -ENAMETOOLONG, "%s: path too long", root);
	rc = prefix_directory(prefix, w.key);
	if (rc < 0)
		return error_set(err, rc, "no key can begin with '%.200s'", prefix);
	/* All of the directory may lie before `after`. */
	if (w.key[0] == '\0' || directory_wanted(&w, w.key))
		rc = walk_directory(&w);
	if (rc < 0) {
		free(w.entries);
		return rc;
	}
	*more = w.count > max;
	*count = *more ? max : w.count;
	*entries = w.entries;
	return 0;
}
