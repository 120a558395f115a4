/* SPDX-License-Identifier: GPL-3.0-only */
/* fault_http.h: where the messages of an HTTP/1.x connection begin and end.
 *
 * Bytes go in as they come from the socket, cut anywhere, and come out as spans: head, body, framing between. Just enough
 * is understood to find the next message. What is not understood is opaque from there on, and is to be passed on as it is.
 * A head is kept until it is complete; a body never is. Any bytes are allowed; memory is bounded. Not thread-safe.
 */
#ifndef GARNER_TESTS_FAULT_HTTP_H
#define GARNER_TESTS_FAULT_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD_MAX 32768 /* a longer head makes the connection opaque */

enum http_role { HTTP_REQUEST, HTTP_ANSWER };

enum http_part {
	HTTP_PART_HEAD,     /* of a head that is not complete yet: a copy is kept in head[] */
	HTTP_PART_HEAD_END, /* ends the head, which is all of head[]; `message` is filled */
	HTTP_PART_BODY,     /* bytes that the body is made of */
	HTTP_PART_FRAME,    /* chunk sizes, line ends, trailers */
	HTTP_PART_OPAQUE,   /* not understood */
};

struct http_span {
	enum http_part part;
	size_t length;
	bool last; /* the message ends with this span */
};

/* What a head says. */
struct http_message {
	bool understood; /* false: head[] is to be passed on, and all after it is opaque */
	bool head_method, connect_method;
	bool expects_continue; /* Expect: 100-continue */
	bool closes;           /* the connection is to end with this exchange */
	bool chunked;
	bool has_length;
	bool minor_0;    /* HTTP/1.0 */
	bool keep_alive; /* asked for by name */
	uint64_t length; /* Content-Length */
	unsigned status; /* of an answer */
	bool interim;    /* an answer that is not the final one (1xx but 101) */
};

enum http_state {
	HTTP_STATE_START, /* between messages */
	HTTP_STATE_HEAD,
	HTTP_STATE_BODY,
	HTTP_STATE_BODY_TO_END, /* of the connection */
	HTTP_STATE_CHUNK_SIZE,
	HTTP_STATE_CHUNK_EXTENSION,
	HTTP_STATE_CHUNK_BODY,
	HTTP_STATE_CHUNK_LINE_END,
	HTTP_STATE_TRAILER,
	HTTP_STATE_OPAQUE,
};

struct http_framing {
	enum http_role role;
	enum http_state state;
	bool answers_head; /* set by the owner between answers: the next one answers HEAD, so it has no body */
	uint64_t left;     /* of the body, or of the chunk, after the span that was returned; 0 when not known */
	unsigned digits;   /* of a chunk's size */
	bool line_begun;   /* something but CR was in the current line */
	bool text_begun;   /* the start line was */
	size_t head_length;
	struct http_message message;
	char head[HTTP_HEAD_MAX];
};

void http_framing_init(struct http_framing *f, enum http_role role);

/* What the first of the `len` (at least 1) bytes at `bytes` are. The span covers at least one; ask again with the rest. */
struct http_span http_framing_next(struct http_framing *f, const uint8_t *bytes, size_t len);

/* Makes everything from here on opaque: after an upgrade, or CONNECT. */
void http_framing_give_up(struct http_framing *f);

#endif
