/* SPDX-License-Identifier: GPL-3.0-only */
/* http_transfer.c: one try of a request: its curl handle, what goes out and what comes in.
 *
 * What comes in is written at its place at once. An answer that is not what was asked for (another range, more bytes) is not
 * taken: the transfer ends there and `bad` says why.
 */
#include "store/http_private.h"

#include "base/bytes.h"
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>

#define CONNECT_TIMEOUT_MS 5000
#define STALL_SECONDS 10 /* without a byte */
#define TRIES_MIN 3      /* that a request's deadline has room for, however many of them are never answered */
#define BUFFER_MAX (128 * 1024)
#define BUFFER_MIN (16 * 1024)
#define GROW_FIRST (64 * 1024)
#define LOOKS 4 /* within the time that a try may be silent: how often it is looked at */

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0"
#endif

int http_head_url(struct http_head *head, const char *url)
{
	if (curl_easy_setopt(head->easy, CURLOPT_URL, url) != CURLE_OK)
		return -ENOMEM;
	/* No proxy of the environment's leads to this host itself. */
	if (http_url_place(url) == HTTP_PLACE_LOOPBACK)
		curl_easy_setopt(head->easy, CURLOPT_PROXY, "");
	head->has_url = true;
	return 0;
}

int http_head_add(struct http_head *head, const char *line)
{
	struct curl_slist *more = curl_slist_append(head->headers, line);

	if (!more)
		return -ENOMEM;
	head->headers = more;
	return 0;
}

void http_head_direct(struct http_head *head)
{
	curl_easy_setopt(head->easy, CURLOPT_PROXY, "");
}

