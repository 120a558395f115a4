/* SPDX-License-Identifier: GPL-3.0-only */
/* test_drive_set.c: the two files that say which drives make up a node, and the rules; test_object_drives.c has them in action. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/random.h"
#include "node/drive_set.h"

#include <errno.h>
#include <stdio.h>

#define CLUSTER "0123456789abcdef0123456789abcdef"
#define NODE 3u

static char text[DRIVE_TEXT_MAX];

static const char *id_of(unsigned i)
{
	static char id[4][DRIVE_ID_TEXT];
	static unsigned turn;
	char *out = id[turn++ % 4];

	snprintf(out, DRIVE_ID_TEXT, "%032x", i);
	return out;
}

static struct drive_list list_of(uint64_t generation, unsigned members, unsigned out)
{
	struct drive_list list = { .cluster = CLUSTER, .node = NODE, .generation = generation };

	for (unsigned i = 1; i <= members; i++)
		drive_list_set(&list, id_of(i), false);
	for (unsigned i = 0; i < out; i++)
		drive_list_set(&list, id_of(100 + i), true);
	return list;
}

static struct drive_found found_of(unsigned id, const struct drive_list *list)
{
	struct drive_found f = { .path = "/srv/drive", .id = { .cluster = CLUSTER, .node = NODE } };

	snprintf(f.id.drive, sizeof f.id.drive, "%s", id_of(id));
	if (list)
		f.list = *list;
	return f;
}

static void texts_are_read_as_they_were_written(void **state)
{
	struct drive_identity id = { .cluster = CLUSTER, .node = 65535 }, id_again;
	struct drive_list list = list_of(7, 3, 2), list_again;

	(void)state;
	snprintf(id.drive, sizeof id.drive, "%s", id_of(12));
	assert_true(drive_identity_format(&id, text, sizeof text) > 0);
	assert_int_equal(drive_identity_parse(text, &id_again, NULL), 0);
	assert_memory_equal(&id, &id_again, sizeof id);
	for (list.state = OBJECT_STORE_COMPLETE; list.state <= OBJECT_STORE_LOST; list.state++) {
		assert_true(drive_list_format(&list, text, sizeof text) > 0);
		assert_int_equal(drive_list_parse(text, &list_again, NULL), 0);
		assert_memory_equal(&list, &list_again, sizeof list);
	}
	assert_int_equal(drive_list_format(&list, text, 100), -ENOSPC);
	list = list_of(UINT64_MAX / 2, 100, DRIVE_LIST_MAX - 100);
	assert_true(drive_list_format(&list, text, sizeof text) > 0);
	assert_int_equal(drive_list_parse(text, &list_again, NULL), 0);
}

static void no_text_that_is_changed_anywhere_is_accepted(void **state)
{
	struct drive_list list = list_of(7, 2, 1), again;
	int len = drive_list_format(&list, text, sizeof text);

	(void)state;
	for (int i = 0; i < len; i++) {
		char was = text[i];
		for (unsigned bit = 0; bit < 8; bit++) {
			text[i] = (char)(was ^ (char)(1u << bit));
			assert_int_equal(drive_list_parse(text, &again, NULL), -EBADMSG);
		}
		text[i] = '\0';
		assert_int_equal(drive_list_parse(text, &again, NULL), -EBADMSG);
		text[i] = was;
	}
	assert_int_equal(drive_list_parse(text, &again, NULL), 0);
	memset(text, 'a', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	assert_int_equal(drive_list_parse(text, &again, NULL), -EBADMSG);
}

static void the_list_forgets_the_oldest_that_was_left_out_when_it_is_full(void **state)
{
	struct drive_list list = list_of(7, 1, DRIVE_LIST_MAX - 1);

	(void)state;
	drive_list_set(&list, id_of(50), false);
	assert_int_equal(list.count, DRIVE_LIST_MAX);
	assert_non_null(drive_list_find(&list, id_of(1)));
	assert_null(drive_list_find(&list, id_of(100)));
	assert_non_null(drive_list_find(&list, id_of(101)));
	assert_false(drive_list_find(&list, id_of(50))->out);
}

static int decide(const struct drive_found *found, size_t count, struct drive_list *list, bool *changed)
{
	struct error err = { 0 };
	int rc = drive_set_decide(found, count, CLUSTER, NODE, list, changed, &err);

	if (rc < 0)
		assert_true(err.text[0]);
	return rc;
}

static void empty_directories_are_a_first_start(void **state)
{
	struct drive_found f[2] = { { .path = "a", .empty = true }, { .path = "b", .empty = true } };
	struct drive_list list;
	bool changed;

	(void)state;
	assert_int_equal(decide(f, 2, &list, &changed), 0);
	assert_true(changed && list.generation == 1 && list.state == OBJECT_STORE_NEW && list.count == 0);
	/* Also when the first start was interrupted. */
	f[1] = found_of(2, NULL);
	f[1].fresh = true;
	assert_int_equal(decide(f, 2, &list, &changed), 0);
	assert_true(list.state == OBJECT_STORE_NEW && list.count == 1);
	/* A drive whose list is gone, but not its objects, is none. */
	f[1].fresh = false;
	assert_int_equal(decide(f, 2, &list, &changed), 0);
	assert_true(list.state == OBJECT_STORE_LOST && list.count == 1);
}

