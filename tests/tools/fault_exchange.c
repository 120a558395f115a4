/* SPDX-License-Identifier: GPL-3.0-only */
/* fault_exchange.c: requests and answers on a connection through the fault proxy, and the faults they meet. It reads what
 * passes and queues it, changed or not; sending it is fault_session.c's. */
#include "tools/fault_session.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TRUNCATE_PERCENT 50
#define NS_PER_MS UINT64_C(1000000)

static const char continue_answer[] = "HTTP/1.1 100 Continue\r\n\r\n";

/* The answers of the proxy's own, in the words of S3. */
static const struct {
	unsigned status;
	const char *reason, *code;
} refusals[FAULT_KINDS] = {
	[FAULT_500] = { 500, "Internal Server Error", "InternalError" },
	[FAULT_503] = { 503, "Service Unavailable", "SlowDown" },
	[FAULT_429] = { 429, "Too Many Requests", "TooManyRequests" },
};

/* Whether the proxy answers, and not the server. */
static bool is_refused(const struct fault_exchange *e)
{
	return refusals[e->verdict.kind].status != 0;
}

static struct fault_exchange *exchange_at(struct fault_session *s, unsigned number)
{
	return &s->exchanges[number % EXCHANGES_MAX];
}

/* The exchange whose answer is next, or NULL. */
static struct fault_exchange *front_exchange(struct fault_session *s)
{
	return s->first == s->next ? NULL : exchange_at(s, s->first);
}

/* The head that the lane has just completed goes on: without a copy if all of it is in the bytes received now. */
static void keep_head(struct fault_lane *to, struct fault_lane *from, uint64_t due_ns, const uint8_t *bytes,
                      size_t size)
{
	if (size == from->framing.head_length)
		fault_lane_keep(to, from, due_ns, bytes, size);
	else
		fault_lane_copy(to, due_ns, from->framing.head, from->framing.head_length);
}

/* Neither direction is read as HTTP any more. */
static void give_up(struct fault_session *s)
{
	http_framing_give_up(&s->lanes[UP].framing);
	http_framing_give_up(&s->lanes[DOWN].framing);
}

/* ---- answers of the proxy's own ---------------------------------------------------------------------------------- */

static void refuse(struct fault_session *s, const struct fault_exchange *e, uint64_t due_ns)
{
	enum fault_kind kind = e->verdict.kind;
	char body[256], answer[768], retry[64] = "";
	int body_length, length;

	if (e->verdict.has_argument)
		(void)snprintf(retry, sizeof retry, "Retry-After: %" PRIu64 "\r\n", e->verdict.argument);
	body_length = snprintf(body, sizeof body,
	                       "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code>"
	                       "<Message>made by the fault proxy</Message></Error>\n",
	                       refusals[kind].code);
	length = snprintf(answer, sizeof answer,
	                  "HTTP/1.1 %u %s\r\nServer: fault-proxy\r\nContent-Type: application/xml\r\n"
	                  "Content-Length: %d\r\n%s%s\r\n%s",
	                  refusals[kind].status, refusals[kind].reason, body_length, retry,
	                  e->closes ? "Connection: close\r\n" : "", e->head_method ? "" : body);
	fault_lane_copy(&s->lanes[DOWN], due_ns, answer, (size_t)length);
	if (e->closes)
		fault_session_finish(s, due_ns);
}

