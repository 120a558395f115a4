/* SPDX-License-Identifier: GPL-3.0-only */
/* snapshot.c: the objects that give moments of an image their names. */
#include "image/snapshot.h"

#include "base/report.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_BYTES 16

bool snapshot_name_valid(const char *name)
{
	size_t len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:+-");

	return len && len <= SNAPSHOT_NAME_MAX && !name[len] && name[0] != '.' && name[0] != '-';
}

static void prefix_of(uint64_t image, char prefix[STORE_KEY_MAX + 1])
{
	snprintf(prefix, STORE_KEY_MAX + 1, "images/%016" PRIx64 "/snapshots/", image);
}

static void key_of(const struct seal_key *sealing, uint64_t image, const char *name, char key[STORE_KEY_MAX + 1])
{
	uint8_t hash[HASH_BYTES];
	size_t n;

	crypto_generichash(hash, sizeof hash, (const unsigned char *)name, strlen(name),
	                   sealing->plain ? NULL : sealing->bytes, sealing->plain ? 0 : SEAL_KEY_BYTES);
	prefix_of(image, key);
	n = strlen(key);
	sodium_bin2hex(key + n, STORE_KEY_MAX + 1 - n, hash, sizeof hash);
}

/* ---- the object -------------------------------------------------------------------------------------------------- */

static struct fields *to_fields(const struct snapshot *s)
{
	struct fields *f = fields_new();

	if (!f)
		return NULL;
	fields_add_text(f, "name", s->info.name);
	fields_add_hex64(f, "id", s->info.id);
	if (s->info.origin != s->info.id)
		fields_add_hex64(f, "origin", s->info.origin);
	fields_add_u64(f, "time", s->info.time_ns);
	fields_add_u64(f, "segment", s->segment);
	fields_add_hex64(f, "root", s->root);
	fields_add_u64(f, "size", s->info.size);
	fields_add_u64(f, "allocated", s->info.allocated_bytes);
	fields_add_u64(f, "mtime", s->info.mtime_ns);
	fields_add_u64(f, "grain", s->grain_bytes);
	if (s->layers)
		fields_add_u64(f, "layers", s->layers);
	if (s->whole_from)
		fields_add_u64(f, "from", s->whole_from);
	fields_add_u64(f, "protected", s->info.is_protected);
	return f;
}

/* A root must lie in the log before the checkpoint that names it, or in that of a layer. */
static bool root_possible(const struct snapshot *s)
{
	segment_no_t number = map_entry_segment(s->root);
	unsigned layer = map_entry_layer(s->root);

	return s->root == MAP_ENTRY_NONE || (number && (layer ? layer <= s->layers : number <= s->segment));
}

static int from_fields(const struct fields *f, uint64_t image, struct snapshot *s)
{
	const char *name = fields_text(f, "name", 0);
	uint64_t grain, is_protected, layers = 0;
	int rc;

	*s = (struct snapshot){ .image = image };
	if (!name || !snapshot_name_valid(name[0] == '.' ? name + 1 : name) || fields_hex64(f, "id", &s->info.id) ||
	    fields_u64(f, "time", &s->info.time_ns) || fields_u64(f, "segment", &s->segment) ||
	    fields_hex64(f, "root", &s->root) || fields_u64(f, "size", &s->info.size) ||
	    fields_u64(f, "allocated", &s->info.allocated_bytes) || fields_u64(f, "mtime", &s->info.mtime_ns) ||
	    fields_u64(f, "grain", &grain) || fields_u64(f, "protected", &is_protected) ||
	    fields_u64(f, "from", &s->whole_from) == -EBADMSG || fields_u64(f, "layers", &layers) == -EBADMSG ||
	    layers >= 1u << MAP_ENTRY_LAYER_BITS)
		return -EBADMSG;
	rc = fields_hex64(f, "origin", &s->info.origin);
	if (rc == -ENOENT)
		s->info.origin = s->info.id;
	else if (rc)
		return -EBADMSG;
	s->layers = (uint32_t)layers;
	if (!s->info.id || !s->segment || s->whole_from > s->segment || !grain_bytes_valid(grain) ||
	    s->info.size > INT64_MAX || !root_possible(s))
		return -EBADMSG;
	s->info.is_protected = is_protected != 0;
	s->grain_bytes = (uint32_t)grain;
	snprintf(s->info.name, sizeof s->info.name, "%s", name);
	return 0;
}

