/* SPDX-License-Identifier: GPL-3.0-only */
/* fault_proxy.c: a network that is far away and unreliable, between an HTTP client and a server on this machine.
 *
 * Every byte arrives a given time later than it was sent, at a given rate; requests meet faults that a seed decides. It
 * stands between garnerfs and an object store in tests and in the bench, and speaks with loopback addresses only.
 *
 * This file is the command line and the listening socket. fault_session.c moves bytes, fault_exchange.c reads requests and
 * answers and makes the faults, fault_schedule.c decides which, fault_control.c changes all that while it runs.
 */
#include "tools/fault_control.h"
#include "tools/fault_session.h"

#include "base/size.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_MAX 64 /* at a time, before connections that are open have their turn */
#define BACKLOG 512
#define EXIT_USAGE 2

static const char usage[] =
	"Usage: fault_proxy --listen 127.0.0.1:PORT --to 127.0.0.1:PORT [OPTION]...\n"
	"Passes HTTP connections on, late and with faults. Prints \"listening on 127.0.0.1:PORT\"; runs until "
	"SIGTERM.\n"
	"\n"
	"  --listen ADDRESS:PORT  where clients connect (port 0: any that is free)\n"
	"  --to ADDRESS:PORT      the server\n"
	"  --delay-ms MS          one way, for every byte; fractions are allowed. A new connection's first bytes also "
	"wait\n"
	"                         for the handshake, which takes 2 delays\n"
	"  --rate BYTES           per second in each direction, of all connections together; K, M, G are powers of "
	"1024\n"
	"  --seed N               decides which requests meet faults (default 1)\n"
	"  --fault KIND=P[,ARG]   a fault with probability P (0 to 1) for each request; may be given for several "
	"kinds:\n"
	"       reset-before      connection reset, request not passed on\n"
	"       reset-after       request passed on, answer lost, connection reset\n"
	"       stall[,MS]        nothing passes on the connection for MS (for ever)\n"
	"       truncate[,PERC]   the answer ends after PERC (50) percent of its body, or of its first chunk\n"
	"       500|503|429[,S]   answered by the proxy, with Retry-After: S\n"
	"       duplicate[,MS]    sent to the server once more, on another connection, MS (0) later\n"
	"       corrupt           one bit of the answer's body is flipped\n"
	"       slow,RATE         the answer passes at RATE bytes per second\n"
	"  --max-faults N         no more faults after N\n"
	"  --control PATH         a UNIX socket for: down, up, delay MS, rate N, faults off, fault KIND=P[,ARG], "
	"stats\n";

struct options {
	struct sockaddr_in listen, to;
	uint64_t delay_ns, rate;
	const char *control;
	struct fault_schedule schedule;
	bool help;
};

/* ---- command line ------------------------------------------------------------------------------------------------ */

/* "127.0.0.1:8080". */
static int parse_address(const char *text, bool any_port, struct sockaddr_in *address, struct error *err)
{
	const char *colon = strrchr(text, ':');
	char host[INET_ADDRSTRLEN] = "";
	uint64_t port;

	*address = (struct sockaddr_in){ .sin_family = AF_INET };
	if (!colon || (size_t)(colon - text) >= sizeof host)
		return error_set(err, -EINVAL, "'%s' is not an address and port, such as 127.0.0.1:8080", text);
	memcpy(host, text, (size_t)(colon - text));
	if (inet_pton(AF_INET, host, &address->sin_addr) != 1)
		return error_set(err, -EINVAL, "'%s' is not an address and port, such as 127.0.0.1:8080", text);
	if (ntohl(address->sin_addr.s_addr) >> 24 != 127)
		return error_set(err, -EINVAL, "'%s' is not a loopback address: only 127.0.0.0/8 is allowed", text);
	if (fault_number_parse(colon + 1, UINT16_MAX, &port) < 0 || (port == 0 && !any_port))
		return error_set(err, -EINVAL, "'%s' does not end in a port number", text);
	address->sin_port = htons((uint16_t)port);
	return 0;
}

