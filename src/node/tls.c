/* SPDX-License-Identifier: GPL-3.0-only */
/* tls.c: the certificates of this node and the authority that both sides' must be from. */
#include "node/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_AHEAD ((size_t)64 * 1024)

struct tls {
	SSL_CTX *context;
};

static int check_file(const char *what, const char *path, bool secret, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), rc = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		rc = error_set(err, -errno, "the %s %s cannot be read: %s", what, path, strerror(errno));
	else if (!S_ISREG(st.st_mode))
		rc = error_set(err, -EINVAL, "the %s %s is not a regular file", what, path);
	else if (secret && (st.st_mode & 077))
		rc = error_set(err, -EACCES,
		               "the %s %s holds a key and can be used by others (mode %03o); run: chmod 600 '%s'", what,
		               path, (unsigned)(st.st_mode & 0777), path);
	if (fd >= 0)
		close(fd);
	return rc;
}

static const char *last_reason(void)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;

	ERR_clear_error();
	return reason ? reason : "unknown reason";
}

static int load_files(struct tls *tls, const char *ca_file, const char *own_file, struct error *err)
{
	SSL_CTX *c = tls->context;
	STACK_OF(X509_NAME) * names;

	if (SSL_CTX_load_verify_locations(c, ca_file, NULL) != 1)
		return error_set(err, -EINVAL, "%s holds no certificate that can be used: %s", ca_file, last_reason());
	if (SSL_CTX_use_certificate_chain_file(c, own_file) != 1)
		return error_set(err, -EINVAL, "%s holds no certificate that can be used: %s", own_file, last_reason());
	if (SSL_CTX_use_PrivateKey_file(c, own_file, SSL_FILETYPE_PEM) != 1)
		return error_set(err, -EINVAL, "%s holds no key that can be used: %s", own_file, last_reason());
	if (SSL_CTX_check_private_key(c) != 1)
		return error_set(err, -EINVAL, "the key and the certificate in %s do not belong together", own_file);
	/* Told to clients, so that they know which of their certificates to show. */
	names = SSL_load_client_CA_file(ca_file);
	if (!names)
		return error_set(err, -EINVAL, "%s holds no certificate that can be used: %s", ca_file, last_reason());
	SSL_CTX_set_client_CA_list(c, names);
	return 0;
}

int tls_load(const char *ca_file, const char *own_file, struct tls **tls, struct error *err)
{
	struct tls *t = NULL;
	int rc = check_file("certificate of the authority", ca_file, false, err);

	*tls = NULL;
	if (rc == 0)
		rc = check_file("certificate", own_file, true, err);
	if (rc < 0)
		return rc;
	t = calloc(1, sizeof *t);
	if (t)
		t->context = SSL_CTX_new(TLS_method());
	if (!t || !t->context || SSL_CTX_set_min_proto_version(t->context, TLS1_2_VERSION) != 1) {
		tls_free(t);
		return error_set(err, -ENOMEM, "TLS cannot be used: %s", last_reason());
	}
	/* No resumption: every connection shows its certificates. */
	SSL_CTX_set_session_cache_mode(t->context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(t->context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_num_tickets(t->context, 0);
	SSL_CTX_set_mode(t->context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	                                     SSL_MODE_RELEASE_BUFFERS);
	/* Several records with one read: what is taken from the socket and not yet wanted is known by SSL_has_pending(). */
	SSL_CTX_set_read_ahead(t->context, 1);
	SSL_CTX_set_default_read_buffer_len(t->context, READ_AHEAD);
	SSL_CTX_set_verify(t->context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	rc = load_files(t, ca_file, own_file, err);
	if (rc < 0) {
		tls_free(t);
		return rc;
	}
	*tls = t;
	return 0;
}

void tls_free(struct tls *tls)
{
	if (!tls)
		return;
	SSL_CTX_free(tls->context);
	free(tls);
}

static bool expect_name(SSL *ssl, const char *name)
{
	unsigned char address[16];

	if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
	return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

struct ssl_st *tls_begin(struct tls *tls, int fd, bool accepting, const char *name)
{
	SSL *ssl = SSL_new(tls->context);

	if (!ssl || SSL_set_fd(ssl, fd) != 1 || (name && !expect_name(ssl, name))) {
		SSL_free(ssl);
		ERR_clear_error();
		return NULL;
	}
	if (accepting)
		SSL_set_accept_state(ssl);
	else
		SSL_set_connect_state(ssl);
	return ssl;
}

void tls_why(struct ssl_st *ssl, char *text, unsigned room)
{
	long verified = SSL_get_verify_result(ssl);
	unsigned long code = ERR_peek_last_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;

	if (verified != X509_V_OK)
		(void)snprintf(text, room, "TLS: the other side's certificate is refused: %s",
		               X509_verify_cert_error_string(verified));
	else if (reason)
		(void)snprintf(text, room, "TLS: %s", reason);
	else
		(void)snprintf(text, room, "TLS: the connection was cut off");
	ERR_clear_error();
}
