/* SPDX-License-Identifier: GPL-3.0-only */
/* pool_copy.c: copies a pool, image after image. */
#include "image/pool_copy_private.h"

#include "base/hash.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_SHOWN 1024

bool pool_copy_go_on(struct pool_copy *c)
{
	return !c->progress || c->progress(c->arg, c->path, c->done, c->total);
}

/* ---- how much there is ------------------------------------------------------------------------------------------- */

struct sum {
	struct pool_copy *c;
	struct hash *wanted;
};

static int add_segment(void *arg, const struct store_entry *entry)
{
	struct sum *sum = arg;
	segment_no_t number;
	uint64_t image;

	if (sscanf(entry->key, "images/%16" SCNx64 "/segments/%16" SCNx64, &image, &number) == 2 &&
	    hash_get(sum->wanted, image))
		sum->c->total += entry->size;
	return pool_copy_go_on(sum->c) ? 0 : -EINTR;
}

/* Only for showing how far it is: segments that do not count are in the sum. */
static int sum_segments(struct pool_copy *c, struct hash *wanted, uint64_t only, struct error *err)
{
	struct sum sum = { .c = c, .wanted = wanted };
	char prefix[STORE_KEY_MAX + 1] = "images/";

	if (!c->whole)
		snprintf(prefix, sizeof prefix, "images/%016" PRIx64 "/segments/", only);
	return store_list_each(c->from->store, prefix, NULL, add_segment, &sum, err);
}

/* ---- images ------------------------------------------------------------------------------------------------------ */

/* Whether no entry is where one named the image. An error of the store counts as no. */
static bool lost_its_names(struct pool_copy *c, uint64_t id)
{
	for (size_t i = 0; i < c->names.count; i++) {
		struct catalog_entry now;

		if (c->names.objects[i].gone || c->names.entries[i].id != id)
			continue;
		int rc = entry_read(c->from, &c->names.places[i], &now, NULL);
		if (rc != -ENOENT && (rc || now.id == id))
			return false;
	}
	return true;
}

/* One that has only been renamed has no mark in the trash, and its data. The mark goes when the data is gone. An error of the store counts as
 * no. */
static bool was_deleted(struct pool_copy *c, uint64_t id)
{
	char key[STORE_KEY_MAX + 1];
	uint64_t size;
	int rc;

	if (!lost_its_names(c, id))
		return false;
	snprintf(key, sizeof key, "trash/%016" PRIx64, id);
	rc = store_head_wait(c->from->store, key, &size, NULL);
	if (rc)
		snprintf(key, sizeof key, "images/%016" PRIx64 "/", id);
	return !rc || (rc == -ENOENT && store_any(c->from->store, key, NULL) == 0);
}

static void drop_names(struct pool_copy *c, uint64_t id)
{
	for (size_t i = 0; i < c->names.count; i++)
		if (!c->names.objects[i].gone && c->names.entries[i].id == id)
			c->names.objects[i].skip = true;
}

static int copy_one(struct pool_copy *c, const struct catalog_entry *entry, struct error *err)
{
	struct error why = { 0 };
	int rc = pool_copy_image(c, entry, &why);

	if (!rc) {
		c->report->images++;
		return 0;
	}
	/* Its data is deleted after its name is gone; what is in the copy by then is without a name, and no harm. */
	if (c->whole && (rc == -ENOENT || rc == -EBADMSG || rc == -EAGAIN) && was_deleted(c, entry->id)) {
		drop_names(c, entry->id);
		c->report->gone++;
		return 0;
	}
	return error_set(err, rc, "%.200s: %s", c->path, why.text[0] ? why.text : strerror(-rc));
}

/* An image with two names, since it is being renamed, is copied once. */
static int collect(struct pool_copy *c, struct hash *wanted)
{
	int rc = 0;

	for (size_t i = 0; i < c->names.count && !rc; i++) {
		struct catalog_entry *e = &c->names.entries[i];

		if (!c->names.objects[i].gone && e->type == NODE_FILE && !hash_get(wanted, e->id))
			rc = hash_put(wanted, e->id, e);
	}
	return rc;
}

static int copy_images(struct pool_copy *c, struct error *err)
{
	struct hash *wanted = hash_new();
	char path[PATH_SHOWN];
	int rc = wanted ? collect(c, wanted) : -ENOMEM;

	if (!rc)
		rc = sum_segments(c, wanted, c->names.count ? c->names.entries[c->names.count - 1].id : 0, err);
	for (size_t i = 0; i < c->names.count && !rc; i++) {
		const struct catalog_entry *e = &c->names.entries[i];

		/* In the order of their names' keys, so that each run takes the same way. */
		if (c->names.objects[i].gone || hash_get(wanted, e->id) != e)
			continue;
		c->path = pool_copy_names_path(&c->names, e, path, sizeof path);
		rc = pool_copy_go_on(c) ? copy_one(c, e, err) : -EINTR;
		c->path = "";
	}
	hash_free(wanted);
	return rc;
}

int pool_copy(struct pool *from, struct store *to, const char *path, struct pool_copy_report *report,
              pool_copy_progress_fn *progress, void *arg, struct error *err)
{
	struct pool_copy c = {
		.from = from,
		.report = report,
		.progress = progress,
		.arg = arg,
		.path = "",
		.whole = path == NULL,
	};
	int rc;

	memset(report, 0, sizeof *report);
	c.copied = hash_new();
	rc = c.copied ? pool_copy_names_load(&c, path, err) : -ENOMEM;
	if (!rc)
		rc = pool_copy_place_open(&c, to, err);
	if (!rc)
		rc = pool_copy_names_check(&c, err);
	if (!rc)
		rc = copy_images(&c, err);
	if (!rc)
		rc = pool_copy_names_put(&c, err);
	if (!rc)
		rc = pool_copy_place_finish(&c, err);
	pool_copy_names_free(&c.names);
	pool_copy_place_close(&c);
	hash_free(c.copied);
	if (rc == -ENOMEM)
		return error_set(err, rc, "out of memory");
	return rc == -EINTR ? error_set(err, rc, "stopped") : rc;
}
