/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_file.h: the file that says which cluster there is, and what lies beside it: the cluster's key, and the certificates.
 *
 *	DIR/FILE          the cluster's map, as of cluster_map.h: any version of it, a newer one is asked for
 *	DIR/cluster.key   64 hexadecimal digits; only its owner may read it
 *	DIR/ca.pem        whose certificates count; when it is missing, plain HTTP is spoken
 *	DIR/gateway.pem   of a gateway or command: certificate and key; only its owner may read it (of a node: node.pem)
 *
 * Knows nothing of what is done with it.
 */
#ifndef GARNER_STORE_CLUSTER_FILE_H
#define GARNER_STORE_CLUSTER_FILE_H

#include "base/error.h"
#include "store/cluster_map.h"
#include "store/http_tls.h"
#include "store/node_auth.h"

#include <limits.h>

#define CLUSTER_GATEWAY_PEM "gateway.pem"
#define CLUSTER_NODE_PEM "node.pem"

struct cluster_file {
	struct cluster_map map;
	struct node_key key;
	bool tls;
	char ca[PATH_MAX], pem[PATH_MAX]; /* with TLS: the files; certificate and key are in one */
};

/* Reads the file `path`, an absolute or relative path, and what is beside it; `pem` is the name of the certificate's file. Returns 0; or a
 * negative errno with a text that names the file and says what to do; then there is nothing to destroy. -EBADMSG: the map is damaged;
 * -EACCES: others may read the key. Blocks. */
int cluster_file_load(const char *path, const char *pem, struct cluster_file *file, struct error *err);

/* Wipes the key. Also of a struct that is all zero. */
void cluster_file_destroy(struct cluster_file *file);

/* How to speak HTTP with the nodes; the strings are the file's. */
struct http_tls cluster_file_tls(const struct cluster_file *file);

#endif
