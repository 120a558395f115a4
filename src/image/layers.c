/* SPDX-License-Identifier: GPL-3.0-only */
/* layers.c: the list of an image's layers in the store, and the logs themselves, ready to be read. */
#include "image/epoch_private.h"
#include "image/private.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the object -------------------------------------------------------------------------------------------------- */

void layer_list_destroy(struct layer_list *list)
{
	free(list->refs);
	free(list->replays);
	*list = (struct layer_list){ 0 };
}

int layer_list_add(struct layer_list *list, const struct layer_ref *ref, struct error *err)
{
	struct layer_ref *more;

	if (list->count == LAYERS_MAX)
		return error_set(err, -E2BIG, "more than %u layers: use garner flatten on what it would be a copy of",
		                 LAYERS_MAX);
	more = reallocarray(list->refs, list->count + 1, sizeof *more);
	if (!more)
		return error_set(err, -ENOMEM, "out of memory");
	list->refs = more;
	list->refs[list->count++] = *ref;
	return 0;
}

int layer_list_add_replay(struct layer_list *list, const struct layer_replay *replay, struct error *err)
{
	struct layer_replay *more = reallocarray(list->replays, list->replay_count + 1, sizeof *more);

	if (!more)
		return error_set(err, -ENOMEM, "out of memory");
	list->replays = more;
	list->replays[list->replay_count++] = *replay;
	return 0;
}

static int parse_replay(struct layer_list *list, const char *text, struct error *err)
{
	struct layer_replay r;
	int end = 0;

	if (sscanf(text, "%3x:%16" SCNx64 ":%16" SCNx64 ":%8" SCNx32 "%n", &r.layer, &r.from, &r.to.segment,
	           &r.to.record, &end) != 4 ||
	    text[end] || !r.layer || r.layer > list->count || !r.from || r.from > r.to.segment ||
	    r.to.segment - !r.to.record > list->refs[r.layer - 1].last)
		return -EBADMSG;
	return layer_list_add_replay(list, &r, err);
}

static int parse_ref(struct layer_list *list, const char *text, struct error *err)
{
	struct layer_ref r;
	int end = 0;

	if (sscanf(text, "%16" SCNx64 ":%16" SCNx64 ":%16" SCNx64 ":%16" SCNx64 "%n", &r.image, &r.epoch, &r.last,
	           &r.hold, &end) != 4 ||
	    text[end] || r.image <= NODE_ROOT || (!list->count && !r.hold))
		return -EBADMSG;
	return layer_list_add(list, &r, err);
}

/* A root must lie in one of the layers. */
static int parse(const struct fields *f, struct layer_list *list, struct error *err)
{
	struct snapshot *b = &list->base;
	const char *text;
	uint64_t grain;
	int rc = 0;

	if (fields_hex64(f, "root", &b->root) || fields_u64(f, "size", &b->info.size) ||
	    fields_u64(f, "allocated", &b->info.allocated_bytes) || fields_u64(f, "mtime", &b->info.mtime_ns) ||
	    fields_u64(f, "grain", &grain) || !grain_bytes_valid(grain) || b->info.size > INT64_MAX)
		return -EBADMSG;
	b->grain_bytes = (uint32_t)grain;
	for (size_t i = 0; !rc && (text = fields_text(f, "layer", i)); i++)
		rc = parse_ref(list, text, err);
	for (size_t i = 0; !rc && (text = fields_text(f, "replay", i)); i++)
		rc = parse_replay(list, text, err);
	b->layers = (uint32_t)list->count;
	if (!rc && b->root != MAP_ENTRY_NONE &&
	    (!map_entry_segment(b->root) || !map_entry_layer(b->root) || map_entry_layer(b->root) > list->count))
		rc = -EBADMSG;
	return rc;
}

int layer_list_load(struct pool *p, uint64_t image, struct layer_list *list, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct fields *f;
	int rc;

	*list = (struct layer_list){ 0 };
	rc = image_get_object(p, image, "layers", OBJECT_LAYERS, key, &f, err);
	if (rc)
		return rc;
	list->base.image = image;
	rc = parse(f, list, err);
	fields_free(f);
	if (rc)
		layer_list_destroy(list);
	return rc == -EBADMSG ? error_set(err, rc, "%s: a field is missing or damaged", key) : rc;
}

