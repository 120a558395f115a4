/* SPDX-License-Identifier: GPL-3.0-only */
/* share.c: copying a range between images by copying where the map says that it is.
 *
 * A moment of the source is held like a clone's, and its log becomes a layer of the target, before anything leads
 * there. What is shared is what the moment has, as long as the source still has the same: it is not held anew for each
 * range, nor because the source was written meanwhile. What differs is left to be copied, and so is the first that is
 * asked for, until that is so much that a moment is worth it. A moment is in the store before it is held: while that is away, or
 * takes too long, ranges are copied, too.
 *
 * A range is written like a guest's data: locked, and then in pieces, each with a record in the log that says all of
 * it, and the map changed with it. Where all that a leaf of the source's map has comes to the same place in one that
 * the target does not have, the leaf is taken over as it is; elsewhere the entries are. The open_mutex keeps the map
 * from being saved meanwhile: so what a piece has made ready in memory stays there.
 */
#include "image/private.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "map/share_list.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* At a time: where entries are copied one by one that makes so many dirty nodes. */
#define SHARE_GRAINS_MAX ((uint64_t)1 << 20)
/* In one piece: of entries, and of leaves; so many of those that lie together are read at once. */
#define PIECE_GRAINS (8 * MAP_FANOUT)
#define PIECE_LEAVES 1024
#define LEAVES_AT_ONCE 64
/* Fewer are copied: the record takes a slot, too. Measured, with two it takes less time. */
#define SHARE_GRAINS_MIN 2
/* What the source has not sent yet is waited for so long: its reader cannot be interrupted, and other copies stand behind it. */
#define HOLD_NS seconds_ns(20)
/* After a moment could not be held; and at least so many times as long as that was tried. */
#define RETRY_NS seconds_ns(10)
#define RETRY_TIMES 2

struct share {
	struct image *from, *to;
	struct image *moment; /* of the source: it does not change */
	grain_no_t first, to_first;
	uint64_t count, done; /* grains */
	uint64_t differs;     /* after those that are done, so many are not as they were at the moment */
	unsigned layer;       /* of the target: the source's log */
	bool changed;         /* the source may have, since the moment */

	/* the piece */
	struct share_list list;
	map_entry_t entries[PIECE_GRAINS], now[PIECE_GRAINS]; /* of the moment, and of the source */
	map_entry_t leaves[PIECE_LEAVES];                     /* where they are */
	uint8_t *slot;                                        /* of the record */
	uint8_t *nodes;                                       /* LEAVES_AT_ONCE slots; NULL until they are needed */
};

/* Calls a function of the map until it has what it needs. */
#define WITH_NODES(rc, image, need, err, call) \
	do                                     \
		(rc) = (call);                 \
	while ((rc) == -EAGAIN && !((rc) = image_load_node_wait(image, need, err)))

static map_entry_t taken_over(const struct share *s, map_entry_t e)
{
	return e == MAP_ENTRY_NONE ? e : map_entry_deeper(e, s->layer);
}

/* ---- the record -------------------------------------------------------------------------------------------------- */

static void apply_grains(struct image *to, grain_no_t at, const struct share_run *r)
{
	map_entry_t entries[MAP_FANOUT];
	uint32_t n;

	for (uint32_t done = 0; done < r->count; done += n) {
		n = r->count - done < MAP_FANOUT ? r->count - done : MAP_FANOUT;
		for (uint32_t k = 0; k < n; k++)
			entries[k] = r->entry + done + k;
		grain_map_update(to->map, at + done, n, entries);
	}
}

static void apply_leaves(struct image *to, grain_no_t at, const struct share_run *r)
{
	struct map_need need;

	for (uint32_t k = 0; k < r->count; k++) {
		int rc = grain_map_graft(to->map, at + (grain_no_t)k * MAP_FANOUT, r->entry + k, r->mapped, &need);
		assert(!rc); /* what is above it was made ready, and nobody else makes leaves in a locked range */
		(void)rc;
	}
}

static void apply_list(void *arg, const struct log_append *append, const struct record *record)
{
	struct share *s = arg;
	grain_no_t at = s->list.first;

	(void)append;
	for (uint32_t k = 0; k < s->list.count; k++) {
		const struct share_run *r = &s->list.runs[k];
		if (r->kind == SHARE_NOTHING)
			grain_map_clear(s->to->map, at, r->count);
		else if (r->kind == SHARE_GRAINS)
			apply_grains(s->to, at, r);
		else
			apply_leaves(s->to, at, r);
		at += share_run_grains(r);
	}
	atomic_store(&s->to->mtime_ns, record->time_ns);
}

