/* SPDX-License-Identifier: GPL-3.0-only */
/* oracle.c: see oracle.h. No cleverness here: it has to be right by looking at it. */
#include "lib/oracle.h"

#include "base/bytes.h"
#include "base/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct oracle {
	uint64_t size;
	struct hash *pages; /* number + 1 -> ORACLE_PAGE bytes */
};

struct oracle *oracle_new(void)
{
	struct oracle *o = calloc(1, sizeof *o);

	if (!o || !(o->pages = hash_new()))
		abort();
	return o;
}

struct oracle *oracle_clone(const struct oracle *o)
{
	struct oracle *clone = oracle_new();
	size_t cursor = 0;
	uint64_t key;
	const void *page;

	clone->size = o->size;
	while ((page = hash_next(o->pages, &cursor, &key))) {
		void *copy = malloc(ORACLE_PAGE);
		if (!copy || hash_put(clone->pages, key, copy))
			abort();
		memcpy(copy, page, ORACLE_PAGE);
	}
	return clone;
}

void oracle_free(struct oracle *o)
{
	size_t cursor = 0;
	uint64_t key;
	void *page;

	while ((page = hash_next(o->pages, &cursor, &key)))
		free(page);
	hash_free(o->pages);
	free(o);
}

uint64_t oracle_size(const struct oracle *o)
{
	return o->size;
}

static uint8_t *page_get(const struct oracle *o, uint64_t number)
{
	return hash_get(o->pages, number + 1);
}

static uint8_t *page_make(struct oracle *o, uint64_t number)
{
	uint8_t *page = page_get(o, number);

	if (!page && (!(page = calloc(1, ORACLE_PAGE)) || hash_put(o->pages, number + 1, page)))
		abort();
	return page;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

uint64_t *oracle_pages(const struct oracle *o, size_t *count)
{
	uint64_t *numbers = malloc((hash_count(o->pages) + 1) * sizeof *numbers), key;
	size_t cursor = 0;
	const void *page;

	if (!numbers)
		abort();
	*count = 0;
	while ((page = hash_next(o->pages, &cursor, &key)))
		if (!is_zero(page, ORACLE_PAGE))
			numbers[(*count)++] = key - 1;
	qsort(numbers, *count, sizeof *numbers, by_number);
	return numbers;
}

/* Zeroes [from, to), whatever the size is. */
static void wipe(struct oracle *o, uint64_t from, uint64_t to)
{
	size_t cursor = 0;
	uint64_t key;
	uint8_t *page;

	while ((page = hash_next(o->pages, &cursor, &key))) {
		uint64_t base = (key - 1) * ORACLE_PAGE, end = base + ORACLE_PAGE;
		uint64_t first = from > base ? from : base, last = to < end ? to : end;
		if (first >= last)
			continue;
		memset(page + (first - base), 0, last - first);
		if (last - first == ORACLE_PAGE)
			free(hash_remove(o->pages, key));
	}
}

void oracle_resize(struct oracle *o, uint64_t size)
{
	if (size < o->size)
		wipe(o, size, UINT64_MAX);
	o->size = size;
}

void oracle_write(struct oracle *o, uint64_t offset, const void *buf, size_t len)
{
	const uint8_t *from = buf;

	if (len && offset + len > o->size)
		o->size = offset + len;
	while (len) {
		size_t skip = offset % ORACLE_PAGE, n = ORACLE_PAGE - skip < len ? ORACLE_PAGE - skip : len;
		memcpy(page_make(o, offset / ORACLE_PAGE) + skip, from, n);
		from += n;
		offset += n;
		len -= n;
	}
}

void oracle_zero(struct oracle *o, uint64_t offset, uint64_t len)
{
	if (offset < o->size)
		wipe(o, offset, len < o->size - offset ? offset + len : o->size);
}

void oracle_read(const struct oracle *o, uint64_t offset, void *buf, size_t len)
{
	uint8_t *to = buf;

	while (len) {
		size_t skip = offset % ORACLE_PAGE, n = ORACLE_PAGE - skip < len ? ORACLE_PAGE - skip : len;
		const uint8_t *page = page_get(o, offset / ORACLE_PAGE);
		if (page)
			memcpy(to, page + skip, n);
		else
			memset(to, 0, n);
		to += n;
		offset += n;
		len -= n;
	}
}

uint64_t oracle_copy(const struct oracle *from, uint64_t offset, struct oracle *to, uint64_t to_offset, uint64_t len)
{
	if (offset >= from->size || !len)
		return 0;
	if (len > from->size - offset)
		len = from->size - offset;
	uint8_t *buf = malloc(len);
	if (!buf)
		abort();
	oracle_read(from, offset, buf, len);
	oracle_write(to, to_offset, buf, len);
	free(buf);
	return len;
}

static bool grain_is_data(const struct oracle *o, uint64_t offset, uint32_t grain)
{
	const uint8_t *page = page_get(o, offset / ORACLE_PAGE);

	return page && !is_zero(page + offset % ORACLE_PAGE, grain);
}

static int64_t next_data(const struct oracle *o, uint64_t from, uint32_t grain)
{
	size_t count;
	uint64_t *pages = oracle_pages(o, &count);
	int64_t found = -ENXIO;

	for (size_t k = 0; k < count && found < 0; k++)
		for (uint64_t at = pages[k] * ORACLE_PAGE; at < (pages[k] + 1) * ORACLE_PAGE && found < 0; at += grain)
			if (at >= from && grain_is_data(o, at, grain))
				found = (int64_t)at;
	free(pages);
	return found;
}

int64_t oracle_seek(const struct oracle *o, uint64_t offset, bool data, uint32_t grain)
{
	uint64_t at = offset - offset % grain;

	if (offset >= o->size)
		return -ENXIO;
	if (data) {
		int64_t found = next_data(o, at, grain);
		return found < 0 || (uint64_t)found > offset ? found : (int64_t)offset;
	}
	while (at < o->size && grain_is_data(o, at, grain))
		at += grain;
	if (at > o->size)
		at = o->size;
	return (int64_t)(at > offset ? at : offset);
}

uint64_t oracle_allocated(const struct oracle *o, uint32_t grain)
{
	size_t count;
	uint64_t *pages = oracle_pages(o, &count), bytes = 0;

	for (size_t k = 0; k < count; k++)
		for (uint64_t at = pages[k] * ORACLE_PAGE; at < (pages[k] + 1) * ORACLE_PAGE; at += grain)
			if (grain_is_data(o, at, grain))
				bytes += grain;
	free(pages);
	return bytes;
}
