/* SPDX-License-Identifier: GPL-3.0-only */
/* s3_xml.c: reads the XML that S3 answers with.
 *
 * All three kinds of document have one shape: a root, in it texts and groups, in a group texts. A reader is told
 * which of the texts are wanted, and calls back at the end of each group. The rest, and what is deeper, is passed
 * over.
 */
#include "store/s3_xml.h"

#include <errno.h>
#include <expat.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 16
#define NAME_MAX_SHOWN 40

/* Makes room for one more in an array that grows by doubling. Returns the array, or NULL with `old` as it was. */
static void *grow(void *old, size_t count, size_t *room, size_t size)
{
	size_t wanted = *room ? 2 * *room : 16;
	void *bigger;

	if (count < *room)
		return old;
	bigger = reallocarray(old, wanted, size);
	if (bigger)
		*room = wanted;
	return bigger;
}

/* ---- the reader ---- */

struct xml_field {
	const char *group; /* the element it is in, or NULL: the root */
	const char *name;
	char *text;
	size_t max;   /* bytes, without the end */
	bool may_cut; /* longer text is cut, not refused */
	bool seen;
	size_t used;
};

struct xml_reader {
	const char *root; /* which the document must have */
	struct xml_field *fields;
	size_t field_count;
	/* At the end of each group, or NULL. Its fields are valid until then. */
	int (*group_end)(void *arg, const char *group, struct error *err);
	void *arg;
	struct error *err;

	XML_Parser parser;
	unsigned depth;
	char group[NAME_MAX_SHOWN];
	struct xml_field *open; /* whose text is being read */
	unsigned open_depth;
	bool rooted;   /* the root was the right one */
	bool is_error; /* it was an error document's instead */
	int rc;
};

static void fail(struct xml_reader *r, int rc)
{
	r->rc = rc;
	XML_StopParser(r->parser, XML_FALSE);
}

/* Forgets what was read of the fields of `group`. */
static void clear_group(struct xml_reader *r, const char *group)
{
	for (size_t i = 0; i < r->field_count; i++) {
		struct xml_field *f = &r->fields[i];

		if (f->group && strcmp(f->group, group) == 0) {
			f->seen = false;
			f->used = 0;
			f->text[0] = '\0';
		}
	}
}

static struct xml_field *find_field(struct xml_reader *r, const char *name)
{
	for (size_t i = 0; i < r->field_count; i++) {
		struct xml_field *f = &r->fields[i];
		bool here = f->group ? r->depth == 3 && strcmp(f->group, r->group) == 0 : r->depth == 2;

		if (here && strcmp(f->name, name) == 0)
			return f;
	}
	return NULL;
}

static void start_root(struct xml_reader *r, const char *name)
{
	r->rooted = strcmp(name, r->root) == 0;
	r->is_error = !r->rooted && strcmp(name, "Error") == 0;
	if (!r->rooted)
		fail(r, error_set(r->err, -EBADMSG, "the server's answer is no %s document", r->root));
}

static void XMLCALL start_element(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	struct xml_reader *r = arg;
	struct xml_field *f;
	size_t len;

	(void)attributes;
	if (r->rc < 0)
		return;
	if (++r->depth > DEPTH_MAX) {
		fail(r, error_set(r->err, -EBADMSG, "the server's %s document is nested too deeply", r->root));
		return;
	}
	if (r->depth == 1) {
		start_root(r, name);
		return;
	}
	if (r->depth == 2) {
		len = strlen(name);
		if (len >= sizeof r->group)
			len = 0; /* none of ours */
		memcpy(r->group, name, len);
		r->group[len] = '\0';
		clear_group(r, r->group);
	}
	f = find_field(r, name);
	if (!f)
		return;
	if (f->seen) {
		fail(r, error_set(r->err, -EBADMSG, "the server's %s document has two %s where one belongs", r->root,
		                  f->name));
		return;
	}
	f->seen = true;
	r->open = f;
	r->open_depth = r->depth;
}

static void XMLCALL end_element(void *arg, const XML_Char *name)
{
	struct xml_reader *r = arg;
	int rc = 0;

	(void)name;
	if (r->rc < 0)
		return;
	if (r->open && r->depth == r->open_depth)
		r->open = NULL;
	if (r->depth == 2 && r->group_end)
		rc = r->group_end(r->arg, r->group, r->err);
	r->depth--;
	if (rc < 0)
		fail(r, rc);
}

