/* SPDX-License-Identifier: GPL-3.0-only */
/* record.c: index records to bytes and back, and which of them a packed segment needs.
 *
 * Pure. Bytes that come in are not trusted: a record is taken only when its checksum fits its place and every field is in
 * range, so that nobody behind this has to check again.
 */
#include "log/record.h"

#include "base/bytes.h"
#include "base/crc32c.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define RECORD_LEVEL_MAX 7

/* The crc of salt and number, from which the record's own crc is continued. */
static uint32_t record_seed(uint64_t salt, uint32_t number)
{
	uint8_t place[12];

	put_le64(place, salt);
	put_le32(place + 8, number);
	return crc32c(0, place, sizeof place);
}

static bool fields_fit(const struct record *r)
{
	if (r->level > RECORD_LEVEL_MAX)
		return false;
	switch (r->kind) {
	case RECORD_DATA:
	case RECORD_NODE:
	case RECORD_CHECKPOINT:
	case RECORD_MOVE:
	case RECORD_SHARE:
		if (r->slot >= SEGMENT_SLOTS_MAX || r->count != 1)
			return false;
		return !record_is_grain(r->kind) || r->value != GRAIN_NONE;
	case RECORD_ZERO:
		/* The end of the range must be a number too. */
		return r->slot == RECORD_NO_SLOT && r->count != 0 && r->value <= UINT64_MAX - r->count;
	case RECORD_RESIZE:
	case RECORD_MARK:
	case RECORD_TIMES:
	case RECORD_FOLLOWS:
		return r->slot == RECORD_NO_SLOT && r->count == 0;
	default:
		return false;
	}
}

void record_encode(const struct record *r, uint64_t salt, uint32_t number, uint8_t out[RECORD_BYTES])
{
	/* A record that cannot be read back would silently end the log at the next recovery. */
	assert(fields_fit(r));

	out[4] = r->kind;
	out[5] = r->level;
	put_le16(out + 6, r->slot);
	put_le64(out + 8, r->value);
	put_le32(out + 16, r->count);
	put_le32(out + 20, r->data_crc);
	put_le64(out + 24, r->time_ns);
	put_le32(out, crc32c(record_seed(salt, number), out + 4, RECORD_BYTES - 4));
}

int record_decode(const uint8_t in[RECORD_BYTES], uint64_t salt, uint32_t number, struct record *r)
{
	struct record got;

	if (get_le32(in) != crc32c(record_seed(salt, number), in + 4, RECORD_BYTES - 4))
		return -EBADMSG;
	got.kind = in[4];
	got.level = in[5];
	got.slot = get_le16(in + 6);
	got.value = get_le64(in + 8);
	got.count = get_le32(in + 16);
	got.data_crc = get_le32(in + 20);
	got.time_ns = get_le64(in + 24);
	if (!fields_fit(&got))
		return -EBADMSG;
	*r = got;
	return 0;
}

/* The grains that one stretch of the list writes, sorted, each once; and for each the first one at or after it that is
 * not covered yet, found by following `next` (a disjoint-set forest: what is covered points onwards, and paths are halved
 * on the way). A range of zeros thus costs no more than the grains it covers for the first time. */
struct cover {
	uint64_t *grain;
	size_t *next; /* count + 1 of them: the last is the end, never covered */
	size_t count;
};

static size_t cover_next(struct cover *c, size_t i)
{
	while (c->next[i] != i) {
		c->next[i] = c->next[c->next[i]];
		i = c->next[i];
	}
	return i;
}

/* Index of the first grain that is not below `grain`. */
static size_t cover_lower_bound(const struct cover *c, uint64_t grain)
{
	size_t low = 0, high = c->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (c->grain[middle] < grain)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void cover_collect(struct cover *c, const struct record *records, size_t first, size_t end)
{
	size_t n = 0;

	for (size_t i = first; i < end; i++)
		if (record_is_grain(records[i].kind))
			c->grain[n++] = records[i].value;
	if (n > 1)
		qsort(c->grain, n, sizeof c->grain[0], compare_u64);
	c->count = 0;
	for (size_t i = 0; i < n; i++)
		if (c->count == 0 || c->grain[c->count - 1] != c->grain[i])
			c->grain[c->count++] = c->grain[i];
	for (size_t i = 0; i <= c->count; i++)
		c->next[i] = i;
}

/* Marks the records of one stretch, in which nothing but the records themselves points at a slot: newest first. */
static void mark_stretch(struct cover *c, const struct record *records, size_t first, size_t end, bool *keep)
{
	cover_collect(c, records, first, end);
	for (size_t i = end; i-- > first;) {
		const struct record *r = &records[i];
		size_t k;

		keep[i] = true;
		if (record_is_grain(r->kind)) {
			k = cover_lower_bound(c, r->value);
			if (cover_next(c, k) != k)
				keep[i] = false;
			else
				c->next[k] = k + 1;
		} else if (r->kind == RECORD_ZERO) {
			k = cover_next(c, cover_lower_bound(c, r->value));
			while (k < c->count && c->grain[k] - r->value < r->count) {
				c->next[k] = k + 1;
				k = cover_next(c, k);
			}
		}
	}
}

int records_mark_needed(const struct record *records, size_t count, bool *keep)
{
	struct cover c = { 0 };
	size_t first = 0;
	int rc = -ENOMEM;

	c.grain = calloc(count + 1, sizeof c.grain[0]);
	c.next = calloc(count + 1, sizeof c.next[0]);
	if (!c.grain || !c.next)
		goto out;

	/* A checkpoint or mark belongs to no stretch: what comes after it covers nothing of what came before. */
	for (size_t i = 0; i <= count; i++) {
		if (i < count && records[i].kind != RECORD_CHECKPOINT && records[i].kind != RECORD_MARK)
			continue;
		mark_stretch(&c, records, first, i, keep);
		if (i < count)
			keep[i] = true;
		first = i + 1;
	}
	rc = 0;
out:
	free(c.next);
	free(c.grain);
	return rc;
}
