/* SPDX-License-Identifier: GPL-3.0-only */
/* drive_set.c: which drives make up a node: the two files that say so, and the rules. */
#include "node/drive_set.h"

#include "base/crc32c.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_WORDS(state) ((state) == OBJECT_STORE_NEW ? "new" : (state) == OBJECT_STORE_LOST ? "lost" : "complete")

/* ---- texts ---- */

struct text {
	char *at;
	size_t room, used;
	bool full;
};

static void add(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = t->full ? -1 : vsnprintf(t->at + t->used, t->room - t->used, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= t->room - t->used)
		t->full = true;
	else
		t->used += (size_t)n;
}

static int end_text(struct text *t)
{
	if (!t->full)
		add(t, "checksum %08" PRIx32 "\n", crc32c(0, t->at, t->used));
	return t->full ? -ENOSPC : (int)t->used;
}

int drive_identity_format(const struct drive_identity *id, char *text, size_t room)
{
	struct text t = { .at = text, .room = room };

	add(&t, "garner-drive 1\ndrive %s\ncluster %s\nnode %u\n", id->drive, id->cluster, id->node);
	return end_text(&t);
}

int drive_list_format(const struct drive_list *list, char *text, size_t room)
{
	char floor[OBJECT_VERSION_TEXT];
	struct text t = { .at = text, .room = room };

	object_version_format(list->floor, floor);
	add(&t, "garner-drives 1\ncluster %s\nnode %u\ngeneration %" PRIu64 "\nstate %s\nfloor %s\n", list->cluster,
	    list->node, list->generation, LIST_WORDS(list->state),
	    object_version_is_none(list->floor) ? "none" : floor);
	for (size_t i = 0; i < list->count; i++)
		add(&t, "%s %s\n", list->drive[i].out ? "out" : "member", list->drive[i].drive);
	return end_text(&t);
}

/* A text whose checksum is right, without that line, in lines. */
struct lines {
	char copy[DRIVE_TEXT_MAX];
	char *next;
};

static int open_lines(struct lines *l, const char *text, const char *what, struct error *err)
{
	size_t len = strnlen(text, sizeof l->copy);
	unsigned crc;
	char end;

	if (len >= sizeof l->copy)
		return error_set(err, -EBADMSG, "%s: it is too long", what);
	memcpy(l->copy, text, len + 1);
	l->next = l->copy;
	char *line = len > 1 && l->copy[len - 1] == '\n' ? memrchr(l->copy, '\n', len - 1) : NULL;
	if (!line || sscanf(line + 1, "checksum %8x%c", &crc, &end) != 2 || end != '\n' ||
	    strlen(line + 1) != strlen("checksum 01234567\n") ||
	    strspn(line + 1 + strlen("checksum "), "0123456789abcdef") != 8)
		return error_set(err, -EBADMSG, "%s: it is cut short", what);
	line[1] = '\0';
	if (crc != crc32c(0, l->copy, strlen(l->copy)))
		return error_set(err, -EBADMSG, "%s: its checksum is wrong", what);
	return 0;
}

/* The next line, its first word in *word and the rest in *value. */
static bool next_line(struct lines *l, char **word, char **value)
{
	char *line = l->next, *end = strchr(line, '\n'), *space;

	if (!end)
		return false;
	*end = '\0';
	l->next = end + 1;
	space = strchr(line, ' ');
	if (!space)
		return false;
	*space = '\0';
	*word = line;
	*value = space + 1;
	return true;
}

/* The value of the next line, which must begin with `word`. */
static const char *value_of(struct lines *l, const char *word)
{
	char *got, *value;

	return next_line(l, &got, &value) && strcmp(got, word) == 0 ? value : "";
}

static bool take_hex(const char *value, char out[DRIVE_ID_TEXT])
{
	if (strlen(value) != DRIVE_ID_TEXT - 1 || strspn(value, "0123456789abcdef") != DRIVE_ID_TEXT - 1)
		return false;
	memcpy(out, value, DRIVE_ID_TEXT);
	return true;
}

static bool take_number(const char *value, uint64_t most, uint64_t *out)
{
	char *end;

	if (!*value || strspn(value, "0123456789") != strlen(value) || strlen(value) > 19)
		return false;
	*out = strtoull(value, &end, 10);
	return *out >= 1 && *out <= most;
}

