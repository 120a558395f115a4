/* SPDX-License-Identifier: GPL-3.0-only */
/* body_digest.h: the digests that HTTP stores want of a request's body. Knows nothing of requests or stores.
 *
 * SHA-256 and MD5 by libcrypto, which uses the processor's own instructions: bodies are segments of some MiB.
 */
#ifndef GARNER_STORE_BODY_DIGEST_H
#define GARNER_STORE_BODY_DIGEST_H

#include "base/error.h"

#include <sys/uio.h>

#define BODY_SHA256_HEX_ROOM 65
#define BODY_BLAKE2BP_HEX_ROOM 65
#define BODY_MD5_HEX_ROOM 33
#define BODY_MD5_BASE64_ROOM 25

struct body_md5 {
	char hex[BODY_MD5_HEX_ROOM];       /* an ETag */
	char base64[BODY_MD5_BASE64_ROOM]; /* a Content-MD5 header */
};

/* The digest of the buffers one after the other, in lower-case hexadecimal digits. `iovcnt` 0 is an empty body.
 * Returns 0; -EINVAL when `iovcnt` is negative; -ENOMEM; -EIO when libcrypto cannot compute it (`err` says which
 * digest: a system in FIPS mode has no MD5). Any thread; takes as long as reading the bytes does. */
int body_sha256(const struct iovec *iov, int iovcnt, char hex[BODY_SHA256_HEX_ROOM], struct error *err);
/* The first 256 bits of BLAKE2bp (blake2bp.h); what storage nodes want. */
int body_blake2bp(const struct iovec *iov, int iovcnt, char hex[BODY_BLAKE2BP_HEX_ROOM], struct error *err);
int body_md5(const struct iovec *iov, int iovcnt, struct body_md5 *md5, struct error *err);

#endif
