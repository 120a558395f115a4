/* SPDX-License-Identifier: GPL-3.0-only */
/* object.c: small objects: fields as lines of text, in a box, behind a header.
 *
 * The header's 16 bytes and the store key are the box's associated data, so a kind or version cannot be changed, nor an
 * object moved. The text of an object without fields is one empty line, since a box is never empty; empty lines are
 * skipped when reading. Must never know what a field means.
 */
#include "seal/object.h"

#include "base/bytes.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OBJECT_MAGIC "GARNOBJ1"
#define OBJECT_FIXED 16 /* magic, version, kind */
#define OBJECT_HEADER (OBJECT_FIXED + SEAL_BOX_BYTES)

struct field {
	char *name;
	char *value;
};

struct fields {
	struct field *list;
	size_t count, room;
	bool short_of_memory;
};

/* Growing text. */
struct text {
	char *bytes;
	size_t length, room;
};

static const char hex_digits[] = "0123456789abcdef";

struct fields *fields_new(void)
{
	return calloc(1, sizeof(struct fields));
}

void fields_free(struct fields *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->count; i++) {
		free(f->list[i].name);
		free(f->list[i].value);
	}
	free(f->list);
	free(f);
}

static bool name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

static bool name_valid(const char *name)
{
	const char *p = name;

	while (name_char(*p))
		p++;
	return p > name && *p == '\0';
}

/* Takes `name` and `value` over (malloc'ed, or NULL when memory ran out on the way). Returns 0 or -ENOMEM. */
static int fields_take(struct fields *f, char *name, char *value)
{
	if (name && value && f->count == f->room) {
		size_t room = f->room ? f->room * 2 : 16;
		struct field *list = reallocarray(f->list, room, sizeof *list);

		if (list) {
			f->list = list;
			f->room = room;
		}
	}
	if (!name || !value || f->count == f->room) {
		f->short_of_memory = true;
		free(name);
		free(value);
		return -ENOMEM;
	}
	f->list[f->count++] = (struct field){ .name = name, .value = value };
	return 0;
}

void fields_add_text(struct fields *f, const char *name, const char *value)
{
	assert(name_valid(name));
	fields_take(f, strdup(name), strdup(value));
}

void fields_add_u64(struct fields *f, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof text, "%" PRIu64, value);
	fields_add_text(f, name, text);
}

void fields_add_hex64(struct fields *f, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof text, "%016" PRIx64, value);
	fields_add_text(f, name, text);
}

void fields_add_bytes(struct fields *f, const char *name, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	char *text = NULL;

	assert(name_valid(name));
	if (len <= (SIZE_MAX - 1) / 2)
		text = malloc(2 * len + 1);
	if (text) {
		for (size_t i = 0; i < len; i++) {
			text[2 * i] = hex_digits[p[i] >> 4];
			text[2 * i + 1] = hex_digits[p[i] & 15];
		}
		text[2 * len] = '\0';
	}
	fields_take(f, strdup(name), text);
}

const char *fields_text(const struct fields *f, const char *name, size_t nth)
{
	for (size_t i = 0; i < f->count; i++)
		if (strcmp(f->list[i].name, name) == 0 && nth-- == 0)
			return f->list[i].value;
	return NULL;
}

int fields_u64(const struct fields *f, const char *name, uint64_t *value)
{
	const char *text = fields_text(f, name, 0);
	uint64_t n = 0;

	if (!text)
		return -ENOENT;
	if (*text == '\0')
		return -EBADMSG;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || __builtin_mul_overflow(n, (uint64_t)10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*text - '0'), &n))
			return -EBADMSG;
	}
	*value = n;
	return 0;
}

/* The value of a (lower-case) hex digit, or -1. */
static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

int fields_hex64(const struct fields *f, const char *name, uint64_t *value)
{
	const char *text = fields_text(f, name, 0);
	uint64_t n = 0;

	if (!text)
		return -ENOENT;
	if (strlen(text) != 16)
		return -EBADMSG;
	for (; *text; text++) {
		int digit = hex_value(*text);

		if (digit < 0)
			return -EBADMSG;
		n = n << 4 | (unsigned)digit;
	}
	*value = n;
	return 0;
}

int fields_bytes(const struct fields *f, const char *name, void *bytes, size_t len)
{
	const char *text = fields_text(f, name, 0);
	uint8_t *out = bytes;
	size_t length;

	if (!text)
		return -ENOENT;
	length = strlen(text);
	if (length % 2 || length / 2 != len)
		return -EBADMSG;
	for (size_t i = 0; i < length; i++)
		if (hex_value(text[i]) < 0)
			return -EBADMSG;
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(hex_value(text[2 * i]) << 4 | hex_value(text[2 * i + 1]));
	return 0;
}

