/* SPDX-License-Identifier: GPL-3.0-only */
/* image_life.c: what guests do to images, and looking at them. See image_life.h. */
#include "lib/image_life.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

void trace(const struct world *w, const char *format, ...)
{
	va_list args;

	if (!w->verbose || w->only_oracle)
		return;
	fprintf(stderr, "%u: ", w->step);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

/* ---- places ---- */

struct file *any_file(struct world *w)
{
	struct file *f;

	do
		f = &w->file[random_below(&w->r, FILES)];
	while (!f->name[0]);
	return f;
}

/* An offset: mostly in a hot corner or on the disk, now and then far out; aligned to a grain, to 4 KiB, to 512 bytes, or not at all. */
static uint64_t any_offset(struct world *w, const struct file *f)
{
	static const uint64_t far[] = { MIB << 10, (MIB << 20) - 5000, FAR_MAX / 2 - MIB, FAR_MAX - 8 * MIB };
	const uint64_t align[] = { f->grain, f->grain, 4096, 512, 1 };
	uint64_t offset;

	switch (random_below(&w->r, 8)) {
	case 0:
		offset = far[random_below(&w->r, 4)] + random_below(&w->r, 4 * MIB);
		break;
	case 1:
	case 2:
		offset = random_below(&w->r, DISK);
		break;
	case 3:
		offset = oracle_size(f->oracle);
		offset -= random_below(&w->r, (offset < MIB ? offset : MIB) + 1);
		break;
	default:
		offset = random_below(&w->r, 3 * MIB);
		break;
	}
	return offset - offset % align[random_below(&w->r, 5)];
}

static size_t any_length(struct world *w, const struct file *f)
{
	uint64_t len;

	switch (random_below(&w->r, 8)) {
	case 0:
		len = BYTES_MAX;
		break;
	case 1:
		len = MIB;
		break;
	case 2:
		len = MIB / 4;
		break;
	case 3:
		len = 600;
		break;
	default:
		len = 20 * (uint64_t)f->grain;
		len = len < BYTES_MAX / 4 ? len : BYTES_MAX / 4;
		break;
	}
	len = 1 + random_below(&w->r, len);
	if (random_once_in(&w->r, 2) && len > f->grain)
		len -= len % f->grain;
	return len;
}

/* ---- looking ---- */

static void check_range(struct world *w, const struct file *f, uint64_t offset, size_t len)
{
	uint64_t size = oracle_size(f->oracle);
	uint64_t want = offset >= size ? 0 : len < size - offset ? len : size - offset;
	int64_t got = read_wait(f->image, offset, w->buf, len);

	if (got != (int64_t)want)
		fail_msg("seed %" PRIu64 " step %u: %s (grain %u): reading %zu at %" PRIu64 " of %" PRIu64
		         " answered %" PRId64,
		         w->seed, w->step, f->name, f->grain, len, offset, size, got);
	oracle_read(f->oracle, offset, w->other, want);
	if (!memcmp(w->buf, w->other, want))
		return;
	uint64_t at = 0, last = want;
	while (w->buf[at] == w->other[at])
		at++;
	while (w->buf[last - 1] == w->other[last - 1])
		last--;
	fail_msg("seed %" PRIu64 " step %u: %s (grain %u): bytes %" PRIu64 " to %" PRIu64
	         " of the image differ, the first is %02x, "
	         "not %02x",
	         w->seed, w->step, f->name, f->grain, offset + at, offset + last, w->buf[at], w->other[at]);
}

static int64_t check_seek(struct world *w, const struct file *f, uint64_t offset, bool data)
{
	int64_t want = oracle_seek(f->oracle, offset, data, f->grain), got = seek_wait(f->image, offset, data);

	if (got != want)
		fail_msg("seed %" PRIu64 " step %u: %s (grain %u): seeking %s from %" PRIu64 " of %" PRIu64
		         " answered %" PRId64 ", not %" PRId64,
		         w->seed, w->step, f->name, f->grain, data ? "data" : "a hole", offset, oracle_size(f->oracle),
		         got, want);
	return got;
}

/* The bytes that are mapped, as far as a search finds them: to tell a wrong map from a wrong count. */
static uint64_t found_by_seeking(const struct file *f)
{
	uint64_t found = 0;
	int64_t data, hole = 0;

	while ((data = seek_wait(f->image, (uint64_t)hole, true)) >= 0) {
		hole = seek_wait(f->image, (uint64_t)data, false);
		if (hole <= data)
			break;
		found += (uint64_t)(hole - data);
	}
	return found;
}

void check_stat(struct world *w, const struct file *f)
{
	uint64_t allocated = oracle_allocated(f->oracle, f->grain);
	struct node_attr attr;

	image_stat(f->image, &attr);
	if (attr.size != oracle_size(f->oracle) || attr.allocated_bytes != allocated || attr.grain_bytes != f->grain)
		fail_msg("seed %" PRIu64 " step %u: %s has %" PRIu64 " bytes, %" PRIu64 " allocated; not %" PRIu64
		         ", %" PRIu64 " (by seeking: %" PRIu64 ")",
		         w->seed, w->step, f->name, attr.size, attr.allocated_bytes, oracle_size(f->oracle), allocated,
		         found_by_seeking(f));
}

/* The whole image: its size, every extent, and every byte that is not in a hole. */
void check_file(struct world *w, const struct file *f)
{
	int64_t from = 0, to;

	check_stat(w, f);
	while ((from = check_seek(w, f, (uint64_t)from, true)) >= 0) {
		to = check_seek(w, f, (uint64_t)from, false);
		for (uint64_t at = (uint64_t)from; at < (uint64_t)to; at += BYTES_MAX)
			check_range(w, f, at, (uint64_t)to - at < BYTES_MAX ? (size_t)((uint64_t)to - at) : BYTES_MAX);
		from = to;
		if ((uint64_t)to >= oracle_size(f->oracle))
			break;
	}
}

void expect(struct world *w, const struct file *f, const char *what, int64_t got, int64_t want)
{
	if (got != want)
		fail_msg("seed %" PRIu64 " step %u: %s: %s answered %" PRId64 ", not %" PRId64, w->seed, w->step,
		         f->name, what, got, want);
}

/* ---- what guests do ---- */

/* Random bytes, of which some grains are zeros. */
static void fill(struct world *w, size_t len, uint32_t grain)
{
	unsigned one_in = random_once_in(&w->r, 3) ? 2 : 20;

	random_fill(&w->r, w->buf, len);
	for (size_t at = 0; at < len; at += grain)
		if (random_once_in(&w->r, one_in))
			memset(w->buf + at, 0, len - at < grain ? len - at : grain);
}

static void do_write(struct world *w, bool zeros)
{
	struct file *f = any_file(w);
	uint64_t offset = any_offset(w, f);
	size_t len = any_length(w, f);

	if (zeros)
		memset(w->buf, 0, len);
	else
		fill(w, len, f->grain);
	trace(w, "%s: write %s%zu at %" PRIu64, f->name, zeros ? "zeros " : "", len, offset);
	if (!w->only_oracle)
		expect(w, f, "a write", write_wait(f->image, offset, w->buf, len), (int64_t)len);
	oracle_write(f->oracle, offset, w->buf, len);
}

static void do_discard(struct world *w)
{
	struct file *f = any_file(w);
	uint64_t offset = any_offset(w, f);
	uint64_t len = random_once_in(&w->r, 10) ? random_below(&w->r, FAR_MAX) : any_length(w, f);

	if (random_once_in(&w->r, 30))
		len = UINT64_MAX - offset;
	trace(w, "%s: discard %" PRIu64 " at %" PRIu64 " of %" PRIu64, f->name, len, offset, oracle_size(f->oracle));
	if (!w->only_oracle)
		expect(w, f, "a discard", discard_wait(f->image, offset, len), 0);
	oracle_zero(f->oracle, offset, len);
}

static void do_resize(struct world *w)
{
	struct file *f = any_file(w);
	uint64_t size = any_offset(w, f);

	trace(w, "%s: resize %" PRIu64 " to %" PRIu64, f->name, oracle_size(f->oracle), size);
	if (!w->only_oracle)
		expect(w, f, "a resize", resize_wait(f->image, size), 0);
	oracle_resize(f->oracle, size);
}

static void do_set_mtime(struct world *w)
{
	struct file *f = any_file(w);
	uint64_t mtime = 1 + random_below(&w->r, UINT64_MAX / 4);
	struct node_attr attr;

	if (w->only_oracle)
		return;
	trace(w, "%s: set mtime", f->name);
	expect(w, f, "setting the time", set_mtime_wait(f->image, mtime), 0);
	image_stat(f->image, &attr);
	assert_true(attr.mtime_ns == mtime);
}

static void copy_range(struct world *w, struct file *from, uint64_t offset, struct file *to, uint64_t to_offset,
                       uint64_t len)
{
	uint64_t size, within;

	size = oracle_size(from->oracle);
	within = offset >= size ? 0 : len < size - offset ? len : size - offset;
	bool overlap = from == to && within && offset < to_offset + within && to_offset < offset + within;
	trace(w, "copy %" PRIu64 " of %s at %" PRIu64 " to %s at %" PRIu64, len, from->name, offset, to->name,
	      to_offset);
	int64_t want = overlap ? -EINVAL : (int64_t)oracle_copy(from->oracle, offset, to->oracle, to_offset, len);
	if (!w->only_oracle)
		expect(w, from, "a copy", copy_wait(from->image, offset, to->image, to_offset, len), want);
}

/* Mostly what can be shared; to the same place or another one, and now and then in small pieces: as cp asks for, while
 * others write. */
static void do_copy(struct world *w)
{
	struct file *from = any_file(w), *to = any_file(w);
	uint64_t offset = any_offset(w, from), to_offset = any_offset(w, to), len = any_length(w, from), piece;

	for (unsigned k = 0; k < 6 && (to == from || to->grain != from->grain); k++)
		to = any_file(w);
	if (random_once_in(&w->r, 2)) { /* where there is something */
		offset = random_below(&w->r, 3 * MIB);
		len = from->grain * (1 + random_below(&w->r, 100));
	}
	if (from != to && random_once_in(&w->r, 2))
		to_offset = offset;
	if (!random_once_in(&w->r, 4)) {
		offset -= offset % from->grain;
		to_offset -= to_offset % from->grain;
	}
	piece = len;
	if (from != to && random_once_in(&w->r, 3))
		piece = (uint64_t)from->grain * (1 + random_below(&w->r, 40));
	for (uint64_t at = 0; at < len; at += piece) {
		copy_range(w, from, offset + at, to, to_offset + at, len - at < piece ? len - at : piece);
		if (piece < len && random_once_in(&w->r, 20))
			do_write(w, false);
		if (piece < len && random_once_in(&w->r, 20))
			at += piece; /* a hole, or nothing that anybody wants */
	}
}

/* What a crash has to leave as it is: the same numbers are drawn whether there is an engine or not. */
void guest_step(struct world *w)
{
	uint64_t what = random_below(&w->r, 100);

	w->step++;
	if (what < 46)
		do_write(w, false);
	else if (what < 54)
		do_write(w, true);
	else if (what < 70)
		do_discard(w);
	else if (what < 76)
		do_resize(w);
	else if (what < 79)
		do_set_mtime(w);
	else if (what < 84)
		note_moment(w, any_file(w));
	else
		do_copy(w);
}

void look_step(struct world *w)
{
	struct file *f = any_file(w);
	uint64_t offset = any_offset(w, f);

	if (random_once_in(&w->r, 3)) {
		bool data = random_once_in(&w->r, 2);
		trace(w, "%s: seek from %" PRIu64, f->name, offset);
		check_seek(w, f, offset, data);
		return;
	}
	size_t len = any_length(w, f);
	trace(w, "%s: read %zu at %" PRIu64, f->name, len, offset);
	check_range(w, f, offset, len);
}

void make_name(struct world *w, char name[16])
{
	snprintf(name, 16, "n%u.raw", w->names++);
}
