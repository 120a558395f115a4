/* SPDX-License-Identifier: GPL-3.0-only */
/* terms.c: the terms of an image: which epoch's segments count from which number on.
 *
 * An object lists all terms up to its own. Terms that hold no segment are left out, and a list that has grown past
 * TERMS_PER_OBJECT is cut: "before E" says that the older terms are those of terms/E, which exists and is never changed,
 * since every term was the last of its own object once. So an image can be opened any number of times.
 */
#include "image/epoch_private.h"

#include "log/segment_object.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TERMS_DEPTH_MAX 1024u /* objects of one list */
#define SEGMENT_NO_MAX (((uint64_t)1 << MAP_ENTRY_SEGMENT_BITS) - 1)

void terms_key(uint64_t image, uint64_t epoch, char key[STORE_KEY_MAX + 1])
{
	snprintf(key, STORE_KEY_MAX + 1, "images/%016" PRIx64 "/terms/%016" PRIx64, image, epoch);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static int parse_number(const char **text, char end, uint64_t *value)
{
	char *stop;

	if (**text == '\0' || strspn(*text, "0123456789abcdef") == 0)
		return -EBADMSG;
	errno = 0;
	*value = strtoull(*text, &stop, 16);
	if (errno || *stop != end)
		return -EBADMSG;
	*text = stop + (end != '\0');
	return 0;
}

static int add_term(struct log_view *view, const char *text)
{
	struct term t, *grown;

	if (parse_number(&text, ':', &t.epoch) || parse_number(&text, '\0', &t.first) || t.epoch == 0 || t.first == 0 ||
	    t.first > SEGMENT_NO_MAX)
		return -EBADMSG;
	if (view->term_count > 0) {
		const struct term *last = &view->terms[view->term_count - 1];
		if (t.epoch <= last->epoch || t.first <= last->first)
			return -EBADMSG;
	} else if (t.first != 1) {
		return -EBADMSG;
	}
	grown = realloc(view->terms, (view->term_count + 1) * sizeof *grown);
	if (!grown)
		return -ENOMEM;
	grown[view->term_count++] = t;
	view->terms = grown;
	return 0;
}

/* Who wrote the object. */
static int read_owner(const struct fields *f, struct log_view *view)
{
	const char *name = fields_text(f, "hostname", 0);

	view->owner_host = 0;
	snprintf(view->owner_name, sizeof view->owner_name, "%s", name ? name : "");
	return fields_hex64(f, "host", &view->owner_host) == -EBADMSG ? -EBADMSG : 0;
}

static int load_object(struct pool *p, uint64_t image, uint64_t epoch, unsigned depth, struct log_view *view,
                       struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct seal_key sealing;
	struct fields *f;
	const char *text;
	uint64_t before;
	int rc, inner = 0;

	terms_key(image, epoch, key);
	image_key(&p->master, image, &sealing);
	rc = pool_get_object(p, key, OBJECT_TERM, &sealing, &f, err);
	sodium_memzero(&sealing, sizeof sealing);
	if (rc)
		return rc;
	rc = fields_hex64(f, "before", &before);
	if (rc == 0 && (before >= epoch || depth >= TERMS_DEPTH_MAX))
		rc = -EBADMSG;
	else if (rc == 0)
		inner = load_object(p, image, before, depth + 1, view, err);
	else if (rc == -ENOENT)
		rc = 0;
	for (size_t i = 0; rc == 0 && inner == 0 && (text = fields_text(f, "term", i)); i++)
		rc = add_term(view, text);
	if (rc == 0 && inner == 0)
		rc = read_owner(f, view);
	fields_free(f);
	/* Not -ENOENT, which would say that this epoch has no term. */
	if (inner == -ENOENT)
		return error_set(err, -EBADMSG, "%s: the older object that its list goes on in is missing", key);
	if (inner)
		return inner;
	if (rc == 0 && (view->term_count == 0 || view->terms[view->term_count - 1].epoch != epoch))
		rc = -EBADMSG;
	return rc ? error_set(err, rc, "%s: its list of terms is damaged", key) : 0;
}

int terms_load(struct pool *p, uint64_t image, uint64_t epoch, struct log_view *view, struct error *err)
{
	free(view->terms);
	view->terms = NULL;
	view->term_count = 0;
	return load_object(p, image, epoch, 0, view, err);
}

int terms_load_newest(struct pool *p, uint64_t image, uint64_t epoch, struct log_view *view, struct error *err)
{
	for (; epoch > 0; epoch--) {
		int rc = terms_load(p, image, epoch, view, err);
		if (rc != -ENOENT)
			return rc;
	}
	return 0;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* The digest of the segment that the new term follows: what the hash chain goes on from. */
static int digest_before(struct pool *p, uint64_t image, const struct log_view *view, segment_no_t first,
                         const struct seal_key *sealing, uint8_t digest[DIGEST_BYTES], struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	uint8_t bytes[SEGMENT_OBJECT_HEADER];
	struct segment_meta meta;
	size_t len;
	int rc;

	memset(digest, 0, DIGEST_BYTES);
	if (first == 1)
		return 0;
	segment_key_format(image, first - 1, log_view_epoch_of(view, first - 1), key);
	rc = store_get_wait(p->store, key, 0, bytes, sizeof bytes, &len, err);
	if (!rc)
		rc = segment_meta_decode(bytes, len, sealing, &meta, err);
	if (!rc &&
	    (meta.image != image || meta.number != first - 1 || memcmp(meta.pool, p->uuid, sizeof meta.pool) != 0))
		rc = error_set(err, -EBADMSG, "it is another segment");
	if (rc)
		return error_prefix(err, rc, "%s, which the new term would follow", key);
	memcpy(digest, meta.digest, DIGEST_BYTES);
	return 0;
}

static void add_fields(struct fields *f, const struct log_view *view, const struct term *terms, size_t count,
                       const uint8_t digest[DIGEST_BYTES])
{
	size_t from = (count - 1) / TERMS_PER_OBJECT * TERMS_PER_OBJECT;

	if (from > 0)
		fields_add_hex64(f, "before", terms[from - 1].epoch);
	for (size_t i = from; i < count; i++) {
		char text[40];
		snprintf(text, sizeof text, "%" PRIx64 ":%" PRIx64, terms[i].epoch, terms[i].first);
		fields_add_text(f, "term", text);
	}
	fields_add_bytes(f, "digest", digest, DIGEST_BYTES);
	fields_add_hex64(f, "host", view->owner_host);
	fields_add_text(f, "hostname", view->owner_name);
}

/* The terms with one more; those that begin where it does hold nothing and go. */
static int extended(const struct log_view *view, segment_no_t first, struct term **terms, size_t *count,
                    struct error *err)
{
	size_t n = view->term_count;
	segment_no_t last = n ? view->terms[n - 1].first : 1;

	if (first < last || first == 0 || first > SEGMENT_NO_MAX || (n == 0 && first != 1))
		return error_set(err, -EINVAL,
		                 "a term cannot begin at segment %" PRIu64 ": the last one begins at %" PRIu64, first,
		                 last);
	while (n > 0 && view->terms[n - 1].first == first)
		n--;
	*terms = malloc((n + 1) * sizeof **terms);
	if (!*terms)
		return -ENOMEM;
	if (n)
		memcpy(*terms, view->terms, n * sizeof **terms);
	(*terms)[n] = (struct term){ .epoch = view->newest_epoch, .first = first };
	*count = n + 1;
	return 0;
}

/* After -EEXIST: whether the terms that are there are these. A store that repeats a put meets its own object. */
static int same_terms(struct pool *p, uint64_t image, uint64_t epoch, const struct term *terms, size_t count,
                      struct error *err)
{
	struct log_view there = { 0 };
	int rc = terms_load(p, image, epoch, &there, err);

	if (!rc && (there.term_count != count || memcmp(there.terms, terms, count * sizeof *terms) != 0))
		rc = error_set(err, -EEXIST, "epoch %" PRIu64 " has begun its term already", epoch);
	free(there.terms);
	return rc;
}

int epoch_begin_term(struct pool *p, uint64_t image, struct log_view *view, segment_no_t first, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	uint8_t digest[DIGEST_BYTES];
	struct term *terms = NULL;
	struct fields *f = NULL;
	struct seal_key sealing;
	size_t count = 0;
	int rc = extended(view, first, &terms, &count, err);

	if (rc)
		return rc;
	image_key(&p->master, image, &sealing);
	rc = digest_before(p, image, view, first, &sealing, digest, err);
	if (rc)
		goto out;
	f = fields_new();
	if (!f) {
		rc = -ENOMEM;
		goto out;
	}
	add_fields(f, view, terms, count, digest);
	terms_key(image, view->newest_epoch, key);
	rc = pool_put_object(p, key, OBJECT_TERM, &sealing, f, STORE_PUT_CREATE_ONLY, err);
	if (rc == -EEXIST)
		rc = same_terms(p, image, view->newest_epoch, terms, count, err);
	if (!rc) {
		free(view->terms);
		view->terms = terms;
		view->term_count = count;
		view->writer_host = view->owner_host;
		terms = NULL;
	}
out:
	sodium_memzero(&sealing, sizeof sealing);
	fields_free(f);
	free(terms);
	return rc;
}