static int parse_rate(const char *text, uint64_t *rate, struct error *err)
{
	int rc = size_parse(text, rate, err);

	if (rc == 0 && *rate > TOKEN_RATE_MAX)
		rc = error_set(err, -EINVAL, "the rate '%s' is too large", text);
	return rc;
}

static int parse_number(const char *name, const char *text, uint64_t *value, struct error *err)
{
	if (fault_number_parse(text, UINT64_MAX, value) == 0)
		return 0;
	return error_set(err, -EINVAL, "'%s' is not a number for %s", text, name);
}

static int parse_option(int option, const char *text, struct options *o, struct error *err)
{
	switch (option) {
	case 'l':
		return parse_address(text, true, &o->listen, err);
	case 't':
		return parse_address(text, false, &o->to, err);
	case 'd':
		return fault_delay_parse(text, &o->delay_ns, err);
	case 'r':
		return parse_rate(text, &o->rate, err);
	case 's':
		return parse_number("--seed", text, &o->schedule.seed, err);
	case 'm':
		return parse_number("--max-faults", text, &o->schedule.faults_max, err);
	case 'f':
		return fault_schedule_add(&o->schedule, text, err);
	case 'c':
		o->control = text;
		return 0;
	case 'h':
		o->help = true;
		return 0;
	default: /* getopt has said what is wrong */
		return -EINVAL;
	}
}

