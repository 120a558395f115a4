/* SPDX-License-Identifier: GPL-3.0-only */
/* s3_meaning.c: the codes of S3's errors. */
#include "store/s3_meaning.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static const struct s3_meaning meanings[] = {
	{ "RequestTimeout", HTTP_JUDGE_AGAIN, -ETIMEDOUT, NULL },
	{ "InternalError", HTTP_JUDGE_AGAIN, -EIO, NULL },
	{ "ServiceUnavailable", HTTP_JUDGE_AGAIN, -EIO, NULL },
	{ "SlowDown", HTTP_JUDGE_AGAIN, -EBUSY, NULL },
	{ "BadDigest", HTTP_JUDGE_AGAIN, -EIO, NULL },
	{ "IncompleteBody", HTTP_JUDGE_AGAIN, -EIO, NULL },
	{ "XAmzContentSHA256Mismatch", HTTP_JUDGE_AGAIN, -EIO, NULL },
	{ "OperationAborted", HTTP_JUDGE_AGAIN, -EBUSY, NULL },
	{ "ConditionalRequestConflict", HTTP_JUDGE_AGAIN, -EBUSY, NULL },
	{ "ConcurrentModification", HTTP_JUDGE_AGAIN, -EBUSY, NULL },
	{ "NoSuchKey", HTTP_JUDGE_FAIL, -ENOENT, NULL },
	/* Not -ENOENT, which would say that there is no such object: everything may be there, in a bucket of another name. */
	{ "NoSuchBucket", HTTP_JUDGE_FAIL, -ENODEV, "there is no such bucket: check the URL, or make the bucket" },
	{ "RequestTimeTooSkewed", HTTP_JUDGE_FAIL, -EACCES,
	  "this host's clock differs too much from the server's: set the clock (NTP)" },
	{ "InvalidAccessKeyId", HTTP_JUDGE_FAIL, -EACCES,
	  "the server does not know the access key: check AWS_ACCESS_KEY_ID, the profile or passwd_file" },
	{ "SignatureDoesNotMatch", HTTP_JUDGE_FAIL, -EACCES,
	  "the server refuses the signature: check the secret key, and the region" },
	{ "AccessDenied", HTTP_JUDGE_FAIL, -EACCES, NULL },
	{ "QuotaExceeded", HTTP_JUDGE_FAIL, -ENOSPC, NULL },
	{ "EntityTooLarge", HTTP_JUDGE_FAIL, -EFBIG, NULL },
	{ "NotImplemented", HTTP_JUDGE_FAIL, -EOPNOTSUPP, NULL },
	{ "PreconditionFailed", HTTP_JUDGE_FAIL, -EEXIST, NULL },
};

const struct s3_meaning *s3_meaning_find(const char *code)
{
	for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
		if (strcmp(meanings[i].code, code) == 0)
			return &meanings[i];
	return NULL;
}