/* What the list says, in the log and the map. Where that is nothing it takes no slot. */
static int append_list(struct share *s, struct error *err)
{
	struct record r = { .slot = RECORD_NO_SLOT, .value = s->list.first, .time_ns = clock_wall_ns() };
	const void *data = s->slot;
	int rc;

	if (s->list.layers) {
		r.kind = RECORD_SHARE;
		r.count = 1;
		memset(s->slot, 0, s->to->grain_bytes);
		share_list_encode(&s->list, s->slot);
	} else {
		r.kind = RECORD_ZERO;
		r.count = (uint32_t)s->list.grains;
	}
	rc = image_append_applied(s->to, &r, 1, &data, apply_list, s);
	return rc ? error_set(err, rc, "cannot append to the log: %s", strerror(-rc)) : 0;
}

/* ---- entries ----------------------------------------------------------------------------------------------------- */

/* How many of the next `count` grains to be done are as they were at the moment; s->entries has those. */
static int find_same(struct share *s, size_t count, size_t *same, struct error *err)
{
	grain_no_t at = s->first + s->done;
	struct map_need need;
	size_t n = 0;
	int rc;

	WITH_NODES(rc, s->moment, &need, err, grain_map_lookup(s->moment->map, at, count, s->entries, &need));
	*same = count;
	if (rc || !s->changed)
		return rc;
	WITH_NODES(rc, s->from, &need, err, grain_map_lookup(s->from->map, at, count, s->now, &need));
	while (n < count && s->entries[n] == s->now[n])
		n++;
	*same = n;
	for (; !n && s->differs < count && s->entries[s->differs] != s->now[s->differs]; s->differs++)
		;
	return rc;
}

/* Whether a leaf can be taken over there: 1, 0, or an error. */
static int has_no_leaf(struct image *to, grain_no_t at, struct error *err)
{
	map_entry_t address;
	struct map_need need;
	int rc;

	WITH_NODES(rc, to, &need, err, grain_map_leaf(to->map, at, &address, &need));
	return rc ? rc : address == MAP_ENTRY_NONE;
}

static bool lie_alike(const struct share *s)
{
	return s->first % MAP_FANOUT == s->to_first % MAP_FANOUT;
}

/* Up to where leaves could be taken over again. */
static int entries_until(struct share *s, size_t *count, struct error *err)
{
	uint64_t left = s->count - s->done, n = left < PIECE_GRAINS ? left : PIECE_GRAINS;
	grain_no_t to = s->to_first + s->done;
	int rc = 0;

	if (lie_alike(s)) {
		uint64_t k = MAP_FANOUT - to % MAP_FANOUT;
		while (!rc && k < n) {
			rc = has_no_leaf(s->to, to + k, err);
			if (!rc)
				k += MAP_FANOUT;
		}
		if (rc > 0 && k < n)
			n = k;
	}
	*count = (size_t)n;
	return rc < 0 ? rc : 0;
}

/* Whether nothing of a pinned range is mapped. */
static bool is_nothing(struct image *to, grain_no_t at, size_t count)
{
	struct map_need need;
	grain_no_t found;

	return !grain_map_next(to->map, at, at + count, true, &found, &need) && found == GRAIN_NONE;
}

static int share_entries(struct share *s, struct error *err)
{
	grain_no_t to = s->to_first + s->done;
	size_t count, n = 0;
	int rc = entries_until(s, &count, err);

	if (!rc)
		rc = find_same(s, count, &count, err);
	if (rc || !count)
		return rc;
	share_list_begin(&s->list, to);
	for (; n < count; n++) {
		map_entry_t e = taken_over(s, s->entries[n]);
		if (!share_list_add(&s->list, e == MAP_ENTRY_NONE ? SHARE_NOTHING : SHARE_GRAINS, e, 1, 0))
			break;
	}
	rc = image_pin_wait(s->to, to, n, !s->list.layers, err);
	if (rc)
		return rc;
	if (s->list.layers || !is_nothing(s->to, to, n))
		rc = append_list(s, err);
	grain_map_unpin(s->to->map, to, n);
	s->done += rc ? 0 : n;
	return rc;
}

