/* SPDX-License-Identifier: GPL-3.0-only */
/* fault_session.c: connections through the fault proxy: sockets, delay, rate, back-pressure. It moves bytes and does not
 * read them: what they mean is fault_exchange.c's. */
#include "tools/fault_session.h"

#include "base/clock.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LANE_BYTES_MAX (UINT64_C(32) << 20) /* queued in one lane before its source has to wait */
#define LANE_BYTES_MIN (UINT64_C(8) << 20)  /* the same, once all lanes together hold POOL_BYTES_MAX */
#define POOL_BYTES_MAX (UINT64_C(1) << 30)
#define SEND_BYTES (size_t)(1 << 20) /* in one call */
#define PUMP_BYTES (size_t)(4 << 20) /* before other events have their turn */
#define IOV_COUNT 64
#define SECOND_NS UINT64_C(1000000000)
#define STALL_SECONDS 60 /* an endless stall: how long the client's bytes are left where they are */
#define TWIN_SECONDS 60  /* a twin's request is complete: how long it waits for the answer */

static void session_free(struct fault_session *s);

/* Frees the session if its time has come. The last thing that every event's handler does. */
static void settle(struct fault_session *s)
{
	if (s->dead)
		session_free(s);
}

static void arm(struct event *timer, uint64_t ns)
{
	uint64_t us = (ns + 999) / 1000;
	struct timeval tv = { .tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000) };

	(void)event_add(timer, &tv);
}

static struct fault_lane *other_lane(struct fault_lane *l)
{
	return &l->session->lanes[l->direction == UP ? DOWN : UP];
}

