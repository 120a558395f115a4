/* SPDX-License-Identifier: GPL-3.0-only */
/* store_http.h: what the stores over HTTP share: a store_op becomes a request of the HTTP engine, and an answer becomes the op's.
 *
 * A kind (S3, Swift) writes the head of each try, says what its error answers mean, and reads its listings. Create-only puts
 * whose answer was lost are settled here: when a later try is told that the object exists, it is read and compared. Bodies
 * are summed on threads of their own, so that the loop never waits for it.
 */
#ifndef GARNER_STORE_STORE_HTTP_H
#define GARNER_STORE_STORE_HTTP_H

#include "base/executor.h"
#include "store/body_digest.h"
#include "store/http.h"
#include "store/listed.h"
#include "store/store.h"
#include "store/store_url.h"

#include <stdatomic.h>

enum http_op_kind {
	HTTP_OP_PUT,
	HTTP_OP_GET,
	HTTP_OP_HEAD,
	HTTP_OP_REMOVE,
	HTTP_OP_LIST,
	HTTP_OP_PLACE,      /* is the bucket or container there? */
	HTTP_OP_MAKE_PLACE, /* make it */
	HTTP_OP_POST,       /* http_store_post() */
};

struct http_store;

/* The end of a POST; `answer` and its body live only during the call. */
typedef void http_posted_fn(void *arg, const struct http_request *answer);

struct http_op {
	struct http_request request;
	struct http_store *store;
	enum http_op_kind kind;
	unsigned flags; /* enum store_flags */
	char key[STORE_KEY_MAX + 1];
	struct {
		char sha256[BODY_SHA256_HEX_ROOM];
		struct body_md5 md5;
		char blake2bp[BODY_BLAKE2BP_HEX_ROOM];
	} digest;          /* of a put's body the one that the kind wants, of a post's SHA-256 and MD5 */
	void *own;         /* the kind's op_size bytes, zero at first */
	uint64_t login[2]; /* for the kind: which log-in the try was sent with, by `which` of the request */
	uint64_t refused;  /* likewise: of those that it was refused with, the first; 0: none */
	char prefix[STORE_KEY_MAX + 1]; /* of a listing */
	char after[LISTED_KEY_MAX + 1]; /* any object's, without the store's prefix; "" for none */
	size_t max;
	/* ---- private to store_http.c ---- */
	union {
		store_done_fn *done;
		store_length_fn *length;
		store_list_fn *list;
		http_posted_fn *posted;
	} answer;
	void *arg;
	struct http_op *doubted; /* a get made to look what became of this put */
	struct iovec iov[];
};

enum http_body_sum { HTTP_SUM_SHA256, HTTP_SUM_MD5, HTTP_SUM_BLAKE2BP };

/* How the store may be spoken to: what the options say, else the URL's parameters. */
struct http_access {
	struct http_tls tls;
	const char *passwd_file; /* or NULL */
};

struct http_store_kind {
	size_t size;                   /* of the kind's struct, which begins with a struct http_store */
	const char *const *parameters; /* of its URL, HTTP_STORE_PARAMETERS among them */
	size_t parameter_count;
	unsigned capabilities;  /* enum store_capability */
	bool looks_first;       /* see struct store */
	enum http_body_sum sum; /* of bodies of puts */
	size_t op_size;         /* bytes that the kind wants with every op */
	bool judges_all;        /* also answers of 416 to a get and of 404 to a remove, which else mean the usual */
	/* May be NULL. Changes how the store may be spoken to, before anything is; `access` and what it points to live as long as `s`. */
	int (*access)(struct http_store *s, const struct store_url *url, struct http_access *access, struct error *err);
	/* Reads what is the kind's own in the URL and gets what logs in. `url` and `access` do not outlive the call. Blocks. */
	int (*log_in)(struct http_store *s, const struct store_url *url, const struct http_access *access,
	              const struct store_options *options, struct error *err);
	/* As of struct http_request: URL and headers of the op. */
	int (*prepare)(struct http_store *s, struct http_op *op, struct http_head *head, struct error *err);
	enum http_verdict (*judge)(struct http_store *s, struct http_op *op, struct error *err);
	/* As of struct http_request; may be NULL. */
	enum http_verdict (*lost)(struct http_store *s, struct http_op *op, struct error *err);
	/* The page in the op's request; `*objects` is to be destroyed also after a failure. */
	int (*read_listing)(const struct http_op *op, struct listed_objects *objects, bool *more, struct error *err);
	/* As of struct store_ops; NULL where each object has to be asked for. */
	void (*remove_many)(struct http_store *s, const char *const *keys, size_t count, store_done_fn *done,
	                    void *arg);
	/* As of struct store_ops; may be NULL. */
	void (*acks)(struct http_store *s, char *text, size_t room);
	/* Frees what the kind has in `s` (be it zeroed still), but not `s`. */
	void (*destroy)(struct http_store *s);
};

/* What every store over HTTP begins with. */
struct http_store {
	struct store store;
	const struct http_store_kind *kind;
	struct http_engine *engine;
	struct executor *digests;
	char prefix[STORE_URL_MAX + 2]; /* "" or "some/where/": in front of every key */
	_Atomic uint64_t lists;
};

/* Parameters that every store over HTTP knows in its URL, for the kind's list. */
#define HTTP_STORE_PARAMETERS "passwd_file", "ca_file", "client_cert", "plain"

/* Opens a store of the kind, as of struct store_type. */
int http_store_open(const struct http_store_kind *kind, const char *url, const struct store_options *options,
                    struct store **store, struct error *err);

/* The object's full name: prefix and key, at most HTTP_NAME_MAX bytes with the end. */
#define HTTP_NAME_MAX (STORE_URL_MAX + STORE_KEY_MAX + 2)
void http_store_name(const struct http_store *s, const char *key, char name[HTTP_NAME_MAX]);

/* For the kind: a POST of `body`, which the caller keeps, to the bucket or container; the kind's prepare() says what it asks for. It
 * may be sent more than once. `posted` is called once, on a thread of the engine, with at most `room` bytes of body; it may use the
 * store, but not block for long. Returns 0; or, and nothing was asked, -ENOMEM, or -EIO when a digest cannot be computed. */
int http_store_post(struct http_store *s, const struct iovec *body, size_t room, http_posted_fn *posted, void *arg,
                    struct error *err);

#endif