int layer_list_save(struct pool *p, uint64_t image, const struct layer_list *list, struct error *err)
{
	char text[80];
	struct fields *f = fields_new();
	int rc;

	if (!f)
		return error_set(err, -ENOMEM, "out of memory");
	fields_add_hex64(f, "root", list->base.root);
	fields_add_u64(f, "size", list->base.info.size);
	fields_add_u64(f, "allocated", list->base.info.allocated_bytes);
	fields_add_u64(f, "mtime", list->base.info.mtime_ns);
	fields_add_u64(f, "grain", list->base.grain_bytes);
	for (size_t i = 0; i < list->count; i++) {
		const struct layer_ref *r = &list->refs[i];
		snprintf(text, sizeof text, "%" PRIx64 ":%" PRIx64 ":%" PRIx64 ":%" PRIx64, r->image, r->epoch, r->last,
		         r->hold);
		fields_add_text(f, "layer", text);
	}
	for (size_t i = 0; i < list->replay_count; i++) {
		const struct layer_replay *r = &list->replays[i];
		snprintf(text, sizeof text, "%x:%" PRIx64 ":%" PRIx64 ":%" PRIx32, r->layer, r->from, r->to.segment,
		         r->to.record);
		fields_add_text(f, "replay", text);
	}
	rc = image_put_object(p, image, "layers", OBJECT_LAYERS, f, err);
	fields_free(f);
	return rc;
}

int layer_list_remove(struct pool *p, uint64_t image, struct error *err)
{
	char key[STORE_KEY_MAX + 1];

	image_object_key(image, "layers", key);
	return store_remove_wait(p->store, key, err);
}

void layer_hold_name(uint64_t image, uint64_t hold, char name[SNAPSHOT_NAME_MAX + 1])
{
	snprintf(name, SNAPSHOT_NAME_MAX + 1, ".clone-%016" PRIx64 "-%016" PRIx64, image, hold);
}

bool layer_hold_parse(const char *name, uint64_t *image, uint64_t *hold)
{
	char again[SNAPSHOT_NAME_MAX + 1];

	if (sscanf(name, ".clone-%16" SCNx64 "-%16" SCNx64, image, hold) != 2)
		return false;
	layer_hold_name(*image, *hold, again);
	return !strcmp(again, name);
}

int layer_list_add_group(struct layer_list *list, struct pool *p, const struct snapshot *held, uint64_t hold,
                         struct error *err)
{
	struct log_view view = { 0 };
	struct layer_list own = { 0 };
	struct layer_ref ref = { .image = held->image, .last = held->segment, .hold = hold };
	int rc = log_view_load(p, held->image, &view, err);

	if (!rc && view.term_count)
		ref.epoch = view.terms[view.term_count - 1].epoch;
	log_view_destroy(&view);
	if (!rc)
		rc = layer_list_add(list, &ref, err);
	if (!rc && held->layers)
		rc = layer_list_load(p, held->image, &own, err);
	if (rc == -ENOENT || (!rc && own.count < held->layers))
		rc = error_set(err, -EBADMSG, "the list of the layers of image %016" PRIx64 " is missing or too short",
		               held->image);
	for (size_t k = 0; !rc && k < held->layers; k++) {
		ref = own.refs[k];
		ref.hold = 0;
		rc = layer_list_add(list, &ref, err);
	}
	layer_list_destroy(&own);
	return rc;
}

static int reach(struct pool *p, uint64_t image, uint64_t other, struct hash *seen, struct error *err)
{
	struct layer_list list;
	int rc = hash_get(seen, image) ? -ENOENT : hash_put(seen, image, p);

	if (!rc)
		rc = layer_list_load(p, image, &list, err);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	for (size_t k = 0; !rc && k < list.count; k++)
		rc = list.refs[k].image == other ? 1 : reach(p, list.refs[k].image, other, seen, err);
	layer_list_destroy(&list);
	return rc;
}