int snapshot_save(struct pool *p, const struct snapshot *s, bool fresh, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct seal_key sealing;
	struct fields *f = to_fields(s);
	uint64_t size;
	int rc = 0;

	if (!f)
		return error_set(err, -ENOMEM, "out of memory");
	image_key(&p->master, s->image, &sealing);
	key_of(&sealing, s->image, s->info.name, key);
	/* Only the owner of an image makes its snapshots, so none comes in between. */
	if (fresh) {
		rc = store_head_wait(p->store, key, &size, err);
		rc = rc == -ENOENT ? 0 : rc ? rc : error_set(err, -EEXIST, "there is a snapshot \"%s\"", s->info.name);
	}
	if (!rc)
		rc = pool_put_object(p, key, OBJECT_SNAPSHOT, &sealing, f, 0, err);
	sodium_memzero(&sealing, sizeof sealing);
	fields_free(f);
	return rc;
}

static int load_key(struct pool *p, uint64_t image, const struct seal_key *sealing, const char *key, struct snapshot *s,
                    struct error *err)
{
	struct fields *f;
	char own[STORE_KEY_MAX + 1];
	int rc = pool_get_object(p, key, OBJECT_SNAPSHOT, sealing, &f, err);

	if (rc)
		return rc;
	rc = from_fields(f, image, s);
	fields_free(f);
	if (!rc)
		key_of(sealing, image, s->info.name, own);
	if (rc || strcmp(own, key) != 0)
		return error_set(err, -EBADMSG, "%s: a field is missing or damaged", key);
	return 0;
}

int snapshot_load(struct pool *p, uint64_t image, const char *name, struct snapshot *s, struct error *err)
{
	if (!snapshot_name_valid(name))
		return error_set(err, -ENOENT, "there is no snapshot \"%s\"", name);
	return snapshot_load_any(p, image, name, s, err);
}

int snapshot_load_any(struct pool *p, uint64_t image, const char *name, struct snapshot *s, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct seal_key sealing;
	int rc;

	image_key(&p->master, image, &sealing);
	key_of(&sealing, image, name, key);
	rc = load_key(p, image, &sealing, key, s, err);
	sodium_memzero(&sealing, sizeof sealing);
	return rc == -ENOENT ? error_set(err, rc, "there is no snapshot \"%s\"", name) : rc;
}

int snapshot_still_there(struct pool *p, const struct snapshot *s, struct error *err)
{
	struct snapshot there;
	int rc = snapshot_load_any(p, s->image, s->info.name, &there, err);

	if (rc == -ENOENT || (!rc && there.info.id != s->info.id))
		return error_set(err, -ENOENT, "snapshot %s was deleted meanwhile", s->info.name);
	return rc;
}

int snapshot_remove(struct pool *p, uint64_t image, const char *name, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct seal_key sealing;

	image_key(&p->master, image, &sealing);
	key_of(&sealing, image, name, key);
	sodium_memzero(&sealing, sizeof sealing);
	return store_remove_wait(p->store, key, err);
}

/* ---- listing ----------------------------------------------------------------------------------------------------- */

struct listing {
	struct pool *pool;
	uint64_t image;
	struct seal_key sealing;
	struct snapshot *list;
	size_t count, room;
	int (*damaged)(void *arg, const struct error *why);
	void *arg;
	struct error *err;
};