static bool needs_escape(unsigned char c)
{
	return c < 0x20 || c == 0x7f || c == '\\';
}

static int text_add(struct text *t, char c)
{
	if (t->length == OBJECT_BYTES_MAX)
		return -EFBIG;
	if (t->length == t->room) {
		size_t room = t->room ? t->room * 2 : 1024;
		char *bytes = realloc(t->bytes, room);

		if (!bytes)
			return -ENOMEM;
		t->bytes = bytes;
		t->room = room;
	}
	t->bytes[t->length++] = c;
	return 0;
}

static int text_add_escaped(struct text *t, const char *value)
{
	int rc = 0;

	for (; *value && rc == 0; value++) {
		unsigned char c = (unsigned char)*value;

		if (!needs_escape(c)) {
			rc = text_add(t, *value);
			continue;
		}
		rc = text_add(t, '\\');
		if (rc == 0)
			rc = text_add(t, hex_digits[c >> 4]);
		if (rc == 0)
			rc = text_add(t, hex_digits[c & 15]);
	}
	return rc;
}

static int fields_write(const struct fields *f, struct text *t)
{
	int rc = 0;

	if (f->short_of_memory)
		return -ENOMEM;
	if (f->count == 0)
		return text_add(t, '\n');
	for (size_t i = 0; i < f->count && rc == 0; i++) {
		for (const char *p = f->list[i].name; *p && rc == 0; p++)
			rc = text_add(t, *p);
		if (rc == 0)
			rc = text_add(t, ' ');
		if (rc == 0)
			rc = text_add_escaped(t, f->list[i].value);
		if (rc == 0)
			rc = text_add(t, '\n');
	}
	return rc;
}

/* Undoes the escapes of [from, end) into a new string. Returns -EBADMSG for a NUL, a bare control byte, or an escape that
 * is none. */
static int unescape(const char *from, const char *end, char **value)
{
	char *out = malloc((size_t)(end - from) + 1), *to = out;

	if (!out)
		return -ENOMEM;
	while (from < end) {
		int high, low, c = (unsigned char)*from++;

		if (c == '\\') {
			high = end - from >= 2 ? hex_value(from[0]) : -1;
			low = end - from >= 2 ? hex_value(from[1]) : -1;
			if (high < 0 || low < 0 || (high | low) == 0)
				goto bad;
			c = high << 4 | low;
			from += 2;
		} else if (needs_escape((unsigned char)c)) {
			goto bad;
		}
		*to++ = (char)c;
	}
	*to = '\0';
	*value = out;
	return 0;
bad:
	free(out);
	return -EBADMSG;
}

/* Reads the line [line, end), which is not empty, into `f`. */
static int read_field(struct fields *f, const char *line, const char *end)
{
	const char *space = line;
	char *value = NULL;
	int rc;

	while (space < end && name_char(*space))
		space++;
	if (space == line || space == end || *space != ' ')
		return -EBADMSG;
	rc = unescape(space + 1, end, &value);
	if (rc < 0)
		return rc;
	return fields_take(f, strndup(line, (size_t)(space - line)), value);
}

static int fields_read(struct fields *f, const char *text, size_t len)
{
	const char *end = text + len;

	while (text < end) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		int rc;

		if (!newline)
			return -EBADMSG;
		if (newline > text) {
			rc = read_field(f, text, newline);
			if (rc < 0)
				return rc;
		}
		text = newline + 1;
	}
	return 0;
}

static const struct seal_key plain_key = { .plain = true };

/* The pool object is read before there is a key, so it is never sealed with one. */
static const struct seal_key *key_for(enum object_kind kind, const struct seal_key *key)
{
	return kind == OBJECT_POOL ? &plain_key : key;
}

/* The box's associated data: the fixed header and the store key. malloc'ed. */
static uint8_t *object_ad(const uint8_t fixed[OBJECT_FIXED], const char *store_key, size_t *len)
{
	size_t key_length = strlen(store_key);
	uint8_t *ad = malloc(OBJECT_FIXED + key_length);

	if (!ad)
		return NULL;
	memcpy(ad, fixed, OBJECT_FIXED);
	memcpy(ad + OBJECT_FIXED, store_key, key_length);
	*len = OBJECT_FIXED + key_length;
	return ad;
}