static void XMLCALL character_data(void *arg, const XML_Char *text, int len)
{
	struct xml_reader *r = arg;
	struct xml_field *f = r->open;
	size_t more = (size_t)len;

	if (r->rc < 0 || !f || r->depth != r->open_depth)
		return;
	if (more > f->max - f->used) {
		if (!f->may_cut) {
			fail(r, error_set(r->err, -EBADMSG, "the server's %s document has a %s longer than %zu bytes",
			                  r->root, f->name, f->max));
			return;
		}
		more = f->max - f->used;
	}
	memcpy(f->text + f->used, text, more);
	f->used += more;
	f->text[f->used] = '\0';
}

static void XMLCALL start_doctype(void *arg, const XML_Char *name, const XML_Char *system_id, const XML_Char *public_id,
                                  int has_internal_subset)
{
	struct xml_reader *r = arg;

	(void)name;
	(void)system_id;
	(void)public_id;
	(void)has_internal_subset;
	if (r->rc == 0)
		fail(r, error_set(r->err, -EBADMSG,
		                  "the server's answer declares a document type, which no S3 server does"));
}

/* Reads the document into the fields. Returns 0, -EBADMSG, -ENOMEM, or what group_end() returned. */
static int read_xml(struct xml_reader *r, const void *body, size_t len)
{
	enum XML_Error code;

	for (size_t i = 0; i < r->field_count; i++)
		r->fields[i].text[0] = '\0';
	if (len > S3_BODY_MAX)
		return error_set(r->err, -EBADMSG, "the server's %s document is longer than %d bytes", r->root,
		                 S3_BODY_MAX);
	r->parser = XML_ParserCreate(NULL);
	if (!r->parser)
		return error_set(r->err, -ENOMEM, "out of memory while reading a %s document", r->root);
	XML_SetUserData(r->parser, r);
	XML_SetElementHandler(r->parser, start_element, end_element);
	XML_SetCharacterDataHandler(r->parser, character_data);
	XML_SetStartDoctypeDeclHandler(r->parser, start_doctype);
	if (XML_Parse(r->parser, len ? body : "", (int)len, XML_TRUE) == XML_STATUS_ERROR && r->rc == 0) {
		code = XML_GetErrorCode(r->parser);
		if (code == XML_ERROR_NO_MEMORY)
			r->rc = error_set(r->err, -ENOMEM, "out of memory while reading a %s document", r->root);
		else
			r->rc = error_set(r->err, -EBADMSG,
			                  "the server's answer is no %s document: %s at line %" PRIu64, r->root,
			                  XML_ErrorString(code), (uint64_t)XML_GetCurrentLineNumber(r->parser));
	}
	XML_ParserFree(r->parser);
	return r->rc;
}

/* For a document that should have been another: when it was an error document, what that says. */
static int refuse(const struct xml_reader *r, const void *body, size_t len, int rc)
{
	struct s3_error error;

	if (!r->is_error || s3_error_parse(body, len, &error, NULL) < 0)
		return rc;
	return error_set(r->err, -EIO, "the server refused: %s%s%s", error.code, *error.message ? ": " : "",
	                 error.message);
}

/* ---- ListObjectsV2 ---- */

struct listing_reader {
	struct s3_listing *listing;
	char key[3 * LISTED_KEY_MAX + 1]; /* as sent: perhaps encoded */
	char size[24];
	char etag[256];
	char truncated[8];
	char encoding[8];
	/* The keys as sent, one after the other with their ends: the answer may say only later how they are encoded. No
	 * longer than the body. */
	char *keys;
	size_t keys_used;
	size_t keys_room;
};

/* Decimal digits only, up to 63 bits. */
static int parse_size(const char *text, uint64_t *size)
{
	uint64_t n = 0;

	if (!*text)
		return -EBADMSG;
	for (; *text; text++)
		if (*text < '0' || *text > '9' || __builtin_mul_overflow(n, 10u, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*text - '0'), &n) || n > INT64_MAX)
			return -EBADMSG;
	*size = n;
	return 0;
}

