/* SPDX-License-Identifier: GPL-3.0-only */
/* test_agreement_etcd.c: the agreement of several nodes in a real etcd of three members, which are killed and come back; answers that
 * are lost, damaged values, and servers that are none.
 */
#include "node/agreement.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/agreement_calls.h"
#include "lib/etcd_server.h"
#include "lib/http_server.h"
#include "node/agreement_private.h"
#include "node/etcd_json.h"
#include "store/http_call.h"

#include <sodium.h>

#define MEMBERS 3

/* Of the whole group: one etcd. Each test has a cluster id of its own. */
static struct etcd_server etcd;

struct fixture {
	char id[33];
	struct agreement *agreement;
};

static struct fixture fixture;

static int group_setup(void **state)
{
	(void)state;
	return sodium_init() < 0 ? -1 : etcd_server_start(&etcd, "3", __FILE__);
}

static int group_teardown(void **state)
{
	(void)state;
	etcd_server_stop(&etcd);
	return 0;
}

static struct agreement *open_at(const struct fixture *f, const char *at, uint64_t deadline_ms)
{
	struct agreement_etcd_options options = {
		.endpoints = at, .cluster_id = f->id, .deadline_ms = deadline_ms, .try_ms = 500
	};
	struct agreement *a;
	struct error err = { 0 };

	if (agreement_open_etcd(&options, &a, &err))
		fail_msg("%s", error_text(&err));
	return a;
}

static int setup(void **state)
{
	struct fixture *f = &fixture;
	uint8_t random[16];

	memset(f, 0, sizeof *f);
	*state = f;
	randombytes_buf(random, sizeof random);
	sodium_bin2hex(f->id, sizeof f->id, random, sizeof random);
	if (etcd.up)
		f->agreement = open_at(f, etcd.endpoints, 30000);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	agreement_close(f->agreement);
	return 0;
}

static struct agreement *wanted(void **state)
{
	if (!etcd.up)
		skip();
	return ((struct fixture *)*state)->agreement;
}

static void endpoint_of(unsigned member, char url[64])
{
	const char *p = etcd.endpoints;

	for (unsigned i = 1; i < member; i++)
		p = strchr(p, ',') + 1;
	snprintf(url, 64, "%.*s", (int)strcspn(p, ","), p);
}

/* Asks a member itself. Returns the status. */
static long ask_member(unsigned member, const char *what, const char *body, struct http_reply *reply)
{
	char at[64], url[128];
	struct http_call call = { .method = "POST", .url = url, .body = body, .body_length = strlen(body) };

	endpoint_of(member, at);
	snprintf(url, sizeof url, "%s/v3/kv/%s", at, what);
	call.reply_max = 1 << 20;
	return http_call(&call, reply, NULL) ? 0 : reply->status;
}

/* Puts raw bytes at a key of the test's cluster. */
static void put_raw(const struct fixture *f, const char *key, const void *bytes, size_t length)
{
	char full[400], name[600], value[600], body[1300];
	struct http_reply reply = { 0 };

	snprintf(full, sizeof full, "/garnerfs/%s/%s", f->id, key);
	sodium_bin2base64(name, sizeof name, (const uint8_t *)full, strlen(full), sodium_base64_VARIANT_ORIGINAL);
	sodium_bin2base64(value, sizeof value, bytes, length, sodium_base64_VARIANT_ORIGINAL);
	snprintf(body, sizeof body, "{\"key\":\"%s\",\"value\":\"%s\"}", name, value);
	assert_int_equal(ask_member(1, "put", body, &reply), 200);
	http_reply_destroy(&reply);
}

/* ---- what every agreement does ---- */

static void the_first_claim_wins_and_others_are_told_whose_it_is(void **state)
{
	story_of_a_claim(wanted(state));
}

static void a_claim_is_released_up_to_a_version(void **state)
{
	story_of_a_release(wanted(state));
}

