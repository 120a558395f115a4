/* SPDX-License-Identifier: GPL-3.0-only */
/* test_hints.c: what other nodes have missed is kept until they have it, or until it is known that not all of it was kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/remove_tree.h"
#include "node/hints.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[256];
static struct hints *h;
static unsigned most;
static bool lost;
static struct hint batch[100];

static void start(void)
{
	struct error err = { 0 };

	if (hints_open(dir, most, &h, &lost, &err) != 0)
		fail_msg("%s", err.text);
}

static void restart(void)
{
	hints_close(h);
	h = NULL;
	start();
}

static struct object_version v(uint64_t counter)
{
	return (struct object_version){ counter, UINT64_MAX - counter };
}

static void add(unsigned node, const char *name, uint64_t counter)
{
	assert_int_equal(hint_add(h, node, name, v(counter)), 0);
}

static void hints_are_given_per_node_in_order_and_survive(void **state)
{
	(void)state;
	assert_false(lost);
	add(2, "pool/b", 5);
	add(2, "pool/a", 6);
	add(3, "pool/a", 7);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(hint_next(h, 2, NULL, batch, 100), 2);
		assert_string_equal(batch[0].name, "pool/a");
		assert_string_equal(batch[1].name, "pool/b");
		assert_true(batch[0].version.counter == 6 && batch[0].version.tie == UINT64_MAX - 6);
		assert_int_equal(hint_next(h, 2, "pool/a", batch, 100), 1);
		assert_int_equal(hint_next(h, 2, NULL, batch, 1), 1);
		assert_int_equal(hint_next(h, 4, NULL, batch, 100), 0);
		assert_true(hint_count(h, 2) == 2 && hint_count(h, 3) == 1 && hint_count(h, 0) == 3);
		restart();
		assert_false(lost);
	}
	assert_int_equal(hint_add(h, 0, "pool/a", v(1)), -EINVAL);
	assert_int_equal(hint_add(h, HINTS_NODE_MAX + 1, "pool/a", v(1)), -EINVAL);
	assert_int_equal(hint_add(h, 1, "a", v(1)), -EINVAL);
	assert_int_equal(hint_add(h, 1, "pool/a", OBJECT_VERSION_NONE), -EINVAL);
}

static void of_a_name_the_highest_version_is_kept_until_that_is_delivered(void **state)
{
	(void)state;
	add(2, "pool/a", 5);
	add(2, "pool/a", 7);
	add(2, "pool/a", 6);
	assert_int_equal(hint_count(h, 2), 1);
	assert_int_equal(hint_next(h, 2, NULL, batch, 100), 1);
	assert_int_equal(batch[0].version.counter, 7);
	assert_int_equal(hint_done(h, 2, "pool/a", v(6)), 0);
	assert_int_equal(hint_count(h, 2), 1);
	assert_int_equal(hint_done(h, 2, "pool/a", v(8)), 0);
	assert_int_equal(hint_count(h, 2), 0);
	assert_int_equal(hint_done(h, 2, "pool/a", v(8)), 0);
	assert_int_equal(hint_next(h, 2, NULL, batch, 100), 0);
	assert_int_equal(hint_count(h, 0), 0);
}

static void beyond_the_bound_a_node_is_known_to_need_all(void **state)
{
	uint64_t mark, later;
	char name[64];

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof name, "pool/%u", i);
		add(2, name, 5);
	}
	assert_false(hint_full(h, 2, NULL));
	add(2, "pool/3", 6); /* is there already */
	assert_false(hint_full(h, 2, NULL));
	add(3, "pool/0", 5);
	assert_true(hint_full(h, 3, &mark) && !hint_full(h, 2, NULL) && hint_count(h, 3) == 0);
	add(3, "pool/1", 5);
	assert_int_equal(hint_full_done(h, 3, mark), -EAGAIN);
	assert_true(hint_full(h, 3, &later) && later != mark);
	restart();
	assert_true(hint_full(h, 3, &mark));
	assert_int_equal(hint_full_done(h, 3, mark), 0);
	assert_false(hint_full(h, 3, NULL));
	restart();
	assert_false(hint_full(h, 3, NULL));
	/* There is room again. */
	assert_int_equal(hint_done(h, 2, "pool/0", v(5)), 0);
	add(3, "pool/0", 5);
	assert_true(!hint_full(h, 3, NULL) && hint_count(h, 3) == 1);
	add(4, "pool/0", 5);
	assert_true(hint_full(h, 4, NULL));
	assert_int_equal(hint_forget(h, 2), 0);
	assert_int_equal(hint_forget(h, 4), 0);
	assert_false(hint_full(h, 4, NULL));
	assert_true(hint_count(h, 2) == 0 && hint_count(h, 0) == 1);
}