static int keep_key(struct listing_reader *l)
{
	size_t len = strlen(l->key) + 1;

	if (len > l->keys_room - l->keys_used) {
		size_t room = 2 * l->keys_room + sizeof l->key;
		char *bigger = realloc(l->keys, room);

		if (!bigger)
			return -ENOMEM;
		l->keys = bigger;
		l->keys_room = room;
	}
	memcpy(l->keys + l->keys_used, l->key, len);
	l->keys_used += len;
	return 0;
}

static int listing_group_end(void *arg, const char *group, struct error *err)
{
	struct listing_reader *l = arg;
	struct listed_object *object;
	uint64_t size;

	if (strcmp(group, "Contents") != 0)
		return 0;
	if (l->listing->objects.count == LISTED_MAX)
		return error_set(err, -EBADMSG, "the server lists more than the %d objects that were asked for",
		                 LISTED_MAX);
	if (!*l->key)
		return error_set(err, -EBADMSG, "the server lists an object without a key");
	if (parse_size(l->size, &size) < 0)
		return error_set(err, -EBADMSG, "the server lists an object whose size is no number of bytes");
	object = keep_key(l) < 0 ? NULL : listed_objects_add(&l->listing->objects);
	if (!object)
		return error_set(err, -ENOMEM, "out of memory while reading a listing");
	object->size = size;
	object->version = listed_version(l->etag);
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Takes one byte off percent-encoded text ('+' is a space): 1 to 255, or 0 when it is none. */
static unsigned char decode_byte(const char **text)
{
	const char *p = *text;
	int high, low;

	if (*p != '%') {
		*text = p + 1;
		return *p == '+' ? ' ' : (unsigned char)*p;
	}
	high = hex_digit(p[1]);
	low = high < 0 ? -1 : hex_digit(p[2]);
	if (low < 0)
		return 0;
	*text = p + 3;
	return (unsigned char)(high << 4 | low);
}

/* Gives each object its key, decoded when they are `encoded`. */
static int set_keys(const struct listing_reader *l, bool encoded, struct error *err)
{
	const char *from = l->keys;

	for (size_t i = 0; i < l->listing->objects.count; i++) {
		char *key = l->listing->objects.list[i].key;
		size_t len = 0;

		while (*from) {
			unsigned char c = encoded ? decode_byte(&from) : (unsigned char)*from++;

			if (c == 0)
				return error_set(err, -EBADMSG,
				                 "the server lists a key that is not encoded as it says");
			if (len == LISTED_KEY_MAX)
				return error_set(err, -EBADMSG, "the server lists a key longer than %d bytes",
				                 LISTED_KEY_MAX);
			key[len++] = (char)c;
		}
		from++;
	}
	return 0;
}

/* What could be judged only at the end of the document. */
static int finish_listing(struct listing_reader *l, struct error *err)
{
	bool yes = strcmp(l->truncated, "true") == 0;

	if (!yes && strcmp(l->truncated, "false") != 0)
		return error_set(err, -EBADMSG, "the server's listing does not say whether it is whole (IsTruncated)");
	l->listing->truncated = yes;
	if (*l->encoding && strcmp(l->encoding, "url") != 0)
		return error_set(err, -EBADMSG, "the server's listing has keys in an unknown encoding");
	return set_keys(l, *l->encoding != '\0', err);
}

int s3_listing_parse(const void *body, size_t len, struct s3_listing *listing, struct error *err)
{
	struct listing_reader l = { .listing = listing };
	struct xml_field fields[] = {
		{ .group = "Contents", .name = "Key", .text = l.key, .max = sizeof l.key - 1 },
		{ .group = "Contents", .name = "Size", .text = l.size, .max = sizeof l.size - 1 },
		{ .group = "Contents", .name = "ETag", .text = l.etag, .max = sizeof l.etag - 1 },
		{ .name = "IsTruncated", .text = l.truncated, .max = sizeof l.truncated - 1 },
		{ .name = "EncodingType", .text = l.encoding, .max = sizeof l.encoding - 1 },
		{ .name = "NextContinuationToken", .text = listing->next_token, .max = S3_TOKEN_MAX },
	};
	struct xml_reader r = { .root = "ListBucketResult",
		                .fields = fields,
		                .field_count = sizeof fields / sizeof fields[0],
		                .group_end = listing_group_end,
		                .arg = &l,
		                .err = err };
	int rc;

	*listing = (struct s3_listing){ 0 };
	rc = read_xml(&r, body, len);
	if (rc == 0)
		rc = finish_listing(&l, err);
	else
		rc = refuse(&r, body, len, rc);
	free(l.keys);
	if (rc < 0)
		s3_listing_destroy(listing);
	return rc;
}

void s3_listing_destroy(struct s3_listing *listing)
{
	listed_objects_destroy(&listing->objects);
	*listing = (struct s3_listing){ 0 };
}

/* ---- texts for people ---- */

/* Makes `text` one line, and takes away a character of UTF-8 that was cut at its end. */
static void tidy(char *text)
{
	size_t len = strlen(text), start = len;

	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			text[i] = ' ';
	while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
		start--;
	if (start > 0) {
		unsigned char first = (unsigned char)text[start - 1];
		size_t whole = first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;

		if (len - (start - 1) < whole)
			text[start - 1] = '\0';
	}
}

/* ---- DeleteObjects ---- */

struct deletion_reader {
	struct s3_deletion *deletion;
	struct s3_failure failure; /* being read */
};

static int deletion_group_end(void *arg, const char *group, struct error *err)
{
	struct deletion_reader *d = arg;
	struct s3_deletion *all = d->deletion;
	struct s3_failure *failures;

	if (strcmp(group, "Error") != 0 || strcmp(d->failure.code, "NoSuchKey") == 0)
		return 0;
	if (all->count == LISTED_MAX)
		return error_set(err, -EBADMSG, "the server failed to delete more than the %d objects it was told to",
		                 LISTED_MAX);
	if (!*d->failure.key || !*d->failure.code)
		return error_set(err, -EBADMSG, "the server failed to delete an object and does not say which or why");
	failures = grow(all->failures, all->count, &all->room, sizeof *failures);
	if (!failures)
		return error_set(err, -ENOMEM, "out of memory while reading what was deleted");
	all->failures = failures;
	tidy(d->failure.code);
	tidy(d->failure.message);
	failures[all->count++] = d->failure;
	return 0;
}

int s3_deletion_parse(const void *body, size_t len, struct s3_deletion *deletion, struct error *err)
{
	struct deletion_reader d = { .deletion = deletion };
	struct xml_field fields[] = {
		{ .group = "Error", .name = "Key", .text = d.failure.key, .max = LISTED_KEY_MAX },
		{ .group = "Error", .name = "Code", .text = d.failure.code, .max = S3_CODE_MAX },
		{ .group = "Error",
		  .name = "Message",
		  .text = d.failure.message,
		  .max = S3_MESSAGE_MAX,
		  .may_cut = true },
	};
	struct xml_reader r = { .root = "DeleteResult",
		                .fields = fields,
		                .field_count = sizeof fields / sizeof fields[0],
		                .group_end = deletion_group_end,
		                .arg = &d,
		                .err = err };
	int rc;

	*deletion = (struct s3_deletion){ 0 };
	rc = read_xml(&r, body, len);
	if (rc < 0) {
		rc = refuse(&r, body, len, rc);
		s3_deletion_destroy(deletion);
	}
	return rc;
}

void s3_deletion_destroy(struct s3_deletion *deletion)
{
	free(deletion->failures);
	*deletion = (struct s3_deletion){ 0 };
}

/* ---- error documents ---- */

int s3_error_parse(const void *body, size_t len, struct s3_error *error, struct error *err)
{
	struct error cause = { 0 };
	struct xml_field fields[] = {
		{ .name = "Code", .text = error->code, .max = S3_CODE_MAX },
		{ .name = "Message", .text = error->message, .max = S3_MESSAGE_MAX, .may_cut = true },
		{ .name = "Region", .text = error->region, .max = S3_CODE_MAX },
		{ .name = "Endpoint", .text = error->endpoint, .max = S3_MESSAGE_MAX },
	};
	struct xml_reader r = {
		.root = "Error", .fields = fields, .field_count = sizeof fields / sizeof fields[0], .err = &cause
	};
	int rc;

	*error = (struct s3_error){ 0 };
	rc = read_xml(&r, body, len);
	if (rc == 0 && !*error->code)
		rc = error_set(&cause, -EBADMSG, "the server's error document names no code");
	if (rc < 0 && (rc != -EBADMSG || !*error->code)) {
		*error = (struct s3_error){ 0 };
		return error_set(err, rc, "%s", cause.text);
	}
	tidy(error->code);
	tidy(error->message);
	tidy(error->region);
	tidy(error->endpoint);
	return 0;
}