static void a_map_is_replaced_only_by_who_knows_the_one_before(void **state)
{
	story_of_a_map(wanted(state));
}

static void a_node_learns_what_it_was_before(void **state)
{
	story_of_a_node(wanted(state));
}

static void what_is_no_claim_is_refused(void **state)
{
	story_of_what_is_refused(wanted(state));
}

static void of_many_claims_by_several_nodes_exactly_one_wins(void **state)
{
	struct agreement *node[MEMBERS];
	char at[64];

	wanted(state);
	for (unsigned i = 0; i < MEMBERS; i++) {
		endpoint_of(i + 1, at);
		node[i] = open_at(*state, at, 30000);
	}
	story_of_a_race(node, MEMBERS, 20);
	for (unsigned i = 0; i < MEMBERS; i++)
		agreement_close(node[i]);
}

static void clusters_do_not_see_each_other(void **state)
{
	struct agreement *a = wanted(state), *b;
	struct fixture other = { .id = "00000000000000000000000000000000" };
	struct agreement_answer answer;

	b = open_at(&other, etcd.endpoints, 30000);
	assert_int_equal(claim_only(a, "pool/key", 5, "a"), 0);
	assert_int_equal(claim_only(b, "pool/key", 6, "b"), 0);
	assert_int_equal(claim(a, "pool/key", 7, "x", &answer), -EEXIST);
	assert_memory_equal(answer.holder.body, "a", 1);
	answer_free(&answer);
	assert_int_equal(release_upto(b, "pool/key", 6), 0);
	agreement_close(b);
}

/* ---- members that end ---- */

static void a_member_may_be_missing(void **state)
{
	struct agreement *a = wanted(state);
	char member[2] = "1";

	assert_int_equal(claim_only(a, "pool/before", 5, "x"), 0);
	for (; member[0] <= '0' + MEMBERS; member[0]++) {
		char name[32];

		assert_int_equal(etcd_server_run(&etcd, "kill", member, NULL), 0);
		snprintf(name, sizeof name, "pool/without%s", member);
		assert_int_equal(claim_only(a, name, 5, "x"), 0);
		assert_int_equal(claim_only(a, name, 6, "x"), -EEXIST);
		assert_int_equal(claim_only(a, "pool/before", 6, "x"), -EEXIST);
		assert_int_equal(etcd_server_run(&etcd, "start", member, NULL), 0);
		/* Until it works again, or the next one would be one too many. */
		for (int i = 0;; i++) {
			struct http_reply reply = { 0 };
			long status = ask_member((unsigned)(member[0] - '0'), "put",
			                         "{\"key\":\"cA==\",\"value\":\"eA==\"}", &reply);

			http_reply_destroy(&reply);
			if (status == 200)
				break;
			assert_true(i < 600);
			usleep(50000);
		}
	}
}

static void without_a_majority_calls_fail_and_afterwards_they_work(void **state)
{
	struct agreement *a = wanted(state), *patient, *hasty;
	struct agreement_answer waiting;

	assert_int_equal(claim_only(a, "pool/before", 5, "x"), 0);
	assert_int_equal(etcd_server_run(&etcd, "kill", "1", NULL), 0);
	assert_int_equal(etcd_server_run(&etcd, "kill", "2", NULL), 0);
	hasty = open_at(*state, etcd.endpoints, 1500);
	patient = open_at(*state, etcd.endpoints, 60000);
	int rc = claim_only(hasty, "pool/unknown", 5, "x");
	assert_int_not_equal(rc, 0);
	assert_int_not_equal(rc, -EEXIST);
	rc = map_set(hasty, 0, "map");
	assert_true(rc && rc != -ESTALE);
	agreement_close(hasty);
	answer_begin(&waiting);
	agreement_claim(patient, "pool/waits", (struct object_version){ 5, 6 }, "x", 1, claim_answered, &waiting);
	assert_int_equal(etcd_server_run(&etcd, "start", "1", NULL), 0);
	assert_int_equal(etcd_server_run(&etcd, "start", "2", NULL), 0);
	assert_int_equal(answer_wait(&waiting), 0);
	answer_free(&waiting);
	assert_int_equal(claim_only(patient, "pool/before", 6, "x"), -EEXIST);
	/* What was not known is asked again, and is the caller's or nobody's. */
	assert_int_equal(claim_only(patient, "pool/unknown", 5, "x"), 0);
	agreement_close(patient);
}

