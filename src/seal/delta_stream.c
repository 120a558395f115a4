/* SPDX-License-Identifier: GPL-3.0-only */
/* delta_stream.c: what differs between two moments of an image, as one stream of bytes. */
#include "seal/delta_stream.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "seal/crypto_init.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define MAGIC "GRNDELTA"
#define MAGIC_BYTES 8
#define DIGEST_BYTES 32
#define LEVEL 3

/* Where things are in the header. */
enum {
	AT_VERSION = 8,
	AT_IMAGE = 16,
	AT_FROM = 24,
	AT_TO = 32,
	AT_FROM_SIZE = 40,
	AT_TO_SIZE = 48,
	AT_TIME = 56,
	AT_FROM_NAME = 64,
	AT_TO_NAME = 128,
	AT_REST = 192,
	AT_CRC = DELTA_HEADER_BYTES - 4,
};

/* ---- the header --------------------------------------------------------------------------------------------------- */

void delta_header_encode(const struct delta_header *h, uint8_t out[DELTA_HEADER_BYTES])
{
	memset(out, 0, DELTA_HEADER_BYTES);
	memcpy(out, MAGIC, MAGIC_BYTES);
	put_le32(out + AT_VERSION, DELTA_VERSION);
	put_le64(out + AT_IMAGE, h->image);
	put_le64(out + AT_FROM, h->from);
	put_le64(out + AT_TO, h->to);
	put_le64(out + AT_FROM_SIZE, h->from_size);
	put_le64(out + AT_TO_SIZE, h->to_size);
	put_le64(out + AT_TIME, h->time_ns);
	memcpy(out + AT_FROM_NAME, h->from_name, strnlen(h->from_name, DELTA_NAME_MAX));
	memcpy(out + AT_TO_NAME, h->to_name, strnlen(h->to_name, DELTA_NAME_MAX));
	put_le32(out + AT_CRC, crc32c(0, out, AT_CRC));
}

/* Zeros behind its end. */
static bool get_name(const uint8_t *in, char name[DELTA_NAME_MAX + 1])
{
	size_t len = strnlen((const char *)in, DELTA_NAME_MAX);

	memcpy(name, in, len);
	memset(name + len, 0, DELTA_NAME_MAX + 1 - len);
	return len == DELTA_NAME_MAX || is_zero(in + len, DELTA_NAME_MAX - len);
}

int delta_header_decode(const uint8_t in[DELTA_HEADER_BYTES], struct delta_header *h, struct error *err)
{
	if (memcmp(in, MAGIC, MAGIC_BYTES) != 0)
		return error_set(err, -EBADMSG, "this is no garner-delta stream");
	if (get_le32(in + AT_CRC) != crc32c(0, in, AT_CRC))
		return error_set(err, -EBADMSG, "the header of the stream is damaged");
	if (get_le32(in + AT_VERSION) > DELTA_VERSION)
		return error_set(err, -EPROTONOSUPPORT, "the stream is of version %" PRIu32 ": upgrade garnerfs here",
		                 get_le32(in + AT_VERSION));
	*h = (struct delta_header){
		.image = get_le64(in + AT_IMAGE),
		.from = get_le64(in + AT_FROM),
		.to = get_le64(in + AT_TO),
		.from_size = get_le64(in + AT_FROM_SIZE),
		.to_size = get_le64(in + AT_TO_SIZE),
		.time_ns = get_le64(in + AT_TIME),
	};
	if (!get_name(in + AT_FROM_NAME, h->from_name) || !get_name(in + AT_TO_NAME, h->to_name) ||
	    get_le32(in + AT_VERSION) != DELTA_VERSION || get_le32(in + AT_VERSION + 4) != 0 ||
	    !is_zero(in + AT_REST, AT_CRC - AT_REST) || !h->to || h->from_size > INT64_MAX || h->to_size > INT64_MAX ||
	    (!h->from && (h->from_size || h->from_name[0])))
		return error_set(err, -EBADMSG, "the header of the stream makes no sense");
	return 0;
}

/* ---- frames ------------------------------------------------------------------------------------------------------- */

static void put_frame(uint8_t out[DELTA_FRAME_HEADER_BYTES], const struct delta_frame *f, const void *stored,
                      size_t len)
{
	memset(out, 0, DELTA_FRAME_HEADER_BYTES);
	out[0] = (uint8_t)f->kind;
	put_le32(out + 4, (uint32_t)len);
	put_le64(out + 8, f->offset);
	put_le64(out + 16, f->length);
	put_le32(out + 28, crc32c(crc32c(0, out, 28), stored, len));
}

