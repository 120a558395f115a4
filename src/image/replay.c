/* SPDX-License-Identifier: GPL-3.0-only */
/* replay.c: what a record of a log does to the map, size and times of an image that is being loaded, or followed. */
#include "image/private.h"

#include "map/share_list.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static int touch(struct replayed_log *log, grain_no_t first, uint64_t count, struct error *err)
{
	int rc = log->touched ? grain_list_add(log->touched, first, count) : 0;

	return rc ? error_set(err, rc, "out of memory") : 0;
}

/* Sets entries (NULL: to nothing). */
static int replay_entries(struct image *i, grain_no_t first, uint64_t count, const map_entry_t *entries,
                          struct error *err)
{
	int rc = image_pin_wait(i, first, count, !entries, err);

	if (rc == -ENOMEM)
		return error_set(err, rc, "%s", strerror(-rc));
	if (rc)
		return rc;
	if (entries)
		grain_map_update(i->map, first, count, entries);
	else
		grain_map_clear(i->map, first, count);
	grain_map_unpin(i->map, first, count);
	return 0;
}

/* A zero record may cover the whole disk: only what is mapped is visited. */
static int replay_zero(struct image *i, grain_no_t first, uint64_t count, struct error *err)
{
	const uint64_t most = (uint64_t)1 << 18;
	grain_no_t end = first + count, found;
	struct map_need need;
	int rc = 0;

	if (end > MAP_GRAINS_MAX)
		end = MAP_GRAINS_MAX;
	while (!rc && first < end) {
		rc = grain_map_next(i->map, first, end, true, &found, &need);
		if (rc == -EAGAIN) {
			first = found;
			rc = image_load_node_wait(i, &need, err);
			continue;
		}
		if (rc || found == GRAIN_NONE)
			break;
		uint64_t n = most - found % most;
		if (n > end - found)
			n = end - found;
		rc = replay_entries(i, found, n, NULL, err);
		first = found + n;
	}
	return rc;
}

/* ---- shares ------------------------------------------------------------------------------------------------------ */

static int share_grains(struct image *i, grain_no_t first, map_entry_t entry, uint32_t count, struct error *err)
{
	map_entry_t entries[MAP_FANOUT];
	uint32_t n;
	int rc = 0;

	for (uint32_t done = 0; !rc && done < count; done += n) {
		n = count - done < MAP_FANOUT ? count - done : MAP_FANOUT;
		for (uint32_t k = 0; k < n; k++)
			entries[k] = entry + done + k;
		rc = replay_entries(i, first + done, n, entries, err);
	}
	return rc;
}

/* A leaf that the map has already was made by a later record, when replaying began before the place that the map was
 * of: then what it was then is set again, and those records follow. */
static int share_leaf(struct image *i, grain_no_t first, map_entry_t address, unsigned mapped, struct error *err)
{
	struct map_need leaf = { .level = 0, .index = first / MAP_FANOUT, .address = address }, need;
	map_entry_t entries[MAP_FANOUT];
	int rc;

	while ((rc = grain_map_graft(i->map, first, address, mapped, &need)) == -EAGAIN)
		if ((rc = image_load_node_wait(i, &need, err)))
			return rc;
	if (rc != -EEXIST)
		return rc ? error_set(err, rc, "%s", strerror(-rc)) : 0;
	rc = image_read_logged(i, &leaf, entries, err);
	return rc ? rc : replay_entries(i, first, MAP_FANOUT, entries, err);
}

static int share_run(struct image *i, grain_no_t first, const struct share_run *r, unsigned layer, struct error *err)
{
	map_entry_t entry = map_entry_deeper(r->entry, layer);
	int rc = 0;

	if (r->kind == SHARE_NOTHING)
		return replay_zero(i, first, r->count, err);
	if (r->kind == SHARE_GRAINS)
		return share_grains(i, first, entry, r->count, err);
	for (uint32_t k = 0; !rc && k < r->count; k++)
		rc = share_leaf(i, first + (grain_no_t)k * MAP_FANOUT, entry + k, r->mapped, err);
	return rc;
}