/* ---- lost answers: a server between that hands on, and loses ---- */

struct between {
	struct http_server server;
	char url[64];
	atomic_uint lose;        /* so many answers to transactions are lost */
	char *txn;               /* the newest transaction; of the server's thread while a call is under way */
	struct http_reply reply; /* the newest; freed with the next */
};

static void hand_on(void *arg, const struct http_server_request *r, struct http_server_answer *a)
{
	struct between *b = arg;
	const char *what = r->target + strlen("/v3/kv/");
	char *body = strndup((const char *)r->body, r->body_length);

	http_reply_destroy(&b->reply);
	b->reply = (struct http_reply){ 0 };
	a->status = (int)ask_member(1, what, body, &b->reply);
	a->body = b->reply.body;
	a->body_length = b->reply.length;
	if (strcmp(what, "txn") == 0) {
		free(b->txn);
		b->txn = body;
	} else {
		free(body);
	}
	if (strcmp(what, "txn") == 0 && atomic_load(&b->lose)) {
		atomic_fetch_sub(&b->lose, 1);
		a->drop = true;
	}
}

static void what_was_done_and_lost_is_recognised(void **state)
{
	struct between b = { 0 };
	struct agreement_answer answer;
	struct agreement *a;

	wanted(state);
	http_server_start(&b.server, hand_on, &b);
	snprintf(b.url, sizeof b.url, "http://127.0.0.1:%u", b.server.port);
	a = open_at(*state, b.url, 30000);
	atomic_store(&b.lose, 1);
	assert_int_equal(claim_only(a, "pool/key", 5, "x"), 0);
	assert_int_equal(atomic_load(&b.lose), 0);
	atomic_store(&b.lose, 1);
	assert_int_equal(map_set(a, 0, "one"), 0);
	atomic_store(&b.lose, 1);
	assert_int_equal(map_set(a, 1, "two"), 0);
	atomic_store(&b.lose, 1);
	assert_int_equal(node_register(a, 1, "first", &answer), 0);
	assert_null(answer.text);
	answer_free(&answer);
	atomic_store(&b.lose, 2);
	assert_int_equal(node_register(a, 1, "second", &answer), 0);
	assert_string_equal(answer.text, "first");
	answer_free(&answer);
	atomic_store(&b.lose, 1);
	assert_int_equal(release_upto(a, "pool/key", 5), 0);
	assert_int_equal(claim_only(a, "pool/key", 6, "x"), 0);
	atomic_store(&b.lose, 1);
	assert_int_equal(claim_only(a, "pool/key", 7, "x"), -EEXIST);
	agreement_close(a);
	http_server_stop(&b.server);
	http_reply_destroy(&b.reply);
	free(b.txn);
}

