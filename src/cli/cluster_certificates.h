/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_certificates.h: a cluster's own certificate authority, and the certificates of its nodes and gateways: P-256 keys, PEM.
 *
 * Knows nothing of files or clusters.
 */
#ifndef GARNER_CLI_CLUSTER_CERTIFICATES_H
#define GARNER_CLI_CLUSTER_CERTIFICATES_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

#define AUTHORITY_YEARS 10
#define CERTIFICATE_YEARS 5

struct authority;

/* Makes one, with a new key. NULL with `err`. */
struct authority *authority_new(const char *name, struct error *err);
/* One that was written before: the text of its certificate and of its key. NULL with `err`. */
struct authority *authority_read(const char *certificate, const char *key, struct error *err);
void authority_free(struct authority *a);

/* The PEM of its certificate, or of its key; malloc'ed, or NULL: no memory. What may hold a key is wiped with pem_free(). */
char *authority_certificate(const struct authority *a);
char *authority_key(const struct authority *a);

/* A certificate with a new key, both in one PEM: for a server and client called `host` (a name or an address: its subjectAltName), or, when
 * `host` is NULL, for a client. NULL with `err`. */
char *authority_issue(struct authority *a, const char *name, const char *host, struct error *err);

void pem_free(char *pem);

#endif
