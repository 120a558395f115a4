/* SPDX-License-Identifier: GPL-3.0-only */
/* pool_copy_place.c: what the target of a copy is: empty, an unfinished copy, this pool already, or nothing to write to. */
#include "image/pool_copy_private.h"
#include "image/pool_probe.h"

#include "base/report.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

static const struct seal_key plain_key = { .plain = true };

/* ---- what is there ----------------------------------------------------------------------------------------------- */

static int check_format(struct pool_copy *c, const struct fields *f, struct error *err)
{
	const char *url = c->to->store->url;
	uint8_t uuid[POOL_UUID_BYTES];
	char here[UUID_TEXT_BYTES], there[UUID_TEXT_BYTES];
	uint64_t version, sealed, capabilities;

	if (fields_u64(f, "version", &version) || version == 0)
		return error_set(err, -EBADMSG, "%s: the pool's format object has no version", url);
	if (version > POOL_VERSION)
		return error_set(err, -EPROTONOSUPPORT,
		                 "%s: a pool of format version %" PRIu64
		                 ", and this garnerfs knows up to %d: upgrade it",
		                 url, version, POOL_VERSION);
	if (fields_bytes(f, "uuid", uuid, sizeof uuid) || fields_u64(f, "sealed", &sealed) ||
	    fields_u64(f, "capabilities", &capabilities))
		return error_set(err, -EBADMSG, "%s: the pool's format object is damaged", url);
	if (memcmp(uuid, c->from->uuid, sizeof uuid) != 0 || sealed != c->from->sealed)
		return error_set(err, -EXDEV,
		                 "%s: another pool (%s) than the source (%s). Between pools, images go through a file: "
		                 "garner export out of a mount of the one, garner import into a mount of the other",
		                 url, uuid_format(uuid, there), uuid_format(c->from->uuid, here));
	c->to->store->capabilities &= (unsigned)capabilities;
	return 0;
}

/* That what is put into the target does not come out of the source. */
static int check_not_the_source(struct pool_copy *c, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	uint64_t nonce, size;
	int rc, removed;

	randombytes_buf(&nonce, sizeof nonce);
	snprintf(key, sizeof key, PROBE_PREFIX "%016" PRIx64 "-copy", nonce);
	rc = store_put_wait(c->to->store, key, "garnerfs", 8, 0, err);
	if (!rc) {
		rc = store_head_wait(c->from->store, key, &size, err);
		if (rc == 0)
			rc = error_set(err, -EINVAL, "%s and %s are the same place", c->from->store->url,
			               c->to->store->url);
		else if (rc == -ENOENT)
			rc = 0;
	}
	removed = store_remove_wait(c->to->store, key, rc ? NULL : err);
	return rc ? rc : removed;
}

static int is_content(void *arg, const struct store_entry *entry)
{
	(void)arg;
	return strncmp(entry->key, PROBE_PREFIX, strlen(PROBE_PREFIX)) != 0;
}

/* ---- beginning --------------------------------------------------------------------------------------------------- */

/* The source's format with what the target can do. */
static int make_format(struct pool_copy *c, uint64_t capabilities, struct error *err)
{
	static const char *const names[] = { "version", "uuid", "created", "grain", "sealed",
		                             "salt",    "ops",  "mem",     "key" };
	struct fields *source;
	int rc = pool_get_object(c->from, POOL_KEY, OBJECT_POOL, &plain_key, &source, err);

	if (rc)
		return rc;
	c->format = fields_new();
	for (size_t i = 0; c->format && i < sizeof names / sizeof names[0]; i++) {
		const char *value = fields_text(source, names[i], 0);

		if (value)
			fields_add_text(c->format, names[i], value);
	}
	if (c->format)
		fields_add_u64(c->format, "capabilities", capabilities);
	fields_free(source);
	return c->format ? check_format(c, c->format, err) : -ENOMEM;
}

static int begin_new(struct pool_copy *c, struct error *err)
{
	struct store *s = c->to->store;
	uint64_t capabilities;
	int rc = store_list_each(s, "", NULL, is_content, NULL, err);

	if (rc > 0)
		return error_set(err, -ENOTEMPTY, "%s holds other objects: a pool needs a place of its own", s->url);
	if (!rc)
		rc = pool_probe(s, &capabilities, err);
	if (!rc)
		rc = make_format(c, capabilities, err);
	if (rc)
		return rc;
	rc = pool_put_object(c->to, COPY_MARKER_KEY, OBJECT_POOL, &plain_key, c->format, STORE_PUT_CREATE_ONLY, err);
	if (rc == -EEXIST)
		rc = error_set(err, -EBUSY, "%s: another copy to this place has just begun", s->url);
	return rc;
}

int pool_copy_place_open(struct pool_copy *c, struct store *store, struct error *err)
{
	struct fields *f = NULL;
	int rc;

	c->to = sodium_malloc(sizeof *c->to); /* locked memory: it holds keys */
	if (!c->to)
		return -ENOMEM;
	*c->to = *c->from;
	c->to->store = store;
	c->to->clock = NULL;
	rc = pool_get_object(c->to, POOL_KEY, OBJECT_POOL, &plain_key, &f, err);
	if (rc == 0) {
		rc = check_format(c, f, err);
		fields_free(f);
		return rc ? rc : check_not_the_source(c, err);
	}
	if (rc != -ENOENT)
		return rc;
	c->report->made = true;
	rc = pool_get_object(c->to, COPY_MARKER_KEY, OBJECT_POOL, &plain_key, &c->format, err);
	if (rc == 0)
		return check_format(c, c->format, err);
	return rc == -ENOENT ? begin_new(c, err) : rc;
}

/* ---- ending ------------------------------------------------------------------------------------------------------ */

/* After -EEXIST: another run of the same copy may have come to its end first. */
static int check_finished(struct pool_copy *c, struct error *err)
{
	struct fields *f;
	int rc = pool_get_object(c->to, POOL_KEY, OBJECT_POOL, &plain_key, &f, err);

	if (rc)
		return rc;
	rc = check_format(c, f, err);
	fields_free(f);
	return rc;
}

int pool_copy_place_finish(struct pool_copy *c, struct error *err)
{
	struct store *s = c->to->store;
	int rc = 0;

	if (c->format) {
		rc = pool_put_object(c->to, POOL_KEY, OBJECT_POOL, &plain_key, c->format, STORE_PUT_CREATE_ONLY, err);
		if (rc == -EEXIST)
			rc = check_finished(c, err);
		if (!rc && !(s->capabilities & (STORE_CREATE_ONLY | STORE_READ_LATEST)))
			report_warning("%s: the store cannot tell two hosts apart: the pool is written only with "
			               "-o exclusive=yes, by the one host that uses it",
			               s->url);
	}
	return rc ? rc : store_remove_wait(s, COPY_MARKER_KEY, err);
}

void pool_copy_place_close(struct pool_copy *c)
{
	fields_free(c->format);
	c->format = NULL;
	if (c->to)
		sodium_free(c->to); /* wipes; the store is the caller's */
	c->to = NULL;
}