/* A member that stood still goes on with what it was asked, long after another one has answered. */
static void a_refused_claim_does_not_come_to_be_later(void **state)
{
	struct http_reply reply = { 0 };
	struct between b = { 0 };
	struct agreement *a;

	wanted(state);
	http_server_start(&b.server, hand_on, &b);
	snprintf(b.url, sizeof b.url, "http://127.0.0.1:%u", b.server.port);
	a = open_at(*state, b.url, 30000);
	assert_int_equal(claim_only(a, "pool/key", 5, "first"), 0);
	assert_int_equal(claim_only(a, "pool/key", 9, "refused"), -EEXIST);
	char *late = strdup(b.txn);
	assert_non_null(late);
	assert_int_equal(release_upto(a, "pool/key", 5), 0);
	assert_int_equal(ask_member(1, "txn", late, &reply), 200);
	http_reply_destroy(&reply);
	free(late);
	assert_int_equal(claim_only(a, "pool/key", 10, "second"), 0);
	/* Nor does one that was made, and released. */
	late = strdup(b.txn);
	assert_non_null(late);
	assert_int_equal(release_upto(a, "pool/key", 10), 0);
	assert_int_equal(ask_member(1, "txn", late, &reply), 200);
	http_reply_destroy(&reply);
	free(late);
	assert_int_equal(claim_only(a, "pool/key", 11, "third"), 0);
	agreement_close(a);
	http_server_stop(&b.server);
	http_reply_destroy(&b.reply);
	free(b.txn);
}

/* ---- what does not fit ---- */

static void a_damaged_value_is_refused_and_left_as_it_is(void **state)
{
	struct fixture *f = *state;
	struct agreement *a = wanted(state);
	struct agreement_answer answer;
	size_t length;
	uint8_t *packed = agreement_pack("claims/pool/key", (struct object_version){ 5, 6 }, "body", 4, &length);

	put_raw(f, "claims/pool/key", packed, length);
	assert_int_equal(claim_only(a, "pool/key", 9, "x"), -EEXIST);
	put_raw(f, "claims/pool/other", packed, length);
	assert_int_equal(claim_only(a, "pool/other", 9, "x"), -EBADMSG);
	packed[length - 1] ^= 1;
	put_raw(f, "claims/pool/key", packed, length);
	assert_int_equal(claim(a, "pool/key", 5, "body", &answer), -EBADMSG);
	assert_non_null(strstr(answer.error, "claims/pool/key"));
	answer_free(&answer);
	assert_int_equal(release_upto(a, "pool/key", 100), -EBADMSG);
	free(packed);
	put_raw(f, "map", "hello", 5);
	assert_int_equal(map_get(a, &answer), -EBADMSG);
	answer_free(&answer);
	assert_int_equal(map_set(a, 0, "one"), -EBADMSG);
	put_raw(f, "map", "", 0);
	assert_int_equal(map_get(a, &answer), -EBADMSG);
	answer_free(&answer);
}

#define HEADER "\"header\":{\"cluster_id\":\"1\",\"revision\":\"5\"}"

struct nonsense {
	int status;
	const char *text;
	bool may_be_a_range; /* it is one without a key */
};

static void talk_nonsense(void *arg, const struct http_server_request *r, struct http_server_answer *a)
{
	const struct nonsense *n = arg;

	(void)r;
	a->status = n->status;
	a->body = n->text;
	a->body_length = strlen(n->text);
}

/* The key of map, "/garnerfs/ID/map", is not "eA==" (x). */
static void no_answer_of_a_stranger_is_taken_for_a_result(void **state)
{
	static struct nonsense all[] = {
		{ 200, "", false },
		{ 200, "[]", false },
		{ 200, "{}", false },
		{ 200, "{\"header\":{}}", false },
		{ 200, "{" HEADER ",\"succeeded\":true}", true },
		{ 200, "{" HEADER ",\"responses\":[{\"response_put\":{}}]}", true },
		{ 200, "{" HEADER ",\"kvs\":[{},{}]}", false },
		{ 200, "{" HEADER ",\"kvs\":[{\"key\":\"eA==\",\"mod_revision\":\"5\",\"value\":\"\"}]}", false },
		{ 200, "{" HEADER ",\"kvs\":7}", false },
		{ 200, "{" HEADER ",\"succeeded\":1}", true },
		{ 204, "", false },
		{ 404, "<html>not here</html>", false },
		{ 409, "conflict", false },
		{ 412, "{\"error\":\"no\"}", false },
		{ 400, "{\"error\":\"etcdserver: bad\",\"code\":3}", false },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		struct http_server server;
		struct agreement_answer answer;
		struct agreement *a;
		char url[64];

		http_server_start(&server, talk_nonsense, &all[i]);
		snprintf(url, sizeof url, "http://127.0.0.1:%u", server.port);
		a = open_at(f, url, 300);
		int rc = map_get(a, &answer);
		answer_free(&answer);
		if (all[i].may_be_a_range)
			assert_int_equal(rc, -ENOENT);
		else if (rc != -EPROTO && rc != -EIO)
			fail_msg("%d for '%s'", rc, all[i].text);
		rc = claim_only(a, "pool/key", 5, "x");
		if (rc != -EPROTO && rc != -EIO)
			fail_msg("%d for the claim, '%s'", rc, all[i].text);
		agreement_close(a);
		http_server_stop(&server);
	}
}

