/* SPDX-License-Identifier: GPL-3.0-only */
/* fuzz_object.c: small objects of a plain pool: raw bytes, and behind a good tag any text and any fields.
 *
 * The first byte chooses: the rest as an object; the rest as the text inside an object whose tag is right; the rest as
 * values of fields, which must come back as they went.
 */
#include "base/bytes.h"
#include "seal/object.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define KEY "names/0000000000000001/fuzz"
#define FIXED 16
#define HEADER (FIXED + SEAL_BOX_BYTES)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct seal_key plain_key = { .plain = true };

static void use(const struct fields *f)
{
	static const char *const names[] = { "a", "name", "mode", "id" };
	uint8_t bytes[4];
	uint64_t n;

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		const char *text = fields_text(f, names[i], 0);

		if (text && strchr(text, '\0') == NULL)
			abort();
		fields_text(f, names[i], 3);
		fields_u64(f, names[i], &n);
		fields_hex64(f, names[i], &n);
		fields_bytes(f, names[i], bytes, sizeof bytes);
	}
}

static void decode(const uint8_t *bytes, size_t len)
{
	struct fields *f = NULL;
	struct error err = { 0 };

	if (object_decode(bytes, len, OBJECT_ENTRY, KEY, &plain_key, &f, &err) == 0)
		use(f);
	else if (f || err.code == 0)
		abort();
	fields_free(f);
}

/* Seals `text` as object_encode() seals its fields, so that the parser behind the tag sees it. */
static void decode_text(const uint8_t *text, size_t len)
{
	struct sealer *s = sealer_new(0);
	uint8_t *bytes = malloc(HEADER + len), ad[FIXED + sizeof KEY - 1];
	struct seal_box box;

	if (!s || !bytes)
		abort();
	memcpy(bytes, "GARNOBJ1", 8);
	put_le32(bytes + 8, OBJECT_VERSION);
	put_le32(bytes + 12, OBJECT_ENTRY);
	memcpy(ad, bytes, FIXED);
	memcpy(ad + FIXED, KEY, sizeof KEY - 1);
	if (seal(s, &plain_key, ad, sizeof ad, text, len, bytes + HEADER, &box) < 0)
		abort();
	seal_box_encode(&box, bytes + FIXED);
	decode(bytes, HEADER + box.stored_length);
	free(bytes);
	sealer_free(s);
}

/* Values end at NUL bytes; all of them are values of one name. */
static void round_trip(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct fields *f = fields_new(), *back = NULL;
	uint8_t *bytes;
	size_t len, count = 0;
	int rc;

	if (!text || !f)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	for (const char *p = text; p <= text + size && count < 64; p += strlen(p) + 1, count++)
		fields_add_text(f, "a", p);
	rc = object_encode(f, OBJECT_ENTRY, KEY, &plain_key, &bytes, &len);
	if (rc == 0) {
		if (object_decode(bytes, len, OBJECT_ENTRY, KEY, &plain_key, &back, NULL) < 0)
			abort();
		for (size_t i = 0; i < count; i++)
			if (!fields_text(back, "a", i) ||
			    strcmp(fields_text(back, "a", i), fields_text(f, "a", i)) != 0)
				abort();
		if (fields_text(back, "a", count))
			abort();
		fields_free(back);
		free(bytes);
	}
	fields_free(f);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	if (data[0] % 3 == 0)
		decode(data + 1, size - 1);
	else if (data[0] % 3 == 1)
		decode_text(data + 1, size - 1);
	else
		round_trip(data + 1, size - 1);
	return 0;
}
