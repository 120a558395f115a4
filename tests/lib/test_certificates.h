/* SPDX-License-Identifier: GPL-3.0-only */
/* test_certificates.h: an authority and certificates of its own, in files of a new directory. For tests only. */
#ifndef GARNER_TESTS_TEST_CERTIFICATES_H
#define GARNER_TESTS_TEST_CERTIFICATES_H

#include <assert.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct test_certificates {
	char directory[64];
	char ca[96];   /* the authority's certificate */
	char node[96]; /* a node's certificate, for 127.0.0.1, ::1 and "node.test", and its key */
	char late[96]; /* one that has run out */
};

static inline void test_certificate_extend(X509 *certificate, X509 *issuer, int what, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;
	int rc;

	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, what, value);
	assert(extension);
	rc = X509_add_ext(certificate, extension, -1);
	assert(rc == 1);
	(void)rc;
	X509_EXTENSION_free(extension);
}

/* A certificate for `key` that `issuer` signs; its own when that is NULL. */
static inline X509 *test_certificate_make(EVP_PKEY *key, const char *name, X509 *issuer, EVP_PKEY *issuer_key,
                                          bool is_ca, bool late)
{
	static long serial = 1;
	X509 *c = X509_new();
	X509_NAME *subject;

	assert(c);
	X509_set_version(c, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(c), serial++);
	X509_gmtime_adj(X509_getm_notBefore(c), late ? -7200 : -60);
	X509_gmtime_adj(X509_getm_notAfter(c), late ? -3600 : 3600);
	X509_set_pubkey(c, key);
	subject = X509_get_subject_name(c);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(c, issuer ? X509_get_subject_name(issuer) : subject);
	if (!issuer)
		issuer = c;
	if (is_ca) {
		test_certificate_extend(c, issuer, NID_basic_constraints, "critical,CA:TRUE");
		test_certificate_extend(c, issuer, NID_key_usage, "critical,keyCertSign,cRLSign");
	} else {
		test_certificate_extend(c, issuer, NID_basic_constraints, "CA:FALSE");
		test_certificate_extend(c, issuer, NID_ext_key_usage, "serverAuth,clientAuth");
		test_certificate_extend(c, issuer, NID_subject_alt_name, "IP:127.0.0.1,IP:::1,DNS:node.test");
	}
	int rc = X509_sign(c, issuer_key ? issuer_key : key, EVP_sha256());
	assert(rc > 0);
	(void)rc;
	return c;
}

static inline void test_certificate_write(const char *path, X509 *certificate, EVP_PKEY *key)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
	int rc;

	assert(f);
	rc = PEM_write_X509(f, certificate);
	if (rc == 1 && key)
		rc = PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	assert(rc == 1);
	rc = fclose(f);
	assert(rc == 0);
	(void)rc;
}

/* Remove them with test_certificates_remove(). Each call makes an authority that the others do not know. */
static inline void test_certificates_make(struct test_certificates *t)
{
	EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *node_key = EVP_EC_gen("P-256");
	X509 *ca, *node, *late;

	assert(ca_key && node_key);
	strcpy(t->directory, "/tmp/garner-certificates-XXXXXX");
	if (!mkdtemp(t->directory))
		abort();
	(void)snprintf(t->ca, sizeof t->ca, "%s/ca.pem", t->directory);
	(void)snprintf(t->node, sizeof t->node, "%s/node.pem", t->directory);
	(void)snprintf(t->late, sizeof t->late, "%s/late.pem", t->directory);
	ca = test_certificate_make(ca_key, "test authority", NULL, NULL, true, false);
	node = test_certificate_make(node_key, "node.test", ca, ca_key, false, false);
	late = test_certificate_make(node_key, "node.test", ca, ca_key, false, true);
	test_certificate_write(t->ca, ca, NULL);
	test_certificate_write(t->node, node, node_key);
	test_certificate_write(t->late, late, node_key);
	X509_free(ca);
	X509_free(node);
	X509_free(late);
	EVP_PKEY_free(ca_key);
	EVP_PKEY_free(node_key);
}

static inline void test_certificates_remove(struct test_certificates *t)
{
	(void)unlink(t->ca);
	(void)unlink(t->node);
	(void)unlink(t->late);
	(void)rmdir(t->directory);
}

#endif