static int replay_share(struct image *i, struct replayed_log *log, segment_no_t number, const struct record *r,
                        struct error *err)
{
	uint8_t bytes[SHARE_LIST_BYTES];
	struct share_list list;
	int rc = fetch_read_wait(log->source, number, r->slot, 0, bytes, sizeof bytes);

	if (rc)
		return error_set(err, rc, "cannot read slot %u of segment %" PRIu64, r->slot, number);
	rc = share_list_decode(bytes, &list, err);
	if (!rc && list.first != r->value)
		rc = error_set(err, -EBADMSG, "its record is of grain %" PRIu64 ", its slot of %" PRIu64, r->value,
		               list.first);
	if (!rc && list.layers > LAYERS_MAX - log->layer)
		rc = error_set(err, -EBADMSG, "it leads to layer %" PRIu32, list.layers);
	if (!rc && !log->checked)
		rc = image_layers_check(i, err);
	log->checked = !rc;
	if (!rc)
		rc = image_layers_need(i, list.layers ? log->layer + list.layers : 0, err);
	grain_no_t at = list.first;
	for (uint32_t k = 0; !rc && k < list.count; k++) {
		rc = share_run(i, at, &list.runs[k], log->layer, err);
		at += share_run_grains(&list.runs[k]);
	}
	if (!rc)
		rc = touch(log, list.first, at - list.first, err);
	return rc ? error_prefix(err, rc, "share in segment %" PRIu64, number) : 0;
}

/* ---- all kinds --------------------------------------------------------------------------------------------------- */

/* Whether it changed the image since the last mark. */
static bool is_change(uint8_t kind)
{
	return kind <= RECORD_RESIZE || kind == RECORD_TIMES || kind == RECORD_MOVE || kind == RECORD_SHARE;
}

int image_replay_record(struct image *i, struct replayed_log *log, segment_no_t number, const struct record *r,
                        struct error *err)
{
	map_entry_t entry = map_entry(log->layer, number, r->slot);
	int rc = 0;

	switch (r->kind) {
	case RECORD_DATA:
	case RECORD_MOVE:
		if (r->value >= MAP_GRAINS_MAX)
			return error_set(err, -EBADMSG, "segment %" PRIu64 " holds grain %" PRIu64, number, r->value);
		rc = replay_entries(i, r->value, 1, &entry, err);
		rc = rc ? rc : touch(log, r->value, 1, err);
		break;
	case RECORD_ZERO:
		rc = replay_zero(i, r->value, r->count, err);
		rc = rc ? rc : touch(log, r->value, r->count, err);
		break;
	case RECORD_SHARE:
		rc = replay_share(i, log, number, r, err);
		break;
	case RECORD_RESIZE:
		atomic_store(&i->size, r->value);
		break;
	case RECORD_MARK:
		if (!log->past)
			i->since_mark = false;
		return 0;
	case RECORD_CHECKPOINT:
		if (log->past)
			return 0;
		/* Its map cannot be had by going on from an older one. */
		if (r->value & CHECKPOINT_REMAPPED && i->saved.checkpoint.segment < number)
			return -ESTALE;
		i->ahead = i->since_mark;
		i->saved.checkpoint = (struct log_position){ number, 0 };
		i->saved.size = atomic_load(&i->size);
		i->saved.allocated = grain_map_allocated(i->map);
		i->saved.mtime_ns = atomic_load(&i->mtime_ns);
		return 0;
	default:
		break;
	}
	if (is_change(r->kind))
		i->ahead = i->since_mark = true;
	if (r->kind == RECORD_TIMES)
		atomic_store(&i->mtime_ns, r->value);
	else if (r->kind <= RECORD_RESIZE || r->kind == RECORD_SHARE)
		atomic_store(&i->mtime_ns, r->time_ns);
	return rc;
}
