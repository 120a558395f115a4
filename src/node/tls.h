/* SPDX-License-Identifier: GPL-3.0-only */
/* tls.h: the certificates of this node and the authority that both sides' must be from: TLS 1.2 or newer. */
#ifndef GARNER_NODE_TLS_H
#define GARNER_NODE_TLS_H

#include "base/error.h"

#include <stdbool.h>

struct tls;
struct ssl_st; /* OpenSSL's SSL */

/* Reads the authority's certificate(s), and the node's own certificate chain with its key (one PEM file, which only its owner may
 * use). For both directions: each side shows its certificate, and takes only one that this authority has signed. 0 with *tls, or
 * -errno with what is wrong with which file. Free with tls_free() after all servers and peers that use it. Blocks on the files. */
int tls_load(const char *ca_file, const char *own_file, struct tls **tls, struct error *err);
/* NULL is ignored. */
void tls_free(struct tls *tls);

/* A new connection's state, over the socket `fd`, before its handshake: SSL_free() it. `name` (may be NULL; not with `accepting`): the
 * name or address that the other side's certificate must be for. NULL when memory is short. */
struct ssl_st *tls_begin(struct tls *tls, int fd, bool accepting, const char *name);

/* Why the handshake, or what came later, failed: from OpenSSL's queue of errors, which is emptied. */
void tls_why(struct ssl_st *ssl, char *text, unsigned room);

#endif
