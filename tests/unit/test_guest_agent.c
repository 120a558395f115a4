/* SPDX-License-Identifier: GPL-3.0-only */
/* test_guest_agent.c: freezing and thawing guests through agents that are late, hostile, or gone. */
#include "cli/guest_agent.h"
#include "cli/quiesce.h"

#include "lib/fake_agent.h"
#include "lib/remove_tree.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define BYTES(literal) literal, sizeof literal - 1
#define LONG_MS 20000 /* not reached unless something is wrong */
#define SHORT_MS 150  /* is waited for */

static char dir[60];
static struct fake_agent fake[3];
static struct guest_agent *agent;
static struct error err;

static int set_up(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	memset(&err, 0, sizeof err);
	agent = NULL;
	snprintf(dir, sizeof dir, "%.30s/agent.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	fake_agent_init(&fake[0], dir, "first");
	fake_agent_init(&fake[1], dir, "second");
	fake_agent_init(&fake[2], dir, "third");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	guest_agent_close(agent);
	for (size_t k = 0; k < 3; k++)
		fake_agent_stop(&fake[k]);
	return remove_tree(dir);
}

static int connect_first(unsigned answer_ms)
{
	return guest_agent_connect(fake[0].path, answer_ms, NULL, &agent, &err);
}

static void expect_text(const char *part)
{
	if (!strstr(err.text, part))
		fail_msg("\"%s\" says nothing of \"%s\"", err.text, part);
}

/* What the first one was asked, once nothing more comes. */
static const char *asked(unsigned k)
{
	guest_agent_close(agent);
	agent = NULL;
	fake_agent_stop(&fake[k]);
	return fake[k].seen;
}

/* ---- one agent ---------------------------------------------------------------------------------------------------- */

static void a_guest_is_frozen_and_thawed(void **state)
{
	(void)state;
	fake_agent_start(&fake[0]);
	assert_int_equal(connect_first(LONG_MS), 0);
	assert_false(guest_agent_holds(agent));
	assert_int_equal(guest_agent_freeze(agent, &err), 0);
	assert_true(guest_agent_holds(agent));
	assert_int_equal(guest_agent_frozen(agent, LONG_MS, &err), 0);
	assert_int_equal(guest_agent_thaw(agent, &err), 0);
	assert_int_equal(guest_agent_thawed(agent, LONG_MS, &err), 0);
	assert_false(guest_agent_holds(agent));
	assert_string_equal(asked(0), "sync status freeze sync thaw ");
}

static void what_is_left_of_an_earlier_client_is_thrown_away(void **state)
{
	static const struct {
		const char *bytes;
		size_t length;
	} left[] = {
		{ BYTES("{\"return\": \"frozen\"}\n") },
		{ BYTES("\xff{\"return\": 17}\n{\"return\": \"frozen\"}\n") },
		{ BYTES("{\"return\": {\"half of a") },
		{ BYTES("\xff\xff\xffno JSON\n\xff[1]\n\xff{\"error\": {\"class\": \"CommandNotFound\"}}\n") },
		{ BYTES("\0\0\n\n\xff\n\xff{\"return\": null}\n") },
	};

	(void)state;
	for (size_t k = 0; k < sizeof left / sizeof left[0]; k++) {
		fake_agent_init(&fake[0], dir, "first");
		fake[0].greeting = left[k].bytes;
		fake[0].greeting_length = left[k].length;
		fake_agent_start(&fake[0]);
		if (connect_first(LONG_MS))
			fail_msg("case %zu: %s", k, err.text);
		assert_int_equal(guest_agent_freeze(agent, &err), 0);
		assert_int_equal(guest_agent_frozen(agent, LONG_MS, &err), 0);
		asked(0);
	}
}

static void where_no_agent_can_be_is_told(void **state)
{
	char path[200];
	FILE *file;

	(void)state;
	assert_int_equal(connect_first(LONG_MS), -ENOENT);
	expect_text("no such socket");
	expect_text(fake[0].path);
	file = fopen(fake[0].path, "w");
	assert_non_null(file);
	fclose(file);
	assert_int_equal(connect_first(LONG_MS), -ECONNREFUSED);
	expect_text("nobody listens");
	memset(path, 'p', sizeof path - 1);
	path[sizeof path - 1] = '\0';
	assert_int_equal(guest_agent_connect(path, LONG_MS, NULL, &agent, &err), -ENAMETOOLONG);
	assert_null(agent);
}

static void an_agent_that_says_nothing_is_not_waited_for_for_ever(void **state)
{
	(void)state;
	fake[0].silent_at = "sync";
	fake_agent_start(&fake[0]);
	assert_int_equal(connect_first(SHORT_MS), -ETIMEDOUT);
	expect_text("does not answer");
	assert_string_equal(asked(0), "sync ");
}

static void a_guest_that_another_has_frozen_is_left_alone(void **state)
{
	(void)state;
	fake[0].frozen = true;
	fake_agent_start(&fake[0]);
	assert_int_equal(connect_first(LONG_MS), -EALREADY);
	expect_text("frozen already");
	assert_string_equal(asked(0), "sync status ");
}

static void an_agent_that_may_not_freeze_says_so(void **state)
{
	static const char no[] =
		"{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"Command has been \\u001b[2J\\ndisabled\"}}\n";

	(void)state;
	fake[0].odd_at = "freeze";
	fake[0].answer = no;
	fake[0].answer_length = sizeof no - 1;
	fake_agent_start(&fake[0]);
	assert_int_equal(connect_first(LONG_MS), 0);
	assert_int_equal(guest_agent_freeze(agent, &err), 0);
	assert_int_equal(guest_agent_frozen(agent, LONG_MS, &err), -EOPNOTSUPP);
	expect_text("guest-fsfreeze-freeze");
	expect_text("been ?[2J?disabled");
	assert_false(guest_agent_holds(agent));
}

static void a_guest_without_file_systems_is_not_taken_for_frozen(void **state)
{
	(void)state;
	fake[0].file_systems = 0;
	fake_agent_start(&fake[0]);
	assert_int_equal(connect_first(LONG_MS), 0);
	assert_int_equal(guest_agent_freeze(agent, &err), 0);
	assert_int_equal(guest_agent_frozen(agent, LONG_MS, &err), -ENODATA);
}

static void a_freeze_that_comes_late_is_still_thawed(void **state)
{
	(void)state;
	fake[0].silent_at = "freeze";
	fake[0].silent_times = 1;
	fake_agent_start(&fake[0]);
	assert_int_equal(connect_first(LONG_MS), 0);
	assert_int_equal(guest_agent_freeze(agent, &err), 0);
	assert_int_equal(guest_agent_frozen(agent, SHORT_MS, &err), -ETIMEDOUT);
	expect_text("not frozen");
	assert_true(guest_agent_holds(agent));
	/* Its answer, a number as well, comes before that to the thawing. */
	assert_int_equal(guest_agent_thaw(agent, &err), 0);
	assert_int_equal(guest_agent_thawed(agent, LONG_MS, &err), 0);
	asked(0);
	assert_false(fake[0].frozen);
}

static void a_guest_that_thawed_by_itself_is_found_out(void **state)
{
	(void)state;
	fake[0].thaws_itself = true;
	fake_agent_start(&fake[0]);
	assert_int_equal(connect_first(LONG_MS), 0);
	assert_int_equal(guest_agent_freeze(agent, &err), 0);
	assert_int_equal(guest_agent_frozen(agent, LONG_MS, &err), 0);
	assert_int_equal(guest_agent_thaw(agent, &err), 0);
	assert_int_equal(guest_agent_thawed(agent, LONG_MS, &err), -ESTALE);
	expect_text("by itself");
	assert_false(guest_agent_holds(agent));
}

static void an_interrupt_ends_the_freezing_but_not_the_thawing(void **state)
{
	volatile bool stop = false;

	(void)state;
	fake[0].silent_at = "freeze";
	fake[0].silent_times = 1;
	fake_agent_start(&fake[0]);
	assert_int_equal(guest_agent_connect(fake[0].path, LONG_MS, &stop, &agent, &err), 0);
	assert_int_equal(guest_agent_freeze(agent, &err), 0);
	stop = true;
	assert_int_equal(guest_agent_frozen(agent, LONG_MS, &err), -EINTR);
	assert_int_equal(guest_agent_thaw(agent, &err), 0);
	assert_int_equal(guest_agent_thawed(agent, LONG_MS, &err), 0);
	guest_agent_close(agent);
	assert_int_equal(guest_agent_connect(fake[0].path, LONG_MS, &stop, &agent, &err), -EINTR);
}

static void hostile_answers_are_refused(void **state)
{
	static char deep[6000], line[8000];
	const struct {
		const char *at, *answer;
		size_t length;
		unsigned repeats;
		int code;
	} cases[] = {
		{ "status", BYTES("\n"), 1, -EPROTO },
		{ "status", BYTES("HTTP/1.1 200 OK\r\n"), 1, -EPROTO },
		{ "status", BYTES("{\"return\": 3}\n"), 1, -EPROTO },
		{ "status", BYTES("{\"return\": \"\xff\xfe\"}\n"), 1, -EPROTO },
		{ "status", BYTES("[\"return\", \"thawed\"]\n"), 1, -EPROTO },
		{ "status", BYTES("{\"return\": \"thawed\\u0000\"}\n"), 1, -EPROTO },
		{ "status", BYTES("{\"error\": 7}\n"), 1, -EIO },
		{ "status", BYTES("{\"error\": {\"class\": [], \"desc\": {}}}\n"), 1, -EIO },
		{ "status", deep, sizeof deep, 1, -EPROTO },
		{ "status", line, sizeof line, 100, -EPROTO },
		{ "sync", line, sizeof line, 20000, -ETIMEDOUT },
		{ "sync", BYTES("\xff{\"return\": 1}\n"), 10000, -ETIMEDOUT },
	};

	(void)state;
	memset(line, 'x', sizeof line);
	memset(deep, '[', sizeof deep);
	deep[sizeof deep - 1] = '\n';
	for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
		fake_agent_init(&fake[0], dir, "first");
		fake[0].odd_at = cases[k].at;
		fake[0].answer = cases[k].answer;
		fake[0].answer_length = cases[k].length;
		fake[0].answer_repeats = cases[k].repeats;
		fake_agent_start(&fake[0]);
		int rc = connect_first(cases[k].code == -ETIMEDOUT ? SHORT_MS : LONG_MS);
		if (rc != cases[k].code)
			fail_msg("case %zu: %d (%s)", k, rc, err.text);
		assert_null(agent);
		asked(0);
	}
}

static void a_guest_that_ends_midway_is_told(void **state)
{
	static const char *const at[] = { "sync", "status", "freeze", "thaw" };

	(void)state;
	for (size_t k = 0; k < sizeof at / sizeof at[0]; k++) {
		fake_agent_init(&fake[0], dir, "first");
		fake[0].closes_at = at[k];
		fake_agent_start(&fake[0]);
		int rc = connect_first(LONG_MS);
		if (k < 2) {
			assert_int_equal(rc, -ECONNRESET);
			asked(0);
			continue;
		}
		assert_int_equal(rc, 0);
		assert_int_equal(guest_agent_freeze(agent, &err), 0);
		assert_int_equal(guest_agent_frozen(agent, LONG_MS, &err), k == 2 ? -ECONNRESET : 0);
		rc = guest_agent_thaw(agent, &err);
		assert_int_equal(rc ? rc : guest_agent_thawed(agent, LONG_MS, &err), -ECONNRESET);
		expect_text("may still be frozen");
		assert_true(guest_agent_holds(agent));
		asked(0);
	}
}

/* ---- several ------------------------------------------------------------------------------------------------------ */

static const struct quiesce_limits patient = { LONG_MS, LONG_MS, LONG_MS };
static const char *const sockets[] = { fake[0].path, fake[1].path, fake[2].path };

static void start_all(void)
{
	for (size_t k = 0; k < 3; k++)
		fake_agent_start(&fake[k]);
}

static void several_guests_are_frozen_together(void **state)
{
	struct quiesce *q;

	(void)state;
	start_all();
	assert_int_equal(quiesce_begin(sockets, 3, &patient, NULL, &q, &err), 0);
	assert_int_equal(quiesce_end(q, &err), 0);
	assert_int_equal(quiesce_end(q, &err), 0);
	quiesce_free(q);
	for (unsigned k = 0; k < 3; k++)
		assert_string_equal(asked(k), "sync status freeze sync thaw ");
}

static void when_one_guest_cannot_be_asked_none_is_frozen(void **state)
{
	struct quiesce *q;

	(void)state;
	fake_agent_start(&fake[0]);
	fake_agent_start(&fake[1]);
	assert_int_equal(quiesce_begin(sockets, 3, &patient, NULL, &q, &err), -ENOENT);
	expect_text("third");
	assert_null(q);
	assert_string_equal(asked(0), "sync status ");
	assert_string_equal(asked(1), "sync status ");
}

static void when_one_guest_cannot_be_frozen_all_are_thawed(void **state)
{
	static const char no[] = "{\"error\": {\"class\": \"GenericError\", \"desc\": \"fsfreeze hook has failed\"}}\n";
	struct quiesce *q;

	(void)state;
	fake[1].odd_at = "freeze";
	fake[1].answer = no;
	fake[1].answer_length = sizeof no - 1;
	start_all();
	assert_int_equal(quiesce_begin(sockets, 3, &patient, NULL, &q, &err), -EIO);
	expect_text("second");
	expect_text("hook has failed");
	assert_null(q);
	for (unsigned k = 0; k < 3; k++) {
		assert_string_equal(asked(k), "sync status freeze sync thaw ");
		assert_false(fake[k].frozen);
	}
}

static void one_guest_that_does_not_thaw_keeps_no_other_and_is_asked_again(void **state)
{
	const struct quiesce_limits limits = { LONG_MS, LONG_MS, SHORT_MS };
	struct quiesce *q;

	(void)state;
	fake[0].odd_at = "thaw"; /* does not do it */
	fake[0].answer = "";
	start_all();
	assert_int_equal(quiesce_begin(sockets, 3, &limits, NULL, &q, &err), 0);
	assert_int_equal(quiesce_end(q, &err), -ETIMEDOUT);
	expect_text("may still be frozen");
	expect_text("first");
	assert_int_equal(quiesce_end(q, &err), -ETIMEDOUT);
	quiesce_free(q);
	assert_string_equal(asked(0), "sync status freeze sync thaw sync thaw ");
	assert_string_equal(asked(1), "sync status freeze sync thaw ");
	assert_string_equal(asked(2), "sync status freeze sync thaw ");
}

static void that_one_guest_thawed_by_itself_is_remembered(void **state)
{
	struct quiesce *q;

	(void)state;
	fake[2].thaws_itself = true;
	start_all();
	assert_int_equal(quiesce_begin(sockets, 3, &patient, NULL, &q, &err), 0);
	assert_int_equal(quiesce_end(q, NULL), -ESTALE);
	assert_int_equal(quiesce_end(q, &err), -ESTALE);
	expect_text("third");
	quiesce_free(q);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(a_guest_is_frozen_and_thawed),
		T(what_is_left_of_an_earlier_client_is_thrown_away),
		T(where_no_agent_can_be_is_told),
		T(an_agent_that_says_nothing_is_not_waited_for_for_ever),
		T(a_guest_that_another_has_frozen_is_left_alone),
		T(an_agent_that_may_not_freeze_says_so),
		T(a_guest_without_file_systems_is_not_taken_for_frozen),
		T(a_freeze_that_comes_late_is_still_thawed),
		T(a_guest_that_thawed_by_itself_is_found_out),
		T(an_interrupt_ends_the_freezing_but_not_the_thawing),
		T(hostile_answers_are_refused),
		T(a_guest_that_ends_midway_is_told),
		T(several_guests_are_frozen_together),
		T(when_one_guest_cannot_be_asked_none_is_frozen),
		T(when_one_guest_cannot_be_frozen_all_are_thawed),
		T(one_guest_that_does_not_thaw_keeps_no_other_and_is_asked_again),
		T(that_one_guest_thawed_by_itself_is_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
