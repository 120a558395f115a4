/* SPDX-License-Identifier: GPL-3.0-only */
/* refusal_log.c: lines for the operator about what was refused, so many and no more. */
#include "node/refusal_log.h"

#include "base/error.h"
#include "base/report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES 64
#define PEER_TEXT 64

struct entry {
	bool used;
	enum refusal_kind kind;
	char peer[PEER_TEXT]; /* "" for those that found no entry */
	uint64_t began_ms, left_out;
};

struct refusal_log {
	uint64_t span_ms;
	struct entry entries[ENTRIES];
	struct entry others;
};

static const char *const kinds[REFUSED_KINDS] = {
	[REFUSED_MALFORMED] = "malformed request",
	[REFUSED_UNAUTHENTICATED] = "not authenticated",
	[REFUSED_REPLAYED] = "replayed request",
	[REFUSED_OVERLOAD] = "overloaded",
	[REFUSED_SLOW] = "too slow",
	[REFUSED_CONNECTION] = "too many connections",
	[REFUSED_TLS] = "TLS",
};

struct refusal_log *refusal_log_new(uint64_t span_ms)
{
	struct refusal_log *log = calloc(1, sizeof *log);

	if (log)
		log->span_ms = span_ms;
	return log;
}

static void say_left_out(struct entry *e)
{
	if (e->left_out && e->peer[0])
		report_warning("%s: %s: refused %" PRIu64 " times more", e->peer, kinds[e->kind], e->left_out);
	else if (e->left_out)
		report_warning("refused %" PRIu64 " times more to other clients", e->left_out);
	e->left_out = 0;
	e->used = false;
}

void refusal_log_tick(struct refusal_log *log, uint64_t now_ms)
{
	for (int i = 0; i < ENTRIES; i++)
		if (log->entries[i].used && now_ms - log->entries[i].began_ms >= log->span_ms)
			say_left_out(&log->entries[i]);
	if (log->others.used && now_ms - log->others.began_ms >= log->span_ms)
		say_left_out(&log->others);
}

void refusal_log_free(struct refusal_log *log)
{
	if (!log)
		return;
	refusal_log_tick(log, UINT64_MAX);
	free(log);
}

/* The entry of kind and peer, a free one for them, or that of all others. */
static struct entry *find(struct refusal_log *log, enum refusal_kind kind, const char *peer)
{
	struct entry *free_one = NULL;

	for (int i = 0; i < ENTRIES; i++) {
		struct entry *e = &log->entries[i];
		if (e->used && e->kind == kind && strcmp(e->peer, peer) == 0)
			return e;
		if (!e->used && !free_one)
			free_one = e;
	}
	return free_one ? free_one : &log->others;
}

void refusal_log_add(struct refusal_log *log, enum refusal_kind kind, const char *peer, uint64_t now_ms,
                     const char *format, ...)
{
	char address[PEER_TEXT], text[ERROR_TEXT_MAX];
	const char *colon = strrchr(peer, ':');
	struct entry *e;
	va_list args;

	(void)snprintf(address, sizeof address, "%.*s", colon ? (int)(colon - peer) : (int)strlen(peer), peer);
	refusal_log_tick(log, now_ms);
	e = find(log, kind, address);
	if (e->used) {
		e->left_out++;
		return;
	}
	e->used = true;
	e->began_ms = now_ms;
	if (e == &log->others) {
		e->left_out++;
		return;
	}
	e->kind = kind;
	memcpy(e->peer, address, sizeof e->peer);
	va_start(args, format);
	if (vsnprintf(text, sizeof text, format, args) < 0)
		text[0] = '\0';
	va_end(args);
	report_warning("%s: refused: %s: %s", peer, kinds[kind], text);
}
