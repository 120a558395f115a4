/* SPDX-License-Identifier: GPL-3.0-only */
/* test_object_store.c: the rules of a replica on one drive: what is taken, what is refused, what is read and listed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/object_wait.h"
#include "lib/remove_tree.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define NAME "pool/images/1/segments/1"
#define BODY 200000u

static char dir[256];
static const char *drives[] = { dir };
static struct object_store *s;
static struct object_put_result result;

static void start(void)
{
	struct error err = { 0 };

	if (open_drives(&s, NULL, 1, drives, 1, &err) != 0)
		fail_msg("%s", err.text);
}

static void restart(void)
{
	object_store_close(s);
	s = NULL;
	start();
}

static struct object_meta look(const char *name)
{
	struct object_meta meta;

	assert_int_equal(look_wait(s, name, &meta), 0);
	return meta;
}

static void assert_version(struct object_version v, uint64_t counter)
{
	assert_int_equal(object_version_compare(v, version_of(counter)), 0);
}

static void what_was_put_is_read_back_also_after_a_restart(void **state)
{
	static const size_t lengths[] = { 0, 1, 65535, 65536, 65537, BODY, 5u << 20 };

	(void)state;
	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
		char name[64];
		snprintf(name, sizeof name, "pool/o%zu", i);
		assert_int_equal(put_made(s, name, 10 + i, lengths[i], 0, OBJECT_RULE_NEWER, &result), 0);
		assert_false(result.had);
		assert_int_equal(read_made(s, name, 10 + i, lengths[i]), 0);
		assert_int_equal(look(name).length, lengths[i]);
		assert_int_equal(look(name).flags, 0);
	}
	restart();
	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
		char name[64];
		snprintf(name, sizeof name, "pool/o%zu", i);
		assert_int_equal(read_made(s, name, 10 + i, lengths[i]), 0);
	}
}

static void nothing_is_there_of_what_was_never_put(void **state)
{
	struct object_meta meta;
	uint8_t *bytes;
	size_t got;

	(void)state;
	assert_int_equal(look_wait(s, NAME, &meta), -ENOENT);
	assert_int_equal(read_wait(s, NAME, 0, 10, &meta, &bytes, &got), -ENOENT);
	assert_null(bytes);
	assert_int_equal(look_wait(s, "no pool", &meta), -EINVAL);
	assert_int_equal(forget_wait(s, NAME, 1), -ENOENT);
	assert_int_equal(confirm_wait(s, NAME, 1), -ENOENT);
}

static void a_newer_version_replaces_and_an_older_one_is_refused(void **state)
{
	(void)state;
	assert_int_equal(put_made(s, NAME, 5, BODY, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(put_made(s, NAME, 4, 100, 0, OBJECT_RULE_NEWER, &result), -ESTALE);
	assert_true(result.had);
	assert_version(result.was.version, 5);
	assert_int_equal(read_made(s, NAME, 5, BODY), 0);
	assert_int_equal(put_made(s, NAME, 6, 100, 0, OBJECT_RULE_NEWER, &result), 0);
	assert_true(result.had && !result.already);
	assert_version(result.was.version, 5);
	assert_int_equal(read_made(s, NAME, 6, 100), 0);
}

static void of_two_versions_with_one_counter_the_tie_decides(void **state)
{
	struct object_meta meta = body_meta((struct object_version){ 7, 50 }, "fifty", 5, 0);

	(void)state;
	assert_int_equal(put_wait(s, NAME, &meta, "fifty", 5, OBJECT_RULE_NEWER, NULL), 0);
	meta = body_meta((struct object_version){ 7, 49 }, "lower", 5, 0);
	assert_int_equal(put_wait(s, NAME, &meta, "lower", 5, OBJECT_RULE_NEWER, NULL), -ESTALE);
	meta = body_meta((struct object_version){ 7, UINT64_MAX }, "high", 4, 0);
	assert_int_equal(put_wait(s, NAME, &meta, "high", 4, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(look(NAME).version.tie == UINT64_MAX, 1);
}

static void the_same_version_again_is_a_success_and_with_other_bytes_it_is_not(void **state)
{
	struct object_meta other = body_meta(version_of(5), "other", 5, 0);

	(void)state;
	assert_int_equal(put_made(s, NAME, 5, BODY, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(put_made(s, NAME, 5, BODY, 0, OBJECT_RULE_NEWER, &result), 0);
	assert_true(result.had && result.already);
	assert_int_equal(put_made(s, NAME, 5, BODY, 0, OBJECT_RULE_ABSENT, &result), 0);
	assert_true(result.already);
	assert_int_equal(put_wait(s, NAME, &other, "other", 5, OBJECT_RULE_NEWER, NULL), -EBADMSG);
	assert_int_equal(remove_wait(s, NAME, 5, 0, NULL), -EBADMSG);
	assert_int_equal(read_made(s, NAME, 5, BODY), 0);
}

static void a_body_that_is_not_what_was_announced_is_not_stored(void **state)
{
	struct object_meta meta = body_meta(version_of(5), "hello", 5, 0), none;

	(void)state;
	assert_int_equal(put_wait(s, NAME, &meta, "hellO", 5, OBJECT_RULE_NEWER, NULL), -EBADMSG);
	assert_int_equal(put_wait(s, NAME, &meta, "hell", 4, OBJECT_RULE_NEWER, NULL), -EBADMSG);
	assert_int_equal(put_wait(s, NAME, &meta, "hello!", 6, OBJECT_RULE_NEWER, NULL), -EBADMSG);
	assert_int_equal(put_wait(s, NAME, &meta, "", 0, OBJECT_RULE_NEWER, NULL), -EBADMSG);
	assert_int_equal(look_wait(s, NAME, &none), -ENOENT);
	assert_int_equal(put_wait(s, NAME, &meta, "hello", 5, OBJECT_RULE_NEWER, NULL), 0);
}

static void what_is_asked_wrongly_is_refused(void **state)
{
	struct object_meta meta = body_meta(version_of(5), "hello", 5, 0);
	struct object_put *put;

	(void)state;
	assert_int_equal(object_put_begin(s, "hello", &meta, OBJECT_RULE_NEWER, &put), -EINVAL);
	assert_int_equal(object_put_begin(s, "pool/../x", &meta, OBJECT_RULE_NEWER, &put), -EINVAL);
	meta.version = OBJECT_VERSION_NONE;
	assert_int_equal(object_put_begin(s, NAME, &meta, OBJECT_RULE_NEWER, &put), -EINVAL);
	meta.version.counter = OBJECT_COUNTER_MAX + 1;
	assert_int_equal(object_put_begin(s, NAME, &meta, OBJECT_RULE_NEWER, &put), -EINVAL);
	meta.version = version_of(5);
	meta.length = OBJECT_LENGTH_MAX + 1;
	assert_int_equal(object_put_begin(s, NAME, &meta, OBJECT_RULE_NEWER, &put), -EINVAL);
	assert_int_equal(remove_wait(s, "pool", 5, 0, NULL), -EINVAL);
	assert_int_equal(remove_wait(s, NAME, 0, 0, NULL), 0); /* version_of(0) has a tie */
}