const char *http_answer_header(const struct http_request *r, const char *name)
{
	struct curl_header *h;

	if (!r->job || !r->job->judged ||
	    curl_easy_header(r->job->judged->easy, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
		return NULL;
	return h->value;
}

int http_answer_headers(const struct http_request *r, int (*each)(void *arg, const char *name, const char *value),
                        void *arg)
{
	struct curl_header *h = NULL;
	int rc = 0;

	if (!r->job || !r->job->judged)
		return 0;
	while (!rc && (h = curl_easy_nextheader(r->job->judged->easy, CURLH_HEADER, -1, h)))
		rc = each(arg, h->name, h->value);
	return rc;
}

/* Bytes of a body have moved. For the request counts only what no earlier try has moved. */
static void note_moved(struct http_attempt *a, size_t bytes)
{
	struct http_job *job = a->job;

	a->stopped = false;
	a->moved += bytes;
	a->reached += bytes;
	if (a->reached <= job->reached)
		return;
	job->engine->progress[job->request->class] += a->reached - job->reached;
	job->reached = a->reached;
}

/* ---- out ---- */

static size_t send_body(char *out, size_t size, size_t count, void *arg)
{
	struct http_attempt *a = arg;
	const struct http_request *r = a->job->request;
	size_t room = size * count, done = 0;

	if (a->body_index < r->body_count && !http_loop_may_pass(a, CURLPAUSE_SEND))
		return CURL_READFUNC_PAUSE;
	while (done < room && a->body_index < r->body_count) {
		const struct iovec *v = &r->body[a->body_index];
		size_t n = v->iov_len - a->body_offset;

		if (n > room - done)
			n = room - done;
		memcpy(out + done, (const char *)v->iov_base + a->body_offset, n);
		done += n;
		a->body_offset += n;
		if (a->body_offset == v->iov_len) {
			a->body_index++;
			a->body_offset = 0;
		}
	}
	note_moved(a, done);
	http_rate_take(&a->job->engine->loop.up, done);
	atomic_fetch_add_explicit(&a->job->engine->bytes_up, done, memory_order_relaxed);
	return done;
}

/* curl begins again when a kept connection turns out to be dead, be it only after all was sent and the answer lost. */
static int seek_body(void *arg, curl_off_t offset, int origin)
{
	struct http_attempt *a = arg;

	if (origin != SEEK_SET || offset != 0)
		return CURL_SEEKFUNC_CANTSEEK;
	a->resent |= a->body_index || a->body_offset;
	a->body_index = 0;
	a->body_offset = 0;
	a->reached = 0;
	return CURL_SEEKFUNC_OK;
}

/* ---- in ---- */

/* "bytes FIRST-LAST/SIZE" */
static bool content_range_begins_at(CURL *easy, uint64_t offset)
{
	struct curl_header *h;
	unsigned long long first;

	return curl_easy_header(easy, "Content-Range", 0, CURLH_HEADER, -1, &h) == CURLHE_OK &&
	       sscanf(h->value, "bytes %llu-", &first) == 1 && first == offset;
}

/* Looks at the answer's status before its first byte is taken. */
static int begin_answer(struct http_attempt *a)
{
	const struct http_request *r = a->job->request;
	long status = 0;

	a->begun = true;
	curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &status);
	a->success = status >= 200 && status < 300;
	if (!a->success || !r->range)
		return 0;
	if (status == 206 && !content_range_begins_at(a->easy, r->offset))
		return error_set(&a->bad, -EIO, "the server sent another range than it was asked for");
	if (status != 206 && r->offset)
		return error_set(&a->bad, -EOPNOTSUPP, "the server does not know ranges: it sent the whole object");
	return 0;
}

void http_attempt_look(struct http_attempt *a)
{
	if (!a->begun)
		begin_answer(a);
}

/* Makes room for `more` bytes where the buffer is the engine's. */
static int grow(struct http_attempt *a, size_t more)
{
	struct http_request *r = a->job->request;
	size_t had = 0, want = GROW_FIRST;
	uint8_t *bigger;

	/* Sizes are powers of two times the first, so what there is follows from the length. */
	if (a->length) {
		for (had = GROW_FIRST; had < a->length; had *= 2)
			;
	}
	while (want < a->length + more)
		want *= 2;
	if (want <= had)
		return 0;
	bigger = realloc(a->buf, want);
	if (!bigger)
		return error_set(&a->bad, -ENOMEM, "out of memory for an answer");
	a->buf = r->buf = bigger;
	return 0;
}

/* The beginning of a body that judge() may read. How much of it was taken. */
static size_t take_fault(struct http_attempt *a, const char *bytes, size_t n)
{
	size_t room = sizeof a->fault - 1 - a->fault_length, part = n < room ? n : room;

	memcpy(a->fault + a->fault_length, bytes, part);
	a->fault_length += part;
	return part;
}

static size_t take_success(struct http_attempt *a, const char *bytes, size_t n)
{
	const struct http_request *r = a->job->request;
	size_t room = r->room - a->length;
	bool growing = !a->job->fixed_buf;

	/* What the answer means is looked at first: a short body may say why it is no success. */
	if (n && !r->room && take_fault(a, bytes, n) == n) {
		a->unasked = true;
		return n;
	}
	if (n > room) {
		/* A server that ignores Range sends all there is. */
		if (!r->range || growing) {
			error_set(&a->bad, -EFBIG, "the server's answer is longer than %zu bytes", r->room);
			return 0;
		}
		a->enough = true;
		n = room;
	}
	if (growing && grow(a, n))
		return 0;
	if (n)
		memcpy(a->buf + a->length, bytes, n);
	a->length += n;
	return n;
}

static size_t take_body(char *bytes, size_t size, size_t count, void *arg)
{
	struct http_attempt *a = arg;
	size_t n = size * count;

	if (!a->begun && begin_answer(a))
		return 0;
	if (!a->success) {
		take_fault(a, bytes, n);
		return n;
	}
	if (!http_loop_may_pass(a, CURLPAUSE_RECV))
		return CURL_WRITEFUNC_PAUSE;
	note_moved(a, n);
	http_rate_take(&a->job->engine->loop.down, n);
	atomic_fetch_add_explicit(&a->job->engine->bytes_down, n, memory_order_relaxed);
	return take_success(a, bytes, n);
}

/* ---- silence ---- */

/* Bytes that the other side has not acknowledged: they become fewer while a long body moves that curl has handed over already. */
static int unsent_bytes(CURL *easy)
{
	curl_socket_t fd = CURL_SOCKET_BAD;
	int bytes = 0;

	if (curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK || fd == CURL_SOCKET_BAD ||
	    ioctl(fd, SIOCOUTQ, &bytes) < 0)
		return 0;
	return bytes;
}

bool http_attempt_silent(struct http_attempt *a, uint64_t now_ns)
{
	int unsent;

	if (!a || !a->silence_ns)
		return false;
	unsent = a->job->request->body_count ? unsent_bytes(a->easy) : 0;
	/* What a limit has stopped is not the other side's fault. */
	if (a->moved != a->seen_moved || unsent < a->seen_unsent || a->pause)
		a->moved_ns = now_ns;
	a->seen_moved = a->moved;
	a->seen_unsent = unsent;
	return now_ns - a->moved_ns >= a->silence_ns;
}

uint64_t http_attempt_look_ns(const struct http_attempt *a, uint64_t now_ns)
{
	uint64_t end, soon;

	if (!a || !a->silence_ns)
		return 0;
	end = a->moved_ns + a->silence_ns;
	soon = now_ns + a->silence_ns / LOOKS;
	/* Without a body nothing but the end can come. */
	return a->job->request->body_count && soon < end ? soon : end;
}

/* ---- making one ---- */

static void set_method(CURL *easy, struct http_attempt *a, const struct http_request *r)
{
	switch (r->method) {
	case HTTP_GET:
		break;
	case HTTP_HEAD:
		curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
		break;
	case HTTP_PUT:
		curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)iovec_bytes(r->body, r->body_count));
		curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)BUFFER_MAX);
		break;
	case HTTP_POST:
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)iovec_bytes(r->body, r->body_count));
		break;
	case HTTP_DELETE:
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, "DELETE");
		break;
	}
	if (r->method != HTTP_PUT && r->method != HTTP_POST)
		return;
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, send_body);
	curl_easy_setopt(easy, CURLOPT_READDATA, a);
	curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, seek_body);
	curl_easy_setopt(easy, CURLOPT_SEEKDATA, a);
}