int drive_identity_parse(const char *text, struct drive_identity *id, struct error *err)
{
	struct lines *l = malloc(sizeof *l);
	uint64_t node = 0;
	int rc;

	if (!l)
		return -ENOMEM;
	memset(id, 0, sizeof *id);
	rc = open_lines(l, text, "file drive", err);
	if (rc == 0 && (strcmp(value_of(l, "garner-drive"), "1") != 0 || !take_hex(value_of(l, "drive"), id->drive) ||
	                !take_hex(value_of(l, "cluster"), id->cluster) ||
	                !take_number(value_of(l, "node"), UINT16_MAX, &node) || *l->next))
		rc = error_set(err, -EBADMSG, "file drive: it is not one that this version knows");
	id->node = (unsigned)node;
	free(l);
	return rc;
}

static bool take_state(const char *value, enum object_store_state *state)
{
	for (*state = OBJECT_STORE_COMPLETE; *state <= OBJECT_STORE_LOST; (*state)++)
		if (strcmp(value, LIST_WORDS(*state)) == 0)
			return true;
	return false;
}

static bool take_floor(const char *value, struct object_version *floor)
{
	*floor = OBJECT_VERSION_NONE;
	return strcmp(value, "none") == 0 || object_version_parse(value, floor) == 0;
}

static bool take_drives(struct lines *l, struct drive_list *list)
{
	char *word, *value;

	while (*l->next) {
		struct drive_listed *d = &list->drive[list->count];
		if (list->count == DRIVE_LIST_MAX || !next_line(l, &word, &value) || !take_hex(value, d->drive))
			return false;
		d->out = strcmp(word, "out") == 0;
		if (!d->out && strcmp(word, "member") != 0)
			return false;
		list->count++;
	}
	return true;
}

int drive_list_parse(const char *text, struct drive_list *list, struct error *err)
{
	struct lines *l = malloc(sizeof *l);
	uint64_t node = 0;
	int rc;

	if (!l)
		return -ENOMEM;
	memset(list, 0, sizeof *list);
	rc = open_lines(l, text, "file drives", err);
	if (rc == 0 &&
	    (strcmp(value_of(l, "garner-drives"), "1") != 0 || !take_hex(value_of(l, "cluster"), list->cluster) ||
	     !take_number(value_of(l, "node"), UINT16_MAX, &node) ||
	     !take_number(value_of(l, "generation"), INT64_MAX, &list->generation) ||
	     !take_state(value_of(l, "state"), &list->state) || !take_floor(value_of(l, "floor"), &list->floor) ||
	     !take_drives(l, list)))
		rc = error_set(err, -EBADMSG, "file drives: it is not one that this version knows");
	list->node = (unsigned)node;
	free(l);
	return rc;
}

struct drive_listed *drive_list_find(struct drive_list *list, const char *drive)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->drive[i].drive, drive) == 0)
			return &list->drive[i];
	return NULL;
}

/* Makes room at the end by forgetting the one that was left out first. There are fewer members than room. */
static void forget_oldest_out(struct drive_list *list)
{
	size_t i = 0;

	while (i + 1 < list->count && !list->drive[i].out)
		i++;
	memmove(&list->drive[i], &list->drive[i + 1], (list->count - i - 1) * sizeof list->drive[0]);
	list->count--;
}

void drive_list_set(struct drive_list *list, const char *drive, bool out)
{
	struct drive_listed *d = drive_list_find(list, drive);

	if (!d) {
		if (list->count == DRIVE_LIST_MAX)
			forget_oldest_out(list);
		d = &list->drive[list->count++];
		snprintf(d->drive, sizeof d->drive, "%s", drive);
	}
	d->out = out;
}

/* ---- rules ---- */

static bool has_identity(const struct drive_found *f)
{
	return !f->empty && !f->unusable;
}

static int check_belongs(const struct drive_found *f, const char *cluster, unsigned node, struct error *err)
{
	if (strcmp(f->id.cluster, cluster) != 0)
		return error_set(
			err, -EINVAL,
			"%s belongs to another cluster (%s): give the directory of this node's drive, or empty it",
			f->path, f->id.cluster);
	if (f->id.node != node)
		return error_set(err, -EINVAL,
		                 "%s belongs to node %u, and this is node %u: give the directory of this node's drive, "
		                 "or empty it",
		                 f->path, f->id.node, node);
	return 0;
}

