/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_certificates.c: certificates by libcrypto. */
#include "cli/cluster_certificates.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY 86400l
#define NAME_MAX_CN 64 /* of a commonName */

struct authority {
	X509 *certificate;
	EVP_PKEY *key;
};

static int cannot(const char *what, struct error *err)
{
	return error_set(err, -EIO, "libcrypto cannot make %s", what);
}

/* ---- text ---- */

static char *take_text(BIO *bio)
{
	char *bytes, *text = NULL;
	long length = BIO_get_mem_data(bio, &bytes);

	if (length > 0)
		text = strndup(bytes, (size_t)length);
	return text;
}

static char *pem_of(X509 *certificate, EVP_PKEY *key)
{
	/* Its memory is wiped when it is freed. */
	BIO *bio = BIO_new(BIO_s_secmem());
	char *text = NULL;

	if (bio && (!certificate || PEM_write_bio_X509(bio, certificate) == 1) &&
	    (!key || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1))
		text = take_text(bio);
	BIO_free(bio);
	return text;
}

void pem_free(char *pem)
{
	if (pem)
		OPENSSL_cleanse(pem, strlen(pem));
	free(pem);
}

/* ---- making one ---- */

static bool set_serial(X509 *x)
{
	uint8_t bytes[16];
	BIGNUM *number;
	bool good;

	if (RAND_bytes(bytes, sizeof bytes) != 1)
		return false;
	bytes[0] = (bytes[0] & 0x7f) | 0x40; /* positive, and always as long */
	number = BN_bin2bn(bytes, sizeof bytes, NULL);
	good = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x));
	BN_free(number);
	return good;
}

static bool set_name(X509 *x, const char *name)
{
	X509_NAME *subject = X509_get_subject_name(x);
	char common[NAME_MAX_CN + 1];

	snprintf(common, sizeof common, "%s", name);
	return X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_ASC, (const unsigned char *)"garnerfs", -1, -1, 0) ==
	               1 &&
	       X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)common, -1, -1, 0) == 1;
}

/* From yesterday on: a host's clock may be behind. */
static bool set_times(X509 *x, int years)
{
	return X509_gmtime_adj(X509_getm_notBefore(x), -DAY) &&
	       X509_time_adj_ex(X509_getm_notAfter(x), years * 365 + years / 4, 0, NULL);
}

static bool add_extension(X509 *x, X509 *issuer, int kind, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;
	bool good;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, issuer, x, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
	good = extension && X509_add_ext(x, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return good;
}

static X509 *certificate_begin(const char *name, int years, EVP_PKEY *key)
{
	X509 *x = X509_new();

	if (x && X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) && set_name(x, name) &&
	    set_times(x, years) && X509_set_pubkey(x, key) == 1)
		return x;
	X509_free(x);
	return NULL;
}

/* ---- the authority ---- */

static int make_authority(struct authority *a, const char *name)
{
	a->key = EVP_EC_gen("P-256");
	a->certificate = a->key ? certificate_begin(name, AUTHORITY_YEARS, a->key) : NULL;
	if (!a->certificate)
		return -1;
	X509 *x = a->certificate;
	return X509_set_issuer_name(x, X509_get_subject_name(x)) == 1 &&
	                       add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
	                       add_extension(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") &&
	                       add_extension(x, x, NID_subject_key_identifier, "hash") &&
	                       X509_sign(x, a->key, EVP_sha256()) > 0
	               ? 0
	               : -1;
}

struct authority *authority_new(const char *name, struct error *err)
{
	struct authority *a = calloc(1, sizeof *a);

	if (a && !make_authority(a, name))
		return a;
	authority_free(a);
	cannot("a certificate authority", err);
	return NULL;
}

struct authority *authority_read(const char *certificate, const char *key, struct error *err)
{
	struct authority *a = calloc(1, sizeof *a);
	BIO *first = BIO_new_mem_buf(certificate, -1), *second = BIO_new_mem_buf(key, -1);

	if (a && first && second) {
		a->certificate = PEM_read_bio_X509(first, NULL, NULL, NULL);
		/* No passphrase is asked for. */
		a->key = PEM_read_bio_PrivateKey(second, NULL, NULL, (char[]){ "" });
	}
	BIO_free(first);
	BIO_free(second);
	if (a && a->certificate && a->key && X509_check_private_key(a->certificate, a->key) == 1)
		return a;
	authority_free(a);
	error_set(err, -EBADMSG, "ca.pem and ca.key are not the certificate and key of one authority");
	return NULL;
}

void authority_free(struct authority *a)
{
	if (!a)
		return;
	X509_free(a->certificate);
	EVP_PKEY_free(a->key);
	free(a);
}

char *authority_certificate(const struct authority *a)
{
	return pem_of(a->certificate, NULL);
}

char *authority_key(const struct authority *a)
{
	return pem_of(NULL, a->key);
}

/* ---- certificates ---- */

/* "IP:10.0.0.1" or "DNS:h1". */
static bool add_host(X509 *x, X509 *issuer, const char *host)
{
	uint8_t address[16];
	char text[300];

	if (strlen(host) > 255 || strpbrk(host, ",: \"") != NULL) {
		if (inet_pton(AF_INET6, host, address) != 1)
			return false;
	}
	snprintf(text, sizeof text, "%s:%s",
	         inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1 ? "IP" : "DNS",
	         host);
	return add_extension(x, issuer, NID_subject_alt_name, text);
}

static bool sign(struct authority *a, X509 *x, const char *host)
{
	X509 *ca = a->certificate;

	return X509_set_issuer_name(x, X509_get_subject_name(ca)) == 1 &&
	       add_extension(x, ca, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_extension(x, ca, NID_key_usage, "critical,digitalSignature") &&
	       add_extension(x, ca, NID_ext_key_usage, host ? "serverAuth,clientAuth" : "clientAuth") &&
	       add_extension(x, ca, NID_subject_key_identifier, "hash") &&
	       add_extension(x, ca, NID_authority_key_identifier, "keyid:always") && (!host || add_host(x, ca, host)) &&
	       X509_sign(x, a->key, EVP_sha256()) > 0;
}

char *authority_issue(struct authority *a, const char *name, const char *host, struct error *err)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = key ? certificate_begin(name, CERTIFICATE_YEARS, key) : NULL;
	char *pem = x && sign(a, x, host) ? pem_of(x, key) : NULL;

	X509_free(x);
	EVP_PKEY_free(key);
	if (!pem)
		cannot("a certificate", err);
	return pem;
}