static void set_answer(CURL *easy, struct http_attempt *a, const struct http_request *r)
{
	size_t buffer = r->room < BUFFER_MIN ? BUFFER_MIN : r->room > BUFFER_MAX ? BUFFER_MAX : r->room;

	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)buffer);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, a);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, a->curl_error);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, (char *)a);
}

/* One try that is never answered must not use up the deadline. */
static void set_patience(CURL *easy, uint64_t deadline_ms)
{
	uint64_t connect_ms = deadline_ms / TRIES_MIN, stall_s = deadline_ms / TRIES_MIN / 1000;

	connect_ms = connect_ms < CONNECT_TIMEOUT_MS ? connect_ms : CONNECT_TIMEOUT_MS;
	stall_s = stall_s < STALL_SECONDS ? stall_s : STALL_SECONDS;
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(connect_ms ? connect_ms : 1));
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)(stall_s ? stall_s : 1));
}

static void set_manners(CURL *easy)
{
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "garnerfs/" PACKAGE_VERSION);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 30L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 10L);
}

/* Range and what curl would add of its own accord. */
static int add_own_headers(struct http_head *head, const struct http_request *r)
{
	char line[80];
	int rc = http_head_add(head, "Expect:"); /* a round trip before each upload */

	if (!rc && r->range) {
		snprintf(line, sizeof line, "Range: bytes=%llu-%llu", (unsigned long long)r->offset,
		         (unsigned long long)(r->offset + r->room - 1));
		rc = http_head_add(head, line);
	}
	return rc;
}

int http_attempt_new(struct http_job *job, bool hedge, struct http_attempt **attempt, struct error *err)
{
	struct http_request *r = job->request;
	struct http_head head = { 0 };
	struct http_attempt *a = calloc(1, sizeof *a);
	int rc = -ENOMEM;

	if (!a)
		return error_set(err, rc, "out of memory for a request");
	a->job = job;
	a->easy = head.easy = curl_easy_init();
	a->buf = hedge ? malloc(r->room) : r->buf;
	if (!a->easy || (hedge && !a->buf)) {
		error_set(err, rc, "out of memory for a request");
		goto out;
	}
	set_manners(a->easy);
	set_patience(a->easy, r->deadline_ms ? r->deadline_ms : job->engine->options.deadline_ms);
	set_method(a->easy, a, r);
	set_answer(a->easy, a, r);
	if (r->once)
		curl_easy_setopt(a->easy, CURLOPT_FRESH_CONNECT, 1L);
	/* A file that cannot be read just now is a fault of this host, which passes: it says nothing of the object. */
	if (http_tls_apply(&job->engine->options.tls, a->easy, err))
		rc = -EAGAIN;
	else {
		r->which = hedge;
		rc = r->prepare(r, &head, err);
	}
	if (!rc && add_own_headers(&head, r))
		rc = error_set(err, -ENOMEM, "out of memory for a request");
	if (!rc && !head.has_url)
		rc = error_set(err, -EINVAL, "a request without a URL");
	if (!rc)
		curl_easy_setopt(a->easy, CURLOPT_HTTPHEADER, head.headers);
out:
	a->headers = head.headers;
	if (rc) {
		http_attempt_free(a);
		return rc;
	}
	a->began_ns = a->moved_ns = clock_monotonic_ns();
	a->silence_ns = r->try_ms * 1000000;
	*attempt = a;
	return 0;
}

void http_attempt_free(struct http_attempt *a)
{
	if (!a)
		return;
	curl_easy_cleanup(a->easy);
	curl_slist_free_all(a->headers);
	if (a->buf != a->job->request->buf)
		free(a->buf);
	free(a);
}
