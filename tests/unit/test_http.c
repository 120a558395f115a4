/* SPDX-License-Identifier: GPL-3.0-only */
/* test_http.c: the HTTP engine against a server that answers well, late, wrongly, again and again, or not at all. */
#include "store/http.h"

#include "lib/http_server.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct fixture {
	struct http_server server;
	struct http_engine *engine;
	http_server_fn *answer; /* of the test */
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	unsigned done;
	atomic_uint asked;    /* for the test's answers to count with */
	atomic_uint prepared; /* calls of prepare() */
	int prepare_rc;       /* of the first call */
	char seen[256];       /* by the server's thread; read when it has answered */
	uint8_t got[70000];
	size_t got_length;
};

static struct fixture fixture;

static void answer(void *arg, const struct http_server_request *r, struct http_server_answer *a)
{
	struct fixture *f = arg;

	f->answer(f, r, a);
}

static void start_engine(struct fixture *f, const struct http_options *options)
{
	struct error err;

	f->engine = http_engine_new(options, &err);
	assert_non_null(f->engine);
}

static int setup(void **state)
{
	static const struct http_options options = { .deadline_ms = 20000 };
	struct fixture *f = &fixture;

	memset(f, 0, sizeof *f);
	pthread_mutex_init(&f->mutex, NULL);
	pthread_cond_init(&f->changed, NULL);
	http_server_start(&f->server, answer, f);
	start_engine(f, &options);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	http_engine_free(f->engine);
	http_server_stop(&f->server);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->mutex);
	return 0;
}

/* ---- requests ---- */

static int prepare(struct http_request *r, struct http_head *head, struct error *err)
{
	struct fixture *f = &fixture;
	char url[300];

	if (atomic_fetch_add(&f->prepared, 1) == 0 && f->prepare_rc)
		return error_set(err, f->prepare_rc, "not yet");
	snprintf(url, sizeof url, "http://127.0.0.1:%u%s", f->server.port, r->arg ? (const char *)r->arg : "/object");
	int rc = http_head_url(head, url);
	return rc ? rc : http_head_add(head, "X-Test: yes");
}

static void done(struct http_request *r)
{
	struct fixture *f = &fixture;

	(void)r;
	pthread_mutex_lock(&f->mutex);
	f->done++;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->mutex);
}

static void submit(struct fixture *f, struct http_request *r)
{
	r->prepare = prepare;
	r->done = done;
	http_submit(f->engine, r);
}

static void wait_done(struct fixture *f, unsigned count)
{
	pthread_mutex_lock(&f->mutex);
	while (f->done < count)
		pthread_cond_wait(&f->changed, &f->mutex);
	pthread_mutex_unlock(&f->mutex);
}

static unsigned done_count(struct fixture *f)
{
	pthread_mutex_lock(&f->mutex);
	unsigned count = f->done;
	pthread_mutex_unlock(&f->mutex);
	return count;
}

static int ask(struct fixture *f, struct http_request *r)
{
	unsigned before = done_count(f);

	submit(f, r);
	wait_done(f, before + 1);
	return r->result;
}

static uint64_t retries(struct fixture *f)
{
	struct http_counters c;

	http_engine_counters(f->engine, &c);
	return c.retries;
}

/* ---- answers ---- */

static void hello(void *arg, const struct http_server_request *r, struct http_server_answer *a)
{
	struct fixture *f = arg;

	snprintf(f->seen, sizeof f->seen, "%s %s", http_server_header(r, "X-Test"), http_server_header(r, "Range"));
	a->name[0] = "ETag";
	a->value[0] = "\"abc-1\"";
	a->body = "hello";
	a->body_length = 5;
}

static void a_get_brings_its_bytes_status_and_etag(void **state)
{
	struct fixture *f = *state;
	char buf[16] = { 0 };
	struct http_request r = { .method = HTTP_GET, .buf = (uint8_t *)buf, .room = sizeof buf };

	f->answer = hello;
	assert_int_equal(ask(f, &r), 0);
	assert_int_equal(r.status, 200);
	assert_int_equal(r.length, 5);
	assert_string_equal(buf, "hello");
	assert_string_equal(r.etag, "abc-1");
	assert_string_equal(f->seen, "yes ");
	assert_int_equal(r.attempts, 1);
	assert_false(r.maybe_done);
}

