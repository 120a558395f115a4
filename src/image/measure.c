/* SPDX-License-Identifier: GPL-3.0-only */
/* measure.c: what an image takes in the store, by what it is good for. A segment's bytes are shared out by its slots. */
#include "image/private.h"

#include "image/clean.h"
#include "image/flight.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GETS 16

/* A header on its way. */
struct header {
	struct flight *flight;
	struct image *image;
	const struct stored_segment *stored;
	uint32_t *slots;
	uint8_t bytes[SEGMENT_OBJECT_HEADER];
};

static void header_read(void *arg, int status, uint64_t length, const struct error *err)
{
	struct header *h = arg;
	struct segment_meta meta;

	if (!status && !segment_meta_decode(h->bytes, (size_t)length, &h->image->source.key, &meta, NULL))
		*h->slots = segment_meta_kept(&meta);
	/* One that went meanwhile, or is damaged, is not this one's business. */
	status = status == -ENOENT ? 0 : status;
	struct flight *flight = h->flight;
	free(h);
	flight_end(flight, status, err);
}

static int ask_header(struct clean *c, struct flight *flight, const struct stored_segment *s, uint32_t *slots)
{
	struct header *h = malloc(sizeof *h);
	char key[STORE_KEY_MAX + 1];

	if (!h)
		return -ENOMEM;
	*h = (struct header){ .flight = flight, .image = c->image, .stored = s, .slots = slots };
	segment_key_format(c->image->id, s->number, s->epoch, key);
	flight_begin(flight, GETS);
	store_get(c->image->engine->pool->store, key, 0, h->bytes, sizeof h->bytes, STORE_BACKGROUND, header_read, h);
	return 0;
}

/* How many slots each stored segment has; 0 where that does not matter or cannot be told. */
static int find_slots(struct clean *c, uint32_t *slots)
{
	struct flight flight;
	int rc = flight_init(&flight);

	if (rc)
		return rc;
	for (size_t k = 0; !rc && k < c->stored_count; k++) {
		const struct stored_segment *s = &c->stored[k];
		struct segment *known = segment_pin_known(c->image->set, s->number);
		if (known && atomic_load(&known->life) == LIFE_STORED)
			slots[k] = atomic_load(&known->stored_slots);
		if (known)
			segment_unpin(known);
		if (!slots[k])
			rc = ask_header(c, &flight, s, &slots[k]);
	}
	int waited = flight_wait(&flight, rc ? NULL : c->err);
	flight_destroy(&flight);
	return rc ? rc : waited;
}

static void share_out(struct clean *c, const struct stored_segment *s, uint32_t slots, struct image_space *space)
{
	uint64_t now = live_count(&c->live, LIVE_NOW, s->number), all = live_union(&c->live, s->number);
	/* What no map leads to of a segment that is kept as a whole is there for the moments in between. */
	uint64_t *rest = live_is_kept(&c->live, s->number) ? &space->history : &space->garbage;

	if (s->epoch != log_view_epoch_of(&c->image->view, s->number)) {
		space->garbage += s->bytes;
	} else if (s->number >= c->floor) {
		space->live += s->bytes;
	} else if (slots < all || !slots) {
		*(all ? &space->live : rest) += s->bytes;
	} else {
		uint64_t live = s->bytes * now / slots, past = s->bytes * (all - now) / slots;
		space->live += live;
		space->history += past;
		*rest += s->bytes - live - past;
	}
}

int clean_measure(struct clean *c, struct image_space *space)
{
	uint32_t *slots = calloc(c->stored_count + 1, sizeof *slots);
	uint64_t plain = 0;
	int rc = slots ? find_slots(c, slots) : -ENOMEM;

	space->snapshots = c->root_count;
	space->segments = c->stored_count;
	pthread_mutex_lock(&c->image->view_mutex);
	for (size_t k = 0; !rc && k < c->stored_count; k++) {
		const struct stored_segment *s = &c->stored[k];
		space->stored += s->bytes;
		plain += (uint64_t)slots[k] << c->image->grain_shift;
		share_out(c, s, slots[k], space);
	}
	pthread_mutex_unlock(&c->image->view_mutex);
	free(slots);
	if (space->stored)
		space->ratio = (double)plain / (double)space->stored;
	return rc == -ENOMEM ? error_set(c->err, rc, "out of memory") : rc;
}
