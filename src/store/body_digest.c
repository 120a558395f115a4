/* SPDX-License-Identifier: GPL-3.0-only */
/* body_digest.c: the digests that HTTP stores want of a request's body. */
#include "store/body_digest.h"

#include "base/blake2bp.h"

#include <errno.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdbool.h>
#include <string.h>

#define MD5_BYTES 16
#define SHA256_BYTES 32

/* One pass over `iov` with the digest `kind`, which has `length` bytes. */
static int digest(const EVP_MD *kind, const char *name, const struct iovec *iov, int iovcnt, unsigned char *out,
                  unsigned length, struct error *err)
{
	unsigned char bytes[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *context;
	unsigned got = 0;
	bool good;

	if (iovcnt < 0)
		return error_set(err, -EINVAL, "a body cannot have %d parts", iovcnt);
	context = EVP_MD_CTX_new();
	if (!context)
		return error_set(err, -ENOMEM, "out of memory for the %s of a body", name);
	good = EVP_DigestInit_ex(context, kind, NULL) == 1;
	for (int i = 0; i < iovcnt && good; i++)
		good = EVP_DigestUpdate(context, iov[i].iov_base, iov[i].iov_len) == 1;
	good = good && EVP_DigestFinal_ex(context, bytes, &got) == 1 && got == length;
	EVP_MD_CTX_free(context);
	if (!good)
		return error_set(err, -EIO, "libcrypto cannot compute a body's %s; is it switched off on this system?",
		                 name);
	memcpy(out, bytes, length);
	return 0;
}

int body_sha256(const struct iovec *iov, int iovcnt, char hex[BODY_SHA256_HEX_ROOM], struct error *err)
{
	unsigned char bytes[SHA256_BYTES];
	int rc = digest(EVP_sha256(), "SHA-256", iov, iovcnt, bytes, sizeof bytes, err);

	if (rc == 0)
		sodium_bin2hex(hex, BODY_SHA256_HEX_ROOM, bytes, sizeof bytes);
	return rc;
}

int body_md5(const struct iovec *iov, int iovcnt, struct body_md5 *md5, struct error *err)
{
	unsigned char bytes[MD5_BYTES];
	int rc = digest(EVP_md5(), "MD5", iov, iovcnt, bytes, sizeof bytes, err);

	if (rc < 0)
		return rc;
	sodium_bin2hex(md5->hex, sizeof md5->hex, bytes, sizeof bytes);
	sodium_bin2base64(md5->base64, sizeof md5->base64, bytes, sizeof bytes, sodium_base64_VARIANT_ORIGINAL);
	return 0;
}

int body_blake2bp(const struct iovec *iov, int iovcnt, char hex[BODY_BLAKE2BP_HEX_ROOM], struct error *err)
{
	struct blake2bp state;
	unsigned char bytes[32];

	if (iovcnt < 0)
		return error_set(err, -EINVAL, "a body cannot have %d parts", iovcnt);
	blake2bp_init(&state);
	for (int i = 0; i < iovcnt; i++)
		blake2bp_update(&state, iov[i].iov_base, iov[i].iov_len);
	blake2bp_final(&state, bytes, sizeof bytes);
	sodium_bin2hex(hex, BODY_BLAKE2BP_HEX_ROOM, bytes, sizeof bytes);
	return 0;
}