int layer_reaches(struct pool *p, uint64_t image, uint64_t other, struct error *err)
{
	struct hash *seen = hash_new();
	int rc = image == other;

	if (!seen)
		return error_set(err, -ENOMEM, "out of memory");
	if (!rc)
		rc = reach(p, image, other, seen, err);
	hash_free(seen);
	return rc;
}

/* ---- in memory --------------------------------------------------------------------------------------------------- */

/* The layers as they are known at some time. One that has grown takes its place, and it stays for who looks at it still. */
struct layer_table {
	struct layer_table *before;
	size_t count;
	struct layer {
		struct layer_ref ref;
		struct stored_log *log;
	} layer[];
};

static uint64_t epoch_of(void *arg, segment_no_t number)
{
	const struct stored_log *l = arg;

	return log_view_epoch_of(&l->view, number);
}

struct stored_log *stored_log_new(struct engine *e, uint64_t image, uint32_t grain_bytes)
{
	struct stored_log *l = calloc(1, sizeof *l);

	if (!l)
		return NULL;
	l->source = (struct fetch_source){
		.cache = e->cache,
		.store = e->pool->store,
		.set = engine_set(e, image),
		.slot_bytes = grain_bytes,
		.epoch_of = epoch_of,
		.arg = l,
	};
	image_key(&e->pool->master, image, &l->source.key);
	if (l->source.set)
		return l;
	stored_log_free(l);
	return NULL;
}

void stored_log_free(struct stored_log *l)
{
	if (!l)
		return;
	log_view_destroy(&l->view);
	sodium_memzero(&l->source.key, sizeof l->source.key);
	free(l);
}

void image_layers_free(struct image *i)
{
	struct layer_table *t = atomic_load(&i->layers), *before;

	for (size_t k = 0; t && k < t->count; k++)
		stored_log_free(t->layer[k].log);
	for (; t; t = before) {
		before = t->before;
		free(t);
	}
}

size_t image_layer_count(const struct image *i)
{
	const struct layer_table *t = atomic_load(&i->layers);

	return t ? t->count : 0;
}

const struct fetch_source *image_source(const struct image *i, map_entry_t entry)
{
	unsigned layer = map_entry_layer(entry);
	const struct layer_table *t;

	if (!layer)
		return &i->source;
	t = atomic_load(&i->layers);
	return t && layer <= t->count ? &t->layer[layer - 1].log->source : NULL;
}

static int layer_new(struct image *i, const struct layer_ref *ref, struct layer *layer, struct error *err)
{
	struct engine *e = i->engine;
	struct stored_log *l = stored_log_new(e, ref->image, i->grain_bytes);
	int rc = l ? 0 : error_set(err, -ENOMEM, "out of memory");

	if (!rc && ref->epoch)
		rc = terms_load(e->pool, ref->image, ref->epoch, &l->view, err);
	if (!rc)
		rc = image_settle_log(e, &l->source, &l->view, ref->last, err);
	*layer = (struct layer){ *ref, l };
	if (!rc)
		return 0;
	stored_log_free(l);
	return error_prefix(err, rc, "the log of image %016" PRIx64 ", which this one is a clone of", ref->image);
}

/* Whether the layers that are known are those of the list, as far as it goes. One that was flattened here has none, and checkpoints say
 * so until it is loaded anew: a list is then another one. */
static int check_table(const struct image *i, const struct layer_list *list, struct error *err)
{
	const struct layer_table *t = atomic_load(&i->layers);
	bool same = !i->flat;

	for (size_t k = 0; t && k < t->count && k < list->count; k++)
		same = same && layer_ref_equal(&t->layer[k].ref, &list->refs[k]);
	return same ? 0 : error_set(err, -ESTALE, "the image was flattened, and its layers are others now");
}

int image_layers_check(struct image *i, struct error *err)
{
	struct layer_list list;
	int rc = image_layer_count(i) || i->flat ? layer_list_load(i->engine->pool, i->log_id, &list, err) : -ENOENT;

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	rc = check_table(i, &list, err);
	layer_list_destroy(&list);
	return rc;
}