static int check_not_stale(const struct drive_found *f, struct drive_list *list, struct error *err)
{
	struct drive_listed *d = drive_list_find(list, f->id.drive);

	if (f->fresh || (d && !d->out))
		return 0;
	return error_set(
		err, -EINVAL,
		"%s was left out of this node before, and does not know what was stored and removed since: empty "
		"the directory to use it again (the node then fetches everything from the others)",
		f->path);
}

/* Marks members that were not found, or cannot be used, as left out. Returns how many. */
static size_t leave_out_missing(const struct drive_found *found, size_t count, struct drive_list *list)
{
	size_t missing = 0;

	for (size_t i = 0; i < list->count; i++) {
		bool here = false;
		for (size_t k = 0; k < count; k++)
			here |= has_identity(&found[k]) && strcmp(found[k].id.drive, list->drive[i].drive) == 0;
		if (here || list->drive[i].out)
			continue;
		list->drive[i].out = true;
		missing++;
	}
	return missing;
}

static int check_each(const struct drive_found *found, size_t count, const char *cluster, unsigned node,
                      struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		int rc = has_identity(&found[i]) ? check_belongs(&found[i], cluster, node, err) : 0;
		if (rc < 0)
			return rc;
		for (size_t k = 0; k < i; k++)
			if (has_identity(&found[i]) && has_identity(&found[k]) &&
			    strcmp(found[i].id.drive, found[k].id.drive) == 0)
				return error_set(err, -EINVAL, "%s and %s are the same drive", found[k].path,
				                 found[i].path);
	}
	return 0;
}

/* No drive knows of others: a first start, or what was known is lost. */
static void begin_list(const struct drive_found *found, size_t count, struct drive_list *list)
{
	list->state = OBJECT_STORE_NEW;
	for (size_t i = 0; i < count; i++)
		if (has_identity(&found[i])) {
			drive_list_set(list, found[i].id.drive, false);
			if (!found[i].fresh)
				list->state = OBJECT_STORE_LOST;
		}
}

int drive_set_decide(const struct drive_found *found, size_t count, const char *cluster, unsigned node,
                     struct drive_list *list, bool *changed, struct error *err)
{
	const struct drive_list *newest = NULL;
	int rc = check_each(found, count, cluster, node, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < count; i++)
		if (has_identity(&found[i]) && found[i].list.generation &&
		    (!newest || found[i].list.generation > newest->generation))
			newest = &found[i].list;
	memset(list, 0, sizeof *list);
	if (newest)
		*list = *newest;
	snprintf(list->cluster, sizeof list->cluster, "%s", cluster);
	list->node = node;
	*changed = !newest;
	if (!newest)
		begin_list(found, count, list);
	for (size_t i = 0; i < count; i++) {
		rc = has_identity(&found[i]) ? check_not_stale(&found[i], list, err) : 0;
		if (rc < 0)
			return rc;
		if (has_identity(&found[i]) && !drive_list_find(list, found[i].id.drive)) {
			drive_list_set(list, found[i].id.drive, false);
			*changed = true;
		}
		/* A copy that a crash kept from being written. */
		*changed |= found[i].empty || (has_identity(&found[i]) && found[i].list.generation != list->generation);
	}
	if (leave_out_missing(found, count, list)) {
		list->state = OBJECT_STORE_LOST;
		*changed = true;
	}
	if (*changed)
		list->generation++;
	return 0;
}

/* ---- files ---- */

/* The whole file as a text, to be freed. */
static int read_text(struct disk *disk, const char *dir, const char *file, char **text)
{
	char path[DRIVE_PATH_MAX + 32];
	int fd;

	snprintf(path, sizeof path, "%s/%s", dir, file);
	fd = disk_open(disk, path, O_RDONLY, 0);
	if (fd < 0)
		return fd;
	*text = calloc(1, DRIVE_TEXT_MAX + 1);
	ssize_t n = *text ? disk_pread(disk, fd, *text, DRIVE_TEXT_MAX, 0) : -ENOMEM;
	disk_close(disk, fd);
	if (n < 0) {
		free(*text);
		return (int)n;
	}
	return 0;
}

