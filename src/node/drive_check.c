/* SPDX-License-Identifier: GPL-3.0-only */
/* drive_check.c: compares the files of a drive with its index after an unclean end, and puts right what differs.
 *
 * The names of files tell enough, unless a file is not in the index: that one is read. It was answered or was about to be, when it
 * verifies; it is what a power cut left of a put that nobody was answered, when it does not. A row was written when its file was
 * durable, so a row without a file is damage, and is kept as such: that the version was stored here must not be forgotten. Or it is the older
 * of two, of which the newer was lost in the power cut: a file goes when the row of the one that takes its place is written. So
 * where a file that counts more than such a row does not verify, it is taken for one that was answered.
 */
#include "node/drive.h"

#include "base/report.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE_ROWS 256
#define NAMES_MAX (4 * PAGE_ROWS)

struct found_file {
	struct object_file_id id;
	bool seen; /* its name is in the index, or was settled */
};

/* What is to be done after a transaction. */
struct leftover {
	struct object_file_id id;
	bool aside;
};

struct compare {
	struct drive *d;
	struct drive_check *check;
	bool rebuild;
	struct found_file *file; /* sorted by hash; of one hash, what counts most first */
	size_t count, room;
	struct object_entry *changes;
	size_t change_count;
	struct leftover *leftover;
	size_t leftover_count, leftover_room;
	bool placed; /* a file was made since the directories were synced */
	struct error *err;
};

/* ---- the files that are there ---- */

static void *grow(void *array, size_t *room, size_t size)
{
	size_t more = *room ? 2 * *room : 1024;
	void *bigger = realloc(array, more * size);

	if (bigger)
		*room = more;
	return bigger;
}

static int add_file(void *arg, const char *path)
{
	struct compare *c = arg;
	struct object_file_id id;

	if (object_file_name_parse(strrchr(path, '/') + 1, &id) < 0) {
		report_warning("%s is no object, and is left alone", path);
		return 0;
	}
	if (c->count == c->room) {
		struct found_file *bigger = grow(c->file, &c->room, sizeof *bigger);
		if (!bigger)
			return -ENOMEM;
		c->file = bigger;
	}
	c->file[c->count++] = (struct found_file){ .id = id };
	return 0;
}

static struct object_meta meta_of(const struct object_file_id *id)
{
	return (struct object_meta){ .version = id->version, .flags = id->flags };
}

static int compare_files(const void *a, const void *b)
{
	const struct object_file_id *x = &((const struct found_file *)a)->id, *y = &((const struct found_file *)b)->id;
	int order = memcmp(x->hash, y->hash, sizeof x->hash);
	struct object_meta of_x = meta_of(x), of_y = meta_of(y);

	return order ? order : object_precedence(&of_y, &of_x);
}

static int sync_directories(struct compare *c)
{
	c->placed = false;
	return drive_sync_directories(c->d, NULL);
}

/* Lists all files, and makes their names durable, so that one which is found good may be relied on. */
static int list_files(struct compare *c)
{
	char path[DRIVE_FILE_PATH];
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < OBJECT_DIRS; i++) {
		drive_directory(c->d, i, path);
		rc = disk_each_file(path, add_file, c);
	}
	if (rc == 0)
		rc = sync_directories(c);
	/* All objects are about to be read and taken: one sync of everything instead of one each. */
	if (rc == 0 && c->rebuild && syncfs(c->d->lock_fd) < 0)
		rc = -errno;
	if (rc == 0 && c->count)
		qsort(c->file, c->count, sizeof *c->file, compare_files);
	return rc < 0 ? error_set(c->err, rc, "listing objects: %s", strerror(-rc)) : 0;
}

