/* SPDX-License-Identifier: GPL-3.0-only */
/* test_history.c: the check of histories finds what a store must not do, and nothing in what it may do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/random.h"
#include "tools/history.h"

#include <stdio.h>
#include <string.h>

static char told[2048];

static void tell(void *arg, const char *text)
{
	(void)arg;
	snprintf(told, sizeof told, "%s", text);
}

/* How many violations a history has. */
static size_t violations(const char *text)
{
	struct history *h = history_new();
	size_t line, count;

	assert_non_null(h);
	told[0] = '\0';
	assert_int_equal(history_add(h, text, strlen(text), &line), 0);
	count = history_check(h, tell, NULL);
	history_free(h);
	return count;
}

static void good(const char *text)
{
	if (violations(text))
		fail_msg("found in a good history: %s", told);
}

static void bad(const char *text, const char *says)
{
	if (violations(text) != 1)
		fail_msg("%zu violations instead of one in:\n%s", violations(text), text);
	if (!strstr(told, says))
		fail_msg("it says \"%s\" and not \"%s\"", told, says);
}

#define PUT_A "b p1 10 put k a\ne p1 20 ok -\n"
#define PUT_B "b p2 30 put k b\ne p2 40 ok -\n"

static void a_read_after_a_put_sees_it(void **state)
{
	(void)state;
	good(PUT_A PUT_B "b g 50 get k -\ne g 60 ok b\n");
	good(PUT_A "b g 50 get k -\ne g 60 ok a\n");
	good("b g 50 get k -\ne g 60 absent -\n");
	good(PUT_A "b r 30 remove k -\ne r 40 ok -\nb g 50 get k -\ne g 60 absent -\n");
}

static void a_stale_read_is_found(void **state)
{
	(void)state;
	bad(PUT_A PUT_B "b g 50 get k -\ne g 60 ok a\n", "get g");
	bad(PUT_A PUT_B "b g 41 get k -\ne g 60 absent -\n", "get g");
	bad(PUT_A "b r 30 remove k -\ne r 40 ok -\nb g 50 get k -\ne g 60 ok a\n", "there could be only: nothing");
}

static void what_overlaps_may_be_seen_in_any_order(void **state)
{
	(void)state;
	good(PUT_A "b p2 30 put k b\nb g 35 get k -\ne g 36 ok a\nb g2 37 get k -\ne g2 38 ok b\ne p2 40 ok -\n");
	good("b p1 10 put k a\nb p2 10 put k b\ne p1 20 ok -\ne p2 20 ok -\nb g 30 get k -\ne g 40 ok a\n");
	good("b p1 10 put k a\nb p2 10 put k b\ne p1 20 ok -\ne p2 20 ok -\nb g 30 get k -\ne g 40 ok b\n");
	/* A put that was seen, and then another, and then it again: it took a higher version. */
	good("b p1 10 put k a\nb g 11 get k -\ne g 12 ok a\n" PUT_B "b g2 50 get k -\ne g2 51 ok b\nb g3 52 get k -\n"
	     "e g3 53 ok a\ne p1 60 ok -\n");
}

static void what_was_overwritten_does_not_come_back(void **state)
{
	(void)state;
	bad(PUT_A "b p2 30 put k b\nb g 35 get k -\ne g 36 ok b\nb g2 37 get k -\ne g2 38 ok a\ne p2 40 ok -\n", "g2");
}

static void two_reads_after_the_puts_must_agree(void **state)
{
	(void)state;
	bad("b p1 10 put k a\nb p2 10 put k b\ne p1 20 ok -\ne p2 20 ok -\nb g 30 get k -\ne g 40 ok b\nb g2 41 get k "
	    "-\n"
	    "e g2 42 ok a\n",
	    "g2");
}

static void a_lost_put_is_found(void **state)
{
	(void)state;
	bad(PUT_A "b g 50 get k -\ne g 60 absent -\n", "there could be only: a");
	bad(PUT_A "b g 50 head k -\ne g 60 absent -\n", "head g");
	bad(PUT_A "b l 50 list k -\ne l 60 ok -\n", "list l");
}

static void a_put_without_an_answer_may_come_late(void **state)
{
	(void)state;
	good(PUT_A "b u 21 put k u\ne u 25 unknown -\nb g 30 get k -\ne g 31 ok a\nb g2 50 get k -\ne g2 60 ok u\n");
	good(PUT_A "b u 21 put k u\nb g 30 get k -\ne g 31 ok a\nb g2 50 get k -\ne g2 60 ok u\n");
	good(PUT_A "b u 21 put k u\nb g 30 get k -\ne g 31 ok a\n");
	bad(PUT_A "b g 21 get k -\ne g 25 ok u\nb u 30 put k u\n", "get g");
}