static int parse_options(int argc, char **argv, struct options *o, struct error *err)
{
	static const struct option names[] = {
		{ "listen", required_argument, NULL, 'l' },
		{ "to", required_argument, NULL, 't' },
		{ "delay-ms", required_argument, NULL, 'd' },
		{ "rate", required_argument, NULL, 'r' },
		{ "seed", required_argument, NULL, 's' },
		{ "fault", required_argument, NULL, 'f' },
		{ "max-faults", required_argument, NULL, 'm' },
		{ "control", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int option, rc = 0;

	*o = (struct options){ 0 };
	fault_schedule_init(&o->schedule, 1, UINT64_MAX);
	while (rc == 0 && (option = getopt_long(argc, argv, "", names, NULL)) != -1)
		rc = parse_option(option, optarg, o, err);
	if (rc < 0 || o->help)
		return rc;
	if (optind < argc)
		return error_set(err, -EINVAL, "'%s' is not an option", argv[optind]);
	if (o->listen.sin_family == 0 || o->to.sin_family == 0)
		return error_set(err, -EINVAL, "--listen and --to are needed");
	return 0;
}

/* ---- the listening socket ---------------------------------------------------------------------------------------- */

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval pause = { .tv_usec = 20000 };
	struct fault_proxy *p = arg;

	(void)what;
	for (int i = 0; i < ACCEPTS_MAX; i++) {
		int client;

		if (p->session_count >= SESSIONS_MAX) {
			(void)event_del(p->listener); /* until a session ends */
			break;
		}
		client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (client < 0 && (errno == ECONNABORTED || errno == EINTR))
			continue;
		if (client < 0 && errno == EAGAIN)
			break;
		if (client >= 0 && p->down) {
			fault_close_reset(client);
			continue;
		}
		if (client < 0 || fault_session_accept(p, client) < 0) {
			/* Descriptors or memory are short: try again a little later instead of at once. */
			(void)event_del(p->listener);
			(void)event_add(p->accept_again, &pause);
			break;
		}
	}
}

static void on_accept_again(evutil_socket_t fd, short what, void *arg)
{
	struct fault_proxy *p = arg;

	(void)fd;
	(void)what;
	(void)event_add(p->listener, NULL);
}

static int listen_for_clients(struct fault_proxy *p, struct sockaddr_in *address, struct error *err)
{
	const int on = 1;
	socklen_t len = sizeof *address;

	p->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->listen_fd < 0 || setsockopt(p->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
	    bind(p->listen_fd, (const struct sockaddr *)address, sizeof *address) < 0 ||
	    listen(p->listen_fd, BACKLOG) < 0 || getsockname(p->listen_fd, (struct sockaddr *)address, &len) < 0)
		return error_set(err, -errno, "cannot listen on port %u: %s", ntohs(address->sin_port),
		                 strerror(errno));
	p->accept_again = evtimer_new(p->base, on_accept_again, p);
	p->listener = event_new(p->base, p->listen_fd, EV_READ | EV_PERSIST, on_acceptable, p);
	if (!p->accept_again || !p->listener || event_add(p->listener, NULL) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	return 0;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static void on_signal(evutil_socket_t signal_number, short what, void *arg)
{
	(void)signal_number;
	(void)what;
	(void)event_base_loopbreak(arg);
}

/* Timers to the microsecond, measured anew whenever one is set. */
static struct event_base *precise_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (config && event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) == 0 &&
	    event_config_set_flag(config, EVENT_BASE_FLAG_NO_CACHE_TIME) == 0)
		base = event_base_new_with_config(config);
	if (config)
		event_config_free(config);
	return base;
}

/* As many descriptors as are allowed: a connection takes two. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* Says where it listens, and serves until a signal ends it. */
static int serve(struct fault_proxy *p, const struct sockaddr_in *address, struct error *err)
{
	struct event *ends[] = { evsignal_new(p->base, SIGTERM, on_signal, p->base),
		                 evsignal_new(p->base, SIGINT, on_signal, p->base) };
	char host[INET_ADDRSTRLEN];
	int rc = 0;

	for (size_t i = 0; i < 2; i++)
		if (!ends[i] || event_add(ends[i], NULL) < 0)
			rc = error_set(err, -ENOMEM, "out of memory");
	if (rc == 0) {
		(void)inet_ntop(AF_INET, &address->sin_addr, host, sizeof host);
		(void)printf("listening on %s:%u\n", host, ntohs(address->sin_port));
		if (fflush(stdout) != 0)
			rc = error_set(err, -EIO, "cannot print where it listens");
	}
	if (rc == 0 && event_base_dispatch(p->base) < 0)
		rc = error_set(err, -EIO, "the event loop failed");
	for (size_t i = 0; i < 2; i++)
		if (ends[i])
			event_free(ends[i]);
	return rc;
}

static int run(struct options *o, struct error *err)
{
	struct fault_proxy p = { .schedule = o->schedule, .to = o->to, .delay_ns = o->delay_ns, .listen_fd = -1 };
	struct fault_control *control = NULL;
	int rc;

	p.base = precise_base();
	if (!p.base)
		return error_set(err, -ENOMEM, "cannot make an event loop");
	rc = fault_sessions_begin(&p);
	if (rc < 0) {
		(void)error_set(err, rc, "out of memory");
		goto out;
	}
	fault_rate_set(&p, o->rate);
	rc = listen_for_clients(&p, &o->listen, err);
	if (rc == 0 && o->control)
		rc = fault_control_listen(&p, o->control, &control, err);
	if (rc == 0)
		rc = serve(&p, &o->listen, err);
out:
	fault_control_free(control);
	if (p.accept_again)
		event_free(p.accept_again);
	if (p.listener)
		event_free(p.listener);
	if (p.listen_fd >= 0)
		(void)close(p.listen_fd);
	fault_sessions_end(&p);
	event_base_free(p.base);
	return rc;
}

int main(int argc, char **argv)
{
	struct options o;
	struct error err = { 0 };

	if (parse_options(argc, argv, &o, &err) < 0) {
		if (err.text[0])
			(void)fprintf(stderr, "fault_proxy: %s\n", err.text);
		(void)fputs(usage, stderr);
		return EXIT_USAGE;
	}
	if (o.help)
		return fputs(usage, stdout) < 0 || fflush(stdout) != 0;
	raise_descriptor_limit();
	if (run(&o, &err) < 0) {
		(void)fprintf(stderr, "fault_proxy: %s\n", error_text(&err));
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
