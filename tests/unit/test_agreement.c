/* SPDX-License-Identifier: GPL-3.0-only */
/* test_agreement.c: the agreement of one node, in real files: claims, the map, incarnations; what a restart finds; damaged values and
 * databases.
 */
#include "node/agreement.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/agreement_calls.h"
#include "lib/remove_tree.h"
#include "node/agreement_private.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
	char dir[64], path[96];
	struct agreement *agreement;
};

static struct fixture fixture;

static int open_it(struct fixture *f, struct error *err)
{
	return agreement_open_local(f->path, &f->agreement, err);
}

static int setup(void **state)
{
	struct fixture *f = &fixture;

	*f = (struct fixture){ .dir = "/tmp/garner-agreement-XXXXXX" };
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->path, sizeof f->path, "%.60s/agreement.db", f->dir);
	*state = f;
	return open_it(f, NULL);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	agreement_close(f->agreement);
	remove_tree(f->dir);
	return 0;
}

static void reopen(struct fixture *f)
{
	struct error err = { 0 };

	agreement_close(f->agreement);
	f->agreement = NULL;
	if (open_it(f, &err))
		fail_msg("%s", error_text(&err));
}

/* Changes the database behind the agreement's back. */
static void do_sql(struct fixture *f, const char *sql)
{
	sqlite3 *db;

	agreement_close(f->agreement);
	f->agreement = NULL;
	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	assert_int_equal(open_it(f, NULL), 0);
}

/* ---- */

static void the_first_claim_wins_and_others_are_told_whose_it_is(void **state)
{
	story_of_a_claim(((struct fixture *)*state)->agreement);
}

static void a_claim_is_released_up_to_a_version(void **state)
{
	story_of_a_release(((struct fixture *)*state)->agreement);
}

static void a_map_is_replaced_only_by_who_knows_the_one_before(void **state)
{
	story_of_a_map(((struct fixture *)*state)->agreement);
}

static void a_node_learns_what_it_was_before(void **state)
{
	story_of_a_node(((struct fixture *)*state)->agreement);
}

static void what_is_no_claim_is_refused(void **state)
{
	story_of_what_is_refused(((struct fixture *)*state)->agreement);
}

static void of_many_claims_at_once_exactly_one_wins(void **state)
{
	struct fixture *f = *state;

	story_of_a_race(&f->agreement, 1, 50);
}

static void what_was_agreed_is_there_after_a_restart(void **state)
{
	struct fixture *f = *state;
	struct agreement_answer a;

	assert_int_equal(claim_only(f->agreement, "pool/key", 5, "body"), 0);
	assert_int_equal(map_set(f->agreement, 0, "map"), 0);
	assert_int_equal(node_register(f->agreement, 3, "life", &a), 0);
	answer_free(&a);
	reopen(f);
	assert_int_equal(claim(f->agreement, "pool/key", 6, "other", &a), -EEXIST);
	assert_memory_equal(a.holder.body, "body", 4);
	answer_free(&a);
	assert_int_equal(map_get(f->agreement, &a), 0);
	assert_string_equal(a.text, "map");
	answer_free(&a);
	assert_int_equal(node_register(f->agreement, 3, "next", &a), 0);
	assert_string_equal(a.text, "life");
	answer_free(&a);
}

/* A process that ends without closing leaves all that it was answered. */
static void what_was_answered_survives_the_end_of_the_process(void **state)
{
	struct fixture *f = *state;
	int status;
	pid_t child;

	agreement_close(f->agreement);
	f->agreement = NULL;
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (open_it(f, NULL) || claim_only(f->agreement, "pool/key", 5, "body"))
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(open_it(f, NULL), 0);
	assert_int_equal(claim_only(f->agreement, "pool/key", 6, "x"), -EEXIST);
}

