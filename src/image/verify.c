/* SPDX-License-Identifier: GPL-3.0-only */
/* verify.c: walks the catalog and reads every image's log, a few segments in flight, in the order of their numbers. */
#include "image/verify_private.h"

#include "base/report.h"
#include "image/clean.h"
#include "image/flight.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GETS 4
#define OBJECT_MAX ((uint64_t)SEGMENT_BYTES_MAX + SEGMENT_OBJECT_META_MAX)

/* ---- the report -------------------------------------------------------------------------------------------------- */

static void add_text(struct verify_report *report, const char *path, const char *text)
{
	report->errors++;
	if (report->text_count == VERIFY_TEXTS)
		return;
	int len = snprintf(report->text[report->text_count], ERROR_TEXT_MAX, "%s%s%s", path, path[0] ? ": " : "", text);
	if (len >= 0)
		report->text_count++;
}

void verify_note(struct verify *v, const char *format, ...)
{
	char text[ERROR_TEXT_MAX];
	va_list args;

	va_start(args, format);
	int len = vsnprintf(text, sizeof text, format, args);
	va_end(args);
	add_text(v->report, v->path, len < 0 ? "" : text);
}

bool verify_go_on(struct verify *v, segment_no_t number)
{
	return !v->progress || v->progress(v->arg, v->path, number, v->end);
}

/* ---- the segments of one image ----------------------------------------------------------------------------------- */

/* A get under way. */
struct reading {
	struct flight flight;
	segment_no_t number;
	uint64_t epoch;
	uint8_t *bytes;
	size_t room;
	int status;
	uint64_t length;
	char text[ERROR_TEXT_MAX];
};

struct run_reader {
	struct verify *v;
	struct reading ring[GETS];
	unsigned first, count; /* of the ring */
	segment_no_t next;     /* the number that the listing must show next */
	size_t prefix;
};

static void read_done(void *arg, int status, uint64_t length, const struct error *err)
{
	struct reading *r = arg;

	r->status = status;
	r->length = length;
	if (status)
		snprintf(r->text, sizeof r->text, "%s", err ? error_text(err) : strerror(-status));
	flight_end(&r->flight, 0, NULL);
}

/* Whether cleaning may have taken the segment; perhaps while the image is being verified. */
static int may_be_cleaned(struct verify *v, segment_no_t number)
{
	struct cleaned cleaned;
	struct error err = { 0 };
	int rc;

	if (number <= v->cleaned)
		return 1;
	rc = cleaned_load(v->pool, v->image, &cleaned, &err);
	if (!rc)
		v->cleaned = cleaned.segment;
	else if (rc == -ETIMEDOUT)
		return rc;
	else if (rc != -ENOENT)
		verify_note(v, "%s", error_text(&err));
	return number <= v->cleaned;
}

/* It is not there: 1 when it may be so. */
static int pass_cleaned(struct verify *v, segment_no_t number)
{
	int rc = may_be_cleaned(v, number);

	if (rc <= 0)
		return rc;
	v->segments[number - 1].cleaned = true;
	v->report->cleaned++;
	v->digest_known = false;
	v->gap = true;
	return 1;
}

/* Waits for the oldest get and checks what it brought. */
static int finish_oldest(struct run_reader *reader)
{
	struct reading *r = &reader->ring[reader->first];
	struct verify *v = reader->v;
	int rc = flight_wait(&r->flight, NULL);

	flight_destroy(&r->flight);
	reader->first = (reader->first + 1) % GETS;
	reader->count--;
	if (r->status == -ETIMEDOUT) {
		rc = r->status;
	} else if (r->status == -ENOENT && (rc = pass_cleaned(v, r->number))) {
		rc = rc < 0 ? rc : 0;
	} else if (r->status) {
		verify_note(v, "segment %" PRIu64 " cannot be read: %s", r->number, r->text);
		v->incomplete = true;
		v->digest_known = false;
	} else {
		v->report->segments++;
		v->report->bytes += r->length;
		rc = verify_segment(v, r->number, r->epoch, r->bytes, (size_t)r->length);
		if (!rc && !verify_go_on(v, r->number))
			rc = -EINTR;
	}
	free(r->bytes);
	r->bytes = NULL;
	return rc;
}