/* What may be in a directory that is to become a drive. */
static bool counts_as_nothing(const char *name)
{
	static const char *const names[] = { ".", "..", "lost+found", "lock", "drive.new" };

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static int look_whether_empty(const char *path, bool *empty)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	if (!dir)
		return -errno;
	*empty = true;
	while ((errno = 0, entry = readdir(dir)))
		*empty &= counts_as_nothing(entry->d_name);
	int rc = -errno;
	closedir(dir);
	return rc;
}

static int look_at_list(struct disk *disk, struct drive_found *found)
{
	char objects[DRIVE_PATH_MAX + 32], *text;
	int rc = read_text(disk, found->path, "drives", &text), fd;

	if (rc == 0) {
		/* A damaged copy is none: another drive has one, or the node has lost what it knew. */
		if (drive_list_parse(text, &found->list, NULL) < 0)
			found->list.generation = 0;
		free(text);
		return 0;
	}
	if (rc != -ENOENT)
		return rc;
	snprintf(objects, sizeof objects, "%s/objects", found->path);
	fd = disk_open(disk, objects, O_RDONLY | O_DIRECTORY, 0);
	found->fresh = fd == -ENOENT;
	if (fd >= 0)
		disk_close(disk, fd);
	return 0;
}

static int look(struct disk *disk, struct drive_found *found, struct error *err)
{
	char *text;
	int rc = look_whether_empty(found->path, &found->empty);

	if (rc < 0 || found->empty)
		return rc;
	rc = read_text(disk, found->path, "drive", &text);
	if (rc == -ENOENT)
		return error_set(err, -EINVAL,
		                 "%s is not empty, and is no drive of a storage node: give an empty directory",
		                 found->path);
	if (rc < 0)
		return rc;
	rc = drive_identity_parse(text, &found->id, err);
	free(text);
	if (rc < 0)
		return error_prefix(err, rc, "%s", found->path);
	return look_at_list(disk, found);
}

int drive_set_look(struct disk *disk, const char *path, struct drive_found *found, struct error *err)
{
	int rc;

	memset(found, 0, sizeof *found);
	found->path = path;
	if (strlen(path) >= DRIVE_PATH_MAX)
		return error_set(err, -ENAMETOOLONG, "the path of a drive is longer than %u bytes", DRIVE_PATH_MAX - 1);
	rc = look(disk, found, err);
	if (rc == -ENOENT || rc == -ENOTDIR || rc == -EACCES)
		return error_set(err, rc, "%s: %s", path, strerror(-rc));
	if (rc < 0 && rc != -EINVAL && rc != -EBADMSG && rc != -ENOMEM) {
		found->unusable = true;
		error_set(err, rc, "%s: %s", path, strerror(-rc));
		return 0;
	}
	return rc;
}

/* Writes DIR/FILE anew: all of it, or the old one stays. */
static int write_text(struct disk *disk, const char *dir, const char *file, const char *text, size_t len)
{
	char fresh[DRIVE_PATH_MAX + 32], path[DRIVE_PATH_MAX + 32];
	int fd, rc, closed;

	snprintf(path, sizeof path, "%s/%s", dir, file);
	snprintf(fresh, sizeof fresh, "%s/%s.new", dir, file);
	fd = disk_open(disk, fresh, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		return fd;
	rc = disk_pwrite(disk, fd, text, len, 0);
	if (rc == 0)
		rc = disk_fdatasync(disk, fd);
	closed = disk_close(disk, fd);
	if (rc == 0)
		rc = closed;
	if (rc == 0)
		rc = disk_rename(disk, fresh, path);
	return rc == 0 ? disk_sync_dir(disk, dir) : rc;
}

int drive_identity_write(struct disk *disk, const char *dir, const struct drive_identity *id)
{
	char text[512];
	int len = drive_identity_format(id, text, sizeof text);

	return len < 0 ? len : write_text(disk, dir, "drive", text, (size_t)len);
}

int drive_list_write(struct disk *disk, const char *dir, const struct drive_list *list)
{
	char *text = malloc(DRIVE_TEXT_MAX);
	int rc = text ? drive_list_format(list, text, DRIVE_TEXT_MAX) : -ENOMEM;

	if (rc >= 0)
		rc = write_text(disk, dir, "drives", text, (size_t)rc);
	free(text);
	return rc;
}
