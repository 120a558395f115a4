/* SPDX-License-Identifier: GPL-3.0-only */
/* http_message.h: the heads of HTTP/1.1 requests and answers: read bytewise as they come in, and written.
 *
 * A strict subset: lines end with CR LF; only Content-Length bodies; no folded lines; plain visible ASCII; targets are absolute paths;
 * what is ambiguous is refused, and so is what could be read in two ways by two programs. Pure: knows nothing of sockets, keys
 * or paths.
 */
#ifndef GARNER_NODE_HTTP_MESSAGE_H
#define GARNER_NODE_HTTP_MESSAGE_H

#include "base/error.h"
#include "store/node_auth.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MESSAGE_LINE_MAX 8192  /* bytes, CR LF included */
#define MESSAGE_HEAD_MAX 16384 /* bytes, all lines together */
#define MESSAGE_HEADERS_MAX NODE_HEADERS_MAX
#define MESSAGE_PARAMETERS_MAX 16
#define MESSAGE_LENGTH_MAX (UINT64_MAX / 4) /* of a body; more is malformed */

enum message_kind { MESSAGE_REQUEST, MESSAGE_ANSWER };

/* The head of a message. What it points to is inside. Read only; what is not there is NULL, 0 or false. */
struct message_head {
	enum message_kind kind;
	bool complete;

	/* of a request */
	const char *method;                                    /* 1 to 16 of [A-Z] */
	const char *target;                                    /* as sent, of visible ASCII: what is signed */
	const char *path;                                      /* up to the '?', percent-decoded; begins with '/' */
	struct node_header parameters[MESSAGE_PARAMETERS_MAX]; /* of the query, percent-decoded ('+' is itself) */
	size_t parameters_count;
	bool expect_continue;
	bool has_range; /* "Range: bytes=first-last" */
	uint64_t range_first, range_last;

	/* of an answer */
	int status;

	/* of both */
	struct node_header headers[MESSAGE_HEADERS_MAX];
	size_t headers_count;
	bool has_length;
	uint64_t length; /* of the body; 0 when !has_length */
	bool close;      /* "Connection: close" */

	/* what the parser knows; not for others */
	int refusal;
	size_t line, used, parsed; /* bytes of this line, of all, and taken apart */
	bool first_line_done;
	char text[MESSAGE_HEAD_MAX];
	char decoded[MESSAGE_LINE_MAX];
};

void message_head_init(struct message_head *h, enum message_kind kind);

/* Takes bytes of the head. Returns how many of them were the head's: all, or fewer when it ends there (h->complete). -EBADMSG when
 * it is not one, with the reason in `err`, and h->refusal is the status that says so to a client (400, 411, 414, 417, 431, 501,
 * 505); call no more then. */
ssize_t message_head_feed(struct message_head *h, const void *bytes, size_t length, struct error *err);

/* The value of the only header of that name, or NULL. */
const char *message_header(const struct message_head *h, const char *name);
/* The value of a parameter of the query, or NULL. No name is there twice. */
const char *message_parameter(const struct message_head *h, const char *name);

/* A decimal number without sign or leading zeros, at most `max`: 0 or -EINVAL. */
int message_number(const char *text, uint64_t max, uint64_t *number);

/* ---- writing ---- */

struct message_writer {
	size_t used;
	size_t headers;
	bool bad;
	char text[MESSAGE_HEAD_MAX];
};

/* Whether it can be sent: a token, and plain text without a line end. */
bool message_header_valid(const char *name, const char *value);

void message_write_request(struct message_writer *w, const char *method, const char *target, const char *host);
/* The reason is the usual one of the status. */
void message_write_answer(struct message_writer *w, int status);
void message_write_header(struct message_writer *w, const char *name, const char *value);
void message_write_number(struct message_writer *w, const char *name, uint64_t number);
/* The empty line. 0, or -EMSGSIZE or -EINVAL when what was written would be refused by the parser above. */
int message_write_end(struct message_writer *w);

/* "Not Found"; "Unknown" for a status that is not known. Never NULL. */
const char *message_reason(int status);

#endif
