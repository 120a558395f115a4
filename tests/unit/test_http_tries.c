/* SPDX-License-Identifier: GPL-3.0-only */
/* test_http_tries.c: the HTTP engine where a request has several servers to choose from: a try that is silent is given up, the next one
 * does not wait, and who asks sees the headers of answers.
 */
#include "store/http.h"

#include "base/clock.h"
#include "lib/http_server.h"

#include <errno.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Server 0 is the test's, server 1 always answers "good". */
struct fixture {
	struct http_server server[2];
	struct http_engine *engine;
	http_server_fn *answer;
	int deaf; /* a socket that listens, where nobody takes connections */
	unsigned port[2];
	sem_t done;
	unsigned next; /* the server of the next try; like what follows, the engine's thread's until done */
	bool stay;     /* every try asks the same server */
	unsigned lost, judged;
	enum http_verdict on_loss;
	char seen[200];
};

static struct fixture fixture;

static void answer(void *arg, const struct http_server_request *r, struct http_server_answer *a)
{
	fixture.answer(arg, r, a);
}

static void good(void *arg, const struct http_server_request *r, struct http_server_answer *a)
{
	(void)arg;
	(void)r;
	a->body = "good";
	a->body_length = 4;
	a->name[0] = "X-Test";
	a->value[0] = "first";
	a->name[1] = "X-Other";
	a->value[1] = "second";
}

static void hold(void *arg, const struct http_server_request *r, struct http_server_answer *a)
{
	(void)arg;
	(void)r;
	a->hold = true;
}

static void busy(void *arg, const struct http_server_request *r, struct http_server_answer *a)
{
	(void)arg;
	(void)r;
	a->status = 503;
}

static int setup(void **state)
{
	static const struct http_options options = { .deadline_ms = 20000 };
	struct fixture *f = &fixture;
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof address;

	memset(f, 0, sizeof *f);
	f->answer = good;
	f->on_loss = HTTP_JUDGE_AT_ONCE;
	sem_init(&f->done, 0, 0);
	http_server_start(&f->server[0], answer, f);
	http_server_start(&f->server[1], good, f);
	f->port[0] = f->server[0].port;
	f->port[1] = f->server[1].port;
	f->deaf = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (f->deaf < 0 || bind(f->deaf, (struct sockaddr *)&address, len) || listen(f->deaf, 1) ||
	    getsockname(f->deaf, (struct sockaddr *)&address, &len))
		return -1;
	f->engine = http_engine_new(&options, NULL);
	*state = f;
	return f->engine ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	http_engine_free(f->engine);
	http_server_stop(&f->server[0]);
	http_server_stop(&f->server[1]);
	close(f->deaf);
	sem_destroy(&f->done);
	return 0;
}

static unsigned port_of_deaf(struct fixture *f)
{
	struct sockaddr_in address;
	socklen_t len = sizeof address;

	assert_int_equal(getsockname(f->deaf, (struct sockaddr *)&address, &len), 0);
	return ntohs(address.sin_port);
}

static int prepare(struct http_request *r, struct http_head *head, struct error *err)
{
	struct fixture *f = r->arg;
	char url[64];

	(void)err;
	snprintf(url, sizeof url, "http://127.0.0.1:%u/", f->port[f->next]);
	f->next = f->stay ? f->next : 1;
	/* The second server has all the time it wants: this machine may be very slow. */
	if (r->attempts && !f->stay)
		r->try_ms = 0;
	http_head_direct(head);
	return http_head_url(head, url);
}

static int add_header(void *arg, const char *name, const char *value)
{
	char *seen = arg;

	if (name[0] == 'X')
		snprintf(seen + strlen(seen), 100, "%s=%s ", name, value);
	return strcmp(name, "X-Other") == 0 ? 7 : 0;
}

static enum http_verdict judge(struct http_request *r, struct error *err)
{
	struct fixture *f = r->arg;

	(void)err;
	f->judged++;
	if (r->status != 200)
		return HTTP_JUDGE_AT_ONCE;
	snprintf(f->seen, sizeof f->seen, "%s|", http_answer_header(r, "x-test"));
	if (http_answer_header(r, "X-Missing") || http_answer_headers(r, add_header, f->seen) != 7)
		f->seen[0] = '\0';
	return HTTP_JUDGE_DONE;
}

static enum http_verdict lost(struct http_request *r, struct error *err)
{
	struct fixture *f = r->arg;

	f->lost++;
	if (f->on_loss == HTTP_JUDGE_FAIL)
		error_set(err, -ENONET, "not again");
	return f->on_loss;
}

static void done(struct http_request *r)
{
	sem_post(&((struct fixture *)r->arg)->done);
}

static int ask(struct fixture *f, struct http_request *r)
{
	r->prepare = prepare;
	r->judge = judge;
	r->lost = lost;
	r->done = done;
	r->arg = f;
	http_submit(f->engine, r);
	while (sem_wait(&f->done) && errno == EINTR)
		;
	return r->result;
}

/* ---- */

static void headers_of_an_answer_can_be_looked_at(void **state)
{
	struct fixture *f = *state;
	char buf[10];
	struct http_request r = { .method = HTTP_GET, .buf = (uint8_t *)buf, .room = sizeof buf };

	assert_int_equal(ask(f, &r), 0);
	assert_string_equal(f->seen, "first|X-Test=first X-Other=second ");
	/* Not outside of judge(). */
	r.job = NULL;
	assert_null(http_answer_header(&r, "X-Test"));
}