static int begin_read(struct run_reader *reader, segment_no_t number, uint64_t epoch, const struct store_entry *entry)
{
	struct reading *r;
	int rc = reader->count == GETS ? finish_oldest(reader) : 0;

	if (rc)
		return rc;
	r = &reader->ring[(reader->first + reader->count) % GETS];
	*r = (struct reading){ .number = number, .epoch = epoch, .room = (size_t)entry->size + 1 };
	r->bytes = malloc(r->room);
	if (!r->bytes)
		return -ENOMEM;
	rc = flight_init(&r->flight);
	if (rc) {
		free(r->bytes);
		return rc;
	}
	reader->count++;
	flight_begin(&r->flight, 1);
	store_get(reader->v->pool->store, entry->key, 0, r->bytes, r->room, STORE_BACKGROUND, read_done, r);
	return 0;
}

/* Waits for all of them; checks what they brought unless the caller has failed already. */
static int drain(struct run_reader *reader, int rc)
{
	while (reader->count) {
		if (rc == 0) {
			rc = finish_oldest(reader);
			continue;
		}
		struct reading *r = &reader->ring[reader->first];
		(void)flight_wait(&r->flight, NULL);
		flight_destroy(&r->flight);
		free(r->bytes);
		reader->first = (reader->first + 1) % GETS;
		reader->count--;
	}
	return rc;
}

/* What comes next cannot be checked against what is under way: the chain is cut. */
static int cut_chain(struct run_reader *reader)
{
	int rc = drain(reader, 0);

	reader->v->incomplete = true;
	reader->v->digest_known = false;
	return rc;
}

/* A listing that lags behind does not show all there is: the segment is read if it is there all the same. Returns 1 then. */
static int read_unlisted(struct run_reader *reader, segment_no_t number)
{
	struct verify *v = reader->v;
	struct store_entry entry = { 0 };
	uint64_t epoch = log_view_epoch_of(&v->view, number);
	int rc;

	if (v->pool->store->capabilities & STORE_LIST_CONSISTENT)
		return 0;
	segment_key_format(v->image, number, epoch, entry.key);
	rc = store_head_wait(v->pool->store, entry.key, &entry.size, NULL);
	if (rc || entry.size > OBJECT_MAX)
		return rc == -ENOENT ? 0 : rc;
	rc = begin_read(reader, number, epoch, &entry);
	return rc ? rc : 1;
}

/* The listing has come to `number`: those between are not there. */
static int note_missing(struct run_reader *reader, segment_no_t number)
{
	int rc = 0;

	for (; rc >= 0 && reader->next < number; reader->next++) {
		rc = read_unlisted(reader, reader->next);
		if (!rc)
			rc = drain(reader, 0);
		if (!rc)
			rc = pass_cleaned(reader->v, reader->next);
		if (rc)
			continue;
		rc = cut_chain(reader);
		if (!rc)
			verify_note(reader->v, "segment %" PRIu64 " is missing", reader->next);
	}
	return rc < 0 ? rc : 0;
}

static int meet_segment(void *arg, const struct store_entry *entry)
{
	struct run_reader *reader = arg;
	struct verify *v = reader->v;
	char expected[STORE_KEY_MAX + 1];
	segment_no_t number;
	uint64_t epoch;
	int rc;

	if (sscanf(entry->key + reader->prefix, "%16" SCNx64 "-%16" SCNx64, &number, &epoch) != 2) {
		v->report->stray++;
		return 0;
	}
	segment_key_format(v->image, number, log_view_epoch_of(&v->view, number), expected);
	if (number == 0 || number > v->end || strcmp(entry->key, expected) != 0) {
		v->report->stray++;
		return 0;
	}
	rc = note_missing(reader, number);
	if (rc)
		return rc;
	reader->next = number + 1;
	if (entry->size > OBJECT_MAX) {
		rc = cut_chain(reader);
		verify_note(v, "segment %" PRIu64 ": an object of %" PRIu64 " bytes is none", number, entry->size);
		return rc;
	}
	return begin_read(reader, number, epoch, entry);
}

static int check_run(struct verify *v, struct error *err)
{
	struct run_reader reader = { .v = v, .next = 1 };
	char prefix[STORE_KEY_MAX + 1];
	int rc;

	reader.prefix = (size_t)snprintf(prefix, sizeof prefix, "images/%016" PRIx64 "/segments/", v->image);
	rc = store_list_each(v->pool->store, prefix, NULL, meet_segment, &reader, err);
	if (!rc)
		rc = note_missing(&reader, v->end + 1);
	return drain(&reader, rc);
}

/* ---- one image --------------------------------------------------------------------------------------------------- */