/* ---- leaves ------------------------------------------------------------------------------------------------------ */

/* Where they are, as far as each can be taken over or there is none; and in the target everything is made ready. */
static int find_leaves(struct share *s, size_t *count, struct error *err)
{
	uint64_t left = (s->count - s->done) / MAP_FANOUT;
	size_t most = left < PIECE_LEAVES ? (size_t)left : PIECE_LEAVES, n = 0;
	struct map_need need;
	int rc = 0;

	for (; !rc && n < most; n += !rc) {
		grain_no_t at = s->first + s->done + n * MAP_FANOUT, to = s->to_first + s->done + n * MAP_FANOUT;
		WITH_NODES(rc, s->moment, &need, err, grain_map_leaf(s->moment->map, at, &s->leaves[n], &need));
		if (rc)
			break;
		if (s->leaves[n] == MAP_ENTRY_NONE) {
			rc = has_no_leaf(s->to, to, err);
			rc = rc < 0 ? rc : rc ? 0 : -EEXIST;
		} else {
			WITH_NODES(rc, s->to, &need, err, grain_map_graft_begin(s->to->map, to, &need));
		}
	}
	*count = n;
	return rc == -EEXIST ? 0 : rc;
}

static unsigned count_mapped(const map_entry_t *entries)
{
	unsigned mapped = 0;

	for (size_t k = 0; k < MAP_FANOUT; k++)
		mapped += entries[k] != MAP_ENTRY_NONE;
	return mapped;
}

/* Reads the leaf `first` and those of the `count` that lie behind it; says how many grains each has. */
static int count_of_leaves(struct share *s, size_t first, size_t count, unsigned *mapped, size_t *read,
                           struct error *err)
{
	unsigned shift = s->to->grain_shift;
	size_t n = 1;
	int rc;

	while (n < LEAVES_AT_ONCE && first + n < count && s->leaves[first + n] == s->leaves[first] + n &&
	       map_entry_slot(s->leaves[first + n]))
		n++;
	if (!s->nodes && !(s->nodes = malloc((size_t)LEAVES_AT_ONCE << shift)))
		return error_set(err, -ENOMEM, "out of memory");
	rc = image_fetch_wait(s->moment, s->leaves[first], s->nodes, n << shift);
	for (size_t k = 0; !rc && k < n; k++) {
		rc = map_node_decode(s->nodes + (k << shift), true, s->entries);
		mapped[k] = rc ? 0 : count_mapped(s->entries);
	}
	*read = n;
	return rc ? error_set(err, rc, "cannot read map nodes from segment %" PRIu64,
	                      map_entry_segment(s->leaves[first]))
	          : 0;
}

/* The same of one leaf, when it is still the same; else `*read` is 0. */
static int compare_leaf(struct share *s, size_t index, unsigned *mapped, size_t *read, struct error *err)
{
	uint64_t done = s->done;
	size_t same;

	s->done += index * MAP_FANOUT;
	int rc = find_same(s, MAP_FANOUT, &same, err);
	s->done = done;
	/* It is looked at again when its grains are copied. */
	s->differs = 0;
	*read = same == MAP_FANOUT;
	*mapped = count_mapped(s->entries);
	return rc;
}

/* Adds leaves to the list: `*n` of them. */
static int list_leaves(struct share *s, size_t count, size_t *n, struct error *err)
{
	unsigned mapped[LEAVES_AT_ONCE];
	size_t read = 0;
	int rc = 0;

	for (*n = 0; *n < count; *n += read) {
		mapped[0] = 0;
		read = 1;
		if (s->changed)
			rc = compare_leaf(s, *n, mapped, &read, err);
		else if (s->leaves[*n] != MAP_ENTRY_NONE)
			rc = count_of_leaves(s, *n, count, mapped, &read, err);
		if (rc || !read)
			return rc;
		for (size_t k = 0; k < read; k++) {
			map_entry_t address = taken_over(s, mapped[k] ? s->leaves[*n + k] : MAP_ENTRY_NONE);
			bool room = mapped[k] ? share_list_add(&s->list, SHARE_LEAVES, address, 1, mapped[k])
			                      : share_list_add(&s->list, SHARE_NOTHING, address, MAP_FANOUT, 0);
			if (!room) {
				*n += k;
				return 0;
			}
		}
	}
	return 0;
}

