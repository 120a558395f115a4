/* SPDX-License-Identifier: GPL-3.0-only */
/* s3_xml.h: reads the XML that S3 answers with: listings, what a bulk delete could not delete, error documents.
 *
 * Bodies come from the network, so that everything is bounded: the body's length, the depth, the length of each text
 * and the number of entries; a document type declaration, without which no entity can be declared, is refused. Pure;
 * knows nothing of requests.
 */
#ifndef GARNER_STORE_S3_XML_H
#define GARNER_STORE_S3_XML_H

#include "base/error.h"
#include "store/listed.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- ListObjectsV2 ---- */

#define S3_BODY_MAX (8 << 20) /* bytes of an answer: a page with the longest of keys, encoded */
#define S3_TOKEN_MAX 4000     /* bytes of a continuation token */

struct s3_listing {
	struct listed_objects objects;
	bool truncated;
	char next_token[S3_TOKEN_MAX + 1]; /* "" when the answer has none */
};

/* Reads a page. Keys are decoded when the answer says that they are encoded (encoding-type=url). Returns 0 with
 * `*listing`, to be given to s3_listing_destroy(); -EBADMSG when `body` is no listing, or not within the bounds
 * (`err` says why); -EIO when it is an error document (`err` shows code and message); -ENOMEM. `*listing` is empty
 * after a failure. */
int s3_listing_parse(const void *body, size_t len, struct s3_listing *listing, struct error *err);
void s3_listing_destroy(struct s3_listing *listing);

/* ---- DeleteObjects ---- */

#define S3_CODE_MAX 64
#define S3_MESSAGE_MAX 256

/* A key that is still there. */
struct s3_failure {
	char key[LISTED_KEY_MAX + 1];
	char code[S3_CODE_MAX + 1];       /* "AccessDenied" */
	char message[S3_MESSAGE_MAX + 1]; /* for people; cut when longer */
};

struct s3_deletion {
	struct s3_failure *failures;
	size_t count;
	size_t room;
};

/* Reads what became of a bulk delete. Keys that were not there (NoSuchKey) count as deleted. Returns and ownership as
 * s3_listing_parse(). */
int s3_deletion_parse(const void *body, size_t len, struct s3_deletion *deletion, struct error *err);
void s3_deletion_destroy(struct s3_deletion *deletion);

/* ---- error documents ---- */

struct s3_error {
	char code[S3_CODE_MAX + 1];        /* "NoSuchBucket" */
	char message[S3_MESSAGE_MAX + 1];  /* for people; cut when longer; one line */
	char region[S3_CODE_MAX + 1];      /* the region to use instead, or "" */
	char endpoint[S3_MESSAGE_MAX + 1]; /* the host to use instead, or "": not to be followed without a check */
};

/* Reads an error document, of which the end may be missing. Returns 0 when there is a code, -EBADMSG when not (a
 * proxy's page of HTML, nothing at all), or -ENOMEM. All texts are "" after a failure. */
int s3_error_parse(const void *body, size_t len, struct s3_error *error, struct error *err);

#endif