/* The run is known to have gone on to the head's checkpoint: what is missing before that is no end. */
static void go_on_to_head(struct verify *v)
{
	segment_no_t end;

	if (v->head.checkpoint.segment > v->end &&
	    !log_find_end(v->pool, v->image, &v->view, v->head.checkpoint.segment, &end, NULL))
		v->end = end;
}

/* The end of the run. A segment that is missing before the last term's first is an error, found later, and the run is then
 * taken to go on in that term, so that all that is still there is checked. */
static int find_end(struct verify *v, struct error *err)
{
	segment_no_t from;
	int rc = log_find_by_listing(v->pool, v->image, &v->view, &from, err);

	if (!rc)
		rc = log_find_end(v->pool, v->image, &v->view, from, &v->end, err);
	if (!rc)
		go_on_to_head(v);
	if (rc != -EBADMSG)
		return rc;
	from = v->view.terms[v->view.term_count - 1].first;
	rc = log_find_end(v->pool, v->image, &v->view, from, &v->end, err);
	if (rc == -ENOENT) {
		v->end = from - 1;
		rc = 0;
	}
	return rc;
}

/* Before anything else of the image is read: an owner may go on writing meanwhile, and what its head names is there by then. */
static void read_head(struct verify *v)
{
	struct error err = { 0 };
	int rc = head_load(v->pool, v->image, &v->head, &err);

	if (rc)
		v->head = (struct head){ 0 };
	if (rc && rc != -ENOENT)
		verify_note(v, "%s", error_text(&err));
}

/* Likewise: what was cleaned away may be missing. */
static void read_cleaned(struct verify *v)
{
	struct cleaned cleaned = { 0 };
	struct error err = { 0 };
	int rc = cleaned_load(v->pool, v->image, &cleaned, &err);

	v->cleaned = rc ? 0 : cleaned.segment;
	if (rc && rc != -ENOENT)
		verify_note(v, "%s", error_text(&err));
}

static void check_head(struct verify *v)
{
	if (v->head.checkpoint.segment > v->end)
		verify_note(v, "head: names a checkpoint in segment %" PRIu64 ", the last one is %" PRIu64,
		            v->head.checkpoint.segment, v->end);
}

/* All that the moment holds must be there, not only what its map leads to. */
static void check_whole(struct verify *v, const struct snapshot *s)
{
	for (segment_no_t n = s->whole_from; n && n <= s->segment; n++)
		if (v->segments[n - 1].cleaned) {
			verify_note(v, "snapshot %s: segment %" PRIu64 ", which it holds, was cleaned away",
			            s->info.name, n);
			return;
		}
}

/* Those are checked that were there when the end was looked for: an owner may have made more meanwhile. */
static int check_snapshots(struct verify *v, struct error *err)
{
	int rc = 0;

	for (size_t k = 0; k < v->snapshot_count && !rc; k++) {
		const struct snapshot *s = &v->snapshots[k];

		if (s->segment > v->end) {
			verify_note(v,
			            "snapshot %s: names a checkpoint in segment %" PRIu64 ", the last one is %" PRIu64,
			            s->info.name, s->segment, v->end);
			continue;
		}
		check_whole(v, s);
		uint64_t errors = v->report->errors;
		rc = verify_map(v, s->root, err);
		if (!rc && v->report->errors != errors)
			verify_note(v, "snapshot %s: its map is damaged", s->info.name);
	}
	return rc;
}

static int keep_snapshot(void *arg, const struct snapshot *s)
{
	struct verify *v = arg;
	struct snapshot *more = reallocarray(v->snapshots, v->snapshot_count + 1, sizeof *more);

	if (!more)
		return -ENOMEM;
	v->snapshots = more;
	v->snapshots[v->snapshot_count++] = *s;
	return 0;
}

static int note_damaged(void *arg, const struct error *why)
{
	verify_note(arg, "a snapshot cannot be read: %s", error_text(why));
	return 0;
}

/* What is no verdict about the image but ends everything. */
static bool is_final(int rc)
{
	return rc == -EINTR || rc == -ENOMEM || rc == -ETIMEDOUT || rc == -EACCES;
}

/* Each log that the image leads to must be held, and is to be checked itself, whether it has a name still or not. */
static int check_layers(struct verify *v, struct error *err)
{
	char name[SNAPSHOT_NAME_MAX + 1];
	struct snapshot held;
	int rc = layer_list_load(v->pool, v->image, &v->layers, err);

	if (rc == -ENOENT)
		return 0;
	for (size_t k = 0; k < v->layers.count && !rc; k++) {
		const struct layer_ref *ref = &v->layers.refs[k];
		if (!hash_get(v->unnamed, ref->image))
			rc = hash_put(v->unnamed, ref->image, (void *)(uintptr_t)v->grain_bytes);
		if (rc || !ref->hold)
			continue;
		layer_hold_name(v->image, ref->hold, name);
		int there = snapshot_load_any(v->pool, ref->image, name, &held, err);
		if (there == -ENOENT || there == -EBADMSG)
			verify_note(v, "layer %zu: image %016" PRIx64 " does not keep what is needed of it: %s", k + 1,
			            ref->image, error_text(err));
		else
			rc = there;
	}
	return rc;
}