static void a_head_tells_the_size(void **state)
{
	struct fixture *f = *state;
	struct http_request r = { .method = HTTP_HEAD };

	f->answer = hello;
	assert_int_equal(ask(f, &r), 0);
	assert_int_equal(r.object_size, 5);
	assert_int_equal(r.length, 0);
}

static void longer_answers_than_there_is_room_for_are_refused(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[4];
	struct http_request r = { .method = HTTP_GET, .buf = buf, .room = sizeof buf };

	f->answer = hello;
	assert_int_equal(ask(f, &r), -EFBIG);
	assert_int_equal(r.attempts, 1);
}

static void long_body(void *arg, const struct http_server_request *r, struct http_server_answer *a)
{
	static uint8_t body[300000];

	(void)arg;
	(void)r;
	for (size_t i = 0; i < sizeof body; i++)
		body[i] = (uint8_t)(i * 7 + i / 256);
	a->body = body;
	a->body_length = sizeof body;
}

static void a_body_that_was_not_asked_for_is_refused(void **state)
{
	struct fixture *f = *state;
	const struct iovec iov = { (void *)"body", 4 };
	struct http_request r = { .method = HTTP_PUT, .body = &iov, .body_count = 1 };

	f->answer = hello;
	assert_int_equal(ask(f, &r), -EFBIG);
	assert_int_equal(r.attempts, 1);
	assert_string_equal(r.fault, "hello");
	f->answer = long_body;
	assert_int_equal(ask(f, &r), -EFBIG);
}

/* "bytes FIRST-LAST" of an object whose byte i is i. */
static void ranges(void *arg, const struct http_server_request *r, struct http_server_answer *a)
{
	static uint8_t object[256];
	static char content_range[80];
	unsigned first = 0, last = 0;

	(void)arg;
	for (unsigned i = 0; i < sizeof object; i++)
		object[i] = (uint8_t)i;
	if (sscanf(http_server_header(r, "Range"), "bytes=%u-%u", &first, &last) != 2)
		abort();
	if (last >= sizeof object)
		last = sizeof object - 1;
	if (strcmp(r->target, "/whole") == 0) {
		a->body = object;
		a->body_length = sizeof object;
		return;
	}
	snprintf(content_range, sizeof content_range, "bytes %u-%u/%zu",
	         strcmp(r->target, "/other") == 0 ? first + 1 : first, last, sizeof object);
	a->status = 206;
	a->name[0] = "Content-Range";
	a->value[0] = content_range;
	a->body = object + first;
	a->body_length = last - first + 1;
}

static void a_range_is_asked_for_and_checked(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[100];
	struct http_request r = { .method = HTTP_GET, .buf = buf, .room = 100, .range = true, .offset = 50 };

	f->answer = ranges;
	assert_int_equal(ask(f, &r), 0);
	assert_int_equal(r.length, 100);
	assert_int_equal(buf[0], 50);
	assert_int_equal(buf[99], 149);
	r.offset = 200;
	assert_int_equal(ask(f, &r), 0);
	assert_int_equal(r.length, 56); /* the object ends there */
	r.arg = (void *)"/other";
	r.offset = 50;
	assert_int_equal(ask(f, &r), -EIO);
	r.arg = (void *)"/whole";
	assert_int_equal(ask(f, &r), -EOPNOTSUPP);
}

static void of_a_whole_object_its_beginning_is_taken(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[100];
	struct http_request r = { .method = HTTP_GET, .buf = buf, .room = 100, .range = true, .arg = (void *)"/whole" };

	f->answer = ranges;
	assert_int_equal(ask(f, &r), 0);
	assert_int_equal(r.length, 100);
	assert_int_equal(buf[99], 99);
}

static void check_long_body(const uint8_t *body, size_t length)
{
	assert_int_equal(length, 300000);
	for (size_t i = 0; i < length; i++)
		if (body[i] != (uint8_t)(i * 7 + i / 256))
			fail_msg("byte %zu", i);
}

static void a_buffer_is_made_where_none_was_given(void **state)
{
	struct fixture *f = *state;
	struct http_request r = { .method = HTTP_GET, .room = 1 << 20 };

	f->answer = long_body;
	assert_int_equal(ask(f, &r), 0);
	check_long_body(r.buf, r.length);
	free(r.buf);
	r.buf = NULL;
	r.room = 299999;
	assert_int_equal(ask(f, &r), -EFBIG);
	free(r.buf);
}