static void create_only_is_refused_by_a_live_object_older_or_newer(void **state)
{
	(void)state;
	assert_int_equal(put_made(s, NAME, 5, 10, 0, OBJECT_RULE_ABSENT, NULL), 0);
	assert_int_equal(put_made(s, NAME, 6, 10, 0, OBJECT_RULE_ABSENT, &result), -EEXIST);
	assert_version(result.was.version, 5);
	assert_int_equal(put_made(s, NAME, 4, 10, 0, OBJECT_RULE_ABSENT, &result), -EEXIST);
	assert_int_equal(read_made(s, NAME, 5, 10), 0);
	assert_int_equal(remove_wait(s, NAME, 8, 0, NULL), 0);
	assert_int_equal(put_made(s, NAME, 7, 10, 0, OBJECT_RULE_ABSENT, &result), -ESTALE);
	assert_version(result.was.version, 8);
	assert_int_equal(put_made(s, NAME, 9, 10, 0, OBJECT_RULE_ABSENT, &result), 0);
	assert_true(result.was.flags & OBJECT_TOMBSTONE);
	assert_int_equal(read_made(s, NAME, 9, 10), 0);
}

static void a_removed_object_stays_as_a_tombstone(void **state)
{
	struct object_meta meta;
	uint8_t *bytes;
	size_t got;

	(void)state;
	assert_int_equal(put_made(s, NAME, 5, BODY, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(remove_wait(s, NAME, 4, 0, &result), -ESTALE);
	assert_int_equal(remove_wait(s, NAME, 6, 0, &result), 0);
	assert_version(result.was.version, 5);
	assert_int_equal(remove_wait(s, NAME, 6, 0, &result), 0);
	assert_true(result.already);
	restart();
	meta = look(NAME);
	assert_true(meta.flags == OBJECT_TOMBSTONE && meta.length == 0);
	assert_version(meta.version, 6);
	assert_int_equal(read_wait(s, NAME, 0, SIZE_MAX, &meta, &bytes, &got), -ENOENT);
	assert_int_equal(put_made(s, NAME, 5, BODY, 0, OBJECT_RULE_NEWER, NULL), -ESTALE);
	/* Of what was never there, too: whoever comes with an older put later is refused. */
	assert_int_equal(remove_wait(s, "pool/never", 6, 0, &result), 0);
	assert_false(result.had);
	assert_int_equal(put_made(s, "pool/never", 5, 5, 0, OBJECT_RULE_NEWER, NULL), -ESTALE);
}

static void the_claimed_mark_sticks_to_the_name(void **state)
{
	(void)state;
	assert_int_equal(put_made(s, NAME, 5, 100, OBJECT_CLAIMED, OBJECT_RULE_NEWER, &result), 0);
	assert_false(result.claimed);
	assert_int_equal(put_made(s, NAME, 6, 100, 0, OBJECT_RULE_NEWER, &result), 0);
	assert_true(result.claimed);
	assert_int_equal(look(NAME).flags, OBJECT_CLAIMED);
	assert_int_equal(remove_wait(s, NAME, 7, 0, &result), 0);
	assert_true(result.claimed);
	restart();
	assert_int_equal(look(NAME).flags, OBJECT_CLAIMED | OBJECT_TOMBSTONE);
	assert_int_equal(put_made(s, NAME, 8, 100, 0, OBJECT_RULE_NEWER, &result), 0);
	assert_int_equal(look(NAME).flags, OBJECT_CLAIMED);
	assert_int_equal(forget_wait(s, NAME, 8), 0);
	assert_int_equal(put_made(s, NAME, 9, 100, 0, OBJECT_RULE_NEWER, &result), 0);
	assert_false(result.claimed);
}

static void a_copy_that_is_claimed_makes_the_same_version_claimed(void **state)
{
	(void)state;
	assert_int_equal(put_made(s, NAME, 5, BODY, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(confirm_wait(s, NAME, 5), 0);
	assert_int_equal(put_made(s, NAME, 5, BODY, OBJECT_CLAIMED, OBJECT_RULE_NEWER, &result), 0);
	assert_false(result.already);
	assert_int_equal(look(NAME).flags, OBJECT_CLAIMED | OBJECT_CONFIRMED);
	assert_int_equal(put_made(s, NAME, 5, BODY, 0, OBJECT_RULE_NEWER, &result), 0);
	assert_true(result.already);
	restart();
	assert_true(look(NAME).flags & OBJECT_CLAIMED);
	assert_int_equal(read_made(s, NAME, 5, BODY), 0);
	assert_int_equal(remove_wait(s, NAME, 6, 0, NULL), 0);
	assert_int_equal(remove_wait(s, NAME, 6, OBJECT_CLAIMED, NULL), 0);
	assert_int_equal(look(NAME).flags, OBJECT_CLAIMED | OBJECT_TOMBSTONE);
}

static void a_mark_of_confirmation_is_of_one_version(void **state)
{
	(void)state;
	assert_int_equal(put_made(s, NAME, 5, 100, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(confirm_wait(s, NAME, 4), -ENOENT);
	assert_int_equal(look(NAME).flags, 0);
	assert_int_equal(confirm_wait(s, NAME, 5), 0);
	assert_int_equal(look(NAME).flags, OBJECT_CONFIRMED);
	restart();
	assert_int_equal(look(NAME).flags, OBJECT_CONFIRMED);
	assert_int_equal(put_made(s, NAME, 6, 100, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(look(NAME).flags, 0);
}

static void what_is_forgotten_leaves_nothing_but_the_floor(void **state)
{
	struct object_meta meta;

	(void)state;
	assert_int_equal(put_made(s, NAME, 5, 100, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(forget_wait(s, NAME, 4), -ENOENT);
	assert_int_equal(remove_wait(s, NAME, 6, 0, NULL), 0);
	assert_int_equal(forget_wait(s, NAME, 5), -ENOENT);
	assert_int_equal(forget_wait(s, NAME, 6), 0);
	assert_int_equal(look_wait(s, NAME, &meta), -ENOENT);
	restart();
	assert_int_equal(look_wait(s, NAME, &meta), -ENOENT);
	assert_int_equal(put_made(s, NAME, 1, 100, 0, OBJECT_RULE_COPY, &result), 0);
	assert_false(result.had);
}

static void below_the_floor_only_copies_are_taken(void **state)
{
	(void)state;
	assert_true(object_version_is_none(object_store_floor(s)));
	assert_int_equal(remove_wait(s, NAME, 6, 0, NULL), 0);
	assert_true(object_version_is_none(object_store_floor(s)));
	assert_int_equal(forget_wait(s, NAME, 6), 0);
	assert_version(object_store_floor(s), 6);
	restart();
	assert_version(object_store_floor(s), 6);
	/* Of any name: which ones had a tombstone is not known any more. */
	assert_int_equal(put_made(s, "p/other", 5, 100, 0, OBJECT_RULE_NEWER, &result), -ESTALE);
	assert_true(result.had && result.was.flags & OBJECT_TOMBSTONE);
	assert_version(result.was.version, 6);
	assert_int_equal(put_made(s, "p/other", 6, 100, 0, OBJECT_RULE_ABSENT, NULL), -ESTALE);
	assert_int_equal(remove_wait(s, "p/other", 4, 0, NULL), -ESTALE);
	assert_int_equal(put_made(s, "p/other", 7, 100, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(put_made(s, "p/copy", 5, 100, 0, OBJECT_RULE_COPY, NULL), 0);
	/* Where something is, that alone counts. */
	assert_int_equal(put_made(s, "p/copy", 6, 100, 0, OBJECT_RULE_NEWER, NULL), 0);
	/* An object that is forgotten, as others hold it, does not raise it. */
	assert_int_equal(forget_wait(s, "p/other", 7), 0);
	assert_version(object_store_floor(s), 6);
	assert_int_equal(object_store_raise_floor(s, version_of(3)), 0);
	assert_version(object_store_floor(s), 6);
	assert_int_equal(object_store_raise_floor(s, version_of(9)), 0);
	restart();
	assert_version(object_store_floor(s), 9);
}

static void ranges_are_read_wherever_they_begin_and_end(void **state)
{
	static const size_t at[] = { 0, 1, 65535, 65536, 65537, 131072, BODY - 1, BODY, BODY + 1, 1u << 30 };
	uint8_t *want = malloc(BODY), *bytes;
	struct object_meta meta;
	size_t got;

	(void)state;
	body_fill(5, want, BODY);
	assert_int_equal(put_made(s, NAME, 5, BODY, 0, OBJECT_RULE_NEWER, NULL), 0);
	for (size_t i = 0; i < sizeof at / sizeof at[0]; i++)
		for (size_t k = 0; k < sizeof at / sizeof at[0]; k++) {
			size_t from = at[i] < BODY ? at[i] : BODY, len = BODY - from < at[k] ? BODY - from : at[k];
			assert_int_equal(read_wait(s, NAME, at[i], at[k], &meta, &bytes, &got), 0);
			assert_int_equal(got, len);
			assert_true(len == 0 || memcmp(bytes, want + from, len) == 0);
			assert_version(meta.version, 5);
			free(bytes);
		}
	free(want);
}

static _Atomic int released;

static void release_one(void *arg)
{
	(void)arg;
	atomic_fetch_add(&released, 1);
}

static void every_piece_is_released_also_of_puts_that_are_refused_or_aborted(void **state)
{
	struct object_meta meta = body_meta(version_of(5), "hellohello", 10, 0), none;
	struct object_waiter w;
	struct object_put *put;

	(void)state;
	atomic_store(&released, 0);
	assert_int_equal(object_put_begin(s, NAME, &meta, OBJECT_RULE_NEWER, &put), 0);
	object_put_append(put, "hello", 5, release_one, NULL);
	object_put_append(put, "hello", 5, release_one, NULL);
	object_put_abort(put);
	while (atomic_load(&released) < 2)
		;
	assert_int_equal(look_wait(s, NAME, &none), -ENOENT);
	assert_int_equal(put_made(s, NAME, 6, 10, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(object_put_begin(s, NAME, &meta, OBJECT_RULE_NEWER, &put), 0);
	object_put_append_copy(put, "hello", 5);
	while (!object_put_settled(put))
		;
	object_put_append(put, "hello", 5, release_one, NULL);
	waiter_begin(&w);
	object_put_finish(put, waiter_put, &w);
	assert_int_equal(waiter_end(&w), -ESTALE);
	assert_int_equal(atomic_load(&released), 3);
	/* A put that is known to be refused needs no whole body. */
	assert_int_equal(object_put_begin(s, NAME, &meta, OBJECT_RULE_NEWER, &put), 0);
	waiter_begin(&w);
	object_put_finish(put, waiter_put, &w);
	assert_int_equal(waiter_end(&w), -ESTALE);
}

static void a_listing_is_in_order_and_in_pages(void **state)
{
	static const char *const names[] = { "a/1", "pool/a", "pool/a/b", "pool/a/c", "pool/b", "pool2/a" };
	struct object_entry e[16];
	bool more;

	(void)state;
	for (size_t i = 6; i--;)
		assert_int_equal(put_made(s, names[i], 5 + i, i, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(remove_wait(s, "pool/a/c", 20, 0, NULL), 0);
	assert_int_equal(list_wait(s, "", NULL, 0, e, 16, &more), 6);
	assert_false(more);
	for (size_t i = 0; i < 6; i++)
		assert_string_equal(e[i].name, names[i]);
	assert_true(e[3].meta.flags & OBJECT_TOMBSTONE);
	assert_true(e[4].meta.length == 4 && e[4].stored_s > 1000000);
	assert_int_equal(list_wait(s, "pool/", NULL, 0, e, 16, &more), 4);
	assert_int_equal(list_wait(s, "pool/a", NULL, 2, e, 16, &more), 2);
	assert_true(more);
	assert_int_equal(list_wait(s, "pool/a", "pool/a/b", 2, e, 16, &more), 1);
	assert_string_equal(e[0].name, "pool/a/c");
	assert_false(more);
	assert_int_equal(list_wait(s, "pool/a", "a", 2, e, 16, &more), 2);
	assert_string_equal(e[0].name, "pool/a");
	assert_int_equal(list_wait(s, "pool/a", "q", 2, e, 16, &more), 0);
	assert_int_equal(list_wait(s, "x", NULL, 2, e, 16, &more), 0);
	assert_false(more);
}

static bool want_even(void *arg, const char *name)
{
	(void)arg;
	return (name[strlen(name) - 1] - '0') % 2 == 0;
}

static void buckets_tell_which_names_differ(void **state)
{
	struct object_bucket before[OBJECT_BUCKETS], after[OBJECT_BUCKETS], even[OBJECT_BUCKETS];
	struct object_entry e[400];
	unsigned differ = 0, where = object_bucket_of("pool/o7");
	size_t entries = 0;

	(void)state;
	for (int i = 0; i < 300; i++) {
		char name[64];
		snprintf(name, sizeof name, "pool/o%d", i);
		assert_int_equal(put_made(s, name, 100, 3, 0, OBJECT_RULE_NEWER, NULL), 0);
	}
	assert_int_equal(buckets_wait(s, NULL, before), 0);
	for (unsigned b = 0; b < OBJECT_BUCKETS; b++) {
		int n = bucket_wait(s, b, NULL, e, 400);
		assert_int_equal(n, before[b].count);
		for (int i = 0; i < n; i++)
			assert_int_equal(object_bucket_of(e[i].name), b);
		entries += (size_t)n;
	}
	assert_int_equal(entries, 300);
	assert_int_equal(confirm_wait(s, "pool/o7", 100), 0);
	assert_int_equal(buckets_wait(s, NULL, after), 0);
	assert_memory_equal(before, after, sizeof before);
	assert_int_equal(put_made(s, "pool/o7", 101, 3, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(buckets_wait(s, NULL, after), 0);
	for (unsigned b = 0; b < OBJECT_BUCKETS; b++)
		if (memcmp(&before[b], &after[b], sizeof before[b]) != 0) {
			differ++;
			assert_int_equal(b, where);
		}
	assert_int_equal(differ, 1);
	assert_int_equal(buckets_wait(s, want_even, even), 0);
	entries = 0;
	for (unsigned b = 0; b < OBJECT_BUCKETS; b++) {
		entries += even[b].count;
		assert_int_equal(bucket_wait(s, b, want_even, e, 400), even[b].count);
	}
	assert_int_equal(entries, 150);
}

static void the_counts_are_of_what_is_there(void **state)
{
	struct object_store_stats stats;

	(void)state;
	assert_int_equal(put_made(s, "pool/a", 5, 1000, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(put_made(s, "pool/b", 5, 500, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(put_made(s, "pool/a", 6, 300, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(remove_wait(s, "pool/c", 5, 0, NULL), 0);
	for (int i = 0; i < 2; i++) {
		object_store_stats(s, &stats);
		assert_true(stats.objects == 2 && stats.tombstones == 1 && stats.bytes == 800);
		assert_true(stats.drive_count == 1 && stats.drive[0].takes_new);
		assert_string_equal(stats.drive[0].state, "ok");
		assert_string_equal(stats.drive[0].path, dir);
		assert_true(stats.drive[0].capacity_bytes > stats.drive[0].free_bytes && stats.drive[0].free_bytes > 0);
		assert_int_equal(stats.puts_waiting, 0);
		if (!i)
			assert_int_equal(stats.puts, 4);
		restart();
	}
}

static int make(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof dir, "%s/garner-objects-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	start();
	return 0;
}

static int unmake(void **state)
{
	(void)state;
	object_store_close(s);
	s = NULL;
	return remove_tree(dir);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_put_is_read_back_also_after_a_restart),
		TEST(nothing_is_there_of_what_was_never_put),
		TEST(a_newer_version_replaces_and_an_older_one_is_refused),
		TEST(of_two_versions_with_one_counter_the_tie_decides),
		TEST(the_same_version_again_is_a_success_and_with_other_bytes_it_is_not),
		TEST(a_body_that_is_not_what_was_announced_is_not_stored),
		TEST(what_is_asked_wrongly_is_refused),
		TEST(create_only_is_refused_by_a_live_object_older_or_newer),
		TEST(a_removed_object_stays_as_a_tombstone),
		TEST(the_claimed_mark_sticks_to_the_name),
		TEST(a_copy_that_is_claimed_makes_the_same_version_claimed),
		TEST(a_mark_of_confirmation_is_of_one_version),
		TEST(what_is_forgotten_leaves_nothing_but_the_floor),
		TEST(below_the_floor_only_copies_are_taken),
		TEST(ranges_are_read_wherever_they_begin_and_end),
		TEST(every_piece_is_released_also_of_puts_that_are_refused_or_aborted),
		TEST(a_listing_is_in_order_and_in_pages),
		TEST(buckets_tell_which_names_differ),
		TEST(the_counts_are_of_what_is_there),
	};

	return cmocka_run_group_tests_name("object_store", tests, NULL, NULL);
}