static void a_server_that_is_silent_is_left_for_the_next(void **state)
{
	struct fixture *f = *state;
	char buf[10];
	struct http_request r = { .method = HTTP_GET, .buf = (uint8_t *)buf, .room = sizeof buf, .try_ms = 200 };

	f->answer = hold;
	assert_int_equal(ask(f, &r), 0);
	assert_int_equal(f->lost, 1);
	assert_int_equal(r.attempts, 2);
	assert_true(r.maybe_done);
	assert_memory_equal(buf, "good", 4);
}

static void a_server_that_takes_no_connection_is_left_for_the_next(void **state)
{
	struct fixture *f = *state;
	char buf[10];
	struct http_request r = { .method = HTTP_GET, .buf = (uint8_t *)buf, .room = sizeof buf, .try_ms = 200 };

	f->port[0] = port_of_deaf(f);
	assert_int_equal(ask(f, &r), 0);
	assert_int_equal(f->lost, 1);
	/* Nobody listens at all: */
	f->next = 0;
	close(f->deaf);
	f->deaf = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	r = (struct http_request){ .method = HTTP_GET, .buf = (uint8_t *)buf, .room = sizeof buf };
	assert_int_equal(ask(f, &r), 0);
	assert_int_equal(f->lost, 2);
	assert_false(r.maybe_done);
}

static void a_body_that_nobody_takes_is_sent_to_the_next(void **state)
{
	struct fixture *f = *state;
	static char body[16 << 20];
	struct iovec iov = { body, sizeof body };
	struct http_request r = {
		.method = HTTP_PUT, .class = HTTP_UPLOAD, .body = &iov, .body_count = 1, .room = 100, .try_ms = 1000
	};

	f->port[0] = port_of_deaf(f);
	assert_int_equal(ask(f, &r), 0);
	assert_int_equal(f->lost, 1);
	assert_int_equal(f->server[0].requests, 0);
	assert_true(f->server[1].requests >= 1);
	free(r.buf);
}

/* A limit of the gateway's own makes it slow, which is nobody's silence. */
static void a_body_that_moves_slowly_is_not_given_up(void **state)
{
	struct fixture *f = *state;
	struct http_options options = { .deadline_ms = 20000, .upload_rate = 1 << 20 };
	static char body[1 << 20];
	struct iovec iov = { body, sizeof body };
	struct http_request r = {
		.method = HTTP_PUT, .class = HTTP_UPLOAD, .body = &iov, .body_count = 1, .room = 100, .try_ms = 250
	};

	http_engine_free(f->engine);
	f->engine = http_engine_new(&options, NULL);
	assert_non_null(f->engine);
	assert_int_equal(ask(f, &r), 0);
	assert_int_equal(f->lost, 0);
	assert_int_equal(r.attempts, 1);
	free(r.buf);
}

static void tries_without_a_wait_are_bounded(void **state)
{
	struct fixture *f = *state;
	char buf[10];
	struct http_request r = { .method = HTTP_GET, .buf = (uint8_t *)buf, .room = sizeof buf, .deadline_ms = 1000 };

	f->answer = busy;
	f->stay = true;
	assert_int_not_equal(ask(f, &r), 0);
	assert_true(r.attempts > HTTP_AT_ONCE_MAX);
	/* Each further wait is of HTTP_BACKOFF_MIN_MS at least, and allows as many again. */
	assert_true(r.attempts <= (HTTP_AT_ONCE_MAX + 1) * (1000 / 50 + 1));
}

/* Each try hands over the whole body. None of it is more than the first one did. */
static void a_body_that_is_taken_again_and_again_does_not_put_off_the_deadline(void **state)
{
	struct fixture *f = *state;
	static char body[32 << 10];
	struct iovec iov = { body, sizeof body };
	struct http_request r = { .method = HTTP_PUT,
		                  .class = HTTP_UPLOAD,
		                  .body = &iov,
		                  .body_count = 1,
		                  .deadline_ms = 600,
		                  .try_ms = 300 };

	f->answer = hold;
	f->stay = true;
	assert_int_equal(ask(f, &r), -ETIMEDOUT);
	assert_true(r.maybe_done);
	assert_true(r.attempts < HTTP_AT_ONCE_MAX / 2);
}

static void a_loss_can_end_the_request(void **state)
{
	struct fixture *f = *state;
	char buf[10];
	struct http_request r = { .method = HTTP_GET, .buf = (uint8_t *)buf, .room = sizeof buf, .try_ms = 100 };

	f->answer = hold;
	f->on_loss = HTTP_JUDGE_FAIL;
	assert_int_equal(ask(f, &r), -ENONET);
	assert_int_equal(r.attempts, 1);
}

static void what_is_sent_once_is_not_sent_to_the_next(void **state)
{
	struct fixture *f = *state;
	char buf[10];
	struct http_request r = {
		.method = HTTP_GET, .buf = (uint8_t *)buf, .room = sizeof buf, .try_ms = 100, .once = true
	};

	f->answer = hold;
	assert_int_equal(ask(f, &r), -ETIMEDOUT);
	assert_int_equal(r.attempts, 1);
	assert_int_equal(f->server[1].requests, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(headers_of_an_answer_can_be_looked_at, setup, teardown),
		cmocka_unit_test_setup_teardown(a_server_that_is_silent_is_left_for_the_next, setup, teardown),
		cmocka_unit_test_setup_teardown(a_server_that_takes_no_connection_is_left_for_the_next, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_body_that_nobody_takes_is_sent_to_the_next, setup, teardown),
		cmocka_unit_test_setup_teardown(a_body_that_moves_slowly_is_not_given_up, setup, teardown),
		cmocka_unit_test_setup_teardown(tries_without_a_wait_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(a_body_that_is_taken_again_and_again_does_not_put_off_the_deadline,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(a_loss_can_end_the_request, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_sent_once_is_not_sent_to_the_next, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