static int add_one(void *arg, const struct store_entry *entry)
{
	struct listing *l = arg;
	struct error err = { 0 };
	int rc;

	if (l->count == l->room) {
		size_t room = l->room ? 2 * l->room : 16;
		void *grown = reallocarray(l->list, room, sizeof *l->list);
		if (!grown)
			return error_set(l->err, -ENOMEM, "out of memory");
		l->list = grown;
		l->room = room;
	}
	rc = load_key(l->pool, l->image, &l->sealing, entry->key, &l->list[l->count], &err);
	if (!rc)
		l->count++;
	else if (rc == -EBADMSG)
		return l->damaged(l->arg, &err);
	else if (rc != -ENOENT) /* deleted meanwhile, or a listing that lags */
		return error_set(l->err, rc, "%s", error_text(&err));
	return 0;
}

static int by_time(const void *a, const void *b)
{
	const struct snapshot *x = a, *y = b;

	if (x->info.time_ns != y->info.time_ns)
		return x->info.time_ns < y->info.time_ns ? -1 : 1;
	return strcmp(x->info.name, y->info.name);
}

int snapshot_list_checked(struct pool *p, uint64_t image, int (*each)(void *arg, const struct snapshot *s),
                          int (*damaged)(void *arg, const struct error *why), void *arg, struct error *err)
{
	struct listing l = { .pool = p, .image = image, .damaged = damaged, .arg = arg, .err = err };
	char prefix[STORE_KEY_MAX + 1];
	int rc;

	prefix_of(image, prefix);
	image_key(&p->master, image, &l.sealing);
	rc = store_list_each(p->store, prefix, NULL, add_one, &l, err);
	sodium_memzero(&l.sealing, sizeof l.sealing);
	if (!rc && l.count)
		qsort(l.list, l.count, sizeof *l.list, by_time);
	for (size_t k = 0; k < l.count && !rc; k++)
		rc = each(arg, &l.list[k]);
	free(l.list);
	return rc;
}

static int report_damaged(void *arg, const struct error *why)
{
	(void)arg;
	report_warning("%s", error_text(why));
	return 0;
}

int snapshot_list(struct pool *p, uint64_t image, int (*each)(void *arg, const struct snapshot *s), void *arg,
                  struct error *err)
{
	return snapshot_list_checked(p, image, each, report_damaged, arg, err);
}

static void write_rewound_name(segment_no_t next, uint64_t unique, char name[SNAPSHOT_NAME_MAX + 1])
{
	snprintf(name, SNAPSHOT_NAME_MAX + 1, ".rewound-%016" PRIx64 "-%016" PRIx64, next, unique);
}

void snapshot_rewound_name(segment_no_t next, char name[SNAPSHOT_NAME_MAX + 1])
{
	uint64_t unique;

	randombytes_buf(&unique, sizeof unique);
	write_rewound_name(next, unique, name);
}

bool snapshot_rewound_parse(const char *name, segment_no_t *next)
{
	char again[SNAPSHOT_NAME_MAX + 1];
	uint64_t unique;

	if (sscanf(name, ".rewound-%16" SCNx64 "-%16" SCNx64, next, &unique) != 2)
		return false;
	write_rewound_name(*next, unique, again);
	return !strcmp(again, name);
}

struct others {
	enum snapshot_kinds kinds;
	size_t count; /* those that are not meant */
};

static int is_meant(void *arg, const struct snapshot *s)
{
	struct others *o = arg;
	segment_no_t next;

	if (!snapshot_hidden(s) || (o->kinds == SNAPSHOTS_FOREIGN && !snapshot_rewound_parse(s->info.name, &next)))
		return 1;
	o->count++;
	return 0;
}

static int count_one(void *arg, const struct store_entry *entry)
{
	size_t *count = arg;

	(void)entry;
	++*count;
	return 0;
}

int snapshot_any(struct pool *p, uint64_t image, enum snapshot_kinds kinds, struct error *err)
{
	struct others others = { .kinds = kinds };
	char prefix[STORE_KEY_MAX + 1];
	size_t all = 0;
	int rc;

	prefix_of(image, prefix);
	rc = store_any(p->store, prefix, err);
	if (rc <= 0)
		return rc;
	rc = snapshot_list(p, image, is_meant, &others, err);
	if (rc)
		return rc;
	/* One that cannot be read may be anybody's. */
	rc = store_list_each(p->store, prefix, NULL, count_one, &all, err);
	return rc ? rc : all > others.count;
}
