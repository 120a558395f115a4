/* SPDX-License-Identifier: GPL-3.0-only */
/* test_peer_tls.c: nodes that speak TLS take each other's certificates only when their own authority has signed them. */
#include "node/peer.h"
#include "node/tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "lib/test_certificates.h"
#include "lib/wire_fixture.h"

#define MIB ((size_t)1024 * 1024)

static struct test_certificates ours, theirs;

static int make_certificates(void **state)
{
	(void)state;
	test_certificates_make(&ours);
	test_certificates_make(&theirs);
	return 0;
}

static int remove_certificates(void **state)
{
	(void)state;
	test_certificates_remove(&ours);
	test_certificates_remove(&theirs);
	return 0;
}

static struct tls *load(const char *ca, const char *own)
{
	struct error err = { 0 };
	struct tls *tls;

	if (tls_load(ca, own, &tls, &err) < 0)
		fail_msg("%s", error_text(&err));
	return tls;
}

/* What a request over TLS ends with, and its text. */
static int ask(struct tls *server, struct tls *client, const char *name, struct error *err)
{
	struct wire *wire = wire_new(NULL, server);
	struct peer_options options = { .tls = client, .tls_name = name };
	struct wire_peer *w = wire_peer_new(wire, &options);
	struct wire_ask a = { .method = "GET", .target = "/bytes?n=1000" };

	wire_ask(w, &a);
	*err = a.err;
	if (a.rc == 0) {
		assert_int_equal(a.status, 200);
		assert_int_equal(a.answer_length, 1000);
	} else {
		assert_int_equal(wire->heads, 0);
	}
	free(a.answer);
	wire_peer_free(w);
	wire_free(wire);
	return a.rc;
}

static void nodes_of_one_authority_speak_to_each_other(void **state)
{
	struct tls *tls = load(ours.ca, ours.node);
	struct error err;

	(void)state;
	assert_int_equal(ask(tls, tls, NULL, &err), 0);
	assert_int_equal(ask(tls, tls, "127.0.0.1", &err), 0);
	assert_int_equal(ask(tls, tls, "node.test", &err), 0);
	tls_free(tls);
}

static void a_certificate_for_another_name_is_refused(void **state)
{
	struct tls *tls = load(ours.ca, ours.node);
	struct error err;

	(void)state;
	assert_true(ask(tls, tls, "other.test", &err) < 0);
	assert_non_null(strstr(err.text, "certificate"));
	assert_true(ask(tls, tls, "127.0.0.2", &err) < 0);
	tls_free(tls);
}

static void another_authority_is_refused_by_either_side(void **state)
{
	struct tls *us = load(ours.ca, ours.node), *them = load(theirs.ca, theirs.node);
	struct tls *spy = load(ours.ca, theirs.node); /* believes us, but is not one of ours */
	struct error err;

	(void)state;
	assert_true(ask(us, them, NULL, &err) < 0);
	assert_non_null(strstr(err.text, "certificate is refused"));
	assert_true(ask(them, us, NULL, &err) < 0);
	assert_true(ask(us, spy, NULL, &err) < 0);
	assert_true(ask(spy, us, NULL, &err) < 0);
	tls_free(us);
	tls_free(them);
	tls_free(spy);
}

static void a_certificate_that_has_run_out_is_refused(void **state)
{
	struct tls *good = load(ours.ca, ours.node), *late = load(ours.ca, ours.late);
	struct error err;

	(void)state;
	assert_true(ask(good, late, NULL, &err) < 0);
	assert_true(ask(late, good, NULL, &err) < 0);
	assert_non_null(strstr(err.text, "expired"));
	tls_free(good);
	tls_free(late);
}

static void plain_and_tls_do_not_mix(void **state)
{
	struct tls *tls = load(ours.ca, ours.node);
	struct error err;

	(void)state;
	assert_true(ask(tls, NULL, NULL, &err) < 0);
	assert_true(ask(NULL, tls, NULL, &err) < 0);
	tls_free(tls);
}

static void a_client_without_a_word_is_cut_off_in_time(void **state)
{
	struct tls *tls = load(ours.ca, ours.node);
	struct server_limits limits = { .head_ms = 100 };
	struct wire *wire = wire_new(&limits, tls);
	int fd = wire_connect(wire->port);

	(void)state;
	assert_true(wire_is_closed(fd));
	assert_int_equal(wire_stats(wire).refused_slow, 1);
	close(fd);
	wire_free(wire);
	tls_free(tls);
}

static void bodies_go_there_and_back_encrypted(void **state)
{
	static const struct {
		size_t length, piece;
	} cases[] = { { 1, 0 }, { 100000, 777 }, { 8 * MIB, 65536 }, { 8 * MIB + 1, 0 } };
	struct tls *tls = load(ours.ca, ours.node);
	struct wire *wire = wire_new(NULL, tls);
	struct peer_options options = { .tls = tls };
	struct wire_peer *w = wire_peer_new(wire, &options);
	uint8_t *bytes = malloc(8 * MIB + 1);

	(void)state;
	assert_non_null(bytes);
	randombytes_buf(bytes, 8 * MIB + 1);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct wire_ask a = { .method = "PUT",
			              .target = "/echo",
			              .body = bytes,
			              .length = cases[i].length,
			              .piece = cases[i].piece,
			              .answer_max = cases[i].length };

		wire_ask(w, &a);
		assert_int_equal(a.rc, 0);
		assert_int_equal(a.answer_length, a.length);
		assert_memory_equal(a.answer, bytes, a.length);
		free(a.answer);
	}
	/* A handler that pauses leaves bytes where only TLS knows of them. */
	struct wire_ask a = { .method = "PUT", .target = "/pause", .body = bytes, .length = 2 * MIB };
	wire_ask(w, &a);
	assert_int_equal(a.status, 201);
	assert_string_equal(a.length_seen, "2097152");
	free(a.answer);
	assert_int_equal(wire_stats(wire).connections, 1);
	assert_int_equal(wire_stats(wire).body_bytes, 0);
	free(bytes);
	wire_peer_free(w);
	wire_free(wire);
	tls_free(tls);
}

static void files_that_cannot_be_used_are_named(void **state)
{
	struct error err = { 0 };
	struct tls *tls;

	(void)state;
	assert_int_equal(tls_load("/tmp/garner-no-such-file", ours.node, &tls, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/tmp/garner-no-such-file"));
	assert_int_equal(tls_load(ours.ca, "/tmp/garner-no-such-file", &tls, &err), -ENOENT);
	/* No key in it. */
	assert_int_equal(tls_load(ours.ca, ours.ca, &tls, &err), -EINVAL);
	assert_int_equal(chmod(ours.node, 0644), 0);
	assert_int_equal(tls_load(ours.ca, ours.node, &tls, &err), -EACCES);
	assert_non_null(strstr(err.text, "chmod 600"));
	assert_int_equal(chmod(ours.node, 0600), 0);
	assert_int_equal(tls_load(ours.directory, ours.node, &tls, &err), -EINVAL);
	assert_int_equal(tls_load("/dev/null", ours.node, &tls, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_of_one_authority_speak_to_each_other),
		cmocka_unit_test(a_certificate_for_another_name_is_refused),
		cmocka_unit_test(another_authority_is_refused_by_either_side),
		cmocka_unit_test(a_certificate_that_has_run_out_is_refused),
		cmocka_unit_test(plain_and_tls_do_not_mix),
		cmocka_unit_test(a_client_without_a_word_is_cut_off_in_time),
		cmocka_unit_test(bodies_go_there_and_back_encrypted),
		cmocka_unit_test(files_that_cannot_be_used_are_named),
	};

	return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
