/* SPDX-License-Identifier: GPL-3.0-only */
/* test_delta_stream.c: a stream comes out as it went in, and one that was cut or altered anywhere is refused.
 *
 * GARNER_TEST_SEED repeats a run.
 */
#include "seal/delta_stream.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "lib/random.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Bytes in memory, given out in pieces of any length. */
struct bytes {
	uint8_t *buf;
	size_t len, room, at;
	size_t most; /* put() fails when there would be more */
	struct random random;
};

static struct error err;

static int put(void *arg, const void *buf, size_t len)
{
	struct bytes *b = arg;

	if (b->most && b->len + len > b->most)
		return -ENOSPC;
	if (b->len + len > b->room) {
		b->room = 2 * (b->len + len);
		b->buf = realloc(b->buf, b->room);
	}
	memcpy(b->buf + b->len, buf, len);
	b->len += len;
	return 0;
}

static int64_t get(void *arg, void *buf, size_t len)
{
	struct bytes *b = arg;
	size_t left = b->len - b->at, n = 1 + random_below(&b->random, len);

	n = n < left ? n : left;
	memcpy(buf, b->buf + b->at, n);
	b->at += n;
	return (int64_t)n;
}

static struct delta_header header(void)
{
	return (struct delta_header){
		.image = 0xa1,
		.from = 0xb2,
		.to = 0xc3,
		.from_size = 1000,
		.to_size = 40000000,
		.time_ns = 12345,
		.from_name = "monday",
		.to_name = "a-name-of-sixty-four-characters.abcdefghijklmnopqrstuvwxyz012345",
	};
}

/* Reads all of it: 0 when the end was reached. */
static int read_stream(struct bytes *b)
{
	struct delta_reader *r = delta_reader_new(get, b);
	struct delta_frame f = { 0 };
	struct delta_header h;
	int rc;

	b->at = 0;
	rc = delta_read_header(r, &h, &err);
	while (!rc && f.kind != DELTA_END)
		rc = delta_read_frame(r, &f, &err);
	delta_reader_free(r);
	return rc;
}

/* Small, with a frame of every kind. */
static void write_small(struct bytes *b)
{
	struct delta_writer *w = delta_writer_new(put, b);
	uint8_t noise[40], text[200];
	struct delta_header h = header();

	random_fill(&b->random, noise, sizeof noise);
	memset(text, 'x', sizeof text);
	assert_int_equal(delta_write_header(w, &h), 0);
	assert_int_equal(delta_write_data(w, 100, noise, sizeof noise), 0);
	assert_int_equal(delta_write_zero(w, 4096, 1 << 20), 0);
	assert_int_equal(delta_write_data(w, 2 << 20, text, sizeof text), 0);
	assert_int_equal(delta_write_end(w), 0);
	delta_writer_free(w);
}

/* ---- what is written is read ---- */

