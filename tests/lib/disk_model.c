/* SPDX-License-Identifier: GPL-3.0-only */
/* disk_model.c: per grain, the list of what it was and since which step. See disk_model.h. */
#include "lib/disk_model.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPLAIN_MOST 8

/* From `step` on the value is this. */
struct version {
	uint32_t step;
	uint64_t value;
};

struct history {
	struct version *version;
	uint32_t count, room;
};

/* What began with the step, for people. */
struct operation {
	uint32_t first;
	const char *what;
	uint64_t offset, len;
};

struct disk_model {
	uint64_t room, size;
	uint8_t *bytes;
	uint32_t step;
	uint32_t grains;
	struct history *grain; /* values: hashes */
	struct history length; /* values: sizes */
	struct operation *op;
	uint32_t op_count, op_room;
};

static void *must(void *p)
{
	if (!p) {
		fprintf(stderr, "disk model: out of memory\n");
		abort();
	}
	return p;
}

static uint64_t hash_grain(const uint8_t *bytes)
{
	uint64_t h[4] = { 1, 2, 3, 4 }, w[4];

	for (size_t i = 0; i < MODEL_GRAIN; i += sizeof w) {
		memcpy(w, bytes + i, sizeof w);
		for (int k = 0; k < 4; k++)
			h[k] = (h[k] ^ w[k]) * 0x9e3779b97f4a7c15u + (h[k] >> 31);
	}
	return h[0] ^ (h[1] << 17 | h[1] >> 47) ^ (h[2] << 34 | h[2] >> 30) ^ (h[3] << 51 | h[3] >> 13);
}

static void remember(struct history *h, uint32_t step, uint64_t value)
{
	if (h->count == h->room) {
		h->room = h->room ? h->room * 2 : 2;
		h->version = must(realloc(h->version, h->room * sizeof h->version[0]));
	}
	h->version[h->count++] = (struct version){ step, value };
}

static uint64_t latest(const struct history *h)
{
	return h->version[h->count - 1].value;
}

struct disk_model *disk_model_new(uint64_t room, const uint8_t *bytes, uint64_t size)
{
	struct disk_model *m = must(calloc(1, sizeof *m));

	assert(room % MODEL_GRAIN == 0 && size <= room);
	m->room = room;
	m->size = size;
	m->bytes = must(calloc(1, room));
	if (bytes)
		memcpy(m->bytes, bytes, room);
	m->grains = (uint32_t)(room / MODEL_GRAIN);
	m->grain = must(calloc(m->grains, sizeof m->grain[0]));
	for (uint32_t g = 0; g < m->grains; g++)
		remember(&m->grain[g], 0, hash_grain(m->bytes + (uint64_t)g * MODEL_GRAIN));
	remember(&m->length, 0, size);
	return m;
}

void disk_model_free(struct disk_model *m)
{
	if (!m)
		return;
	for (uint32_t g = 0; g < m->grains; g++)
		free(m->grain[g].version);
	free(m->grain);
	free(m->length.version);
	free(m->op);
	free(m->bytes);
	free(m);
}

/* ---- changes ----------------------------------------------------------------------------------------------------- */

static void begin(struct disk_model *m, const char *what, uint64_t offset, uint64_t len)
{
	if (m->op_count == m->op_room) {
		m->op_room = m->op_room ? m->op_room * 2 : 64;
		m->op = must(realloc(m->op, m->op_room * sizeof m->op[0]));
	}
	m->op[m->op_count++] = (struct operation){ m->step + 1, what, offset, len };
}

/* Puts `data` (NULL: zeros) at [offset, offset+len), a step for each grain that changes. */
static void put(struct disk_model *m, uint64_t offset, const uint8_t *data, uint64_t len)
{
	while (len) {
		uint64_t g = offset / MODEL_GRAIN, n = MODEL_GRAIN - offset % MODEL_GRAIN, value;

		n = n < len ? n : len;
		if (data)
			memcpy(m->bytes + offset, data, n);
		else
			memset(m->bytes + offset, 0, n);
		value = hash_grain(m->bytes + g * MODEL_GRAIN);
		if (value != latest(&m->grain[g]))
			remember(&m->grain[g], ++m->step, value);
		offset += n;
		len -= n;
		data = data ? data + n : NULL;
	}
}

static void set_size(struct disk_model *m, uint64_t size)
{
	m->size = size;
	remember(&m->length, ++m->step, size);
}

uint32_t disk_model_write(struct disk_model *m, uint64_t offset, const uint8_t *data, uint64_t len)
{
	assert(offset + len <= m->room);
	begin(m, "write", offset, len);
	if (len && offset + len > m->size)
		set_size(m, offset + len);
	put(m, offset, data, len);
	return m->step;
}

