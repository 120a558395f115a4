/* SPDX-License-Identifier: GPL-3.0-only */
/* http_retry.c: the rules of trying again. */
#include "store/http_retry.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>

bool http_status_passes(long status)
{
	switch (status) {
	case 408: /* request timeout */
	case 425: /* too early */
	case 429: /* too many requests */
	case 500:
	case 502:
	case 503:
	case 504:
		return true;
	default:
		return false;
	}
}

int http_status_errno(long status)
{
	if (status >= 200 && status < 300)
		return 0;
	switch (status) {
	case 401:
	case 403:
	case 407:
		return -EACCES;
	case 404:
	case 410:
		return -ENOENT;
	case 409:
		return -EBUSY;
	case 412:
		return -EEXIST;
	case 413:
		return -EFBIG;
	case 408:
	case 504:
		return -ETIMEDOUT;
	case 405:
	case 501:
		return -EOPNOTSUPP;
	case 507:
		return -ENOSPC;
	default:
		return -EIO;
	}
}

bool http_transfer_passes(int curl_code)
{
	switch (curl_code) {
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_CONNECT:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_PARTIAL_FILE:
	case CURLE_OPERATION_TIMEDOUT:
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_SEND_FAIL_REWIND:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
	case CURLE_AGAIN:
		return true;
	default:
		return false;
	}
}

uint64_t http_backoff_ms(uint64_t last_ms, uint32_t random)
{
	uint64_t most = last_ms < HTTP_BACKOFF_MIN_MS ? 3 * HTTP_BACKOFF_MIN_MS : 3 * last_ms;

	if (most > HTTP_BACKOFF_MAX_MS)
		most = HTTP_BACKOFF_MAX_MS;
	return HTTP_BACKOFF_MIN_MS + random % (most - HTTP_BACKOFF_MIN_MS + 1);
}

uint64_t http_retry_after_ms(const char *value, int64_t now)
{
	char *end;
	time_t when;

	if (*value >= '0' && *value <= '9') {
		unsigned long seconds = strtoul(value, &end, 10);
		return *end == '\0' && seconds <= 86400 ? seconds * 1000 : 0;
	}
	when = curl_getdate(value, NULL);
	return when > now && when - now <= 86400 ? (uint64_t)(when - now) * 1000 : 0;
}