/* ---- writing ------------------------------------------------------------------------------------------------------ */

struct delta_writer {
	delta_put_fn *put;
	void *arg;
	ZSTD_CCtx *zstd;
	uint8_t *packed; /* DELTA_DATA_MAX */
	crypto_generichash_state sum;
	uint64_t frames, data;
};

struct delta_writer *delta_writer_new(delta_put_fn *put, void *arg)
{
	struct delta_writer *w = aligned_alloc(alignof(struct delta_writer), sizeof *w);

	crypto_init();
	if (!w)
		return NULL;
	memset(w, 0, sizeof *w);
	w->put = put;
	w->arg = arg;
	w->zstd = ZSTD_createCCtx();
	w->packed = malloc(DELTA_DATA_MAX);
	if (!w->zstd || !w->packed) {
		delta_writer_free(w);
		return NULL;
	}
	crypto_generichash_init(&w->sum, NULL, 0, DIGEST_BYTES);
	return w;
}

void delta_writer_free(struct delta_writer *w)
{
	if (!w)
		return;
	ZSTD_freeCCtx(w->zstd);
	free(w->packed);
	free(w);
}

static int put_summed(struct delta_writer *w, const void *buf, size_t len)
{
	crypto_generichash_update(&w->sum, buf, len);
	return len ? w->put(w->arg, buf, len) : 0;
}

int delta_write_header(struct delta_writer *w, const struct delta_header *h)
{
	uint8_t bytes[DELTA_HEADER_BYTES];

	delta_header_encode(h, bytes);
	return put_summed(w, bytes, sizeof bytes);
}

static int write_frame(struct delta_writer *w, const struct delta_frame *f, const void *stored, size_t len)
{
	uint8_t head[DELTA_FRAME_HEADER_BYTES];
	int rc;

	put_frame(head, f, stored, len);
	rc = put_summed(w, head, sizeof head);
	if (!rc)
		rc = put_summed(w, stored, len);
	w->frames++;
	return rc;
}

int delta_write_data(struct delta_writer *w, uint64_t offset, const void *data, size_t len)
{
	const struct delta_frame f = { .kind = DELTA_DATA, .offset = offset, .length = len };
	size_t packed;

	assert(len && len <= DELTA_DATA_MAX);
	/* Room for one byte less: what does not become shorter is written as it is. */
	packed = ZSTD_compressCCtx(w->zstd, w->packed, len - 1, data, len, LEVEL);
	w->data += len;
	return ZSTD_isError(packed) ? write_frame(w, &f, data, len) : write_frame(w, &f, w->packed, packed);
}

int delta_write_zero(struct delta_writer *w, uint64_t offset, uint64_t len)
{
	const struct delta_frame f = { .kind = DELTA_ZERO, .offset = offset, .length = len };

	assert(len);
	return write_frame(w, &f, "", 0);
}

