/* SPDX-License-Identifier: GPL-3.0-only */
/* catalog_entry.c: one directory entry as an object in the store. */
#include "image/catalog_entry.h"

#include "base/bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOT_KEY "names/root"

int entry_name_check(const char *name, struct error *err)
{
	size_t len = strnlen(name, NAME_BYTES_MAX + 1);

	if (len > NAME_BYTES_MAX)
		return error_set(err, -ENAMETOOLONG, "a name of more than %d bytes", NAME_BYTES_MAX);
	if (len == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strchr(name, '/'))
		return error_set(err, -EINVAL, "'%s' is no name", name);
	return 0;
}

/* ---- places ------------------------------------------------------------------------------------------------------ */

struct entry_place entry_place(const struct pool *p, uint64_t dir, const char *name)
{
	struct entry_place place = { .dir = dir };

	if (dir)
		crypto_generichash(place.hash, sizeof place.hash, (const unsigned char *)name, strlen(name),
		                   p->catalog.plain ? NULL : p->catalog.bytes, p->catalog.plain ? 0 : SEAL_KEY_BYTES);
	return place;
}

bool entry_place_equal(const struct entry_place *a, const struct entry_place *b)
{
	return a->dir == b->dir && memcmp(a->hash, b->hash, sizeof a->hash) == 0;
}

void entry_prefix(uint64_t dir, char prefix[STORE_KEY_MAX + 1])
{
	snprintf(prefix, STORE_KEY_MAX + 1, "names/%016" PRIx64 "/", dir);
}

void entry_key(const struct entry_place *place, char key[STORE_KEY_MAX + 1])
{
	if (place->dir == 0) {
		snprintf(key, STORE_KEY_MAX + 1, ROOT_KEY);
		return;
	}
	entry_prefix(place->dir, key);
	sodium_bin2hex(key + strlen(key), 2 * ENTRY_HASH_BYTES + 1, place->hash, sizeof place->hash);
}

bool entry_key_parse(const char *key, struct entry_place *place)
{
	char hex[2 * ENTRY_HASH_BYTES + 2], again[STORE_KEY_MAX + 1];
	size_t len;

	memset(place, 0, sizeof *place);
	if (sscanf(key, "names/%16" SCNx64 "/%33[0-9a-f]", &place->dir, hex) != 2 || place->dir == 0)
		return false;
	if (sodium_hex2bin(place->hash, sizeof place->hash, hex, strlen(hex), NULL, &len, NULL) != 0 ||
	    len != sizeof place->hash)
		return false;
	entry_key(place, again);
	return strcmp(key, again) == 0;
}

bool entry_counts_over(const struct catalog_entry *a, const struct entry_place *a_place, const struct catalog_entry *b,
                       const struct entry_place *b_place)
{
	if (a->serial != b->serial)
		return a->serial > b->serial;
	/* Two hosts renamed at the same moment. Any rule will do that all hosts share. */
	if (a_place->dir != b_place->dir)
		return a_place->dir > b_place->dir;
	return memcmp(a_place->hash, b_place->hash, sizeof a_place->hash) > 0;
}

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

static int u32_field(const struct fields *f, const char *name, uint32_t *value)
{
	uint64_t v;

	if (fields_u64(f, name, &v) || v > UINT32_MAX)
		return -EBADMSG;
	*value = (uint32_t)v;
	return 0;
}

static bool fits(const struct pool *p, const struct entry_place *place, const struct catalog_entry *e)
{
	struct entry_place named;

	if (e->serial == 0 || (e->mode & ~07777u))
		return false;
	if (place->dir == 0)
		return e->id == NODE_ROOT && e->type == NODE_DIRECTORY && e->name[0] == '\0';
	if (e->id == 0 || e->id == NODE_ROOT || entry_name_check(e->name, NULL))
		return false;
	if (e->type == NODE_FILE && !grain_bytes_valid(e->grain_bytes))
		return false;
	named = entry_place(p, place->dir, e->name);
	return entry_place_equal(&named, place);
}

static int parse(const struct fields *f, struct catalog_entry *e)
{
	const char *name = fields_text(f, "name", 0);
	const char *type = fields_text(f, "type", 0);

	if (!name || strlen(name) > NAME_BYTES_MAX || !type)
		return -EBADMSG;
	if (strcmp(type, "file") == 0)
		e->type = NODE_FILE;
	else if (strcmp(type, "directory") == 0)
		e->type = NODE_DIRECTORY;
	else
		return -EBADMSG;
	snprintf(e->name, sizeof e->name, "%s", name);
	if (fields_hex64(f, "id", &e->id) || u32_field(f, "mode", &e->mode) || u32_field(f, "uid", &e->uid) ||
	    u32_field(f, "gid", &e->gid) || fields_u64(f, "created", &e->created_ns) ||
	    fields_u64(f, "changed", &e->changed_ns) || fields_u64(f, "serial", &e->serial))
		return -EBADMSG;
	if (e->type == NODE_FILE)
		return u32_field(f, "grain", &e->grain_bytes);
	return 0;
}

/* Frees `f`. */
static int from_fields(const struct pool *p, const struct entry_place *place, const char *key, struct fields *f,
                       struct catalog_entry *entry, struct error *err)
{
	int rc;

	memset(entry, 0, sizeof *entry);
	entry->parent = place->dir;
	rc = parse(f, entry);
	fields_free(f);
	if (rc || !fits(p, place, entry))
		return error_set(err, -EBADMSG,
		                 "%s: directory entry with a field that is missing, damaged or misplaced", key);
	return 0;
}

int entry_decode(const struct pool *p, const struct entry_place *place, const uint8_t *bytes, size_t len,
                 struct catalog_entry *entry, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct fields *f;
	int rc;

	entry_key(place, key);
	rc = object_decode(bytes, len, OBJECT_ENTRY, key, &p->catalog, &f, err);
	return rc ? rc : from_fields(p, place, key, f, entry, err);
}

int entry_read(struct pool *p, const struct entry_place *place, struct catalog_entry *entry, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct fields *f;
	int rc;

	entry_key(place, key);
	rc = pool_get_object(p, key, OBJECT_ENTRY, &p->catalog, &f, err);
	return rc ? rc : from_fields(p, place, key, f, entry, err);
}

int entry_write(struct pool *p, const struct catalog_entry *e, unsigned put_flags, struct error *err)
{
	struct entry_place place = entry_place(p, e->parent, e->name);
	char key[STORE_KEY_MAX + 1];
	struct fields *f = fields_new();
	int rc;

	if (!f)
		return -ENOMEM;
	fields_add_text(f, "name", e->name);
	fields_add_text(f, "type", e->type == NODE_FILE ? "file" : "directory");
	fields_add_hex64(f, "id", e->id);
	fields_add_u64(f, "mode", e->mode);
	fields_add_u64(f, "uid", e->uid);
	fields_add_u64(f, "gid", e->gid);
	if (e->type == NODE_FILE)
		fields_add_u64(f, "grain", e->grain_bytes);
	fields_add_u64(f, "created", e->created_ns);
	fields_add_u64(f, "changed", e->changed_ns);
	fields_add_u64(f, "serial", e->serial);
	entry_key(&place, key);
	rc = pool_put_object(p, key, OBJECT_ENTRY, &p->catalog, f, put_flags, err);
	fields_free(f);
	return rc;
}

int entry_remove(struct pool *p, const struct entry_place *place, struct error *err)
{
	char key[STORE_KEY_MAX + 1];

	entry_key(place, key);
	return store_remove_wait(p->store, key, err);
}