/* Who opens the image replays what comes after its newest checkpoint. The list of layers may have grown since it was
 * read: it is only added to before anything leads there. */
static int check_shares(struct verify *v, struct error *err)
{
	segment_no_t from = v->have_checkpoint ? v->checkpoint.position.segment : 1;
	bool again = false;
	int rc = 0;

	for (segment_no_t n = from ? from : 1; n <= v->end && !rc; n++) {
		if (v->segments[n - 1].layers <= v->layers.count)
			continue;
		if (!again) {
			layer_list_destroy(&v->layers);
			rc = layer_list_load(v->pool, v->image, &v->layers, err);
			rc = rc == -ENOENT ? 0 : rc;
			again = true;
			n--;
			continue;
		}
		verify_note(v, "segment %" PRIu64 ": a share leads to layer %u, there are %zu", n,
		            v->segments[n - 1].layers, v->layers.count);
	}
	return rc;
}

static int check_log(struct verify *v, struct error *err)
{
	int rc;

	read_head(v);
	read_cleaned(v);
	rc = check_layers(v, err);
	if (!rc)
		rc = snapshot_list_checked(v->pool, v->image, keep_snapshot, note_damaged, v, err);
	if (!rc)
		rc = log_view_load(v->pool, v->image, &v->view, err);
	if (!rc)
		rc = find_end(v, err);
	if (rc)
		return rc;
	v->segments = calloc(v->end + 1, sizeof *v->segments);
	if (!v->segments)
		return -ENOMEM;
	if (!verify_go_on(v, 0))
		return -EINTR;
	rc = check_run(v, err);
	if (!rc && v->have_checkpoint)
		rc = verify_map(v, v->checkpoint.root, err);
	if (!rc)
		rc = check_snapshots(v, err);
	if (!rc)
		rc = check_shares(v, err);
	if (!rc)
		check_head(v);
	return rc;
}

static int check_image(struct verify *all, const char *path, const struct catalog_entry *entry, struct error *err)
{
	struct verify v = *all;
	struct error why = { 0 };
	int rc;

	v.path = path;
	v.image = entry->id;
	v.grain_bytes = entry->grain_bytes;
	v.digest_known = true; /* zeros come before the first segment */
	image_key(&v.pool->master, v.image, &v.key);
	v.report->images++;
	if (!hash_get(v.seen, v.image) && hash_put(v.seen, v.image, v.report))
		return -ENOMEM;
	rc = check_log(&v, &why);
	for (uint64_t i = 0; v.segments && i < v.end; i++)
		free(v.segments[i].uses);
	free(v.segments);
	free(v.snapshots);
	layer_list_destroy(&v.layers);
	log_view_destroy(&v.view);
	sodium_memzero(&v.key, sizeof v.key);
	if (rc && is_final(rc))
		return error_set(err, rc, "%s: %s", path, why.text[0] ? why.text : strerror(-rc));
	if (rc)
		verify_note(&v, "%s", why.text[0] ? why.text : strerror(-rc));
	return 0;
}

/* ---- the pool ---------------------------------------------------------------------------------------------------- */

struct pool_walk {
	struct verify *v;
	struct error *err;
};

static int each_image(void *arg, const char *path, const struct catalog_entry *entry)
{
	struct pool_walk *w = arg;

	return check_image(w->v, path, entry, w->err);
}

/* What others are clones of and was not met by its name: deleted, or not asked for. */
static int check_unnamed(struct verify *v, struct error *err)
{
	struct catalog_entry entry = { .type = NODE_FILE };
	size_t cursor = 0;
	void *grain_bytes;
	char path[64];
	int rc = 0;

	while (!rc && (grain_bytes = hash_next(v->unnamed, &cursor, &entry.id))) {
		if (hash_get(v->seen, entry.id))
			continue;
		entry.grain_bytes = (uint32_t)(uintptr_t)grain_bytes;
		snprintf(path, sizeof path, "image %016" PRIx64 ", that others are clones of", entry.id);
		rc = check_image(v, path, &entry, err);
		cursor = 0; /* there may be more now */
	}
	return rc;
}