/* Makes known what the list has and the table has not. */
static int extend_table(struct image *i, const struct layer_list *list, struct error *err)
{
	struct layer_table *old = atomic_load(&i->layers), *t;
	int rc = check_table(i, list, err);

	if (rc || image_layer_count(i) >= list->count)
		return rc;
	t = calloc(1, sizeof *t + list->count * sizeof t->layer[0]);
	if (!t)
		return error_set(err, -ENOMEM, "out of memory");
	t->before = old;
	for (; old && t->count < old->count; t->count++)
		t->layer[t->count] = old->layer[t->count];
	while (!rc && t->count < list->count) {
		rc = layer_new(i, &list->refs[t->count], &t->layer[t->count], err);
		t->count += !rc;
	}
	if (!rc) {
		atomic_store(&i->layers, t);
		return 0;
	}
	for (size_t k = old ? old->count : 0; k < t->count; k++)
		stored_log_free(t->layer[k].log);
	free(t);
	return rc;
}

int image_layers_load(struct image *i, size_t count, struct layer_list *list, struct error *err)
{
	int rc = layer_list_load(i->engine->pool, i->log_id, list, err);

	if (rc == -ENOENT && !count)
		return 0;
	if (!rc && list->count < count)
		rc = -ENOENT;
	if (!rc && list->base.grain_bytes != i->grain_bytes)
		rc = error_set(err, -EBADMSG, "its list of layers is of another grain size");
	else if (rc == -ENOENT)
		rc = error_set(err, -EBADMSG, "the list of the %zu layers that its map uses is missing or too short",
		               count);
	if (!rc)
		rc = extend_table(i, list, err);
	if (rc)
		layer_list_destroy(list);
	return rc;
}

int image_layers_add(struct image *i, const struct snapshot *held, uint64_t hold, unsigned *first, struct error *err)
{
	struct pool *p = i->engine->pool;
	struct layer_list list;
	int rc;

	if (atomic_load(&i->layers_closed))
		return error_set(err, -EBUSY, "the image is being flattened, or was just now");
	rc = layer_list_load(p, i->id, &list, err);
	if (rc == -ENOENT)
		rc = 0;
	list.base.grain_bytes = i->grain_bytes;
	*first = (unsigned)list.count + 1;
	if (!rc)
		rc = check_table(i, &list, err);
	/* What was flattened elsewhere is loaded anew first. */
	if (!rc && list.count < image_layer_count(i))
		rc = error_set(err, -EBUSY, "the image was flattened elsewhere");
	if (!rc)
		rc = layer_list_add_group(&list, p, held, hold, err);
	if (!rc) {
		rc = layer_list_save(p, i->id, &list, err);
		rc = rc ? rc : extend_table(i, &list, err);
		/* The list may be there all the same: what it names stays held. */
		rc = rc ? -EIO : 0;
	}
	layer_list_destroy(&list);
	return rc;
}

int image_layers_need(struct image *i, size_t count, struct error *err)
{
	struct layer_list list;
	int rc;

	if (image_layer_count(i) >= count)
		return 0;
	rc = image_layers_load(i, count, &list, err);
	if (!rc)
		layer_list_destroy(&list);
	return rc;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

void image_fetch(struct image *i, struct fetch_op *op, map_entry_t entry, uint32_t skip, uint8_t *buf, size_t len)
{
	const struct fetch_source *source = image_source(i, entry);
	int none = 0;

	if (source)
		fetch_read(source, op, map_entry_segment(entry), map_entry_slot(entry), skip, buf, len);
	else
		atomic_compare_exchange_strong(&op->result, &none, -EIO);
}

int image_fetch_now(struct image *i, map_entry_t entry, uint32_t skip, void *buf, size_t len)
{
	const struct fetch_source *source = image_source(i, entry);

	return source ? fetch_read_now(source, map_entry_segment(entry), map_entry_slot(entry), skip, buf, len)
	              : -EAGAIN;
}

int image_fetch_wait(struct image *i, map_entry_t entry, void *buf, size_t len)
{
	const struct fetch_source *source = image_source(i, entry);

	return source ? fetch_read_wait(source, map_entry_segment(entry), map_entry_slot(entry), 0, buf, len) : -EIO;
}