int delta_write_end(struct delta_writer *w)
{
	const struct delta_frame f = { .kind = DELTA_END, .offset = w->frames, .length = w->data };
	uint8_t digest[DIGEST_BYTES];

	crypto_generichash_final(&w->sum, digest, sizeof digest);
	/* It goes on, unused. */
	crypto_generichash_init(&w->sum, NULL, 0, DIGEST_BYTES);
	return write_frame(w, &f, digest, sizeof digest);
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

struct delta_reader {
	delta_get_fn *get;
	void *arg;
	ZSTD_DCtx *zstd;
	uint8_t *stored, *plain; /* DELTA_DATA_MAX each */
	crypto_generichash_state sum;
	uint64_t frames, data, end; /* end: of the frame before */
	uint64_t size;              /* of the image */
};

struct delta_reader *delta_reader_new(delta_get_fn *get, void *arg)
{
	struct delta_reader *r = aligned_alloc(alignof(struct delta_reader), sizeof *r);

	crypto_init();
	if (!r)
		return NULL;
	memset(r, 0, sizeof *r);
	r->get = get;
	r->arg = arg;
	r->zstd = ZSTD_createDCtx();
	r->stored = malloc(DELTA_DATA_MAX);
	r->plain = malloc(DELTA_DATA_MAX);
	if (!r->zstd || !r->stored || !r->plain) {
		delta_reader_free(r);
		return NULL;
	}
	crypto_generichash_init(&r->sum, NULL, 0, DIGEST_BYTES);
	return r;
}

void delta_reader_free(struct delta_reader *r)
{
	if (!r)
		return;
	ZSTD_freeDCtx(r->zstd);
	free(r->stored);
	free(r->plain);
	free(r);
}

static int get_all(struct delta_reader *r, uint8_t *buf, size_t len, struct error *err)
{
	while (len) {
		int64_t n = r->get(r->arg, buf, len);

		if (n < 0)
			return error_set(err, (int)n, "cannot read the stream: %s", strerror((int)-n));
		if (!n)
			return error_set(err, -EBADMSG, "the stream is cut short");
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

int delta_read_header(struct delta_reader *r, struct delta_header *h, struct error *err)
{
	uint8_t bytes[DELTA_HEADER_BYTES];
	int rc = get_all(r, bytes, sizeof bytes, err);

	if (!rc)
		rc = delta_header_decode(bytes, h, err);
	if (rc)
		return rc;
	crypto_generichash_update(&r->sum, bytes, sizeof bytes);
	r->size = h->to_size;
	return 0;
}

static int damaged(const struct delta_reader *r, struct error *err)
{
	return error_set(err, -EBADMSG, "the stream is damaged: frame %" PRIu64, r->frames + 1);
}

/* Whether a frame may be of that kind, that long, and stand here. What it says of its payload is bounded by this before anything
 * of that is read. */
static bool plausible(const struct delta_reader *r, const struct delta_frame *f, uint32_t stored)
{
	if (f->kind == DELTA_END)
		return stored == DIGEST_BYTES;
	if (!f->length || f->offset < r->end || f->offset > r->size || f->length > r->size - f->offset)
		return false;
	if (f->kind == DELTA_ZERO)
		return !stored;
	return f->kind == DELTA_DATA && stored && f->length <= DELTA_DATA_MAX && stored <= f->length;
}

static int read_end(struct delta_reader *r, const struct delta_frame *f, struct error *err)
{
	uint8_t digest[DIGEST_BYTES], more;

	crypto_generichash_final(&r->sum, digest, sizeof digest);
	if (f->offset != r->frames || f->length != r->data || memcmp(digest, r->stored, sizeof digest) != 0)
		return error_set(err, -EBADMSG,
		                 "the stream is damaged: it is not what was written, though each part is");
	int64_t n = r->get(r->arg, &more, 1);
	if (n < 0)
		return error_set(err, (int)n, "cannot read the stream: %s", strerror((int)-n));
	return n ? error_set(err, -EBADMSG, "something follows the end of the stream") : 0;
}

static int read_data(struct delta_reader *r, struct delta_frame *f, uint32_t stored, struct error *err)
{
	f->data = r->stored;
	if (stored < f->length) {
		size_t n = ZSTD_decompressDCtx(r->zstd, r->plain, f->length, r->stored, stored);

		if (ZSTD_isError(n) || n != f->length)
			return damaged(r, err);
		f->data = r->plain;
	}
	r->data += f->length;
	return 0;
}

int delta_read_frame(struct delta_reader *r, struct delta_frame *f, struct error *err)
{
	uint8_t head[DELTA_FRAME_HEADER_BYTES];
	uint32_t stored;
	int rc = get_all(r, head, sizeof head, err);

	if (rc)
		return rc;
	*f = (struct delta_frame){ .kind = head[0], .offset = get_le64(head + 8), .length = get_le64(head + 16) };
	stored = get_le32(head + 4);
	if (!is_zero(head + 1, 3) || get_le32(head + 24) || !plausible(r, f, stored))
		return damaged(r, err);
	rc = get_all(r, r->stored, stored, err);
	if (rc)
		return rc;
	if (get_le32(head + 28) != crc32c(crc32c(0, head, 28), r->stored, stored))
		return damaged(r, err);
	if (f->kind == DELTA_END)
		return read_end(r, f, err);
	crypto_generichash_update(&r->sum, head, sizeof head);
	crypto_generichash_update(&r->sum, r->stored, stored);
	rc = f->kind == DELTA_DATA ? read_data(r, f, stored, err) : 0;
	r->frames++;
	r->end = f->offset + f->length;
	return rc;
}