static void a_put_without_an_answer_that_was_seen_stays_seen(void **state)
{
	(void)state;
	/* It is not known how often the first may still take effect, but nothing brings the other back. */
	good(PUT_A "b u 21 put k u\ne u 25 unknown -\nb g 30 get k -\ne g 31 ok u\nb g2 50 get k -\ne g2 60 ok u\n");
	bad(PUT_A "b u 21 put k u\ne u 25 unknown -\nb g 30 get k -\ne g 31 ok u\nb g2 50 get k -\ne g2 60 ok a\n",
	    "g2");
}

static void bytes_that_nobody_wrote_are_found(void **state)
{
	(void)state;
	bad(PUT_A "b g 50 get k -\ne g 60 wrong -\n", "nobody has written");
	bad(PUT_A "b g 50 get k -\ne g 60 ok z\n", "nobody has written");
	bad(PUT_A "b h 50 head k -\ne h 60 ok #1\n", "head h");
	bad("b o 10 own s/1 1\ne o 20 ok -\nb g 50 any s/1 -\ne g 60 wrong -\n", "nobody has written");
}

#define CREATE_A "b c1 10 create k a\ne c1 20 ok -\n"

static void two_winners_are_found(void **state)
{
	(void)state;
	bad(CREATE_A "b c2 30 create k b\ne c2 40 ok -\n", "create c2");
	bad("b c1 10 create k a\nb c2 11 create k b\ne c1 20 ok -\ne c2 21 ok -\n", "create");
	bad(CREATE_A "b c2 30 create k b\ne c2 40 exists -\nb g 50 get k -\ne g 60 ok b\n", "g");
	good(CREATE_A "b c2 30 create k b\ne c2 40 exists -\nb g 50 get k -\ne g 60 ok a\n");
}

static void a_removal_makes_room_for_another_winner(void **state)
{
	(void)state;
	good(CREATE_A "b r 21 remove k -\ne r 25 ok -\nb c2 30 create k b\ne c2 40 ok -\n");
	good(CREATE_A "b r 21 remove k -\ne r 25 unknown -\nb c2 30 create k b\ne c2 40 ok -\n");
	good("b c1 10 create k a\nb r 11 remove k -\nb c2 12 create k b\ne c1 20 ok -\ne r 20 ok -\ne c2 20 ok -\n");
	bad(CREATE_A
	    "b r 21 remove k -\ne r 25 ok -\nb c2 30 create k b\ne c2 40 ok -\nb c3 50 create k c\ne c3 60 ok -\n",
	    "c3");
}

static void a_winner_that_overwrites_is_found(void **state)
{
	(void)state;
	bad("b c1 10 create k a\ne c1 20 ok -\nb u 21 create k u\ne u 25 unknown -\nb g 30 get k -\ne g 31 ok u\n",
	    "get g");
	good("b c1 10 create k a\ne c1 20 ok -\nb u 21 create k u\ne u 25 unknown -\nb r 30 remove k -\ne r 31 ok -\nb "
	     "g 40 get k -\n"
	     "e g 41 ok u\n");
}

static void what_does_not_exist_does_not_refuse(void **state)
{
	(void)state;
	bad("b c1 10 create k a\ne c1 20 exists -\n", "exists");
	bad(CREATE_A "b r 21 remove k -\ne r 25 ok -\nb c2 30 create k b\ne c2 40 exists -\n", "c2");
}

static void a_creation_that_was_refused_does_not_come_later(void **state)
{
	(void)state;
	good("b c1 10 create k a\nb g 11 get k -\ne g 12 ok a\nb r 13 remove k -\ne r 14 ok -\nb c2 15 create k b\ne "
	     "c2 16 ok -\n"
	     "e c1 20 exists -\nb g2 30 get k -\ne g2 31 ok b\n");
	bad("b c2 10 create k b\ne c2 16 ok -\nb c1 17 create k a\ne c1 20 exists -\nb r 21 remove k -\ne r 22 ok -\nb "
	    "g2 30 get k -\n"
	    "e g2 31 ok a\n",
	    "g2");
}

#define OWN "b o 10 own s/1 1\ne o 20 unknown -\nb o2 21 own s/1 1\n"

static void an_owner_may_find_its_own(void **state)
{
	(void)state;
	good(OWN "e o2 22 ok -\nb g 30 get s/1 -\ne g 40 ok 1\n");
	good(OWN "e o2 22 exists -\nb g 30 get s/1 -\ne g 40 ok 1\n");
	bad(OWN "e o2 22 ok -\nb g 30 any s/1 -\ne g 40 absent -\n", "lacks");
	bad(OWN "e o2 22 ok -\nb g 30 get s/1 -\ne g 40 absent -\n", "get g");
}

static void a_removed_segment_may_be_read_but_not_listed(void **state)
{
	(void)state;
	good(OWN "e o2 22 ok -\nb r 23 remove s/1 -\ne r 24 ok -\nb g 30 any s/1 -\ne g 40 ok 1\n");
	/* Its first try without an answer might come late; without that: */
	good(OWN "e o2 22 ok -\nb r 23 remove s/1 -\ne r 24 ok -\nb l 30 list s/ -\ne l 40 ok s/1\n");
	bad("b o2 21 own s/1 1\ne o2 22 ok -\nb r 23 remove s/1 -\ne r 24 ok -\nb l 30 list s/ -\ne l 40 ok s/1\n",
	    "list l");
}