/* Answers the exchanges at the front that are the proxy's to answer. */
static void refuse_front(struct fault_session *s, uint64_t now_ns)
{
	/* As if the server had answered when it had all of the request. */
	uint64_t due_ns = fault_session_due(s, UP, now_ns) + s->proxy->delay_ns;
	struct fault_exchange *e;

	while ((e = front_exchange(s)) && is_refused(e) && !s->lanes[DOWN].stopped) {
		if (!e->complete && e->expects_continue)
			fault_lane_copy(&s->lanes[DOWN], due_ns, continue_answer, sizeof continue_answer - 1);
		e->expects_continue = false;
		if (!e->complete)
			break;
		s->first++;
		refuse(s, e, due_ns);
	}
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static void begin_fault(struct fault_session *s, const struct fault_exchange *e, uint64_t now_ns)
{
	const struct fault_verdict *v = &e->verdict;

	switch (v->kind) {
	case FAULT_RESET_BEFORE:
		fault_session_cut(s, fault_session_due(s, UP, now_ns) + s->proxy->delay_ns);
		break;
	case FAULT_STALL:
		fault_session_stall(s, v->has_argument ? v->argument : 0);
		break;
	case FAULT_DUPLICATE:
		if (fault_session_twin(s))
			s->twin->lanes[DOWN].framing.answers_head = e->head_method;
		else
			s->proxy->harmless++;
		break;
	default:
		break;
	}
}

/* A request's head is complete: its fate is decided. */
static void begin_request(struct fault_session *s, uint64_t now_ns)
{
	const struct http_message *m = &s->lanes[UP].framing.message;
	struct fault_exchange *e = exchange_at(s, s->next);

	s->request_dropped = false;
	if (!m->understood || m->connect_method) {
		give_up(s);
		return;
	}
	if (s->next - s->first == EXCHANGES_MAX) {
		fault_session_cut(s, fault_session_due(s, UP, now_ns) + s->proxy->delay_ns);
		return;
	}
	*e = (struct fault_exchange){ .verdict = fault_schedule_next(&s->proxy->schedule),
		                      .head_method = m->head_method,
		                      .closes = m->closes,
		                      .expects_continue = m->expects_continue };
	s->next++;
	s->request_dropped = is_refused(e);
	begin_fault(s, e, now_ns);
}

/* All of the request was read. */
static void end_request(struct fault_session *s, uint64_t now_ns)
{
	/* An answer may have come, and ended, before the request did. */
	if (s->first != s->next)
		exchange_at(s, s->next - 1)->complete = true;
	fault_session_part(s, true);
	refuse_front(s, now_ns);
}

static void take_request(struct fault_session *s, struct http_span span, const uint8_t *bytes, uint64_t now_ns)
{
	struct fault_lane *l = &s->lanes[UP];
	uint64_t due_ns = fault_session_due(s, UP, now_ns);
	struct fault_lane *twin;

	if (span.part == HTTP_PART_HEAD)
		return;
	if (span.part == HTTP_PART_HEAD_END)
		begin_request(s, now_ns);
	if (l->stopped)
		return;
	twin = s->twin ? &s->twin->lanes[UP] : NULL;
	for (struct fault_lane *to = l; to && !s->request_dropped; to = to == l ? twin : NULL) {
		uint64_t lag_ns = to == l ? 0 : exchange_at(s, s->next - 1)->verdict.argument * NS_PER_MS;

		if (span.part == HTTP_PART_HEAD_END)
			keep_head(to, l, due_ns + lag_ns, bytes, span.length);
		else
			fault_lane_keep(to, l, due_ns + lag_ns, bytes, span.length);
	}
	if (span.last)
		end_request(s, now_ns);
	else if (s->request_dropped && span.part == HTTP_PART_HEAD_END)
		refuse_front(s, now_ns); /* it may have to say that the body may come */
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

/* Where in a body (or first chunk) of `size` bytes, at least 1, the fault strikes. */
static uint64_t mark_of(const struct fault_exchange *e, uint64_t size)
{
	const struct fault_verdict *v = e ? &e->verdict : NULL;
	uint64_t percent = v && v->has_argument ? v->argument : TRUNCATE_PERCENT;

	if (v && v->kind == FAULT_TRUNCATE)
		return size / 100 * percent + size % 100 * percent / 100;
	return v && v->kind == FAULT_CORRUPT ? v->random % size : 0;
}

/* Passes a span of an answer on, as its fault wants. Returns whether the connection goes on after it. */
static bool pass_answer(struct fault_session *s, const struct fault_exchange *e, struct http_span span, uint8_t *bytes,
                        uint64_t due_ns)
{
	struct fault_lane *l = &s->lanes[DOWN];
	enum fault_kind kind = e ? e->verdict.kind : FAULT_NONE;
	uint64_t start = s->answer_seen;
	bool cut = false;

	if (span.part == HTTP_PART_BODY) {
		if (!s->answer_begun)
			s->answer_mark = mark_of(e, span.length + l->framing.left);
		s->answer_begun = true;
		s->answer_seen += span.length;
		cut = kind == FAULT_TRUNCATE && s->answer_seen >= s->answer_mark;
		if (cut)
			span.length = (size_t)(s->answer_mark - start);
		if (kind == FAULT_CORRUPT && s->answer_mark >= start && s->answer_mark < s->answer_seen)
			bytes[s->answer_mark - start] ^= (uint8_t)(1u << (e->verdict.random >> 61));
	}
	if (span.part == HTTP_PART_HEAD_END)
		keep_head(l, l, due_ns, bytes, span.length);
	else
		fault_lane_keep(l, l, due_ns, bytes, span.length);
	return !(cut || (kind == FAULT_TRUNCATE && span.last));
}

/* The exchange that the server is answering, or NULL: what it says before the proxy's own answer belongs to none. */
static struct fault_exchange *answered_exchange(struct fault_session *s)
{
	struct fault_exchange *e = front_exchange(s);

	return e && is_refused(e) ? NULL : e;
}

/* The head of an answer is complete. */
static void begin_answer(struct fault_session *s, uint64_t due_ns)
{
	const struct http_message *m = &s->lanes[DOWN].framing.message;
	const struct fault_exchange *e = answered_exchange(s);

	s->answered = e;
	s->answer_begun = false;
	s->answer_seen = s->answer_mark = 0;
	if (!m->understood || m->status == 101)
		give_up(s);
	if (e && e->verdict.kind == FAULT_SLOW && !m->interim)
		fault_lane_signal(&s->lanes[DOWN], due_ns, FAULT_ITEM_PACE, e->verdict.argument);
}

/* The final answer has ended: the next exchange is in front. */
static void end_answer(struct fault_session *s, const struct fault_exchange *e, uint64_t due_ns, uint64_t now_ns)
{
	if (e && e->verdict.kind == FAULT_SLOW)
		fault_lane_signal(&s->lanes[DOWN], due_ns, FAULT_ITEM_PACE, 0);
	if (e && e->verdict.kind == FAULT_CORRUPT && !s->answer_begun)
		s->proxy->harmless++;
	if (e)
		s->first++;
	s->answered = NULL;
	refuse_front(s, now_ns);
}

static void take_answer(struct fault_session *s, struct http_span span, uint8_t *bytes, uint64_t now_ns)
{
	uint64_t due_ns = fault_session_due(s, DOWN, now_ns);
	const struct fault_exchange *e;
	bool interim, goes_on = true;

	if (span.part == HTTP_PART_HEAD)
		return;
	if (span.part == HTTP_PART_HEAD_END)
		begin_answer(s, due_ns);
	e = s->answered;
	interim = s->lanes[DOWN]
	                  .framing.message.interim; /* passes in any case: the client may wait for it with its body */
	if (!e || interim || e->verdict.kind != FAULT_RESET_AFTER)
		goes_on = pass_answer(s, interim ? NULL : e, span, bytes, due_ns);
	else if (span.last)
		fault_session_cut(s, due_ns);
	if (!goes_on)
		fault_session_finish(s, due_ns);
	else if (span.last && !interim)
		end_answer(s, e, due_ns, now_ns);
}

/* ---- what the session hands over --------------------------------------------------------------------------------- */

/* A twin's answer: only its end is of interest. */
static void drop_answer(struct fault_session *s, struct http_span span)
{
	const struct http_framing *f = &s->lanes[DOWN].framing;

	if ((span.last && !f->message.interim) || span.part == HTTP_PART_OPAQUE)
		s->dead = true;
}

void fault_exchange_bytes(struct fault_lane *l, uint8_t *bytes, size_t size, uint64_t now_ns)
{
	struct fault_session *s = l->session;

	while (size > 0 && !l->stopped && !l->deaf && !s->dead) {
		const struct fault_exchange *e = answered_exchange(s);

		if (l->direction == DOWN && l->framing.state == HTTP_STATE_START && !s->is_twin)
			l->framing.answers_head = e && e->head_method;
		struct http_span span = http_framing_next(&l->framing, bytes, size);
		bytes += span.length;
		size -= span.length;
		if (s->is_twin)
			drop_answer(s, span);
		else if (l->direction == UP)
			take_request(s, span, bytes - span.length, now_ns);
		else
			take_answer(s, span, bytes - span.length, now_ns);
	}
}

void fault_exchange_end(struct fault_lane *l, uint64_t now_ns)
{
	struct fault_session *s = l->session;
	uint64_t due_ns = fault_session_due(s, l->direction, now_ns);
	const struct fault_exchange *e = answered_exchange(s);

	if (s->is_twin) {
		s->dead = true;
	} else if (l->direction == DOWN && e && e->verdict.kind == FAULT_RESET_AFTER) {
		fault_session_cut(s, due_ns);
	} else {
		if (l->framing.state == HTTP_STATE_HEAD)
			fault_lane_copy(l, due_ns, l->framing.head, l->framing.head_length);
		fault_lane_signal(l, due_ns, FAULT_ITEM_END, 0);
	}
}