/* Takes over leaves as far as that is possible from the first grain on that is not done. */
static int share_leaves(struct share *s, struct error *err)
{
	size_t count, n = 0;
	int rc = find_leaves(s, &count, err);

	share_list_begin(&s->list, s->to_first + s->done);
	if (!rc && count)
		rc = list_leaves(s, count, &n, err);
	/* What is nothing in both needs no record. */
	if (!rc && s->list.layers)
		rc = append_list(s, err);
	s->done += rc ? 0 : n * MAP_FANOUT;
	return rc;
}

/* Of a leaf that the range covers in part: whether all that is mapped lies there, and is as it was at the moment. */
static int is_all_of_leaf(struct share *s, size_t begin, size_t count, bool *all, struct error *err)
{
	grain_no_t leaf = s->first + s->done - begin;
	struct map_need need;
	size_t same;
	int rc = find_same(s, count, &same, err);

	s->differs = 0; /* it is looked at again when its grains are copied */
	*all = !rc && same == count;
	if (!*all)
		return rc;
	WITH_NODES(rc, s->moment, &need, err, grain_map_lookup(s->moment->map, leaf, MAP_FANOUT, s->entries, &need));
	for (size_t k = 0; k < MAP_FANOUT; k++)
		*all &= s->entries[k] == MAP_ENTRY_NONE || (k >= begin && k - begin < count);
	return rc;
}

/* Takes over a leaf of which the range covers but a part, if the rest of it is nothing in both. */
static int share_part_of_leaf(struct share *s, struct error *err)
{
	size_t begin = (s->to_first + s->done) % MAP_FANOUT, count = MAP_FANOUT - begin;
	grain_no_t leaf = s->to_first + s->done - begin;
	struct map_need need;
	unsigned mapped;
	bool all;
	int rc = has_no_leaf(s->to, leaf, err);

	if (rc <= 0)
		return rc;
	if (count > s->count - s->done)
		count = (size_t)(s->count - s->done);
	rc = is_all_of_leaf(s, begin, count, &all, err);
	if (rc || !all)
		return rc;
	mapped = count_mapped(s->entries);
	if (mapped)
		WITH_NODES(rc, s->moment, &need, err,
		           grain_map_leaf(s->moment->map, s->first + s->done, &s->leaves[0], &need));
	if (mapped && !rc)
		WITH_NODES(rc, s->to, &need, err, grain_map_graft_begin(s->to->map, leaf, &need));
	share_list_begin(&s->list, leaf);
	if (mapped && !rc) {
		share_list_add(&s->list, SHARE_LEAVES, taken_over(s, s->leaves[0]), 1, mapped);
		rc = append_list(s, err);
	}
	s->done += rc ? 0 : count;
	return rc;
}

static int share_map(struct share *s, struct error *err)
{
	int rc = 0;

	while (!rc && s->done < s->count && !s->differs) {
		uint64_t before = s->done;
		bool whole = (s->to_first + s->done) % MAP_FANOUT == 0 && s->count - s->done >= MAP_FANOUT;
		if (lie_alike(s))
			rc = whole ? share_leaves(s, err) : share_part_of_leaf(s, err);
		if (!rc && s->done == before)
			rc = share_entries(s, err);
	}
	return rc;
}

/* ---- the moment -------------------------------------------------------------------------------------------------- */

/* Whether the moment that is held is of what is copied from now. */
static bool is_of(const struct snapshot *held, const struct image *from)
{
	if (from->snapshot)
		return held->image == from->snapshot->image && held->segment == from->snapshot->segment &&
		       held->root == from->snapshot->root;
	return held->image == from->id;
}

/* Whether the source is for certain still what it was then. */
static bool still_so(struct image *from, const struct snapshot *held)
{
	bool so;

	if (from->snapshot)
		return true;
	pthread_mutex_lock(&from->open_mutex);
	so = atomic_load(&from->log) && !atomic_load(&from->failed) && !image_changed(from) &&
	     held->segment == from->saved.checkpoint.segment && held->root == from->saved.checkpoint_root;
	pthread_mutex_unlock(&from->open_mutex);
	return so;
}

/* A hold that waits for the source's upload. */
struct patience {
	struct engine *engine;
	uint64_t until_ns;
};