static void a_damaged_table_means_that_every_node_needs_all(void **state)
{
	char path[300];
	uint64_t mark;

	(void)state;
	add(2, "pool/a", 5);
	hints_close(h);
	snprintf(path, sizeof path, "%s/hints.db", dir);
	int fd = open(path, O_RDWR);
	assert_int_equal(pwrite(fd, "damaged damaged damaged", 23, 0), 23);
	close(fd);
	start();
	assert_true(lost);
	assert_true(hint_full(h, 2, NULL) && hint_full(h, 3, NULL));
	assert_int_equal(hint_count(h, 0), 0);
	restart();
	assert_false(lost);
	assert_true(hint_full(h, 2, &mark));
	assert_int_equal(hint_full_done(h, 2, mark), 0);
	restart();
	assert_false(hint_full(h, 2, NULL));
	assert_true(hint_full(h, 3, NULL));
	add(2, "pool/a", 5);
	assert_int_equal(hint_count(h, 2), 1);
}

static _Atomic int errors;

static void *add_many(void *arg)
{
	char name[64];

	for (unsigned i = 0; i < 50; i++) {
		snprintf(name, sizeof name, "pool/%u", i);
		if (hint_add(h, (unsigned)(uintptr_t)arg, name, v(i + 1)) != 0)
			atomic_fetch_add(&errors, 1);
		if (i % 5 == 0 && hint_done(h, (unsigned)(uintptr_t)arg, name, v(i + 1)) != 0)
			atomic_fetch_add(&errors, 1);
	}
	return NULL;
}

static void many_threads_add_and_take_out(void **state)
{
	pthread_t thread[8];

	(void)state;
	for (uintptr_t i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, add_many, (void *)(i % 4 + 1)), 0);
	for (unsigned i = 0; i < 8; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(atomic_load(&errors), 0);
	for (unsigned node = 1; node <= 4; node++) {
		uint64_t count = hint_count(h, node);
		assert_int_equal(hint_next(h, node, NULL, batch, 100), count);
		assert_true(count >= 40 && count <= 50);
	}
}

static int make(unsigned max)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof dir, "%s/garner-hints-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	most = max;
	start();
	return 0;
}

static int make_usual(void **state)
{
	(void)state;
	return make(0);
}

static int make_small(void **state)
{
	(void)state;
	return make(10);
}

static int unmake(void **state)
{
	(void)state;
	hints_close(h);
	h = NULL;
	return remove_tree(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(hints_are_given_per_node_in_order_and_survive, make_usual, unmake),
		cmocka_unit_test_setup_teardown(of_a_name_the_highest_version_is_kept_until_that_is_delivered,
		                                make_usual, unmake),
		cmocka_unit_test_setup_teardown(beyond_the_bound_a_node_is_known_to_need_all, make_small, unmake),
		cmocka_unit_test_setup_teardown(a_damaged_table_means_that_every_node_needs_all, make_usual, unmake),
		cmocka_unit_test_setup_teardown(many_threads_add_and_take_out, make_usual, unmake),
	};

	return cmocka_run_group_tests_name("hints", tests, NULL, NULL);
}