static void the_newest_list_counts_and_is_given_to_all(void **state)
{
	struct drive_list old = list_of(6, 1, 0), newest = list_of(7, 2, 0), list;
	struct drive_found f[2] = { found_of(1, &old), found_of(2, &newest) };
	bool changed;

	(void)state;
	assert_int_equal(decide(f, 2, &list, &changed), 0);
	assert_true(changed && list.generation == 8 && list.count == 2 && list.state == OBJECT_STORE_COMPLETE);
	f[0].list = newest;
	assert_int_equal(decide(f, 2, &list, &changed), 0);
	assert_true(!changed && list.generation == 7);
}

static void a_drive_that_was_left_out_or_is_unknown_is_refused(void **state)
{
	struct drive_list old = list_of(6, 2, 0), newest = list_of(7, 2, 0), list;
	struct drive_found f[2] = { found_of(1, &newest), found_of(2, &old) };
	bool changed;

	(void)state;
	drive_list_set(&f[0].list, id_of(2), true);
	assert_int_equal(decide(f, 2, &list, &changed), -EINVAL);
	f[1] = found_of(9, &old);
	assert_int_equal(decide(f, 2, &list, &changed), -EINVAL);
	f[1] = found_of(1, &newest);
	assert_int_equal(decide(f, 2, &list, &changed), -EINVAL); /* twice the same */
	f[1] = found_of(9, NULL);
	f[1].fresh = true;
	assert_int_equal(decide(f, 2, &list, &changed), 0);
	assert_non_null(drive_list_find(&list, id_of(9)));
}

static void what_is_missing_or_cannot_be_used_is_left_out_and_lost(void **state)
{
	struct drive_list newest = list_of(7, 3, 0), list;
	struct drive_found f[3] = { found_of(1, &newest), found_of(2, &newest), found_of(3, &newest) };
	bool changed;

	(void)state;
	assert_int_equal(decide(f, 2, &list, &changed), 0);
	assert_true(changed && list.state == OBJECT_STORE_LOST && drive_list_find(&list, id_of(3))->out);
	f[1].unusable = true;
	assert_int_equal(decide(f, 3, &list, &changed), 0);
	assert_true(list.state == OBJECT_STORE_LOST && drive_list_find(&list, id_of(2))->out);
	assert_false(drive_list_find(&list, id_of(3))->out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_are_read_as_they_were_written),
		cmocka_unit_test(no_text_that_is_changed_anywhere_is_accepted),
		cmocka_unit_test(the_list_forgets_the_oldest_that_was_left_out_when_it_is_full),
		cmocka_unit_test(empty_directories_are_a_first_start),
		cmocka_unit_test(the_newest_list_counts_and_is_given_to_all),
		cmocka_unit_test(a_drive_that_was_left_out_or_is_unknown_is_refused),
		cmocka_unit_test(what_is_missing_or_cannot_be_used_is_left_out_and_lost),
	};

	return cmocka_run_group_tests_name("drive_set", tests, NULL, NULL);
}
