/* SPDX-License-Identifier: GPL-3.0-only */
/* s3_delete.h: many objects removed by one request to S3 (DeleteObjects), and one by one where a server cannot do that.
 *
 * Objects that the server leaves for a reason that passes are removed by requests of their own, which are tried again within the
 * deadline. Knows nothing of signatures: store_s3.c writes the head.
 */
#ifndef GARNER_STORE_S3_DELETE_H
#define GARNER_STORE_S3_DELETE_H

#include "store/store_http.h"

/* What is known of the server; all zero at first. */
struct s3_delete {
	_Atomic bool single; /* bulk deletes are of no use with it */
};

/* As of struct store_ops. */
void s3_delete(struct http_store *s, struct s3_delete *server, const char *const *keys, size_t count,
               store_done_fn *done, void *arg);

/* Whether an answer of this status and code ("" for none), and no 2xx, to a bulk delete says that the server does not know them. */
bool s3_delete_unknown(long status, const char *code);

#endif