static void keep_body(void *arg, const struct http_server_request *r, struct http_server_answer *a)
{
	struct fixture *f = arg;

	a->status = 201;
	f->got_length = r->body_length;
	if (r->body_length && r->body_length <= sizeof f->got)
		memcpy(f->got, r->body, r->body_length);
	snprintf(f->seen, sizeof f->seen, "%s", http_server_header(r, "Expect"));
}

static void a_body_in_pieces_arrives_whole(void **state)
{
	struct fixture *f = *state;
	static uint8_t body[65000];
	const struct iovec iov[] = {
		{ body, 1 }, { body + 1, 0 }, { body + 1, 30000 }, { body + 30001, 34999 }, { body, 0 }
	};
	struct http_request r = { .method = HTTP_PUT, .body = iov, .body_count = 5 };

	for (size_t i = 0; i < sizeof body; i++)
		body[i] = (uint8_t)(i * 3 + i / 256);
	f->answer = keep_body;
	assert_int_equal(ask(f, &r), 0);
	assert_int_equal(r.status, 201);
	assert_int_equal(f->got_length, sizeof body);
	assert_memory_equal(f->got, body, sizeof body);
	assert_string_equal(f->seen, ""); /* no round trip to be allowed to send */
}

static void an_empty_body_is_sent_as_one(void **state)
{
	struct fixture *f = *state;
	struct http_request r = { .method = HTTP_PUT };

	f->got_length = 1;
	f->answer = keep_body;
	assert_int_equal(ask(f, &r), 0);
	assert_int_equal(f->got_length, 0);
}

/* ---- trying again ---- */

static void two_faults_then_good(void *arg, const struct http_server_request *r, struct http_server_answer *a)
{
	struct fixture *f = arg;

	if (atomic_fetch_add(&f->asked, 1) < 2) {
		a->status = 503;
		a->body = "come back";
		a->body_length = 9;
	} else {
		hello(arg, r, a);
	}
}

static void a_fault_that_passes_is_tried_again(void **state)
{
	struct fixture *f = *state;
	char buf[16] = { 0 };
	struct http_request r = { .method = HTTP_GET, .buf = (uint8_t *)buf, .room = sizeof buf };

	f->answer = two_faults_then_good;
	assert_int_equal(ask(f, &r), 0);
	assert_int_equal(r.attempts, 3);
	assert_int_equal(r.length, 5);
	assert_memory_equal(buf, "hello", 5);
	assert_int_equal(retries(f), 2);
	assert_true(r.maybe_done);
}

static void not_found(void *arg, const struct http_server_request *r, struct http_server_answer *a)
{
	struct fixture *f = arg;

	(void)r;
	atomic_fetch_add(&f->asked, 1);
	a->status = f->got_length ? (int)f->got_length : 404;
	a->body = "<Error/>";
	a->body_length = 8;
}

static void answers_that_mean_something_are_not_asked_for_again(void **state)
{
	static const struct {
		unsigned status;
		int rc;
	} known[] = { { 404, -ENOENT }, { 412, -EEXIST }, { 403, -EACCES }, { 400, -EIO }, { 501, -EOPNOTSUPP } };
	struct fixture *f = *state;
	uint8_t buf[16];

	f->answer = not_found;
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
		struct http_request r = { .method = HTTP_GET, .buf = buf, .room = sizeof buf };
		f->got_length = known[i].status;
		assert_int_equal(ask(f, &r), known[i].rc);
		assert_int_equal(r.attempts, 1);
		assert_int_equal(r.length, 0);
		assert_string_equal(r.fault, "<Error/>");
		assert_true(r.err.text[0]);
	}
	assert_int_equal(atomic_load(&f->asked), 5);
}

static void one_drop_then_good(void *arg, const struct http_server_request *r, struct http_server_answer *a)
{
	struct fixture *f = arg;

	if (atomic_fetch_add(&f->asked, 1) == 0)
		a->drop = true;
	else
		keep_body(arg, r, a);
}

static void a_lost_answer_is_asked_for_again_and_noted(void **state)
{
	struct fixture *f = *state;
	const struct iovec iov = { (void *)"body", 4 };
	struct http_request r = { .method = HTTP_PUT, .body = &iov, .body_count = 1 };

	f->answer = one_drop_then_good;
	assert_int_equal(ask(f, &r), 0);
	assert_true(r.maybe_done);
	assert_true(r.attempts >= 2);
	assert_int_equal(f->got_length, 4);
	assert_memory_equal(f->got, "body", 4);
}