static bool hold_taken(void *arg)
{
	(void)arg;
	return true;
}

/* What the store has already is not given up. */
static bool hold_left(void *arg, uint64_t bytes_left)
{
	const struct patience *p = arg;

	return !atomic_load(&p->engine->store_away) && (!bytes_left || clock_monotonic_ns() < p->until_ns);
}

static int take_moment(struct share *s, uint64_t *hold, struct snapshot *held, struct error *err)
{
	struct engine *e = s->to->engine;
	/* Who hold each other could never be deleted. */
	int rc = layer_reaches(e->pool, s->from->log_id, s->to->id, err);

	if (rc)
		return rc < 0 ? rc : error_set(err, -ELOOP, "the source is a clone of the target");
	/* To copy is better than to wait for long. */
	struct patience p = { e, clock_monotonic_ns() + HOLD_NS };
	const struct snapshot_watch watch = { hold_taken, hold_left, &p };
	return moment_hold(e, s->from->id, s->from->snapshot, s->to->id, &watch, hold, held, err);
}

/* The target can be written, and its layers stay; the open_mutex is held. */
static int check_target(struct image *to, struct error *err)
{
	if (!atomic_load(&to->log) || atomic_load(&to->failed))
		return error_set(err, -EIO, "image %016" PRIx64 " has stopped", to->id);
	if (atomic_load(&to->layers_closed))
		return error_set(err, -EBUSY, "the image is being flattened, or was just now");
	return 0;
}

static int add_layers(struct image *to, uint64_t hold, const struct snapshot *held, struct error *err)
{
	unsigned layer;
	int stopped = check_target(to, err), rc = stopped;

	if (!rc)
		rc = image_layers_add(to, held, hold, &layer, err);
	if (!rc)
		to->shared = (struct image_shared){ .held = *held, .layer = layer };
	else if (stopped || (rc != -ETIMEDOUT && rc != -EIO)) /* else the list may be there all the same */
		moment_let_go(to->engine, held);
	return rc;
}

/* Holds a moment of the source for the target, unless that was tried just now. */
static int renew_moment(struct share *s, struct error *err)
{
	struct image *to = s->to;
	struct snapshot held;
	uint64_t hold, began = clock_monotonic_ns(), took;
	int rc;

	pthread_mutex_lock(&to->open_mutex);
	rc = check_target(to, err);
	if (!rc && to->shared.refused == s->from->log_id && began < to->shared.retry_ns)
		rc = error_set(err, -EAGAIN, "no moment of the source could be held just now");
	pthread_mutex_unlock(&to->open_mutex);
	if (rc)
		return rc;
	/* Of two images only one is locked at a time: who takes snapshots of groups locks them in another order. */
	rc = take_moment(s, &hold, &held, err);
	pthread_mutex_lock(&to->open_mutex);
	if (!rc)
		rc = add_layers(to, hold, &held, err);
	if (rc) {
		to->shared.refused = s->from->log_id;
		took = clock_monotonic_ns() - began;
		to->shared.retry_ns = began + took + (took > RETRY_NS / RETRY_TIMES ? took * RETRY_TIMES : RETRY_NS);
	}
	pthread_mutex_unlock(&to->open_mutex);
	return rc;
}

