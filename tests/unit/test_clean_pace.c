/* SPDX-License-Identifier: GPL-3.0-only */
/* test_clean_pace.c: how fast cleaning moves, beside guests that write and without them: in simulated time. */
#include "image/clean_pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define MIB ((uint64_t)1 << 20)
#define STEP_NS 10000000u
#define LIMIT (1024 * MIB)

/* Moves a MiB at a time whenever that may be done, while guests write so much in each of `steps` and so much waits for its upload.
 * Returns how much was moved. */
static uint64_t moved_in(struct clean_pace *p, struct clean_load *load, unsigned steps, uint64_t guests,
                         uint64_t unsent)
{
	uint64_t before = p->moved;

	load->unsent = unsent;
	for (unsigned k = 0; k < steps; k++) {
		load->now_ns += STEP_NS;
		load->guests_wrote += guests;
		for (unsigned n = 0; n < 1000 && p->moved < p->total && clean_pace_may(p, load); n++)
			clean_pace_moved(p, MIB);
	}
	return p->moved - before;
}

static struct clean_load some_load(void)
{
	return (struct clean_load){ .now_ns = 5000000000u, .guests_wrote = 777 * MIB, .limit = LIMIT };
}

static void begin(struct clean_pace *p, const struct clean_load *load, uint64_t total, double pressure, bool at_once)
{
	const struct clean_pace plan = {
		.at_once = at_once, .pressure = pressure, .total = total, .round_ns = 1000000000
	};

	clean_pace_begin(p, &plan, load);
}

static void pressure_grows_from_what_is_allowed_to_twice_that(void **state)
{
	(void)state;
	assert_true(clean_pressure(0, 0) == 0);
	assert_true(clean_pressure(5, 0) == 1);
	assert_true(clean_pressure(99, 100) == 0);
	assert_true(clean_pressure(100, 100) == 0);
	assert_true(clean_pressure(150, 100) == 0.5);
	assert_true(clean_pressure(200, 100) == 1);
	assert_true(clean_pressure(UINT64_MAX, 100) == 1);
}

static void alone_it_does_not_wait(void **state)
{
	struct clean_load load = some_load();
	struct clean_pace p;

	(void)state;
	begin(&p, &load, 500 * MIB, 0, false);
	assert_int_equal(moved_in(&p, &load, 1, 0, 0), 500 * MIB);
}

static void when_guests_cease_it_goes_on_at_full_speed(void **state)
{
	struct clean_load load = some_load();
	struct clean_pace p;

	(void)state;
	begin(&p, &load, 500 * MIB, 1, false);
	assert_true(moved_in(&p, &load, 10, MIB / 100, 0) < 10 * MIB);
	assert_true(moved_in(&p, &load, 30, 0, 0) >= 490 * MIB);
}

static void beside_guests_a_round_takes_its_time_however_much_it_moves(void **state)
{
	(void)state;
	for (uint64_t total = 5 * MIB; total <= 80 * MIB; total *= 2) {
		struct clean_load load = some_load();
		struct clean_pace p;
		begin(&p, &load, total, 0, false);
		uint64_t half = moved_in(&p, &load, 50, MIB, 0);
		assert_true(half >= total / 2 - 2 * MIB && half <= total / 2 + 2 * MIB);
		assert_int_equal(half + moved_in(&p, &load, 51, MIB, 0), total);
	}
}

static void beside_guests_it_moves_no_more_than_twice_what_they_write_and_a_little(void **state)
{
	struct clean_load load = some_load();
	struct clean_pace p;

	(void)state;
	begin(&p, &load, 4096 * MIB, 0, false);
	uint64_t moved = moved_in(&p, &load, 200, MIB / 4, 0);
	assert_true(moved >= (100 + 14) * MIB && moved <= (100 + 18) * MIB);
}

static void the_more_waits_for_its_upload_the_less_it_moves(void **state)
{
	uint64_t before = UINT64_MAX;

	(void)state;
	for (uint64_t unsent = 0; unsent < LIMIT / 2; unsent += LIMIT / 16) {
		struct clean_load load = some_load();
		struct clean_pace p;
		begin(&p, &load, 4096 * MIB, 0, false);
		uint64_t moved = moved_in(&p, &load, 200, MIB, unsent);
		assert_true(moved < before);
		before = moved;
	}
}

/* From half of the limit on, whether guests write or not, or somebody has asked for a cleaning that is to be done now. */
static void where_uploads_do_not_keep_up_it_waits_unless_there_is_too_much_garbage(void **state)
{
	(void)state;
	for (int at_once = 0; at_once < 2; at_once++)
		for (int guests = 0; guests < 2; guests++) {
			struct clean_load load = some_load();
			struct clean_pace p;
			begin(&p, &load, 4096 * MIB, 0, at_once);
			assert_int_equal(moved_in(&p, &load, 500, guests * MIB, LIMIT / 2), 0);
			assert_true(moved_in(&p, &load, 500, guests * MIB, 0) > 0);
		}
}

static void under_guests_that_never_pause_garbage_gets_its_share(void **state)
{
	uint64_t before = 0;

	(void)state;
	for (int k = 1; k <= 4; k++) {
		struct clean_load load = some_load();
		struct clean_pace p;
		begin(&p, &load, 4096 * MIB, k / 4.0, false);
		uint64_t moved = moved_in(&p, &load, 1000, MIB, LIMIT);
		assert_true(moved > before);
		before = moved;
	}
	assert_true(before >= 249 * MIB && before <= 251 * MIB);
}

static void what_was_not_made_use_of_is_not_saved_up(void **state)
{
	struct clean_load load = some_load();
	struct clean_pace p;

	(void)state;
	begin(&p, &load, 4096 * MIB, 1, false);
	load.now_ns += STEP_NS;
	load.guests_wrote += 4096 * MIB;
	load.unsent = LIMIT;
	/* A day passes. */
	(void)clean_pace_may(&p, &load);
	load.now_ns += 86400 * 1000000000ull;
	assert_true(moved_in(&p, &load, 1, 1, LIMIT) <= 17 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pressure_grows_from_what_is_allowed_to_twice_that),
		cmocka_unit_test(alone_it_does_not_wait),
		cmocka_unit_test(when_guests_cease_it_goes_on_at_full_speed),
		cmocka_unit_test(beside_guests_a_round_takes_its_time_however_much_it_moves),
		cmocka_unit_test(beside_guests_it_moves_no_more_than_twice_what_they_write_and_a_little),
		cmocka_unit_test(the_more_waits_for_its_upload_the_less_it_moves),
		cmocka_unit_test(where_uploads_do_not_keep_up_it_waits_unless_there_is_too_much_garbage),
		cmocka_unit_test(under_guests_that_never_pause_garbage_gets_its_share),
		cmocka_unit_test(what_was_not_made_use_of_is_not_saved_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