static void what_is_to_be_sent_once_is(void **state)
{
	struct fixture *f = *state;
	const struct iovec iov = { (void *)"body", 4 };
	struct http_request warm = { .method = HTTP_HEAD };
	struct http_request r = { .method = HTTP_PUT, .body = &iov, .body_count = 1, .once = true };

	/* Neither by the engine, nor by curl, which repeats what it sent over a kept connection that then breaks. */
	f->answer = hello;
	assert_int_equal(ask(f, &warm), 0);
	f->answer = one_drop_then_good;
	assert_int_equal(ask(f, &r), -EIO);
	assert_int_equal(atomic_load(&f->asked), 1);
	assert_int_equal(r.attempts, 1);
}

static void no_server_is_an_error_at_the_deadline(void **state)
{
	struct fixture *f = *state;
	struct http_request r = { .method = HTTP_HEAD, .deadline_ms = 300 };

	/* A port on which nobody listens: that of a server that has gone. */
	http_server_stop(&f->server);
	assert_int_equal(ask(f, &r), -ETIMEDOUT);
	assert_false(r.maybe_done);
	assert_true(r.attempts >= 1);
	assert_non_null(strstr(r.err.text, "no answer"));
	http_server_start(&f->server, answer, f);
}

static void hold(void *arg, const struct http_server_request *r, struct http_server_answer *a)
{
	hello(arg, r, a);
	a->hold = true;
}

static void silence_ends_at_the_deadline(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[16];
	struct http_request r = { .method = HTTP_GET, .buf = buf, .room = sizeof buf, .deadline_ms = 200 };

	f->answer = hold;
	assert_int_equal(ask(f, &r), -ETIMEDOUT);
	assert_int_equal(r.attempts, 1);
}

static void busy(void *arg, const struct http_server_request *r, struct http_server_answer *a)
{
	struct fixture *f = arg;

	(void)r;
	/* The number of times is in the length. */
	if (atomic_fetch_add(&f->asked, 1) >= f->got_length)
		return;
	a->status = 429;
	a->name[0] = "Retry-After";
	a->value[0] = "3600";
}

/* Servers that start just now name a minute or two, as others that will be away for long do. */
static void who_is_to_come_back_after_the_deadline_comes_before(void **state)
{
	struct fixture *f = *state;
	struct http_request r = { .method = HTTP_HEAD, .deadline_ms = 2000 };

	f->answer = busy;
	f->got_length = 1;
	assert_int_equal(ask(f, &r), 0);
	assert_int_equal(r.attempts, 2);
	f->got_length = SIZE_MAX;
	r = (struct http_request){ .method = HTTP_HEAD, .deadline_ms = 400 };
	assert_int_equal(ask(f, &r), -EIO);
	assert_non_null(strstr(r.err.text, "429"));
}

static enum http_verdict forgiving(struct http_request *r, struct error *err)
{
	if (r->status == 404)
		return HTTP_JUDGE_DONE;
	if (r->status == 400)
		return error_set(err, -ENOSPC, "the quota is used up"), HTTP_JUDGE_FAIL;
	return r->status == 403 && r->attempts < 2 ? HTTP_JUDGE_AGAIN : HTTP_JUDGE_BY_STATUS;
}

static void the_stores_kind_says_what_an_answer_means(void **state)
{
	struct fixture *f = *state;
	struct http_request r = { .method = HTTP_HEAD, .judge = forgiving };

	f->answer = not_found;
	assert_int_equal(ask(f, &r), 0);
	f->got_length = 400;
	assert_int_equal(ask(f, &r), -ENOSPC);
	assert_string_equal(r.err.text, "the quota is used up");
	f->got_length = 403;
	assert_int_equal(ask(f, &r), -EACCES);
	assert_int_equal(r.attempts, 2);
}

static void a_log_in_that_is_being_renewed_is_waited_for(void **state)
{
	struct fixture *f = *state;
	struct http_request r = { .method = HTTP_HEAD };

	f->answer = hello;
	f->prepare_rc = -EAGAIN;
	assert_int_equal(ask(f, &r), 0);
	assert_int_equal(r.attempts, 1);
	assert_int_equal(atomic_load(&f->prepared), 2);
}

static void a_request_that_cannot_be_made_ends(void **state)
{
	struct fixture *f = *state;
	struct http_request r = { .method = HTTP_HEAD };

	f->prepare_rc = -EINVAL;
	assert_int_equal(ask(f, &r), -EINVAL);
	assert_string_equal(r.err.text, "not yet");
	assert_int_equal(r.attempts, 0);
}