/* When `fd` (-1: none) is closed, its peer gets a reset. */
static void close_hard(int fd)
{
	struct linger hard = { .l_onoff = 1, .l_linger = 0 };

	if (fd >= 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
}

void fault_close_reset(int fd)
{
	close_hard(fd);
	if (fd >= 0)
		(void)close(fd);
}

static int source_fd(const struct fault_lane *l)
{
	return l->session->fd[l->direction == UP ? CLIENT : SERVER];
}

static int sink_fd(const struct fault_lane *l)
{
	return l->session->fd[l->direction == UP ? SERVER : CLIENT];
}

uint64_t fault_session_due(const struct fault_session *s, enum fault_direction direction, uint64_t now_ns)
{
	uint64_t sent_ns = direction == UP && now_ns < s->established_ns ? s->established_ns : now_ns;

	return sent_ns + s->proxy->delay_ns;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static bool has_room(const struct fault_lane *l)
{
	uint64_t max = l->session->proxy->pool.held < POOL_BYTES_MAX ? LANE_BYTES_MAX : LANE_BYTES_MIN;

	return fault_queue_cost(&l->queue) < max;
}

/* Reads from the lane's source, or lets it wait, as its state wants. */
static void update_reading(struct fault_lane *l)
{
	const struct fault_session *s = l->session;
	bool stalled = s->stalled && !(s->forsaken && l->direction == UP);
	bool reads = l->readable && !l->stopped && !stalled && !s->dead && (l->direction == UP || s->connected) &&
	             has_room(l) && (l->direction == DOWN || !s->twin || has_room(&s->twin->lanes[UP]));

	if (reads == l->reading)
		return;
	l->reading = reads;
	if (reads)
		(void)event_add(l->readable, NULL);
	else
		(void)event_del(l->readable);
}

/* The lane's source is reset: its sink learns of it in time. */
static void source_reset(struct fault_lane *l, uint64_t now_ns)
{
	struct fault_session *s = l->session;

	if (s->is_twin) {
		s->dead = true;
		return;
	}
	for (int d = UP; d <= DOWN; d++)
		s->lanes[d].stopped = true;
	fault_lane_signal(l, fault_session_due(s, l->direction, now_ns), FAULT_ITEM_RESET, 0);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct fault_lane *l = arg;
	struct fault_session *s = l->session;
	uint8_t *room;
	size_t size;
	ssize_t n;

	(void)what;
	if (fault_queue_room(&l->queue, &room, &size) < 0) {
		s->dead = true;
		settle(s);
		return;
	}
	n = recv(fd, room, size, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 && s->forsaken) {
		s->dead = true;
	} else if (n < 0 || (n == 0 && other_lane(l)->deaf && s->fd[SERVER] >= 0)) {
		/* Whoever took nothing any more has not ended in order: sending has used up the error that said so. */
		source_reset(l, clock_monotonic_ns());
	} else if (n == 0) {
		l->stopped = true;
		fault_exchange_end(l, clock_monotonic_ns());
	} else {
		fault_queue_filled(&l->queue, (size_t)n);
		if (!l->deaf)
			fault_exchange_bytes(l, room, (size_t)n, clock_monotonic_ns());
	}
	fault_lane_pump(l);
	fault_lane_pump(other_lane(l)); /* an answer of the proxy's own */
	settle(s);
}

/* ---- queueing ---------------------------------------------------------------------------------------------------- */

/* Pumps at `when_ns`, or at once if that is over. */
static void pump_at(struct fault_lane *l, uint64_t when_ns, uint64_t now_ns)
{
	if (l->armed_ns == when_ns && when_ns > now_ns)
		return;
	l->armed_ns = when_ns > now_ns ? when_ns : now_ns;
	arm(l->timer, l->armed_ns - now_ns);
}

/* After something was queued. A twin is fed from another session's handler, which does not pump it. */
static void queued(struct fault_lane *l, int rc)
{
	if (rc < 0)
		l->session->dead = true;
	if (rc < 0 || (l->session->is_twin && l->armed_ns == 0))
		pump_at(l, 0, clock_monotonic_ns());
}

void fault_lane_keep(struct fault_lane *l, const struct fault_lane *from, uint64_t due_ns, const uint8_t *bytes,
                     size_t size)
{
	if (!l->deaf)
		queued(l, fault_queue_keep(&l->queue, &from->queue, due_ns, bytes, size));
}

void fault_lane_copy(struct fault_lane *l, uint64_t due_ns, const void *bytes, size_t size)
{
	if (!l->deaf && size > 0)
		queued(l, fault_queue_copy(&l->queue, due_ns, bytes, size));
}

void fault_lane_signal(struct fault_lane *l, uint64_t due_ns, enum fault_item_kind kind, uint64_t argument)
{
	queued(l, fault_queue_signal(&l->queue, due_ns, kind, argument));
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static void on_lane_timer(evutil_socket_t fd, short what, void *arg)
{
	struct fault_lane *l = arg;

	(void)fd;
	(void)what;
	l->armed_ns = 0;
	fault_lane_pump(l);
	settle(l->session);
}

/* Waits until the sink takes more, or is connected. */
static void block(struct fault_lane *l)
{
	l->blocked = true;
	(void)event_add(l->writable, NULL);
}

static void join_waiters(struct fault_lane *l, uint64_t now_ns)
{
	struct fault_rate *r = &l->session->proxy->rates[l->direction];

	if (l->waiting)
		return;
	l->waiting = true;
	TAILQ_INSERT_TAIL(&r->waiters, l, waiters);
	if (!evtimer_pending(r->timer, NULL))
		arm(r->timer, token_bucket_wait_ns(&r->bucket, token_bucket_quantum(&r->bucket), now_ns));
}

static void leave_waiters(struct fault_lane *l)
{
	if (l->waiting)
		TAILQ_REMOVE(&l->session->proxy->rates[l->direction].waiters, l, waiters);
	l->waiting = false;
}

/* Serves those that wait for the shared rate, a quantum each in turn. */
static void on_rate_timer(evutil_socket_t fd, short what, void *arg)
{
	struct fault_rate *r = arg;
	struct fault_lane *l;

	(void)fd;
	(void)what;
	while ((l = TAILQ_FIRST(&r->waiters))) {
		uint64_t now_ns = clock_monotonic_ns(), quantum = token_bucket_quantum(&r->bucket);
		uint64_t wait_ns = token_bucket_wait_ns(&r->bucket, quantum, now_ns);

		if (r->bucket.rate > 0 && wait_ns > 0) {
			arm(r->timer, wait_ns);
			break;
		}
		leave_waiters(l);
		l->grant = quantum;
		fault_lane_pump(l);
		l->grant = 0;
		settle(l->session);
	}
}

void fault_rate_set(struct fault_proxy *p, uint64_t rate)
{
	for (int d = UP; d <= DOWN; d++) {
		token_bucket_set(&p->rates[d].bucket, rate, clock_monotonic_ns());
		arm(p->rates[d].timer, 0);
	}
}

/* How many bytes may be sent now. If none, it is seen to that the lane is pumped when some may. */
static size_t allowance(struct fault_lane *l, uint64_t now_ns)
{
	const struct fault_rate *r = &l->session->proxy->rates[l->direction];
	size_t allowed = SEND_BYTES;

	if (l->pace.rate > 0) {
		uint64_t quantum = token_bucket_quantum(&l->pace);
		uint64_t wanted = l->queue.bytes < quantum ? l->queue.bytes : quantum;
		uint64_t available = token_bucket_available(&l->pace, now_ns);

		if (available < wanted) {
			pump_at(l, now_ns + token_bucket_wait_ns(&l->pace, wanted, now_ns), now_ns);
			return 0;
		}
		if (available < allowed)
			allowed = (size_t)available;
	}
	if (r->bucket.rate > 0 && l->grant == 0) {
		join_waiters(l, now_ns);
		return 0;
	}
	return r->bucket.rate > 0 && l->grant < allowed ? (size_t)l->grant : allowed;
}

/* The sink takes nothing any more. What its other side still has to say is read; if that is over, the source learns now. */
static void sink_lost(struct fault_lane *l, uint64_t now_ns)
{
	struct fault_session *s = l->session;
	struct fault_lane *back = other_lane(l);

	l->deaf = true;
	fault_queue_clear(&l->queue);
	if (s->is_twin) {
		s->dead = true;
	} else if (back->stopped) {
		source_reset(back, now_ns);
		fault_lane_pump(back);
	}
}

/* Sends up to `allowed` bytes that are due. Returns how many were; 0 when the sink takes none now. */
static size_t send_due(struct fault_lane *l, uint64_t now_ns, size_t allowed)
{
	struct fault_proxy *p = l->session->proxy;
	struct iovec iov[IOV_COUNT];
	struct msghdr msg = { .msg_iov = iov };
	ssize_t n;

	msg.msg_iovlen = (size_t)fault_queue_gather(&l->queue, now_ns, allowed, iov, IOV_COUNT);
	n = sendmsg(sink_fd(l), &msg, MSG_NOSIGNAL);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		block(l);
		return 0;
	}
	if (n < 0) {
		sink_lost(l, now_ns);
		return 0;
	}
	fault_queue_sent(&l->queue, (size_t)n);
	token_bucket_take(&l->pace, (uint64_t)n);
	token_bucket_take(&p->rates[l->direction].bucket, (uint64_t)n);
	l->grant -= (uint64_t)n < l->grant ? (uint64_t)n : l->grant;
	if (!l->session->is_twin)
		p->bytes[l->direction] += (uint64_t)n;
	return (size_t)n;
}

static void connected(struct fault_session *s, int error)
{
	s->connecting = false;
	s->connected = error == 0;
	if (error == 0)
		update_reading(&s->lanes[DOWN]);
	else
		source_reset(&s->lanes[DOWN], clock_monotonic_ns());
	if (error != 0) {
		s->lanes[UP].deaf = true;
		fault_queue_clear(&s->lanes[UP].queue);
		fault_lane_pump(&s->lanes[DOWN]);
	}
}

static void connect_server(struct fault_session *s)
{
	int rc = connect(s->fd[SERVER], (const struct sockaddr *)&s->proxy->to, sizeof s->proxy->to);

	s->connecting = rc < 0 && errno == EINPROGRESS;
	if (s->connecting)
		block(&s->lanes[UP]);
	else
		connected(s, rc < 0 ? errno : 0);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct fault_lane *l = arg;
	struct fault_session *s = l->session;

	(void)what;
	l->blocked = false;
	if (s->connecting && l->direction == UP) {
		int error = 0;
		socklen_t len = sizeof error;

		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
			error = errno;
		connected(s, error);
	}
	fault_lane_pump(l);
	settle(s);
}

/* A signal has arrived at the far end of the lane. */
static void act(struct fault_lane *l, struct fault_item signal, uint64_t now_ns)
{
	struct fault_session *s = l->session;

	switch (signal.kind) {
	case FAULT_ITEM_OPEN:
		connect_server(s);
		break;
	case FAULT_ITEM_PACE:
		token_bucket_set(&l->pace, signal.argument, now_ns);
		break;
	case FAULT_ITEM_END:
		if (sink_fd(l) >= 0)
			(void)shutdown(sink_fd(l), SHUT_WR);
		l->finished = true;
		s->dead |= other_lane(l)->finished;
		break;
	default:
		close_hard(s->fd[CLIENT]);
		close_hard(s->fd[SERVER]);
		s->dead = true;
	}
}

void fault_lane_pump(struct fault_lane *l)
{
	struct fault_session *s = l->session;
	uint64_t now_ns = clock_monotonic_ns();
	const struct fault_item *front;
	size_t sent = 0;

	while (!s->dead && !s->stalled && !l->blocked && !l->waiting && (front = fault_queue_front(&l->queue))) {
		if (front->due_ns > now_ns || sent >= PUMP_BYTES) {
			pump_at(l, front->due_ns, now_ns);
			break;
		}
		if (front->kind != FAULT_ITEM_BYTES) {
			struct fault_item signal = *front;

			fault_queue_pop(&l->queue);
			act(l, signal, now_ns);
			continue;
		}
		size_t allowed = allowance(l, now_ns);
		if (allowed == 0)
			break;
		sent += send_due(l, now_ns, allowed);
	}
	if (s->dead)
		return;
	fault_queue_rest(&l->queue);
	update_reading(l);
	if (s->origin)
		update_reading(&s->origin->lanes[UP]);
}

/* ---- a session's end --------------------------------------------------------------------------------------------- */

void fault_session_cut(struct fault_session *s, uint64_t due_ns)
{
	for (int d = UP; d <= DOWN; d++) {
		s->lanes[d].stopped = true;
		update_reading(&s->lanes[d]);
	}
	fault_lane_signal(&s->lanes[DOWN], due_ns, FAULT_ITEM_RESET, 0);
}

/* Removes the server's events and closes its socket. */
static void drop_server(struct fault_session *s)
{
	struct event **events[] = { &s->lanes[DOWN].readable, &s->lanes[UP].writable };

	for (size_t i = 0; i < 2; i++) {
		if (*events[i])
			event_free(*events[i]);
		*events[i] = NULL;
	}
	s->lanes[DOWN].reading = s->lanes[UP].blocked = false;
	if (s->fd[SERVER] >= 0)
		(void)close(s->fd[SERVER]);
	s->fd[SERVER] = -1;
}

void fault_session_finish(struct fault_session *s, uint64_t due_ns)
{
	struct fault_lane *up = &s->lanes[UP], *down = &s->lanes[DOWN];

	down->stopped = true;
	drop_server(s);
	leave_waiters(up);
	/* What the client still sends is read and dropped, so that the kernel does not make a reset of the close. */
	up->deaf = true;
	fault_queue_clear(&up->queue);
	if (up->stopped)
		fault_lane_signal(up, 0, FAULT_ITEM_END, 0);
	fault_lane_signal(down, due_ns, FAULT_ITEM_END, 0);
}

static void on_session_timer(evutil_socket_t fd, short what, void *arg)
{
	struct fault_session *s = arg;

	(void)fd;
	(void)what;
	if (s->is_twin)
		s->dead = true;
	if (s->endless) {
		/* A client that goes away is not noticed while what it has sent before fills the kernel's buffers. */
		s->forsaken = s->lanes[UP].deaf = true;
		fault_queue_clear(&s->lanes[UP].queue);
	}
	s->stalled = s->endless;
	for (int d = UP; d <= DOWN && !s->dead; d++)
		fault_lane_pump(&s->lanes[d]);
	settle(s);
}

static void on_client_gone(evutil_socket_t fd, short what, void *arg)
{
	struct fault_session *s = arg;

	(void)fd;
	(void)what;
	s->dead = true;
	settle(s);
}

void fault_session_stall(struct fault_session *s, uint64_t ms)
{
	s->stalled = true;
	s->endless = ms == 0;
	for (int d = UP; d <= DOWN; d++)
		update_reading(&s->lanes[d]);
	arm(s->timer, s->endless ? STALL_SECONDS * SECOND_NS : ms * 1000000);
	if (s->endless)
		(void)event_add(s->gone, NULL);
}

void fault_session_part(struct fault_session *origin, bool complete)
{
	struct fault_session *twin = origin->twin;

	if (!twin)
		return;
	origin->twin = NULL;
	twin->origin = NULL;
	if (complete)
		arm(twin->timer, TWIN_SECONDS * SECOND_NS);
	else
		session_free(twin);
}

static void free_event(struct event *e)
{
	if (e)
		event_free(e);
}

static void session_free(struct fault_session *s)
{
	struct fault_proxy *p = s->proxy;

	fault_session_part(s, false);
	if (s->origin)
		s->origin->twin = NULL;
	free_event(s->timer);
	free_event(s->gone);
	for (int d = UP; d <= DOWN; d++) {
		struct fault_lane *l = &s->lanes[d];

		leave_waiters(l);
		free_event(l->readable);
		free_event(l->writable);
		free_event(l->timer);
		fault_queue_clear(&l->queue);
	}
	for (int side = CLIENT; side <= SERVER; side++)
		if (s->fd[side] >= 0)
			(void)close(s->fd[side]);
	TAILQ_REMOVE(&p->sessions, s, sessions);
	p->session_count--;
	if (p->listener)
		(void)event_add(p->listener, NULL);
	free(s);
}

/* ---- a session's beginning --------------------------------------------------------------------------------------- */

static int make_events(struct fault_session *s)
{
	struct event_base *base = s->proxy->base;

	s->timer = evtimer_new(base, on_session_timer, s);
	if (s->fd[CLIENT] >= 0)
		s->gone = event_new(base, s->fd[CLIENT], EV_CLOSED, on_client_gone, s);
	if (!s->timer || (s->fd[CLIENT] >= 0 && !s->gone))
		return -ENOMEM;
	for (int d = UP; d <= DOWN; d++) {
		struct fault_lane *l = &s->lanes[d];

		l->timer = evtimer_new(base, on_lane_timer, l);
		if (source_fd(l) >= 0)
			l->readable = event_new(base, source_fd(l), EV_READ | EV_PERSIST, on_readable, l);
		if (sink_fd(l) >= 0)
			l->writable = event_new(base, sink_fd(l), EV_WRITE, on_writable, l);
		if (!l->timer || (source_fd(l) >= 0 && !l->readable) || (sink_fd(l) >= 0 && !l->writable))
			return -ENOMEM;
	}
	return 0;
}

/* A session whose client is `client` (-1: none), which it owns. NULL when sockets or memory are short. */
static struct fault_session *session_new(struct fault_proxy *p, int client)
{
	struct fault_session *s = calloc(1, sizeof *s);
	const int on = 1;

	if (!s) {
		fault_close_reset(client);
		return NULL;
	}
	s->proxy = p;
	s->fd[CLIENT] = client;
	s->fd[SERVER] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	for (int d = UP; d <= DOWN; d++) {
		s->lanes[d].session = s;
		s->lanes[d].direction = (enum fault_direction)d;
		fault_queue_init(&s->lanes[d].queue, &p->pool);
		http_framing_init(&s->lanes[d].framing, d == UP ? HTTP_REQUEST : HTTP_ANSWER);
	}
	TAILQ_INSERT_TAIL(&p->sessions, s, sessions);
	p->session_count++;
	if (s->fd[SERVER] < 0 || make_events(s) < 0) {
		session_free(s);
		return NULL;
	}
	for (int side = CLIENT; side <= SERVER; side++)
		if (s->fd[side] >= 0)
			(void)setsockopt(s->fd[side], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return s;
}

int fault_session_accept(struct fault_proxy *p, int client)
{
	struct fault_session *s = session_new(p, client);
	uint64_t now_ns = clock_monotonic_ns();

	if (!s)
		return -ENOMEM;
	p->connections++;
	/* The client's connect() has returned already. What it sends waits as long as the answer to its SYN would have taken. */
	s->established_ns = now_ns + 2 * p->delay_ns;
	fault_lane_signal(&s->lanes[UP], now_ns + p->delay_ns, FAULT_ITEM_OPEN, 0);
	fault_lane_pump(&s->lanes[UP]);
	settle(s);
	return 0;
}

struct fault_session *fault_session_twin(struct fault_session *origin)
{
	struct fault_proxy *p = origin->proxy;
	struct fault_session *s = p->session_count < SESSIONS_MAX ? session_new(p, -1) : NULL;

	if (!s)
		return NULL;
	s->is_twin = true;
	s->origin = origin;
	s->established_ns = origin->established_ns;
	origin->twin = s;
	fault_lane_signal(&s->lanes[UP], 0, FAULT_ITEM_OPEN, 0);
	return s;
}

int fault_sessions_begin(struct fault_proxy *p)
{
	TAILQ_INIT(&p->sessions);
	for (int d = UP; d <= DOWN; d++) {
		TAILQ_INIT(&p->rates[d].waiters);
		p->rates[d].timer = evtimer_new(p->base, on_rate_timer, &p->rates[d]);
		if (!p->rates[d].timer)
			return -ENOMEM;
	}
	return 0;
}

void fault_sessions_reset(struct fault_proxy *p)
{
	struct fault_session *s;

	while ((s = TAILQ_FIRST(&p->sessions))) {
		close_hard(s->fd[CLIENT]);
		close_hard(s->fd[SERVER]);
		session_free(s);
	}
}

void fault_sessions_end(struct fault_proxy *p)
{
	p->listener = NULL;
	fault_sessions_reset(p);
	for (int d = UP; d <= DOWN; d++)
		free_event(p->rates[d].timer);
	fault_pool_clear(&p->pool);
}