static void space_that_is_used_up_is_said_at_once(void **state)
{
	static struct nonsense full = { 429, "{\"error\":\"etcdserver: mvcc: database space exceeded\",\"code\":8}",
		                        false };
	struct http_server server;
	struct agreement_answer answer;
	struct agreement *a;
	char url[64];

	http_server_start(&server, talk_nonsense, &full);
	snprintf(url, sizeof url, "http://127.0.0.1:%u", server.port);
	a = open_at(*state, url, 20000);
	assert_int_equal(claim(a, "pool/key", 5, "x", &answer), -ENOSPC);
	assert_non_null(strstr(answer.error, "defragment"));
	answer_free(&answer);
	agreement_close(a);
	http_server_stop(&server);
}

static void endpoints_are_checked(void **state)
{
	static const char *const bad[] = {
		"",
		",",
		"h1:2379",
		"http://127.0.0.1:1,",
		"ftp://h1",
		"http://h1:2379", /* not this host, and not encrypted */
		"https://user:secret@h1:2379",
		("http://127.1,http://127.1,http://127.1,http://127.1,http://127.1,"
		 "http://127.1,http://127.1,http://127.1,http://127.1,http://127.1"),
	};
	struct fixture *f = *state;
	struct agreement *a;

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct agreement_etcd_options options = { .endpoints = bad[i], .cluster_id = f->id };
		struct error err = { 0 };

		assert_int_equal(agreement_open_etcd(&options, &a, &err), -EINVAL);
		assert_int_equal(err.code, -EINVAL);
		assert_null(a);
	}
	struct agreement_etcd_options options = { .endpoints = "http://127.0.0.1:1", .cluster_id = "x" };
	assert_int_equal(agreement_open_etcd(&options, &a, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_first_claim_wins_and_others_are_told_whose_it_is, setup, teardown),
		cmocka_unit_test_setup_teardown(a_claim_is_released_up_to_a_version, setup, teardown),
		cmocka_unit_test_setup_teardown(a_map_is_replaced_only_by_who_knows_the_one_before, setup, teardown),
		cmocka_unit_test_setup_teardown(a_node_learns_what_it_was_before, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_claim_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(of_many_claims_by_several_nodes_exactly_one_wins, setup, teardown),
		cmocka_unit_test_setup_teardown(clusters_do_not_see_each_other, setup, teardown),
		cmocka_unit_test_setup_teardown(a_member_may_be_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(without_a_majority_calls_fail_and_afterwards_they_work, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(what_was_done_and_lost_is_recognised, setup, teardown),
		cmocka_unit_test_setup_teardown(a_refused_claim_does_not_come_to_be_later, setup, teardown),
		cmocka_unit_test_setup_teardown(a_damaged_value_is_refused_and_left_as_it_is, setup, teardown),
		cmocka_unit_test_setup_teardown(no_answer_of_a_stranger_is_taken_for_a_result, setup, teardown),
		cmocka_unit_test_setup_teardown(space_that_is_used_up_is_said_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(endpoints_are_checked, setup, teardown),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