/* ---- asking twice, and who goes first ---- */

/* "/slow" is held the first time. */
static void slow_once(void *arg, const struct http_server_request *r, struct http_server_answer *a)
{
	struct fixture *f = arg;

	ranges(arg, r, a);
	if (strcmp(r->target, "/slow") == 0 && atomic_fetch_add(&f->asked, 1) == 0)
		a->hold = true;
}

static void a_read_that_takes_too_long_is_asked_for_twice(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[100];
	struct http_counters c;

	f->answer = slow_once;
	for (int i = 0; i < 100; i++) {
		struct http_request r = {
			.method = HTTP_GET, .buf = buf, .room = 100, .range = true, .offset = 9, .hedge = true
		};
		assert_int_equal(ask(f, &r), 0);
	}
	struct http_request r = { .method = HTTP_GET,
		                  .buf = buf,
		                  .room = 100,
		                  .range = true,
		                  .offset = 50,
		                  .hedge = true,
		                  .arg = (void *)"/slow" };
	memset(buf, 0, sizeof buf);
	assert_int_equal(ask(f, &r), 0); /* the first one is never answered */
	assert_int_equal(r.attempts, 2);
	assert_int_equal(buf[0], 50);
	assert_int_equal(buf[99], 149);
	http_engine_counters(f->engine, &c);
	assert_true(c.hedges >= 1);
	assert_int_equal(c.retries, 0);
}

/* All but "/quick" are held. */
static void hold_most(void *arg, const struct http_server_request *r, struct http_server_answer *a)
{
	hello(arg, r, a);
	a->hold = strcmp(r->target, "/quick") != 0;
}

static void what_somebody_waits_for_passes_what_nobody_does(void **state)
{
	struct fixture *f = *state;
	struct http_request background[40] = { 0 }, r = { .method = HTTP_HEAD, .arg = (void *)"/quick" };

	f->answer = hold_most;
	for (int i = 0; i < 40; i++) {
		background[i].method = HTTP_HEAD;
		background[i].class = HTTP_BACKGROUND;
		submit(f, &background[i]);
	}
	http_server_wait_held(&f->server, 16);
	submit(f, &r);
	wait_done(f, 1);
	assert_int_equal(r.result, 0);
	while (done_count(f) < 41) {
		http_server_let_go(&f->server);
		usleep(1000);
	}
	for (int i = 0; i < 40; i++)
		assert_int_equal(background[i].result, 0);
}

/* ---- limits, threads, the end ---- */

static void limits_slow_down_and_change_nothing(void **state)
{
	struct fixture *f = *state;
	const struct http_options options = { .upload_rate = 2000000, .download_rate = 2000000 };
	static uint8_t body[60000];
	const struct iovec iov = { body, sizeof body };
	struct http_request get = { .method = HTTP_GET, .room = 1 << 20 };
	struct http_request put = { .method = HTTP_PUT, .body = &iov, .body_count = 1 };

	http_engine_free(f->engine);
	start_engine(f, &options);
	f->answer = long_body;
	assert_int_equal(ask(f, &get), 0);
	check_long_body(get.buf, get.length);
	free(get.buf);
	for (size_t i = 0; i < sizeof body; i++)
		body[i] = (uint8_t)(i * 5 + i / 256);
	f->answer = keep_body;
	for (int i = 0; i < 8; i++) {
		assert_int_equal(ask(f, &put), 0);
		assert_int_equal(f->got_length, sizeof body);
		assert_memory_equal(f->got, body, sizeof body);
	}
}

static void *ask_often(void *arg)
{
	struct fixture *f = &fixture;
	struct http_request r[25] = { 0 };
	uint8_t buf[25][100];

	(void)arg;
	for (int i = 0; i < 25; i++) {
		r[i] = (struct http_request){ .method = HTTP_GET, .buf = buf[i], .room = 100, .range = true };
		r[i].offset = (uint64_t)i;
		submit(f, &r[i]);
	}
	wait_done(f, 100);
	for (int i = 0; i < 25; i++)
		if (r[i].result || r[i].length != 100 || buf[i][0] != i || buf[i][99] != i + 99)
			abort();
	return NULL;
}