static void a_second_process_is_told_that_the_database_is_in_use(void **state)
{
	struct fixture *f = *state;
	int status;
	pid_t child;

	assert_int_equal(claim_only(f->agreement, "pool/key", 5, "body"), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct agreement *second;
		struct error err = { 0 };

		/* Locks of SQLite are the process's. */
		_exit(agreement_open_local(f->path, &second, &err) == -EBUSY && strstr(err.text, "another garnerd")
		              ? 0
		              : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void a_damaged_value_is_refused_and_left_as_it_is(void **state)
{
	struct fixture *f = *state;
	struct agreement_answer a;

	assert_int_equal(claim_only(f->agreement, "pool/key", 5, "body"), 0);
	assert_int_equal(claim_only(f->agreement, "pool/good", 5, "body"), 0);
	assert_int_equal(map_set(f->agreement, 0, "map"), 0);
	do_sql(f, "UPDATE agreed SET value = CAST(substr(value, 1, length(value) - 1) || 'X' AS BLOB) "
	          "WHERE key IN ('claims/pool/key', 'map')");
	assert_int_equal(claim(f->agreement, "pool/key", 6, "x", &a), -EBADMSG);
	assert_non_null(strstr(a.error, "claims/pool/key"));
	answer_free(&a);
	assert_int_equal(release_upto(f->agreement, "pool/key", 100), -EBADMSG);
	assert_int_equal(claim_only(f->agreement, "pool/key", 5, "body"), -EBADMSG);
	assert_int_equal(map_get(f->agreement, &a), -EBADMSG);
	answer_free(&a);
	assert_int_equal(map_set(f->agreement, 1, "two"), -EBADMSG);
	assert_int_equal(claim_only(f->agreement, "pool/good", 6, "x"), -EEXIST);
}

static void a_value_of_another_key_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(claim_only(f->agreement, "pool/key", 5, "body"), 0);
	do_sql(f, "UPDATE agreed SET key = 'claims/pool/other'");
	assert_int_equal(claim_only(f->agreement, "pool/other", 5, "body"), -EBADMSG);
	assert_int_equal(claim_only(f->agreement, "pool/key", 5, "body"), 0);
}

static void a_database_of_another_kind_is_refused(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };

	agreement_close(f->agreement);
	f->agreement = NULL;
	snprintf(f->path, sizeof f->path, "%.60s/other.db", f->dir);
	int fd = open(f->path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(write(fd, "no database ", 12), 12);
	close(fd);
	assert_int_equal(open_it(f, &err), -EBADMSG);
	assert_non_null(strstr(err.text, f->path));
	assert_null(f->agreement);

	sqlite3 *db;
	snprintf(f->path, sizeof f->path, "%.60s/third.db", f->dir);
	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "CREATE TABLE x (y)", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(open_it(f, &err), -EBADMSG);
}

static void a_place_that_cannot_be_written_is_named(void **state)
{
	struct fixture *f = *state;
	struct agreement *a;
	struct error err = { 0 };
	char path[128];

	snprintf(path, sizeof path, "%.60s/missing/agreement.db", f->dir);
	assert_int_equal(agreement_open_local(path, &a, &err), -ENOENT);
	assert_non_null(strstr(err.text, path));
	assert_null(a);
}

static void no_byte_of_a_value_can_change_unseen(void **state)
{
	struct agreement_value v;
	size_t length;
	uint8_t *packed = agreement_pack("map", (struct object_version){ 7, 8 }, "some text", 9, &length);

	(void)state;
	assert_int_equal(agreement_unpack("map", packed, length, &v, NULL), 0);
	assert_int_equal(v.version.counter, 7);
	assert_int_equal(v.version.tie, 8);
	assert_int_equal(v.length, 9);
	assert_memory_equal(v.bytes, "some text", 9);
	assert_int_equal(agreement_unpack("nap", packed, length, &v, NULL), -EBADMSG);
	for (size_t i = 0; i < length; i++) {
		assert_int_equal(agreement_unpack("map", packed, i, &v, NULL), -EBADMSG);
		packed[i] ^= 0x10;
		assert_int_equal(agreement_unpack("map", packed, length, &v, NULL), -EBADMSG);
		packed[i] ^= 0x10;
	}
	free(packed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_first_claim_wins_and_others_are_told_whose_it_is, setup, teardown),
		cmocka_unit_test_setup_teardown(a_claim_is_released_up_to_a_version, setup, teardown),
		cmocka_unit_test_setup_teardown(a_map_is_replaced_only_by_who_knows_the_one_before, setup, teardown),
		cmocka_unit_test_setup_teardown(a_node_learns_what_it_was_before, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_claim_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(of_many_claims_at_once_exactly_one_wins, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_agreed_is_there_after_a_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_answered_survives_the_end_of_the_process, setup, teardown),
		cmocka_unit_test_setup_teardown(a_second_process_is_told_that_the_database_is_in_use, setup, teardown),
		cmocka_unit_test_setup_teardown(a_damaged_value_is_refused_and_left_as_it_is, setup, teardown),
		cmocka_unit_test_setup_teardown(a_value_of_another_key_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_database_of_another_kind_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_place_that_cannot_be_written_is_named, setup, teardown),
		cmocka_unit_test(no_byte_of_a_value_can_change_unseen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