static void what_is_written_is_read(void **state)
{
	uint64_t seed = env_number("GARNER_TEST_SEED", clock_wall_ns());
	struct bytes b = { .random = { seed } };
	struct delta_header h = header(), got;
	struct delta_writer *w = delta_writer_new(put, &b);
	uint8_t *disk = malloc(h.to_size);
	struct delta_frame list[60], f;
	uint64_t at = 0, data = 0;
	unsigned count = 0;

	(void)state;
	print_message("GARNER_TEST_SEED=%" PRIu64 "\n", seed);
	memset(disk, 7, h.to_size);
	assert_int_equal(delta_write_header(w, &h), 0);
	for (; count < 30; count++) {
		struct delta_frame *x = &list[count];

		at += random_once_in(&b.random, 2) ? random_below(&b.random, 10000) : 0;
		x->kind = random_once_in(&b.random, 3) ? DELTA_ZERO : DELTA_DATA;
		x->offset = at;
		x->length = random_once_in(&b.random, 4) ? DELTA_DATA_MAX : 1 + random_below(&b.random, 70000);
		if (random_once_in(&b.random, 2))
			random_fill(&b.random, disk + at, x->length);
		assert_int_equal(x->kind == DELTA_ZERO ? delta_write_zero(w, at, x->length)
		                                       : delta_write_data(w, at, disk + at, x->length),
		                 0);
		data += x->kind == DELTA_DATA ? x->length : 0;
		at += x->length;
	}
	assert_int_equal(delta_write_end(w), 0);
	delta_writer_free(w);

	struct delta_reader *r = delta_reader_new(get, &b);
	assert_int_equal(delta_read_header(r, &got, &err), 0);
	uint8_t one[DELTA_HEADER_BYTES], other[DELTA_HEADER_BYTES];
	delta_header_encode(&h, one);
	delta_header_encode(&got, other);
	assert_memory_equal(one, other, sizeof one);
	assert_int_equal(got.image, 0xa1);
	assert_int_equal(got.from, 0xb2);
	assert_int_equal(got.to, 0xc3);
	assert_int_equal(got.from_size, 1000);
	assert_int_equal(got.to_size, 40000000);
	assert_int_equal(got.time_ns, 12345);
	assert_string_equal(got.from_name, h.from_name);
	assert_string_equal(got.to_name, h.to_name);
	for (unsigned k = 0; k < count; k++) {
		assert_int_equal(delta_read_frame(r, &f, &err), 0);
		assert_int_equal(f.kind, list[k].kind);
		assert_int_equal(f.offset, list[k].offset);
		assert_int_equal(f.length, list[k].length);
		if (f.kind == DELTA_DATA)
			assert_memory_equal(f.data, disk + f.offset, f.length);
	}
	assert_int_equal(delta_read_frame(r, &f, &err), 0);
	assert_int_equal(f.kind, DELTA_END);
	assert_int_equal(f.offset, count);
	assert_int_equal(f.length, data);
	delta_reader_free(r);
	free(disk);
	free(b.buf);
}

static void an_empty_stream_is_one_too(void **state)
{
	struct bytes b = { .random = { 1 } };
	struct delta_header h = { .image = 1, .to = 2 };
	struct delta_writer *w = delta_writer_new(put, &b);

	(void)state;
	assert_int_equal(delta_write_header(w, &h), 0);
	assert_int_equal(delta_write_end(w), 0);
	delta_writer_free(w);
	assert_int_equal(read_stream(&b), 0);
	assert_int_equal(b.len, DELTA_HEADER_BYTES + DELTA_FRAME_HEADER_BYTES + 32);
	free(b.buf);
}

static void what_cannot_be_written_is_said(void **state)
{
	struct bytes b = { .random = { 1 }, .most = 300 };
	struct delta_header h = header();
	struct delta_writer *w = delta_writer_new(put, &b);

	(void)state;
	assert_int_equal(delta_write_header(w, &h), 0);
	assert_int_equal(delta_write_zero(w, 0, 10), 0);
	assert_int_equal(delta_write_zero(w, 10, 10), -ENOSPC);
	delta_writer_free(w);
	free(b.buf);
}

/* ---- what is refused ---- */

static void a_stream_cut_anywhere_is_refused(void **state)
{
	struct bytes b = { .random = { 5 } };

	(void)state;
	write_small(&b);
	assert_int_equal(read_stream(&b), 0);
	for (size_t whole = b.len; b.len--;)
		if (read_stream(&b) != -EBADMSG)
			fail_msg("%zu of %zu bytes are taken for a stream", b.len, whole);
	free(b.buf);
}

