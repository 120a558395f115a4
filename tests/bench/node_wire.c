/* SPDX-License-Identifier: GPL-3.0-only */
/* node_wire.c: how fast storage nodes speak to each other: signed requests over loopback from one peer with eight connections, plain and
 * with TLS. A server on one loop, the client on another.
 *
 *     tests/bench/node_wire [SECONDS]
 */
#include "base/blake2bp.h"
#include "base/clock.h"
#include "lib/test_certificates.h"
#include "node/loop.h"
#include "node/peer.h"
#include "node/server.h"
#include "node/tls.h"

#include <limits.h>
#include <semaphore.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define CONNECTIONS 8
#define MIB ((size_t)1024 * 1024)

struct bench {
	struct loop *server_loop, *client_loop;
	struct server *server;
	struct peer *peer;
	struct node_key key;
	struct tls *tls;
	struct piece *piece;
	const char *method, *target;
	size_t length;
	char digest[NODE_DIGEST_TEXT];
	uint64_t end_ns, done, failed;
	unsigned under_way;
	sem_t over;
	int rc;
	struct error err;
};

/* ---- the server: takes bodies, and gives some ---- */

static uint8_t answer_bytes[8 * 1024 * 1024];

static void on_head(void *arg, struct server_request *r)
{
	(void)arg;
	(void)r;
}

static void on_body(void *arg, struct server_request *r, struct piece *p)
{
	(void)arg;
	(void)r;
	piece_put(p);
}

static void on_end(void *arg, struct server_request *r)
{
	const struct bench *b = arg;

	if (server_request_head(r)->length) {
		server_answer(r, 201, NULL);
	} else {
		server_answer_header(r, "X-Garner-Digest", b->digest);
		server_answer_bytes(r, 200, answer_bytes, sizeof answer_bytes, NULL, NULL);
	}
}

static void on_abort(void *arg, struct server_request *r)
{
	(void)arg;
	(void)r;
}

static void start_server(void *arg)
{
	struct bench *b = arg;
	struct server_options options = {
		.host = "127.0.0.1",
		.key = b->key,
		.tls = b->tls,
		.handler = { on_head, on_body, on_end, on_abort, b },
	};

	b->rc = server_new(b->server_loop, &options, &b->server, &b->err);
}

static void stop_server(void *arg)
{
	struct bench *b = arg;

	server_free(b->server);
}

/* ---- the client ---- */

static void ask(struct bench *b);

static void done(void *arg, int rc, const struct peer_answer *answer, const struct error *err)
{
	struct bench *b = arg;

	b->under_way--;
	if (rc < 0 || answer->status >= 300) {
		if (!b->failed++)
			(void)fprintf(stderr, "%s\n", rc < 0 ? error_text(err) : "refused");
	} else {
		b->done++;
	}
	if (clock_monotonic_ns() < b->end_ns && b->failed < 100)
		ask(b);
	else if (!b->under_way)
		sem_post(&b->over);
}

static void ask(struct bench *b)
{
	struct node_header header = { "X-Garner-Digest", b->digest };
	struct peer_request *r;
	struct peer_call call = { .method = b->method,
		                  .target = b->target,
		                  .headers = &header,
		                  .headers_count = b->piece ? 1 : 0,
		                  .length = b->piece ? b->length : 0,
		                  .answer_max = 16 * MIB,
		                  .done = done,
		                  .arg = b };

	if (peer_request(b->peer, &call, &r, &b->err) < 0) {
		b->failed++;
		return;
	}
	b->under_way++;
	if (b->piece)
		(void)peer_send(r, b->piece);
}

static void start_peer(void *arg)
{
	struct bench *b = arg;
	struct peer_options options = { .name = "n1",
		                        .host = "127.0.0.1",
		                        .port = server_port(b->server),
		                        .key = b->key,
		                        .tls = b->tls,
		                        .stall_ms = 10000,
		                        .ping_ms = UINT_MAX };

	b->rc = peer_new(b->client_loop, &options, &b->peer, &b->err);
}

static void stop_peer(void *arg)
{
	struct bench *b = arg;

	peer_free(b->peer);
}

static void start_asking(void *arg)
{
	struct bench *b = arg;

	for (int i = 0; i < CONNECTIONS; i++)
		ask(b);
}

/* Of this process, both loops together, in seconds. */
static double cpu(void)
{
	struct rusage u;

	(void)getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void run(const char *what, struct tls *tls, const char *method, size_t length, unsigned seconds)
{
	struct bench b = { .tls = tls, .method = method, .target = "/v1/replica/pool/key", .length = length };
	uint8_t digest[32];
	uint64_t began;
	double took, used;

	randombytes_buf(b.key.bytes, sizeof b.key.bytes);
	blake2bp(answer_bytes, length, digest, sizeof digest);
	node_digest_text(digest, b.digest);
	if (strcmp(method, "PUT") == 0)
		b.piece = piece_copy(answer_bytes, length);
	sem_init(&b.over, 0, 0);
	if (loop_new("server", &b.server_loop, &b.err) < 0 || loop_new("client", &b.client_loop, &b.err) < 0 ||
	    loop_run(b.server_loop, start_server, &b) < 0 || b.rc < 0 || loop_run(b.client_loop, start_peer, &b) < 0 ||
	    b.rc < 0) {
		(void)fprintf(stderr, "%s\n", error_text(&b.err));
		exit(1);
	}
	used = cpu();
	began = clock_monotonic_ns();
	b.end_ns = began + seconds * 1000000000ull;
	(void)loop_run(b.client_loop, start_asking, &b);
	while (sem_wait(&b.over) < 0)
		;
	took = (double)(clock_monotonic_ns() - began) / 1e9;
	used = cpu() - used;
	printf("%-18s %7.0f requests/s %8.1f MB/s   each %8.1f us of processor time%s\n", what, (double)b.done / took,
	       (double)b.done * (double)length / took / 1e6, used * 1e6 / (double)b.done,
	       b.failed ? "  (with failures)" : "");
	(void)loop_run(b.client_loop, stop_peer, &b);
	(void)loop_run(b.server_loop, stop_server, &b);
	loop_free(b.client_loop);
	loop_free(b.server_loop);
	piece_put(b.piece);
	sem_destroy(&b.over);
}

int main(int argc, char **argv)
{
	unsigned seconds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 3;
	struct test_certificates certificates;
	struct error err = { 0 };
	struct tls *tls;

	if (sodium_init() < 0 || !seconds)
		return 2;
	randombytes_buf(answer_bytes, sizeof answer_bytes);
	test_certificates_make(&certificates);
	if (tls_load(certificates.ca, certificates.node, &tls, &err) < 0) {
		(void)fprintf(stderr, "%s\n", error_text(&err));
		return 1;
	}
	run("PUT 4 KiB, plain", NULL, "PUT", 4096, seconds);
	run("PUT 4 KiB, TLS", tls, "PUT", 4096, seconds);
	run("PUT 8 MiB, plain", NULL, "PUT", 8 * MIB, seconds);
	run("PUT 8 MiB, TLS", tls, "PUT", 8 * MIB, seconds);
	run("GET 8 MiB, plain", NULL, "GET", 8 * MIB, seconds);
	run("GET 8 MiB, TLS", tls, "GET", 8 * MIB, seconds);
	tls_free(tls);
	test_certificates_remove(&certificates);
	return 0;
}