static void an_incomplete_listing_is_found(void **state)
{
	(void)state;
	const char *all =
		"b p1 10 put k/1 a\ne p1 20 ok -\nb p2 10 put k/12 a\ne p2 20 ok -\nb p3 10 put k/2 a\ne p3 40 ok -\n";
	char text[1000];

	snprintf(text, sizeof text, "%sb l 30 list k/ -\ne l 35 ok k/1,k/12\n", all);
	good(text);
	snprintf(text, sizeof text, "%sb l 30 list k/ -\ne l 35 ok k/1,k/12,k/2\n", all);
	good(text);
	snprintf(text, sizeof text, "%sb l 30 list k/ -\ne l 35 ok k/12,k/2\n", all);
	bad(text, "k/1: list l");
	snprintf(text, sizeof text, "%sb l 41 list k/ -\ne l 45 ok k/1,k/12\n", all);
	bad(text, "k/2: list l");
	snprintf(text, sizeof text, "%sb l 30 list k/ -\ne l 35 ok k/1,k/12,k/3\n", all);
	bad(text, "never made");
}

static void a_line_that_a_kill_cut_off_is_left_out(void **state)
{
	struct history *h = history_new();
	size_t line;

	(void)state;
	good(PUT_A "b p2 30 put k b\ne p2 4");
	assert_int_equal(history_add(h, "b p1 10 put k a\ne p9 20 ok -\n", 29, &line), -22);
	assert_int_equal(line, 2);
	history_free(h);
}

/* A store that does all that is allowed, at random: nothing is found; and one that forgets a put: that is found. */
static void random_histories_of_a_right_store_are_good(void **state)
{
	struct random random = { .state = env_number("GARNER_TEST_SEED", 20260101) };
	char text[65536];

	(void)state;
	print_message("GARNER_TEST_SEED=%llu\n", (unsigned long long)random.state);
	for (int round = 0; round < 200; round++) {
		size_t n = 0;
		unsigned time = 10, now = 0, writes = 0;
		for (int i = 0; i < 60; i++) {
			unsigned begins = time++, what = (unsigned)random_below(&random, 8);
			if (what < 2) {
				now = ++writes;
				n += (size_t)snprintf(text + n, sizeof text - n, "b o%d %u put k v%u\ne o%d %u ok -\n",
				                      i, begins, now, i, time++);
			} else if (what == 2) {
				now = 0;
				n += (size_t)snprintf(text + n, sizeof text - n, "b o%d %u remove k -\ne o%d %u ok -\n",
				                      i, begins, i, time++);
			} else if (now) {
				n += (size_t)snprintf(text + n, sizeof text - n, "b o%d %u get k -\ne o%d %u ok v%u\n",
				                      i, begins, i, time++, now);
			} else {
				n += (size_t)snprintf(text + n, sizeof text - n,
				                      "b o%d %u get k -\ne o%d %u absent -\n", i, begins, i, time++);
			}
		}
		good(text);
		n += (size_t)snprintf(text + n, sizeof text - n, "b x 500 put k x\ne x 510 ok -\n");
		if (now) {
			snprintf(text + n, sizeof text - n, "b y 520 get k -\ne y 530 ok v%u\n", now);
			bad(text, "get y");
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_read_after_a_put_sees_it),
		cmocka_unit_test(a_stale_read_is_found),
		cmocka_unit_test(what_overlaps_may_be_seen_in_any_order),
		cmocka_unit_test(what_was_overwritten_does_not_come_back),
		cmocka_unit_test(two_reads_after_the_puts_must_agree),
		cmocka_unit_test(a_lost_put_is_found),
		cmocka_unit_test(a_put_without_an_answer_may_come_late),
		cmocka_unit_test(a_put_without_an_answer_that_was_seen_stays_seen),
		cmocka_unit_test(bytes_that_nobody_wrote_are_found),
		cmocka_unit_test(two_winners_are_found),
		cmocka_unit_test(a_removal_makes_room_for_another_winner),
		cmocka_unit_test(a_winner_that_overwrites_is_found),
		cmocka_unit_test(what_does_not_exist_does_not_refuse),
		cmocka_unit_test(a_creation_that_was_refused_does_not_come_later),
		cmocka_unit_test(an_owner_may_find_its_own),
		cmocka_unit_test(a_removed_segment_may_be_read_but_not_listed),
		cmocka_unit_test(an_incomplete_listing_is_found),
		cmocka_unit_test(a_line_that_a_kill_cut_off_is_left_out),
		cmocka_unit_test(random_histories_of_a_right_store_are_good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
