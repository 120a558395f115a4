/* SPDX-License-Identifier: GPL-3.0-only */
/* test_http_call.c: one request is asked as it was given, its answer comes back whole or not at all; and which URLs may
 * be asked. */
#include "store/http_call.h"

#include "lib/loopback_http.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <errno.h>

/* What the server saw last, and what it answers. */
struct script {
	struct loopback_request seen;
	struct loopback_answer answer;
};

static struct script script;
static struct loopback_http *server;
static struct error err;

static void play(void *arg, const struct loopback_request *request, struct loopback_answer *answer)
{
	(void)arg;
	script.seen = *request;
	*answer = script.answer;
}

static int setup(void **state)
{
	(void)state;
	memset(&script, 0, sizeof script);
	memset(&err, 0, sizeof err);
	script.answer.status = 200;
	server = loopback_http_start(play, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	loopback_http_stop(server);
	return 0;
}

/* A GET of `path`, which may be a whole URL, that must fail with `code`. */
static void assert_fails(const char *path, int code)
{
	char url[256];
	struct http_call call = { .method = "GET", .url = url, .timeout_ms = 20000, .reply_max = 1000 };
	struct http_reply reply;

	(void)snprintf(url, sizeof url, "%s%s", path[0] == '/' ? server->url : "", path);
	assert_int_equal(http_call(&call, &reply, &err), code);
	assert_int_equal(err.code, code);
	assert_null(reply.body);
}

/* ---- asking ---- */

static void status_headers_and_body_come_back(void **state)
{
	struct http_call call = { .method = "GET", .url = server->url };
	struct http_reply reply;

	(void)state;
	script.answer.status = 404;
	strcpy(script.answer.head, "X-One: first\r\nx-TWO:  second value \r\nX-One: again\r\n");
	script.answer.body = "a\0b";
	script.answer.body_length = 3;
	assert_int_equal(http_call(&call, &reply, &err), 0);
	assert_int_equal(reply.status, 404);
	assert_int_equal(reply.length, 3);
	assert_memory_equal(reply.body, "a\0b\0", 4);
	assert_string_equal(http_reply_header(&reply, "x-one"), "first");
	assert_string_equal(http_reply_header(&reply, "X-Two"), "second value");
	assert_null(http_reply_header(&reply, "X-Three"));
	http_reply_destroy(&reply);
	assert_null(reply.body);
	assert_string_equal(script.seen.method, "GET");
	assert_string_equal(script.seen.target, "/");
}

static void method_headers_and_body_are_sent_as_given(void **state)
{
	const char *const headers[] = { "X-Auth-User: test:tester", "Content-Type: text/odd", NULL };
	char url[128], value[128];
	struct http_call call = {
		.method = "POST", .url = url, .headers = headers, .body = "one\0two", .body_length = 7
	};
	struct http_reply reply;

	(void)state;
	(void)snprintf(url, sizeof url, "%s/a/b?c=d", server->url);
	assert_int_equal(http_call(&call, &reply, &err), 0);
	http_reply_destroy(&reply);
	assert_string_equal(script.seen.method, "POST");
	assert_string_equal(script.seen.target, "/a/b?c=d");
	assert_int_equal(script.seen.body_length, 7);
	assert_memory_equal(script.seen.body, "one\0two", 7);
	assert_string_equal(loopback_header(&script.seen, "X-Auth-User", value, sizeof value), "test:tester");
	assert_string_equal(loopback_header(&script.seen, "Content-Type", value, sizeof value), "text/odd");
	assert_string_equal(loopback_header(&script.seen, "Expect", value, sizeof value), "");
}

static void a_put_without_a_body_says_that_it_is_empty(void **state)
{
	struct http_call call = { .method = "PUT", .url = server->url };
	struct http_reply reply;
	char value[128];

	(void)state;
	assert_int_equal(http_call(&call, &reply, &err), 0);
	assert_string_equal(reply.body, "");
	http_reply_destroy(&reply);
	assert_string_equal(script.seen.method, "PUT");
	assert_string_equal(loopback_header(&script.seen, "Content-Length", value, sizeof value), "0");
}

static void a_redirect_is_an_answer_and_not_followed(void **state)
{
	struct http_call call = { .method = "GET", .url = server->url };
	struct http_reply reply;

	(void)state;
	script.answer.status = 302;
	(void)snprintf(script.answer.head, sizeof script.answer.head, "Location: %s/elsewhere\r\n", server->url);
	assert_int_equal(http_call(&call, &reply, &err), 0);
	assert_int_equal(reply.status, 302);
	http_reply_destroy(&reply);
	assert_int_equal(server->requests, 1);
}

static void a_proxy_is_not_told_what_is_asked_on_this_host(void **state)
{
	struct http_call call = { .method = "GET", .url = server->url };
	struct http_reply reply;
	char nobody[64];
	int rc;

	(void)state;
	setenv("http_proxy", loopback_nobody(nobody), 1);
	rc = http_call(&call, &reply, &err);
	unsetenv("http_proxy");
	assert_int_equal(rc, 0);
	http_reply_destroy(&reply);
}

static void a_line_break_in_a_header_is_refused_and_not_shown(void **state)
{
	const char *const headers[] = { "X-Auth-Key: secret\r\nX-Evil: yes", NULL };
	struct http_call call = { .method = "GET", .url = server->url, .headers = headers };
	struct http_reply reply;

	(void)state;
	assert_int_equal(http_call(&call, &reply, &err), -EINVAL);
	assert_non_null(strstr(err.text, "X-Auth-Key"));
	assert_null(strstr(err.text, "secret"));
	assert_int_equal(server->requests, 0);
}

/* ---- answers that are none ---- */

static void an_answer_longer_than_allowed_is_refused(void **state)
{
	static char much[1001], raw[1100];

	(void)state;
	memset(much, 'x', sizeof much);
	script.answer.body = much;
	script.answer.body_length = 1001;
	assert_fails("/", -EMSGSIZE);
	assert_non_null(strstr(err.text, "127.0.0.1"));
	(void)snprintf(raw, sizeof raw, "HTTP/1.1 200 OK\r\n\r\n%01001d", 0); /* of a length that nobody tells */
	script.answer.raw = raw;
	assert_fails("/", -EMSGSIZE);
}

static void an_answer_as_long_as_allowed_is_whole(void **state)
{
	static char much[100000];
	struct http_call call = { .method = "GET", .url = server->url, .reply_max = sizeof much };
	struct http_reply reply;

	(void)state;
	for (size_t i = 0; i < sizeof much; i++)
		much[i] = (char)('a' + i % 26);
	script.answer.body = much;
	script.answer.body_length = sizeof much;
	assert_int_equal(http_call(&call, &reply, &err), 0);
	assert_int_equal(reply.length, sizeof much);
	assert_memory_equal(reply.body, much, sizeof much);
	http_reply_destroy(&reply);
}

static void headers_without_end_are_refused(void **state)
{
	static char raw[200000];
	size_t used = (size_t)snprintf(raw, sizeof raw, "HTTP/1.1 200 OK\r\n");

	(void)state;
	while (used < 100000)
		used += (size_t)snprintf(raw + used, sizeof raw - used, "X-Much: %080d\r\n", 7);
	(void)snprintf(raw + used, sizeof raw - used, "Content-Length: 0\r\n\r\n");
	script.answer.raw = raw;
	assert_fails("/", -EMSGSIZE);
}

static void what_is_not_http_is_refused(void **state)
{
	(void)state;
	script.answer.raw = "SSH-2.0-OpenSSH_9.2\r\n";
	assert_fails("/", -EPROTO);
	assert_non_null(strstr(err.text, "not HTTP"));
}

static void an_answer_cut_short_is_no_answer(void **state)
{
	(void)state;
	script.answer.raw = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this";
	assert_fails("/", -EIO);
	assert_null(strstr(err.text, "only this"));
	script.answer.raw = "";
	assert_fails("/", -EIO);
}

static void nobody_listening_is_said_with_the_host(void **state)
{
	char url[64];

	(void)state;
	assert_fails(loopback_nobody(url), -EHOSTUNREACH);
	assert_non_null(strstr(err.text, url + strlen("http://")));
}

static void a_silent_server_is_given_up(void **state)
{
	struct http_call call = { .method = "GET", .url = server->url, .timeout_ms = 200 };
	struct http_reply reply;

	(void)state;
	script.answer.silent = true;
	assert_int_equal(http_call(&call, &reply, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.text, "127.0.0.1"));
}

static void tls_with_a_server_that_has_none_is_refused(void **state)
{
	char url[64];

	(void)state;
	(void)snprintf(url, sizeof url, "https://127.0.0.1:%u", server->port);
	assert_fails(url, -EKEYREJECTED);
}

/* ---- rules ---- */

static void files_that_cannot_be_read_are_named(void **state)
{
	const struct http_tls no_ca = { .ca_file = "/nowhere/ca.pem" }, no_cert = { .client_cert = "/nowhere/c.pem" },
			      lone_key = { .client_key = "/nowhere/k.pem" };
	struct http_call call = { .method = "GET", .url = server->url, .tls = &no_ca };
	struct http_reply reply;

	(void)state;
	assert_int_equal(http_call(&call, &reply, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nowhere/ca.pem"));
	call.tls = &no_cert;
	assert_int_equal(http_call(&call, &reply, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nowhere/c.pem"));
	call.tls = &lone_key;
	assert_int_equal(http_call(&call, &reply, &err), -EINVAL);
	assert_int_equal(server->requests, 0);
}

static void plain_http_is_for_this_host_alone(void **state)
{
	static const struct {
		const char *url;
		int rc, rc_plain;
	} cases[] = {
		{ "https://s3.example.com/x", 0, 0 },
		{ "HTTPS://s3.example.com", 0, 0 },
		{ "http://127.0.0.1:8080/v1", 0, 0 },
		{ "http://127.200.0.3", 0, 0 },
		{ "http://[::1]:8080/", 0, 0 },
		{ "http://localhost:8080/", 0, 0 },
		{ "http://LocalHost/", 0, 0 },
		{ "http://s3.example.com/", -EINVAL, 0 },
		{ "http://10.0.0.1/", -EINVAL, 0 },
		{ "http://128.0.0.1/", -EINVAL, 0 },
		{ "http://[::2]/", -EINVAL, 0 },
		{ "http://[::ffff:10.0.0.1]/", -EINVAL, 0 },
		{ "http://127.0.0.1.example.com/", -EINVAL, 0 },
		{ "http://localhost.example.com/", -EINVAL, 0 },
		{ "http://169.254.169.254/", -EINVAL, 0 },
		{ "ftp://127.0.0.1/", -EINVAL, -EINVAL },
		{ "file:///etc/passwd", -EINVAL, -EINVAL },
		{ "s3.example.com", -EINVAL, -EINVAL },
		{ "http://", -EINVAL, -EINVAL },
		{ "", -EINVAL, -EINVAL },
		{ "http://127.0.0.1:99999/", -EINVAL, -EINVAL },
		{ "http://127.0.0.1/a b", -EINVAL, -EINVAL },
		{ "http://127.0.0.1/a\nb", -EINVAL, -EINVAL },
	};
	const struct http_tls plain = { .allow_plain = true };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		memset(&err, 0, sizeof err);
		if (http_url_allowed(cases[i].url, NULL, &err) != cases[i].rc || err.code != cases[i].rc ||
		    http_url_allowed(cases[i].url, &plain, NULL) != cases[i].rc_plain)
			fail_msg("'%s': %s", cases[i].url, err.text);
	}
	assert_fails("http://s3.example.com/", -EINVAL);
	assert_non_null(strstr(err.text, "https://"));
}

static void a_password_in_a_url_is_refused_and_not_shown(void **state)
{
	static const char *const urls[] = {
		"https://me:secret@s3.example.com/", "https://secret@s3.example.com/",
		"https://:secret@s3.example.com/",   "https://me:secret@s3.example.com:port/",
		"me:secret@s3.example.com",          "http://127.0.0.1/ @secret"
	};

	(void)state;
	for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
		assert_int_equal(http_url_allowed(urls[i], NULL, &err), -EINVAL);
		assert_null(strstr(err.text, "secret"));
	}
}

static void hosts_are_shown_and_placed(void **state)
{
	static const struct {
		const char *url, *host;
		enum http_place place;
	} cases[] = {
		{ "https://s3.example.com/x/y?z", "s3.example.com", HTTP_PLACE_ELSEWHERE },
		{ "http://127.0.0.1:8080/v1", "127.0.0.1:8080", HTTP_PLACE_LOOPBACK },
		{ "http://[::1]:81/", "[::1]:81", HTTP_PLACE_LOOPBACK },
		{ "http://169.254.169.254/latest", "169.254.169.254", HTTP_PLACE_LINK_LOCAL },
		{ "http://[fd00:ec2::254]", "[fd00:ec2::254]", HTTP_PLACE_LINK_LOCAL },
		{ "http://[fd00:ec3::254]", "[fd00:ec3::254]", HTTP_PLACE_ELSEWHERE },
		{ "http://169.255.0.1", "169.255.0.1", HTTP_PLACE_ELSEWHERE },
		{ "no url", "the server", HTTP_PLACE_ELSEWHERE },
	};
	char host[HTTP_HOST_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_string_equal(http_url_host(cases[i].url, host), cases[i].host);
		assert_int_equal(http_url_place(cases[i].url), cases[i].place);
	}
}

static void a_copy_of_the_rules_has_strings_of_its_own(void **state)
{
	char file[] = "ca";
	const struct http_tls from = { .ca_file = file, .allow_plain = true };
	struct http_tls to;

	(void)state;
	assert_int_equal(http_tls_copy(&from, &to), 0);
	file[0] = 'x';
	assert_string_equal(to.ca_file, "ca");
	assert_null(to.client_key);
	assert_true(to.allow_plain);
	http_tls_release(&to);
	assert_int_equal(http_tls_copy(NULL, &to), 0);
	assert_false(to.allow_plain);
	http_tls_release(&to);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(status_headers_and_body_come_back),
		CASE(method_headers_and_body_are_sent_as_given),
		CASE(a_put_without_a_body_says_that_it_is_empty),
		CASE(a_redirect_is_an_answer_and_not_followed),
		CASE(a_proxy_is_not_told_what_is_asked_on_this_host),
		CASE(a_line_break_in_a_header_is_refused_and_not_shown),
		CASE(an_answer_longer_than_allowed_is_refused),
		CASE(an_answer_as_long_as_allowed_is_whole),
		CASE(headers_without_end_are_refused),
		CASE(what_is_not_http_is_refused),
		CASE(an_answer_cut_short_is_no_answer),
		CASE(nobody_listening_is_said_with_the_host),
		CASE(a_silent_server_is_given_up),
		CASE(tls_with_a_server_that_has_none_is_refused),
		CASE(files_that_cannot_be_read_are_named),
		CASE(plain_http_is_for_this_host_alone),
		CASE(a_password_in_a_url_is_refused_and_not_shown),
		CASE(hosts_are_shown_and_placed),
		CASE(a_copy_of_the_rules_has_strings_of_its_own),
	};

	return cmocka_run_group_tests_name("http_call", tests, NULL, NULL);
}
