/* SPDX-License-Identifier: GPL-3.0-only */
/* delta_stream.h: what differs between two moments of an image, as one stream of bytes that can be kept or sent: garner-delta(5).
 *
 * A header, frames in the order of their offsets, and an end that proves that nothing was left out or altered by chance. It is
 * written and read from begin to end, never sought in, and needs memory for one frame only. It is not encrypted, nor protected
 * against forgery. Knows nothing of files and images: bytes go to and come from a function. Not for several threads at once.
 */
#ifndef GARNER_SEAL_DELTA_STREAM_H
#define GARNER_SEAL_DELTA_STREAM_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define DELTA_VERSION 1
#define DELTA_HEADER_BYTES 256
#define DELTA_FRAME_HEADER_BYTES 32
#define DELTA_DATA_MAX ((size_t)1 << 20) /* bytes of one data frame */
#define DELTA_NAME_MAX 64

struct delta_header {
	uint64_t image;
	uint64_t from, to; /* ids of the snapshots; from 0: an empty image */
	uint64_t from_size, to_size;
	uint64_t time_ns;                                                /* of `to` */
	char from_name[DELTA_NAME_MAX + 1], to_name[DELTA_NAME_MAX + 1]; /* "" where it has none that lasts */
};

enum delta_kind { DELTA_DATA = 1, DELTA_ZERO = 2, DELTA_END = 3 };

struct delta_frame {
	enum delta_kind kind;
	uint64_t offset, length; /* of the image; of the end: how many frames, and bytes of data, there were */
	const uint8_t *data;     /* of a data frame: the reader's, until the next frame */
};

/* The header alone. Decoding: -EBADMSG, -EPROTONOSUPPORT for a newer version. */
void delta_header_encode(const struct delta_header *h, uint8_t out[DELTA_HEADER_BYTES]);
int delta_header_decode(const uint8_t in[DELTA_HEADER_BYTES], struct delta_header *h, struct error *err);

/* ---- writing ---- */

/* Takes all `len` bytes: 0, or an error, which the call that wrote then returns. */
typedef int delta_put_fn(void *arg, const void *buf, size_t len);

struct delta_writer;

/* NULL when memory is short. Free with delta_writer_free(). */
struct delta_writer *delta_writer_new(delta_put_fn *put, void *arg);
void delta_writer_free(struct delta_writer *w);

/* Once, before everything else. */
int delta_write_header(struct delta_writer *w, const struct delta_header *h);
/* At most DELTA_DATA_MAX bytes; behind what was written before. */
int delta_write_data(struct delta_writer *w, uint64_t offset, const void *data, size_t len);
int delta_write_zero(struct delta_writer *w, uint64_t offset, uint64_t len);
/* Once, after everything else. */
int delta_write_end(struct delta_writer *w);

/* ---- reading ---- */

/* Reads up to `len` bytes: how many, 0 at the end, or a negative errno, which the call that read then returns. */
typedef int64_t delta_get_fn(void *arg, void *buf, size_t len);

struct delta_reader;

struct delta_reader *delta_reader_new(delta_get_fn *get, void *arg);
void delta_reader_free(struct delta_reader *r);

/* Once, before everything else. As delta_header_decode(). */
int delta_read_header(struct delta_reader *r, struct delta_header *h, struct error *err);

/* The next frame, whole and checked: within the image, behind the one before. The end comes only when all that was read before is
 * what was written, and nothing follows it. -EBADMSG: the stream is damaged or cut short, and no more is to be read. */
int delta_read_frame(struct delta_reader *r, struct delta_frame *f, struct error *err);

#endif
