/* SPDX-License-Identifier: GPL-3.0-only */
/* verify_chunk.c: first use of a cached chunk after a restart.
 *
 * The checksums of a segment (8 bytes a slot) are kept from its first such chunk until all its chunks have been looked at.
 */
#include "cache/verify_chunk.h"

#include "base/crc32c.h"
#include "base/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Which records' slots every copy of the segment has. Of a chunk that went and came back from the store, slots that were overwritten
 * within the segment are zeros, unless it was sealed whole: then they are read, too, for moments of the past. */
static int mark_filled(const struct segment *s, const struct record *records, size_t count, bool *filled)
{
	bool whole = false;
	int rc = 0;

	if (atomic_load(&s->life) >= LIFE_SEALED)
		rc = segment_digest_fits(segment_set_image(s->set), s->number, s->prev_digest, records, count,
		                         s->digest, &whole);
	if (rc)
		return rc;
	if (!whole)
		return records_mark_needed(records, count, filled);
	for (size_t i = 0; i < count; i++)
		filled[i] = true;
	return 0;
}

/* Per slot: the checksum, and whether a record vouches for the slot (others are never read). */
static int load_checksums(struct segment *s, struct segment_file *f)
{
	struct record *records = NULL;
	struct error err = { 0 };
	size_t count = 0;
	int rc = segment_file_read_records(f, false, &records, &count, &err);

	if (rc) {
		report_error("cache: %s: %s", f->path, error_text(&err));
		return rc;
	}
	uint64_t *sums = calloc(f->shape.slots, sizeof *sums);
	bool *filled = calloc(count + 1, sizeof *filled);
	rc = sums && filled ? mark_filled(s, records, count, filled) : -ENOMEM;
	if (rc == -EBADMSG)
		report_error("cache: the index of %s does not match its digest", f->path);
	for (size_t i = 0; !rc && i < count; i++)
		if (filled[i] && record_has_slot(records[i].kind) && records[i].slot < f->shape.slots)
			sums[records[i].slot] = (uint64_t)1 << 32 | records[i].data_crc;
	free(filled);
	free(records);
	if (rc)
		free(sums);
	else
		s->checksums = sums;
	return rc;
}

static int check(struct segment *s, struct segment_file *f, uint32_t chunk)
{
	uint32_t slot_bytes = f->shape.slot_bytes;
	uint32_t first = (uint32_t)((uint64_t)chunk * CHUNK_BYTES / slot_bytes),
		 last = first + CHUNK_BYTES / slot_bytes;
	uint8_t slot[GRAIN_BYTES_MAX];
	int rc = s->checksums ? 0 : load_checksums(s, f);

	if (last > f->shape.slots)
		last = f->shape.slots;
	for (uint32_t i = first; !rc && i < last; i++) {
		if (!s->checksums[i])
			continue;
		rc = segment_file_read(f, i, 0, slot, slot_bytes);
		if (!rc && crc32c(0, slot, slot_bytes) != (uint32_t)s->checksums[i]) {
			report_error("cache: %s: slot %u does not match its checksum", f->path, i);
			rc = -EBADMSG;
		}
	}
	return rc;
}

/* Whether any chunk is still unverified. */
static bool more(const struct segment *s)
{
	for (uint32_t i = 0; i < s->shape.chunks; i++)
		if (segment_chunk_state(s, i) == CHUNK_UNVERIFIED)
			return true;
	return false;
}

int verify_chunk(struct segment *s, uint32_t chunk)
{
	struct segment_file *f = segment_open_file(s, NULL);
	bool stored = atomic_load(&s->life) == LIFE_STORED;
	int rc;

	pthread_mutex_lock(&s->mutex);
	if (segment_chunk_state(s, chunk) != CHUNK_UNVERIFIED) {
		rc = segment_chunk_state(s, chunk) == CHUNK_PRESENT;
		goto out;
	}
	rc = f ? check(s, f, chunk) : -EIO;
	if (rc == -ENOMEM)
		goto out;
	if (!rc) {
		/* Unless the evictor chose it meanwhile. */
		rc = segment_chunk_change(s, chunk, CHUNK_UNVERIFIED, CHUNK_PRESENT);
	} else if (stored) {
		segment_chunk_set(s, chunk, CHUNK_ABSENT);
		rc = 0;
	} else {
		rc = -EIO;
	}
	if (rc >= 0 && !more(s)) {
		free(s->checksums);
		s->checksums = NULL;
	}
out:
	pthread_mutex_unlock(&s->mutex);
	return rc;
}