int object_encode(const struct fields *f, enum object_kind kind, const char *store_key, const struct seal_key *key,
                  uint8_t **bytes, size_t *len)
{
	struct text text = { 0 };
	struct seal_box box;
	struct sealer *sealer = NULL;
	uint8_t *out = NULL, *ad = NULL;
	size_t ad_len;
	int rc;

	rc = fields_write(f, &text);
	if (rc < 0)
		goto out;
	rc = -ENOMEM;
	sealer = sealer_new(0);
	out = malloc(OBJECT_HEADER + seal_bound(text.length));
	if (!sealer || !out)
		goto out;
	memcpy(out, OBJECT_MAGIC, 8);
	put_le32(out + 8, OBJECT_VERSION);
	put_le32(out + 12, (uint32_t)kind);
	ad = object_ad(out, store_key, &ad_len);
	if (!ad)
		goto out;
	rc = seal(sealer, key_for(kind, key), ad, ad_len, text.bytes, text.length, out + OBJECT_HEADER, &box);
	if (rc < 0)
		goto out;
	if (box.stored_length > OBJECT_BYTES_MAX - OBJECT_HEADER) {
		rc = -EFBIG;
		goto out;
	}
	seal_box_encode(&box, out + OBJECT_FIXED);
	*len = OBJECT_HEADER + box.stored_length;
	*bytes = out;
	out = NULL;
out:
	free(ad);
	free(out);
	sealer_free(sealer);
	free(text.bytes);
	return rc;
}

/* Checks what stands before the box's bytes. */
static int check_header(const uint8_t *bytes, size_t len, enum object_kind kind, const char *store_key,
                        struct seal_box *box, struct error *err)
{
	uint32_t version;

	if (len < OBJECT_FIXED || memcmp(bytes, OBJECT_MAGIC, 8) != 0)
		return error_set(err, -EBADMSG, "object %s is not an object of a garner pool", store_key);
	version = get_le32(bytes + 8);
	if (version > OBJECT_VERSION)
		return error_set(
			err, -EPROTONOSUPPORT,
			"object %s has format %" PRIu32
			", which is newer than this version of garner (it knows formats up to %d): upgrade garner here",
			store_key, version, OBJECT_VERSION);
	if (version == 0 || get_le32(bytes + 12) != (uint32_t)kind)
		return error_set(err, -EBADMSG,
		                 "object %s is damaged or of another kind: format %" PRIu32 ", kind %" PRIu32
		                 ", wanted kind %d",
		                 store_key, version, get_le32(bytes + 12), (int)kind);
	if (len > OBJECT_BYTES_MAX)
		return error_set(err, -EBADMSG, "object %s is damaged: too large (%zu bytes)", store_key, len);
	if (len < OBJECT_HEADER)
		return error_set(err, -EBADMSG, "object %s is damaged: cut short at %zu bytes", store_key, len);
	if (seal_box_decode(bytes + OBJECT_FIXED, OBJECT_BYTES_MAX, box) < 0)
		return error_set(err, -EBADMSG, "object %s is damaged: its box makes no sense", store_key);
	if (box->stored_length != len - OBJECT_HEADER)
		return error_set(err, -EBADMSG, "object %s is damaged: %zu bytes where %" PRIu32 " were stored",
		                 store_key, len - OBJECT_HEADER, box->stored_length);
	return 0;
}

int object_decode(const uint8_t *bytes, size_t len, enum object_kind kind, const char *store_key,
                  const struct seal_key *key, struct fields **f, struct error *err)
{
	struct fields *fields = NULL;
	struct seal_box box;
	uint8_t *text = NULL, *ad = NULL;
	size_t ad_len;
	int rc;

	rc = check_header(bytes, len, kind, store_key, &box, err);
	if (rc < 0)
		return rc;
	/* One more than is needed: an empty box is refused by seal_open(), not by the allocator. */
	text = malloc((size_t)box.plain_length + 1);
	ad = object_ad(bytes, store_key, &ad_len);
	fields = fields_new();
	if (!text || !ad || !fields) {
		rc = error_set(err, -ENOMEM, "object %s: out of memory", store_key);
		goto out;
	}
	rc = seal_open(key_for(kind, key), ad, ad_len, bytes + OBJECT_HEADER, &box, text);
	if (rc == -EBADMSG)
		error_set(err, rc,
		          "object %s does not open: damaged, moved from another place, or sealed with another key",
		          store_key);
	if (rc == 0) {
		rc = fields_read(fields, (const char *)text, box.plain_length);
		if (rc == -EBADMSG)
			error_set(err, rc, "object %s is damaged: its content is not lines of fields", store_key);
	}
	if (rc == -ENOMEM)
		error_set(err, rc, "object %s: out of memory", store_key);
	if (rc < 0)
		goto out;
	*f = fields;
	fields = NULL;
out:
	fields_free(fields);
	free(ad);
	free(text);
	return rc;
}