/* The first file with that hash, or where it would be. */
static size_t first_of(const struct compare *c, const uint8_t hash[OBJECT_HASH_BYTES])
{
	size_t low = 0, high = c->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (memcmp(c->file[middle].id.hash, hash, OBJECT_HASH_BYTES) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static size_t end_of(const struct compare *c, size_t first, const uint8_t hash[OBJECT_HASH_BYTES])
{
	while (first < c->count && memcmp(c->file[first].id.hash, hash, OBJECT_HASH_BYTES) == 0)
		first++;
	return first;
}

/* ---- one file ---- */

static void file_path(const struct compare *c, const struct object_file_id *id, char path[DRIVE_FILE_PATH])
{
	char name[OBJECT_FILE_NAME];

	object_file_name(id, name);
	snprintf(path, DRIVE_FILE_PATH, "%s/objects/%x/%s", c->d->path, object_file_dir(id), name);
}

static bool same_id(const struct object_file_id *a, const struct object_file_id *b)
{
	return !memcmp(a->hash, b->hash, sizeof a->hash) && a->flags == b->flags &&
	       !object_version_compare(a->version, b->version);
}

/* Reads the whole file and makes it durable. -EBADMSG: it is not, or not that, object. -ENODATA: it cannot be read. */
static int verify(struct compare *c, const struct object_file_id *id, struct object_entry *entry)
{
	char path[DRIVE_FILE_PATH];
	struct object_file_id inside;
	struct object_header h = { 0 };
	int fd, rc;

	file_path(c, id, path);
	fd = disk_open(c->d->disk, path, O_RDONLY, 0);
	if (fd < 0)
		return fd == -EIO || fd == -EBADMSG ? -ENODATA : fd;
	rc = object_file_read_header(c->d->disk, fd, &h, NULL);
	if (rc == 0) {
		object_file_id(h.entry.name, &h.entry.meta, &inside);
		if (!same_id(&inside, id))
			rc = -EBADMSG;
	}
	if (rc == 0)
		rc = object_file_read_all(c->d->disk, fd, &h, NULL, true, NULL);
	/* Told apart from a sync that fails, which says nothing of the file. */
	if (rc == -EIO)
		rc = -ENODATA;
	if (rc == 0 && !c->rebuild)
		rc = disk_fdatasync(c->d->disk, fd);
	disk_close(c->d->disk, fd);
	*entry = h.entry;
	return rc;
}

/* ---- one name ---- */

static int leave_over(struct compare *c, const struct object_file_id *id, bool aside)
{
	if (c->leftover_count == c->leftover_room) {
		struct leftover *bigger = grow(c->leftover, &c->leftover_room, sizeof *bigger);
		if (!bigger)
			return -ENOMEM;
		c->leftover = bigger;
	}
	c->leftover[c->leftover_count++] = (struct leftover){ *id, aside };
	return 0;
}

/* What is about to be written under this name is not to be deleted with what is left over. */
static void forget_leftover(struct compare *c, const struct object_entry *entry)
{
	struct object_file_id id;

	object_file_id(entry->name, &entry->meta, &id);
	for (size_t i = c->leftover_count; i-- > 0;)
		if (same_id(&c->leftover[i].id, &id))
			c->leftover[i] = c->leftover[--c->leftover_count];
}

/* The row's file is not there. */
static int keep_row(struct compare *c, const struct object_entry *row)
{
	struct object_entry *bare = &c->changes[c->change_count++];

	*bare = *row;
	bare->meta.flags &= OBJECT_FLAGS_FILE;
	if (!(row->meta.flags & OBJECT_TOMBSTONE)) {
		bare->meta.flags |= OBJECT_DAMAGED;
		c->check->missing++;
	}
	c->placed = true;
	/* That may be there already: it counts for less than the row, which was written before. */
	forget_leftover(c, bare);
	return drive_place_bare(c->d, bare);
}

static bool same_file(const struct object_file_id *id, const struct object_entry *row)
{
	return object_version_compare(id->version, row->meta.version) == 0 &&
	       id->flags == (row->meta.flags & OBJECT_FLAGS_FILE);
}

/* Whether one of the files is of the row's version: as it is marked as damaged. */
static bool has_version_of(const struct compare *c, const struct object_entry *row, size_t first, size_t end)
{
	for (size_t i = first; i < end; i++)
		if (object_version_compare(c->file[i].id.version, row->meta.version) == 0)
			return true;
	return false;
}

/* The row's file has gone, and those from leftover `from` on that count more than the row and are no objects: one of them was entered. */
static void keep_aside(struct compare *c, const struct object_entry *row, size_t from)
{
	for (size_t i = from; i < c->leftover_count; i++) {
		struct leftover *l = &c->leftover[i];
		struct object_meta meta = meta_of(&l->id);
		if (l->aside || object_precedence(&meta, &row->meta) < 0)
			continue;
		l->aside = true;
		c->check->removed--;
		c->check->damaged++;
	}
}

/* Decides what is there of a name: its row (NULL: none), and its files [first, end). */
static int settle(struct compare *c, const struct object_entry *row, size_t first, size_t end)
{
	size_t left_over = c->leftover_count;
	bool settled = false;
	int rc = 0;

	for (size_t i = first; rc == 0 && i < end; i++) {
		const struct object_file_id *id = &c->file[i].id;
		struct object_meta meta = meta_of(id);

		c->file[i].seen = true;
		if (!settled && row && same_file(id, row)) {
			settled = true;
			continue;
		}
		if (settled || (row && object_precedence(&meta, &row->meta) < 0)) {
			rc = leave_over(c, id, false);
			continue;
		}
		struct object_entry *entry = &c->changes[c->change_count];
		rc = verify(c, id, entry);
		if (rc == 0) {
			settled = true;
			c->change_count++;
			c->check->added += !row;
			c->check->replaced += row != NULL;
		} else if (rc == -EBADMSG || rc == -ENODATA) {
			/* Without an index it may be one that was answered; and so may what cannot be read, which is no torn write. */
			bool lost = c->rebuild || rc == -ENODATA;
			c->check->damaged += lost;
			c->check->removed += !lost;
			rc = leave_over(c, id, lost);
		}
	}
	if (rc < 0 || !row || settled)
		return rc;
	if (!has_version_of(c, row, first, end))
		keep_aside(c, row, left_over);
	return keep_row(c, row);
}

/* ---- all ---- */

/* Carries out what was decided: the index first. */
static int apply(struct compare *c)
{
	char path[DRIVE_FILE_PATH];
	int rc = c->placed ? sync_directories(c) : 0;

	if (rc == 0 && c->change_count) {
		rc = object_index_begin(c->d->index, false, c->err);
		if (rc < 0)
			return rc;
		for (size_t i = 0; rc == 0 && i < c->change_count; i++)
			rc = object_index_put(c->d->index, &c->changes[i], c->err);
		rc = object_index_end(c->d->index, rc, c->err);
	}
	for (size_t i = 0; rc == 0 && i < c->leftover_count; i++) {
		file_path(c, &c->leftover[i].id, path);
		if (c->leftover[i].aside)
			drive_quarantine(c->d, path);
		else
			rc = disk_unlink(c->d->disk, path);
	}
	c->change_count = c->leftover_count = 0;
	return rc;
}

static int compare_page(struct compare *c, const struct object_entry *rows, int count)
{
	int rc = 0;

	for (int i = 0; rc == 0 && i < count; i++) {
		uint8_t hash[OBJECT_HASH_BYTES];
		object_name_hash(rows[i].name, hash);
		size_t first = first_of(c, hash);
		rc = settle(c, &rows[i], first, end_of(c, first, hash));
	}
	return rc == 0 ? apply(c) : rc;
}

static int compare_rows(struct compare *c)
{
	struct object_entry *rows = malloc(PAGE_ROWS * sizeof *rows);
	int n = rows ? object_index_page(c->d->index, "", NULL, rows, PAGE_ROWS, c->err) : -ENOMEM;

	while (n > 0) {
		int rc = compare_page(c, rows, n);
		if (rc < 0) {
			n = rc;
			break;
		}
		n = object_index_page(c->d->index, NULL, rows[n - 1].name, rows, PAGE_ROWS, c->err);
	}
	free(rows);
	return n;
}

static int take_files_without_row(struct compare *c)
{
	int rc = 0;

	for (size_t i = 0, end; rc == 0 && c->file && i < c->count; i = end) {
		end = end_of(c, i, c->file[i].id.hash);
		if (c->file[i].seen)
			continue;
		rc = settle(c, NULL, i, end);
		if (rc == 0 && (c->change_count >= NAMES_MAX || c->leftover_count >= NAMES_MAX))
			rc = apply(c);
	}
	return rc == 0 ? apply(c) : rc;
}

static void tell(const struct compare *c)
{
	const struct drive_check *k = c->check;

	if (c->rebuild && c->count)
		report_notice("drive %s: its index was built from %" PRIu64 " objects", c->d->path, k->added);
	else if (k->added || k->removed || k->replaced)
		report_notice("drive %s: after an unclean end %" PRIu64 " objects were added to its index and %" PRIu64
		              " replaced; %" PRIu64 " that were unfinished are gone",
		              c->d->path, k->added, k->replaced, k->removed);
	if (k->missing)
		report_error("drive %s: the files of %" PRIu64 " objects are missing", c->d->path, k->missing);
	if (k->damaged)
		report_error("drive %s: %" PRIu64 " damaged files were moved to its directory quarantine", c->d->path,
		             k->damaged);
}

int drive_compare(struct drive *d, bool rebuild, struct drive_check *check, struct error *err)
{
	struct compare c = { .d = d, .check = check, .rebuild = rebuild, .err = err };
	int rc;

	c.changes = malloc((NAMES_MAX + PAGE_ROWS) * sizeof *c.changes);
	rc = c.changes ? list_files(&c) : -ENOMEM;
	if (rc == 0)
		rc = compare_rows(&c);
	if (rc == 0)
		rc = take_files_without_row(&c);
	if (rc == 0)
		tell(&c);
	free(c.changes);
	free(c.file);
	free(c.leftover);
	return rc;
}
