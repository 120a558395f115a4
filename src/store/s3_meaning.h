/* SPDX-License-Identifier: GPL-3.0-only */
/* s3_meaning.h: what the codes of S3's errors mean, be it of a whole request or of one key of many. Pure. */
#ifndef GARNER_STORE_S3_MEANING_H
#define GARNER_STORE_S3_MEANING_H

#include "store/http.h"

struct s3_meaning {
	const char *code;
	enum http_verdict verdict; /* HTTP_JUDGE_AGAIN or HTTP_JUDGE_FAIL */
	int rc;                    /* -errno */
	const char *text;          /* NULL: the server's own */
};

/* NULL for a code without a meaning of its own. */
const struct s3_meaning *s3_meaning_find(const char *code);

#endif
