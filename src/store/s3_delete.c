/* SPDX-License-Identifier: GPL-3.0-only */
/* s3_delete.c: DeleteObjects: its body, its answer, and what is done about keys that are still there.
 *
 * Deleting twice does no harm, so that a request without an answer is sent again, and whenever it is not known what became of the
 * keys, they are removed one by one.
 */
#include "store/s3_delete.h"

#include "store/s3_meaning.h"
#include "store/s3_xml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>"
#define KEY_FORMAT "<Object><Key>%s%s</Key></Object>"
#define TAIL "</Delete>"

/* A bulk delete under way. */
struct batch {
	struct http_store *store;
	struct s3_delete *server;
	store_done_fn *done;
	void *arg;
	struct iovec body;
	size_t count;
	const char **again; /* room for `count` keys */
	const char *keys[]; /* `count` of them, then `again`, then their text */
};

static void batch_free(struct batch *b)
{
	free(b->body.iov_base);
	free(b);
}

static void batch_end(struct batch *b, int rc, const struct error *err)
{
	b->done(b->arg, rc, rc ? err : NULL);
	batch_free(b);
}

/* Removes `count` of the keys by requests of their own, which give the answer. */
static void remove_singly(struct batch *b, const char *const *keys, size_t count)
{
	store_remove_each(&b->store->store, keys, count, b->done, b->arg);
	batch_free(b);
}

/* ---- asking ---- */

/* Nothing is escaped: names are made of [A-Za-z0-9._-] and '/', in the pool's prefix (store_url.h) and in keys (store.h). */
static int write_body(struct batch *b)
{
	const char *prefix = b->store->prefix;
	size_t room = sizeof HEAD + sizeof TAIL, used;
	char *text;

	for (size_t i = 0; i < b->count; i++)
		room += sizeof KEY_FORMAT + strlen(prefix) + strlen(b->keys[i]);
	text = malloc(room);
	if (!text)
		return -ENOMEM;
	used = (size_t)snprintf(text, room, "%s", HEAD);
	for (size_t i = 0; i < b->count; i++)
		used += (size_t)snprintf(text + used, room - used, KEY_FORMAT, prefix, b->keys[i]);
	used += (size_t)snprintf(text + used, room - used, "%s", TAIL);
	b->body = (struct iovec){ text, used };
	return 0;
}

static struct batch *batch_new(struct http_store *s, struct s3_delete *server, const char *const *keys, size_t count)
{
	struct batch *b;
	size_t bytes = 0;
	char *text;

	for (size_t i = 0; i < count; i++)
		bytes += strlen(keys[i]) + 1;
	b = calloc(1, sizeof *b + 2 * count * sizeof b->keys[0] + bytes);
	if (!b)
		return NULL;
	b->store = s;
	b->server = server;
	b->count = count;
	b->again = b->keys + count;
	text = (char *)(b->again + count);
	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(keys[i]) + 1;

		b->keys[i] = memcpy(text, keys[i], len);
		text += len;
	}
	return b;
}

/* ---- what became of it ---- */

/* The key of ours that the server calls `name`, or NULL. */
static const char *find_key(const struct batch *b, const char *name)
{
	size_t skip = strlen(b->store->prefix);

	if (strncmp(name, b->store->prefix, skip) != 0)
		return NULL;
	for (size_t i = 0; i < b->count; i++)
		if (strcmp(b->keys[i], name + skip) == 0)
			return b->keys[i];
	return NULL;
}

/* What the server says of `key`, which is still there: 0 when it is to be removed again, or why that would not help. */
static int read_failure(const struct batch *b, const struct s3_failure *failure, const char *key, struct error *err)
{
	const struct s3_meaning *m = s3_meaning_find(failure->code);

	if (m && m->verdict == HTTP_JUDGE_AGAIN)
		return 0;
	return error_set(err, m ? m->rc : -EIO, "%s: removing %s: %s (%s)", b->store->store.url, key,
	                 failure->message[0] ? failure->message : "refused", failure->code);
}

static void settle(struct batch *b, const struct s3_deletion *deletion)
{
	struct error err = { 0 };
	int rc = 0;

	for (size_t i = 0; i < deletion->count && !rc; i++) {
		const char *key = find_key(b, deletion->failures[i].key);

		/* An answer to something else. */
		if (!key || i == b->count) {
			remove_singly(b, b->keys, b->count);
			return;
		}
		b->again[i] = key;
		rc = read_failure(b, &deletion->failures[i], key, &err);
	}
	if (rc || deletion->count == 0)
		batch_end(b, rc, &err);
	else
		remove_singly(b, b->again, deletion->count);
}

/* Whether single removals may come to an end where this did not: the server does not know it, or needs too long. */
static bool of_no_use(const struct http_request *answer)
{
	return answer->result == -EOPNOTSUPP || (answer->result == -ETIMEDOUT && answer->maybe_done);
}

static void answered(void *arg, const struct http_request *answer)
{
	struct batch *b = arg;
	struct s3_deletion deletion;
	struct error err = answer->err;

	if (of_no_use(answer)) {
		atomic_store(&b->server->single, true);
		remove_singly(b, b->keys, b->count);
	} else if (answer->result) {
		error_prefix(&err, answer->result, "%s: removing %zu objects", b->store->store.url, b->count);
		batch_end(b, answer->result, &err);
	} else if (s3_deletion_parse(answer->buf, answer->length, &deletion, NULL)) {
		remove_singly(b, b->keys, b->count);
	} else {
		settle(b, &deletion);
		s3_deletion_destroy(&deletion);
	}
}

void s3_delete(struct http_store *s, struct s3_delete *server, const char *const *keys, size_t count,
               store_done_fn *done, void *arg)
{
	struct batch *b;

	if (count == 1 || atomic_load(&server->single)) {
		store_remove_each(&s->store, keys, count, done, arg);
		return;
	}
	b = batch_new(s, server, keys, count);
	if (!b) {
		done(arg, -ENOMEM, NULL);
		return;
	}
	b->done = done;
	b->arg = arg;
	/* A system may be without MD5 (FIPS), which single removals do without. */
	if (write_body(b) || http_store_post(s, &b->body, S3_BODY_MAX, answered, b, NULL))
		remove_singly(b, b->keys, b->count);
}

bool s3_delete_unknown(long status, const char *code)
{
	static const char *const codes[] = { "", "NotImplemented", "MethodNotAllowed", "MalformedXML",
		                             "InvalidArgument" };

	if (status == 405 || status == 501)
		return true;
	for (size_t i = 0; status == 400 && i < sizeof codes / sizeof codes[0]; i++)
		if (strcmp(codes[i], code) == 0)
			return true;
	return false;
}