static void a_stream_with_any_bit_turned_is_refused(void **state)
{
	struct bytes b = { .random = { 6 } };

	(void)state;
	write_small(&b);
	for (size_t bit = 0; bit < 8 * b.len; bit++) {
		b.buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
		int rc = read_stream(&b);
		if (rc != -EBADMSG)
			fail_msg("bit %zu: %d", bit, rc);
		b.buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(read_stream(&b), 0);
	free(b.buf);
}

static void what_follows_the_end_is_refused(void **state)
{
	struct bytes b = { .random = { 7 } };

	(void)state;
	write_small(&b);
	assert_int_equal(put(&b, "", 1), 0);
	assert_int_equal(read_stream(&b), -EBADMSG);
	free(b.buf);
}

/* A frame that is right in itself, left out or twice: only the end can tell. */
static void a_frame_left_out_or_exchanged_is_refused(void **state)
{
	struct bytes b = { .random = { 8 } }, cut = { .random = { 8 } };
	const size_t first = DELTA_HEADER_BYTES, len = DELTA_FRAME_HEADER_BYTES + 40;

	(void)state;
	write_small(&b);
	assert_int_equal(get_le32(b.buf + first + 4), 40); /* the noise is stored as it is */
	put(&cut, b.buf, first);
	put(&cut, b.buf + first + len, b.len - first - len);
	assert_int_equal(read_stream(&cut), -EBADMSG);
	assert_non_null(strstr(error_text(&err), "not what was written"));
	free(b.buf);
	free(cut.buf);
}

/* Checksums are made right, so that what is said is looked at. */
static void what_makes_no_sense_is_refused(void **state)
{
	const struct {
		size_t at;
		uint64_t value;
	} wrong[] = {
		{ 8, 40000000 },               /* past the end */
		{ 8, UINT64_MAX - 10 },        /* around the end of numbers */
		{ 16, 0 },                     /* nothing */
		{ 16, UINT64_MAX },            /* too much */
		{ 16, DELTA_DATA_MAX + 1 },    /* more than a frame may hold */
		{ 16, 20 },                    /* less than is stored */
		{ 16, 50 },                    /* as if it were compressed, which it is not */
		{ 0, 4 | (uint64_t)40 << 32 }, /* no kind */
		{ 0, 2 | (uint64_t)40 << 32 }, /* zeros with bytes */
		{ 0, 1 },                      /* data without any */
		{ 0, 1 | (uint64_t)UINT32_MAX << 32 },
		{ 0, 257 | (uint64_t)40 << 32 },
	};
	struct delta_header h;

	(void)state;
	for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
		struct bytes b = { .random = { 9 } };
		uint8_t *frame;

		write_small(&b);
		frame = b.buf + DELTA_HEADER_BYTES;
		put_le64(frame + wrong[k].at, wrong[k].value);
		put_le32(frame + 28, crc32c(crc32c(0, frame, 28), frame + 32, 40));
		if (read_stream(&b) != -EBADMSG || strstr(error_text(&err), "not what was written"))
			fail_msg("case %zu: %s", k, error_text(&err));
		free(b.buf);
	}
	uint8_t head[DELTA_HEADER_BYTES];
	struct delta_header good = header();
	delta_header_encode(&good, head);
	put_le32(head + 8, 2);
	put_le32(head + 252, crc32c(0, head, 252));
	assert_int_equal(delta_header_decode(head, &h, &err), -EPROTONOSUPPORT);
	good.to = 0;
	delta_header_encode(&good, head);
	assert_int_equal(delta_header_decode(head, &h, &err), -EBADMSG);
	good = header();
	good.from = 0;
	delta_header_encode(&good, head);
	assert_int_equal(delta_header_decode(head, &h, &err), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(an_empty_stream_is_one_too),
		cmocka_unit_test(what_cannot_be_written_is_said),
		cmocka_unit_test(a_stream_cut_anywhere_is_refused),
		cmocka_unit_test(a_stream_with_any_bit_turned_is_refused),
		cmocka_unit_test(what_follows_the_end_is_refused),
		cmocka_unit_test(a_frame_left_out_or_exchanged_is_refused),
		cmocka_unit_test(what_makes_no_sense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