uint32_t disk_model_discard(struct disk_model *m, uint64_t offset, uint64_t len)
{
	if (offset >= m->size)
		return m->step;
	begin(m, "discard", offset, len);
	put(m, offset, NULL, len < m->size - offset ? len : m->size - offset);
	return m->step;
}

uint32_t disk_model_resize(struct disk_model *m, uint64_t size)
{
	assert(size <= m->room);
	if (size == m->size)
		return m->step;
	begin(m, "resize", size, 0);
	if (size < m->size)
		put(m, size, NULL, m->size - size);
	set_size(m, size);
	return m->step;
}

uint32_t disk_model_step(const struct disk_model *m)
{
	return m->step;
}

uint64_t disk_model_size(const struct disk_model *m)
{
	return m->size;
}

uint64_t disk_model_room(const struct disk_model *m)
{
	return m->room;
}

const uint8_t *disk_model_bytes(const struct disk_model *m)
{
	return m->bytes;
}

/* ---- comparing --------------------------------------------------------------------------------------------------- */

/* Counts a mismatch for every step from low to high at which the history says something else. */
static void mark(const struct history *h, uint64_t value, uint32_t low, uint32_t high, int32_t *change)
{
	for (uint32_t i = 0; i < h->count; i++) {
		uint32_t from = h->version[i].step, to = i + 1 < h->count ? h->version[i + 1].step - 1 : UINT32_MAX;

		if (h->version[i].value == value || to < low || from > high)
			continue;
		change[(from > low ? from : low) - low]++;
		change[(to < high ? to : high) - low + 1]--;
	}
}

bool disk_model_matches(const struct disk_model *m, const uint8_t *bytes, uint64_t size, uint32_t low, uint32_t high,
                        uint32_t *step)
{
	int32_t *change, wrong = 0, least = INT32_MAX;

	if (high > m->step)
		high = m->step;
	assert(low <= high);
	change = must(calloc((size_t)(high - low) + 2, sizeof change[0]));
	for (uint32_t g = 0; g < m->grains; g++)
		mark(&m->grain[g], hash_grain(bytes + (uint64_t)g * MODEL_GRAIN), low, high, change);
	mark(&m->length, size, low, high, change);
	for (uint32_t s = low; s <= high; s++) {
		wrong += change[s - low];
		if (wrong > least)
			continue;
		least = wrong;
		*step = s;
	}
	free(change);
	return least == 0;
}

/* The value after `step`, and the step that made it so. */
static struct version version_at(const struct history *h, uint32_t step)
{
	uint32_t i = h->count - 1;

	while (h->version[i].step > step)
		i--;
	return h->version[i];
}

static void describe(const struct disk_model *m, uint32_t step)
{
	uint32_t i = m->op_count;

	while (i && m->op[i - 1].first > step)
		i--;
	if (!step || !i)
		fprintf(stderr, "step %" PRIu32 " (the beginning)", step);
	else
		fprintf(stderr, "step %" PRIu32 " (%s %" PRIu64 " + %" PRIu64 ")", step, m->op[i - 1].what,
		        m->op[i - 1].offset, m->op[i - 1].len);
}

static void explain_grain(const struct disk_model *m, const uint8_t *bytes, uint32_t g, uint32_t step)
{
	const struct history *h = &m->grain[g];
	uint64_t found = hash_grain(bytes);
	uint32_t i = 0;

	fprintf(stderr, "  grain %" PRIu32 " should be of ", g);
	describe(m, version_at(h, step).step);
	while (i < h->count && h->version[i].value != found)
		i++;
	if (i == h->count) {
		fprintf(stderr, ", and is nothing that was ever written there: %02x %02x %02x %02x ...\n", bytes[0],
		        bytes[1], bytes[2], bytes[3]);
		return;
	}
	fprintf(stderr, ", and is of ");
	describe(m, h->version[i].step);
	fprintf(stderr, "\n");
}

void disk_model_explain(const struct disk_model *m, const uint8_t *bytes, uint64_t size, uint32_t step)
{
	unsigned wrong = 0;

	fprintf(stderr, "  compared with ");
	describe(m, step);
	fprintf(stderr, " of %" PRIu32 ":\n", m->step);
	if (size != version_at(&m->length, step).value)
		fprintf(stderr, "  the size should be %" PRIu64 ", and is %" PRIu64 "\n",
		        version_at(&m->length, step).value, size);
	for (uint32_t g = 0; g < m->grains; g++) {
		const uint8_t *here = bytes + (uint64_t)g * MODEL_GRAIN;

		if (hash_grain(here) == version_at(&m->grain[g], step).value)
			continue;
		if (wrong++ < EXPLAIN_MOST)
			explain_grain(m, here, g, step);
	}
	fprintf(stderr, "  %u grains are wrong\n", wrong);
}
