/* SPDX-License-Identifier: GPL-3.0-only */
/* image_list.c: the images of a pool, from its store or through a mount. */
#include "cli/image_list.h"

#include "image/catalog.h"
#include "image/epoch.h"

#include "base/report.h"

#include <dirent.h>
#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NS_PER_S UINT64_C(1000000000)

static int add(struct image_list *list, const char *path, uint64_t id)
{
	if (list->count == list->room) {
		size_t room = list->room ? list->room * 2 : 64;
		struct listed_image *image = reallocarray(list->image, room, sizeof *image);

		if (!image)
			return -ENOMEM;
		list->image = image;
		list->room = room;
	}
	list->image[list->count] = (struct listed_image){ .path = strdup(path), .id = id };
	if (!list->image[list->count].path)
		return -ENOMEM;
	list->count++;
	return 0;
}

static int add_entry(void *arg, const char *path, const struct catalog_entry *entry)
{
	return add(arg, path, entry->id);
}

static int add_details(struct listed_image *image, struct pool *pool, struct error *err)
{
	struct head head;
	int rc = head_load(pool, image->id, &head, err);

	if (rc == -ENOENT)
		return 0;
	if (rc < 0)
		return error_prefix(err, rc, "%s", image->path);
	image->known = true;
	image->size = head.size;
	image->allocated = head.allocated * head.grain_bytes;
	image->mtime_ns = head.mtime_ns;
	return 0;
}

int image_list_from_store(struct image_list *list, struct pool *pool, bool details, struct error *err)
{
	struct catalog *catalog = catalog_new(pool, NULL);
	size_t first = list->count;
	int rc;

	if (!catalog)
		return error_set(err, -ENOMEM, "out of memory");
	catalog_set_read_only(catalog);
	rc = catalog_walk(catalog, add_entry, list, err);
	if (rc == -ENOMEM)
		error_set(err, rc, "out of memory");
	for (size_t i = first; details && rc == 0 && i < list->count; i++)
		rc = add_details(&list->image[i], pool, err);
	catalog_free(catalog);
	return rc;
}

static int add_file(struct image_list *list, const char *path, const struct stat *st)
{
	struct listed_image *image;
	int rc = add(list, path, st->st_ino);

	if (rc < 0)
		return rc;
	image = &list->image[list->count - 1];
	image->known = true;
	image->size = (uint64_t)st->st_size;
	image->allocated = (uint64_t)st->st_blocks * 512;
	image->mtime_ns = (uint64_t)st->st_mtim.tv_sec * NS_PER_S + (uint64_t)st->st_mtim.tv_nsec;
	return 0;
}

/* The inode number as its directory tells it; 0: it does not. */
static uint64_t number_in_directory(const FTSENT *e)
{
	char *parent = strndup(e->fts_path, e->fts_pathlen - e->fts_namelen);
	DIR *dir = parent ? opendir(parent) : NULL;
	uint64_t number = 0;
	struct dirent *d;

	while (dir && !number && (d = readdir(dir)))
		if (strcmp(d->d_name, e->fts_name) == 0)
			number = d->d_ino;
	if (dir)
		closedir(dir);
	free(parent);
	return number;
}

/* What has a name and cannot be looked up: its size is not known. */
static int add_unreadable(struct image_list *list, const char *path, const FTSENT *e, struct error *err)
{
	uint64_t id = number_in_directory(e);

	if (!id)
		return error_set(err, -e->fts_errno, "%s: %s", e->fts_path, strerror(e->fts_errno));
	report_warning("%s: %s", e->fts_path, strerror(e->fts_errno));
	return add(list, path, id) < 0 ? error_set(err, -ENOMEM, "out of memory") : 0;
}

int image_list_from_mount(struct image_list *list, const char *path, struct error *err)
{
	char *const roots[] = { (char *)path, NULL };
	size_t skip = strlen(path);
	FTS *walk;
	FTSENT *e;
	int rc = 0;

	while (skip > 1 && path[skip - 1] == '/')
		skip--;
	walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
	if (!walk)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	while (rc == 0 && (errno = 0, e = fts_read(walk))) {
		const char *below = e->fts_path + skip + strspn(e->fts_path + skip, "/");

		if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR ||
		    (e->fts_info == FTS_NS && e->fts_errno != ENOENT && e->fts_level == FTS_ROOTLEVEL))
			rc = error_set(err, -e->fts_errno, "%s: %s", e->fts_path, strerror(e->fts_errno));
		else if (e->fts_info == FTS_NS && e->fts_errno != ENOENT)
			rc = add_unreadable(list, below, e, err);
		else if (e->fts_info == FTS_F && add_file(list, below, e->fts_statp) < 0)
			rc = error_set(err, -ENOMEM, "out of memory");
	}
	if (rc == 0 && errno)
		rc = error_set(err, -errno, "%s: %s", path, strerror(errno));
	fts_close(walk);
	return rc;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct listed_image *)a)->path, ((const struct listed_image *)b)->path);
}

void image_list_sort(struct image_list *list)
{
	if (list->count)
		qsort(list->image, list->count, sizeof list->image[0], by_path);
}

const char *image_list_path(const struct image_list *list, uint64_t id)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->image[i].id == id)
			return list->image[i].path;
	return NULL;
}

void image_list_destroy(struct image_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->image[i].path);
	free(list->image);
	*list = (struct image_list){ 0 };
}