/* Where listings lag their directories may only not be shown. */
static void note_lost(struct verify *v, struct catalog *c, const struct verify_lost *lost)
{
	char text[ERROR_TEXT_MAX];

	for (size_t i = 0; i < lost->count; i++) {
		const struct catalog_entry *e = &lost->list[i];

		snprintf(text, sizeof text,
		         "%s '%.200s' cannot be reached: directory %016" PRIx64
		         ", in which it is, has no place in the tree",
		         e->type == NODE_FILE ? "image" : "directory", e->name, e->parent);
		if (catalog_listings_lag(c))
			report_warning("%s, or is not listed yet", text);
		else
			add_text(v->report, "", text);
	}
}

/* The images among them; one that was met by now has been moved to where it can be reached. */
static int check_lost(struct verify *v, const struct verify_lost *lost, struct error *err)
{
	char path[NAME_BYTES_MAX + 32];
	int rc = 0;

	for (size_t i = 0; i < lost->count && !rc; i++) {
		const struct catalog_entry *e = &lost->list[i];

		if (e->type != NODE_FILE || hash_get(v->seen, e->id))
			continue;
		snprintf(path, sizeof path, "(directory %016" PRIx64 ")/%s", e->parent, e->name);
		rc = check_image(v, path, e, err);
	}
	return rc;
}

static int check_entries(struct verify *v, struct catalog *c, struct verify_lost *lost, struct error *err)
{
	struct listed_entries entries;
	int rc = catalog_load(c, "names/", &entries, err);

	for (size_t i = 0; !rc && i < entries.count; i++) {
		const struct listed_entry *e = &entries.list[i];
		if (is_final(e->rc))
			rc = error_set(err, e->rc, "%s", e->text ? e->text : strerror(-e->rc));
		else if (e->rc && e->rc != -ENOENT)
			add_text(v->report, "", e->text ? e->text : strerror(-e->rc));
	}
	if (!rc)
		rc = verify_find_lost(c, &entries, lost, err);
	if (!rc)
		note_lost(v, c, lost);
	listed_entries_destroy(&entries);
	return rc;
}

static int find_path(struct catalog *c, const char *path, struct catalog_entry *entry, struct error *err)
{
	char name[NAME_BYTES_MAX + 1];
	int rc = catalog_get(c, NODE_ROOT, entry);

	while (!rc) {
		path += strspn(path, "/");
		size_t len = strcspn(path, "/");
		if (len == 0)
			break;
		if (len > NAME_BYTES_MAX)
			return error_set(err, -ENAMETOOLONG, "a name of more than %d bytes", NAME_BYTES_MAX);
		if (entry->type != NODE_DIRECTORY)
			return error_set(err, -ENOTDIR, "'%s' is no directory", entry->name);
		memcpy(name, path, len);
		name[len] = '\0';
		rc = catalog_lookup(c, entry->id, name, 0, entry, err);
		path += len;
	}
	if (!rc && entry->type != NODE_FILE)
		rc = error_set(err, -EISDIR, "'%s' is a directory, not an image", entry->name);
	return rc;
}

int pool_verify(struct pool *p, const char *path, struct verify_report *report, verify_progress_fn *progress, void *arg,
                struct error *err)
{
	struct verify v = { .pool = p, .report = report, .progress = progress, .arg = arg, .path = "" };
	struct pool_walk walk = { .v = &v, .err = err };
	struct verify_lost lost = { 0 };
	struct catalog *c = catalog_new(p, NULL);
	struct catalog_entry entry;
	int rc;

	memset(report, 0, sizeof *report);
	v.seen = hash_new();
	v.unnamed = hash_new();
	if (!c || !v.seen || !v.unnamed) {
		rc = -ENOMEM;
		goto out;
	}
	catalog_set_read_only(c);
	if (path) {
		rc = find_path(c, path, &entry, err);
		if (!rc)
			rc = check_image(&v, path, &entry, err);
	} else {
		rc = check_entries(&v, c, &lost, err);
		if (!rc)
			rc = catalog_walk(c, each_image, &walk, err);
		if (!rc)
			rc = check_lost(&v, &lost, err);
	}
	if (!rc)
		rc = check_unnamed(&v, err);
out:
	verify_lost_destroy(&lost);
	catalog_free(c);
	hash_free(v.seen);
	hash_free(v.unnamed);
	return rc == -EINTR ? error_set(err, rc, "stopped") : rc;
}