/* A moment to share what is there now: whether the source may have changed since is found out. 1: there is none yet. */
static int known_moment(struct share *s)
{
	struct image_shared known;

	pthread_mutex_lock(&s->to->open_mutex);
	known = s->to->shared;
	pthread_mutex_unlock(&s->to->open_mutex);
	if (!known.layer || !is_of(&known.held, s->from))
		return 1;
	s->changed = !still_so(s->from, &known.held);
	return 0;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

/* The target's open_mutex is held. */
static int share_moment(struct share *s, struct error *err)
{
	struct image *to = s->to;
	struct engine *e = to->engine;
	struct range_lock lock;
	int rc = snapshot_remember(e, &to->shared.held);

	if (!rc)
		rc = image_open(e, to->shared.held.info.id, IMAGE_READ, &s->moment, err);
	if (rc)
		return rc;
	/* With what else is in its leaves: nobody makes those meanwhile. */
	image_lock_grains(to, &lock, round_down(s->to_first, MAP_FANOUT),
	                  round_up(s->to_first + s->count, MAP_FANOUT) - 1);
	/* From here on no other resize can cut it off. */
	if (atomic_load(&to->size) < (s->to_first + s->count) << to->grain_shift)
		rc = error_set(err, -ERANGE, "the target has become shorter");
	else
		rc = share_map(s, err);
	range_unlock(&to->locks, &lock);
	image_close(s->moment, IMAGE_READ);
	snapshot_forget(e, to->shared.held.info.id);
	return rc;
}

static int share_known(struct share *s, struct error *err)
{
	struct image *to = s->to;
	int rc = image_pace_wait(to, to->grain_bytes);

	if (rc)
		return error_set(err, rc, "cannot write: %s", strerror(-rc));
	pthread_mutex_lock(&to->open_mutex);
	rc = check_target(to, err);
	if (!rc && !to->shared.layer)
		rc = error_set(err, -EAGAIN, "the image was handed over meanwhile");
	s->layer = to->shared.layer;
	s->done = s->differs = 0;
	if (!rc)
		rc = share_moment(s, err);
	pthread_mutex_unlock(&to->open_mutex);
	return rc;
}

/* Whether a moment is to be held, as nothing could be shared: so much has been copied by now, or would have to be, and the store
 * answers. Where something could be, what differs is not to be copied then, but asked for again. */
static bool is_worth_it(struct share *s)
{
	struct image *to = s->to;
	struct image_shared *known = &to->shared;
	bool worth;

	pthread_mutex_lock(&to->open_mutex);
	if (known->of != s->from->log_id)
		known->differs = 0;
	known->of = s->from->log_id;
	worth = s->differs && !atomic_load(&to->engine->store_away) &&
	        (known->differs + s->differs) << to->grain_shift >= to->engine->options.share_min;
	if (worth && s->done)
		s->differs = 0;
	known->differs += s->differs;
	pthread_mutex_unlock(&to->open_mutex);
	return worth && !s->done;
}

static int share_range(struct share *s, struct error *err)
{
	int rc = known_moment(s);
	bool known = !rc;

	if (known)
		rc = share_known(s, err);
	else
		s->differs = s->count;
	if (rc < 0 || !is_worth_it(s))
		return rc < 0 ? rc : 0;
	rc = renew_moment(s, err);
	if (rc)
		return known ? 0 : rc;
	/* It was taken after the range was asked for: whatever has changed since then is later. */
	s->changed = false;
	return share_known(s, err);
}

/* Whether a moment can be had without taking the image from somebody. */
static bool has_moments(struct image *from)
{
	bool free;

	if (from->snapshot || atomic_load(&from->log))
		return true;
	pthread_mutex_lock(&from->view_mutex);
	free = !from->view.newest_epoch || from->view.released || from->view.owner_host == from->engine->host.id;
	pthread_mutex_unlock(&from->view_mutex);
	return free;
}

bool image_can_share(struct image *from, uint64_t offset, const struct image *to, uint64_t to_offset, uint64_t len)
{
	uint64_t part = from->grain_bytes - 1;

	return from != to && from->engine == to->engine && from->grain_bytes == to->grain_bytes &&
	       len >> from->grain_shift >= SHARE_GRAINS_MIN && atomic_load(&to->log) &&
	       !((offset | to_offset) & part) && has_moments(from);
}

int64_t image_share(struct image *from, uint64_t offset, struct image *to, uint64_t to_offset, uint64_t len,
                    uint64_t *copy, struct error *err)
{
	struct share *s = malloc(sizeof *s);
	int64_t rc = -ENOMEM;

	if (!s)
		return error_set(err, -ENOMEM, "out of memory");
	s->from = from;
	s->to = to;
	s->first = grain_of(from, offset);
	s->to_first = grain_of(to, to_offset);
	s->count = len >> from->grain_shift < SHARE_GRAINS_MAX ? len >> from->grain_shift : SHARE_GRAINS_MAX;
	s->done = s->differs = 0;
	s->nodes = NULL;
	s->slot = malloc(to->grain_bytes);
	if (s->slot)
		rc = share_range(s, err);
	/* What was done before an error stays. */
	if (!rc || s->done)
		rc = (int64_t)(s->done << from->grain_shift);
	*copy = rc < 0 ? 0 : s->differs << from->grain_shift;
	free(s->nodes);
	free(s->slot);
	free(s);
	return rc;
}