/* At this rate it takes several deadlines. */
static void what_nobody_waits_for_may_take_longer_while_bytes_move(void **state)
{
	struct fixture *f = *state;
	const struct http_options options = { .download_rate = 400000 };
	struct http_request r = { .method = HTTP_GET, .class = HTTP_BACKGROUND, .room = 1 << 20, .deadline_ms = 200 };

	http_engine_free(f->engine);
	start_engine(f, &options);
	f->answer = long_body;
	assert_int_equal(ask(f, &r), 0);
	assert_int_equal(r.attempts, 1);
	check_long_body(r.buf, r.length);
	free(r.buf);
	r.buf = NULL;
	r.class = HTTP_WAITED;
	assert_int_equal(ask(f, &r), -ETIMEDOUT);
	free(r.buf);
}

#define WAITING 48

/* At this rate, and with no more at a time than the class may have, those that come last wait for several deadlines. */
static void what_nobody_waits_for_may_wait_for_its_turn_while_others_move(void **state)
{
	struct fixture *f = *state;
	const struct http_options options = { .upload_rate = 1 << 19 };
	static uint8_t body[40000];
	const struct iovec iov = { body, sizeof body };
	struct http_request r[WAITING];

	http_engine_free(f->engine);
	start_engine(f, &options);
	f->answer = keep_body;
	for (int i = 0; i < WAITING; i++) {
		r[i] = (struct http_request){
			.method = HTTP_PUT, .class = HTTP_UPLOAD, .body = &iov, .body_count = 1, .deadline_ms = 1000
		};
		submit(f, &r[i]);
	}
	wait_done(f, WAITING);
	for (int i = 0; i < WAITING; i++)
		assert_int_equal(r[i].result, 0);
}

static void what_waits_for_its_turn_ends_when_nothing_moves(void **state)
{
	struct fixture *f = *state;
	struct http_request r[WAITING];

	f->answer = hold;
	for (int i = 0; i < WAITING; i++) {
		r[i] = (struct http_request){ .method = HTTP_HEAD, .class = HTTP_UPLOAD, .deadline_ms = 300 };
		if (i < 32)
			r[i].deadline_ms = 2000;
		submit(f, &r[i]);
	}
	wait_done(f, WAITING);
	for (int i = 0; i < WAITING; i++)
		assert_int_equal(r[i].result, -ETIMEDOUT);
	for (int i = 32; i < WAITING; i++)
		assert_int_equal(r[i].attempts, 0);
}

static void many_threads_may_ask(void **state)
{
	struct fixture *f = *state;
	pthread_t threads[4];

	f->answer = ranges;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_often, NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(done_count(f), 100);
}

static void ending_waits_for_what_is_under_way(void **state)
{
	struct fixture *f = *state;
	static const struct http_options options = { 0 };
	struct http_request r = { .method = HTTP_HEAD, .deadline_ms = 300 };

	f->answer = hold;
	submit(f, &r);
	http_server_wait_held(&f->server, 1);
	http_engine_free(f->engine);
	assert_int_equal(done_count(f), 1);
	assert_int_equal(r.result, -ETIMEDOUT);
	start_engine(f, &options);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_get_brings_its_bytes_status_and_etag),
		T(a_head_tells_the_size),
		T(longer_answers_than_there_is_room_for_are_refused),
		T(a_body_that_was_not_asked_for_is_refused),
		T(a_range_is_asked_for_and_checked),
		T(of_a_whole_object_its_beginning_is_taken),
		T(a_buffer_is_made_where_none_was_given),
		T(a_body_in_pieces_arrives_whole),
		T(an_empty_body_is_sent_as_one),
		T(a_fault_that_passes_is_tried_again),
		T(answers_that_mean_something_are_not_asked_for_again),
		T(a_lost_answer_is_asked_for_again_and_noted),
		T(what_is_to_be_sent_once_is),
		T(no_server_is_an_error_at_the_deadline),
		T(silence_ends_at_the_deadline),
		T(who_is_to_come_back_after_the_deadline_comes_before),
		T(the_stores_kind_says_what_an_answer_means),
		T(a_log_in_that_is_being_renewed_is_waited_for),
		T(a_request_that_cannot_be_made_ends),
		T(a_read_that_takes_too_long_is_asked_for_twice),
		T(what_somebody_waits_for_passes_what_nobody_does),
		T(limits_slow_down_and_change_nothing),
		T(what_nobody_waits_for_may_take_longer_while_bytes_move),
		T(what_nobody_waits_for_may_wait_for_its_turn_while_others_move),
		T(what_waits_for_its_turn_ends_when_nothing_moves),
		T(many_threads_may_ask),
		T(ending_waits_for_what_is_under_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
