/* SPDX-License-Identifier: GPL-3.0-only */
/* test_pool.c: making a pool, opening it with the right and the wrong key, and what is refused. */
#include "image/pool.h"
#include "lib/pool_fixture.h"
#include "lib/spy_store.h"
#include "lib/weak_store.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

static char dir[200];
static struct secret *secret, *other;

static struct secret *make_secret(const char *text)
{
	char path[300];
	struct secret *s;
	int fd;

	snprintf(path, sizeof path, "%s.key", dir);
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(close(fd), 0);
	assert_int_equal(pool_secret(path, NULL, &s, NULL), 0);
	assert_int_equal(unlink(path), 0);
	return s;
}

static int setup(void **state)
{
	(void)state;
	fixture_make_dir(dir);
	secret = make_secret("a key of enough bytes");
	other = make_secret("another key, as long");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	secret_free(secret);
	secret_free(other);
	fixture_remove_dir(dir);
	return 0;
}

static int keep_key(void *arg, const struct store_entry *entry)
{
	assert_string_equal(entry->key, POOL_KEY);
	(*(int *)arg)++;
	return 0;
}

static void a_plain_pool_is_made_and_opened_and_only_its_format_object_is_left(void **state)
{
	struct error err = { 0 };
	struct pool *p;
	int count = 0;

	(void)state;
	assert_int_equal(pool_may_begin(dir, NULL, &err), 1);
	assert_int_equal(pool_init(dir, NULL, NULL, 16384, &err), 0);
	assert_int_equal(pool_may_begin(dir, NULL, &err), 0);
	assert_int_equal(pool_open(dir, NULL, NULL, &p, &err), 0);
	assert_false(p->sealed);
	assert_int_equal(p->grain_bytes, 16384);
	assert_true(p->master.plain && p->catalog.plain);
	assert_true(p->created_ns > 0);
	assert_int_equal(p->store->capabilities, STORE_CREATE_ONLY | STORE_READ_LATEST | STORE_LIST_CONSISTENT);
	assert_int_equal(pool_may_write(p, false, &err), 0);
	assert_int_equal(store_list_each(p->store, "", NULL, keep_key, &count, &err), 0);
	assert_int_equal(count, 1);
	pool_close(p);
}

static void a_sealed_pool_opens_with_its_key_only(void **state)
{
	struct error err = { 0 };
	struct pool *p, *q;

	(void)state;
	assert_int_equal(pool_init(dir, NULL, secret, 0, &err), 0);
	assert_int_equal(pool_open(dir, NULL, NULL, &p, &err), -ENOKEY);
	assert_non_null(strstr(err.text, "--key-file"));
	assert_int_equal(pool_open(dir, NULL, other, &p, &err), -EKEYREJECTED);
	assert_int_equal(pool_open(dir, NULL, secret, &p, &err), 0);
	assert_int_equal(pool_open(dir, NULL, secret, &q, &err), 0);
	assert_true(p->sealed && !p->master.plain && !p->catalog.plain);
	assert_int_equal(p->grain_bytes, 4096);
	assert_memory_equal(p->master.bytes, q->master.bytes, SEAL_KEY_BYTES);
	assert_memory_not_equal(p->master.bytes, p->catalog.bytes, SEAL_KEY_BYTES);
	pool_close(p);
	pool_close(q);
}

static void rewrapping_changes_the_secret_and_not_the_key(void **state)
{
	uint8_t master[SEAL_KEY_BYTES], uuid[POOL_UUID_BYTES];
	struct error err = { 0 };
	struct pool *p;

	(void)state;
	assert_int_equal(pool_init(dir, NULL, secret, 0, &err), 0);
	assert_int_equal(pool_open(dir, NULL, secret, &p, &err), 0);
	memcpy(master, p->master.bytes, sizeof master);
	memcpy(uuid, p->uuid, sizeof uuid);
	assert_int_equal(pool_rewrap(p, other, &err), 0);
	pool_close(p);
	assert_int_equal(pool_open(dir, NULL, secret, &p, &err), -EKEYREJECTED);
	assert_int_equal(pool_open(dir, NULL, other, &p, &err), 0);
	assert_memory_equal(p->master.bytes, master, sizeof master);
	assert_memory_equal(p->uuid, uuid, sizeof uuid);
	pool_close(p);
}

static void a_plain_pool_cannot_be_rewrapped_or_opened_with_a_key(void **state)
{
	struct error err = { 0 };
	struct pool *p;

	(void)state;
	assert_int_equal(pool_init(dir, NULL, NULL, 0, &err), 0);
	assert_int_equal(pool_open(dir, NULL, NULL, &p, &err), 0);
	assert_int_equal(pool_rewrap(p, secret, &err), -EINVAL);
	pool_close(p);
	assert_int_equal(pool_open(dir, NULL, secret, &p, &err), -EINVAL);
}

static void a_place_that_is_taken_is_refused(void **state)
{
	struct store *s;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(store_open(dir, NULL, &s, &err), 0);
	assert_int_equal(store_put_wait(s, "something/else", "x", 1, 0, &err), 0);
	assert_int_equal(pool_init(dir, NULL, NULL, 0, &err), -ENOTEMPTY);
	assert_int_equal(store_remove_wait(s, "something/else", &err), 0);
	/* What an interrupted init leaves is no reason. */
	assert_int_equal(store_put_wait(s, "probe/0123456789abcdef", "x", 1, 0, &err), 0);
	store_close(s);
	assert_int_equal(pool_init(dir, NULL, NULL, 0, &err), 0);
	assert_int_equal(pool_init(dir, NULL, NULL, 0, &err), -EEXIST);
	assert_non_null(strstr(err.text, "already a pool"));
}

static void where_no_pool_is_the_text_says_how_to_make_one(void **state)
{
	struct error err = { 0 };
	struct pool *p;

	(void)state;
	assert_int_equal(pool_open(dir, NULL, NULL, &p, &err), -ENOENT);
	assert_non_null(strstr(err.text, "garner init"));
}

static void impossible_grains_are_refused(void **state)
{
	struct error err = { 0 };

	(void)state;
	assert_int_equal(pool_init(dir, NULL, NULL, 2048, &err), -EINVAL);
	assert_int_equal(pool_init(dir, NULL, NULL, 12288, &err), -EINVAL);
	assert_int_equal(pool_init(dir, NULL, NULL, 131072, &err), -EINVAL);
	assert_int_equal(pool_may_begin(dir, NULL, &err), 1);
}

/* Puts a format object with these fields. */
static void put_format(const char *version, const char *grain)
{
	static const struct seal_key plain = { .plain = true };
	uint8_t uuid[POOL_UUID_BYTES] = { 1 }, *bytes;
	struct fields *f = fields_new();
	struct store *s;
	size_t len;

	fields_add_text(f, "version", version);
	fields_add_bytes(f, "uuid", uuid, sizeof uuid);
	fields_add_text(f, "created", "1");
	fields_add_text(f, "grain", grain);
	fields_add_text(f, "capabilities", "3");
	fields_add_text(f, "sealed", "0");
	assert_int_equal(object_encode(f, OBJECT_POOL, POOL_KEY, &plain, &bytes, &len), 0);
	assert_int_equal(store_open(dir, NULL, &s, NULL), 0);
	assert_int_equal(store_put_wait(s, POOL_KEY, bytes, len, 0, NULL), 0);
	store_close(s);
	free(bytes);
	fields_free(f);
}

static void a_newer_pool_is_refused_and_a_damaged_one_too(void **state)
{
	struct error err = { 0 };
	struct pool *p;

	(void)state;
	put_format("1", "4096");
	assert_int_equal(pool_open(dir, NULL, NULL, &p, &err), 0);
	pool_close(p);
	put_format("2", "4096");
	assert_int_equal(pool_open(dir, NULL, NULL, &p, &err), -EPROTONOSUPPORT);
	assert_non_null(strstr(err.text, "upgrade"));
	put_format("1", "5000");
	assert_int_equal(pool_open(dir, NULL, NULL, &p, &err), -EBADMSG);
	put_format("one", "4096");
	assert_int_equal(pool_open(dir, NULL, NULL, &p, &err), -EBADMSG);
}

static void what_comes_damaged_is_asked_for_once_more(void **state)
{
	static const struct seal_key plain = { .plain = true };
	struct error err = { 0 };
	struct spy_store spy;
	struct fields *f;

	(void)state;
	put_format("1", "4096");
	spy_store_init(&spy, dir);
	struct pool p = { .store = &spy.store };
	spy.damage_gets = 1;
	assert_int_equal(pool_get_object(&p, POOL_KEY, OBJECT_POOL, &plain, &f, &err), 0);
	assert_string_equal(fields_text(f, "grain", 0), "4096");
	fields_free(f);
	assert_int_equal(spy.gets, 2);
	spy.damage_gets = 2;
	assert_int_equal(pool_get_object(&p, POOL_KEY, OBJECT_POOL, &plain, &f, &err), -EBADMSG);
	assert_int_equal(spy.gets, 4);
	assert_int_equal(spy.damage_gets, 0);
	spy.get_error = -EIO;
	assert_int_equal(pool_get_object(&p, POOL_KEY, OBJECT_POOL, &plain, &f, &err), -EIO);
	assert_int_equal(spy.gets, 5);
	spy_store_destroy(&spy);
}

/* ---- what a store keeps of its promises ---- */

/* Opens a store in the directory, with a weak one in front. */
static void open_weak(struct weak_store *w)
{
	struct store_options options = { .threads = 2 };
	struct store *below;

	assert_int_equal(store_open(dir, &options, &below, NULL), 0);
	weak_init(w, below, ~0u);
}

static void close_weak(struct weak_store *w)
{
	weak_destroy(w);
	store_close(w->below);
}

/* Makes a pool in it and opens it: what was found. */
static unsigned capabilities_found(struct weak_store *w)
{
	struct error err = { 0 };
	struct pool *p;
	int count = 0;

	if (pool_make(&w->store, &weak_clock, NULL, 0, &err))
		fail_msg("%s", error_text(&err));
	assert_int_equal(pool_open(dir, NULL, NULL, &p, &err), 0);
	unsigned found = p->store->capabilities;
	assert_int_equal(store_list_each(p->store, "", NULL, keep_key, &count, &err), 0);
	assert_int_equal(count, 1);
	pool_close(p);
	close_weak(w);
	return found;
}

static void a_race_that_two_win_is_found_out(void **state)
{
	struct weak_store w;

	(void)state;
	open_weak(&w);
	w.race = 2;
	assert_int_equal(capabilities_found(&w), STORE_READ_LATEST | STORE_LIST_CONSISTENT);
}

static void a_listing_that_lags_is_found_out(void **state)
{
	struct weak_store w;

	(void)state;
	open_weak(&w);
	weak_lag(&w);
	assert_int_equal(capabilities_found(&w), STORE_CREATE_ONLY | STORE_READ_LATEST);
}

static void old_content_is_found_out(void **state)
{
	struct weak_store w;

	(void)state;
	open_weak(&w);
	w.stale = true;
	assert_int_equal(capabilities_found(&w), STORE_CREATE_ONLY | STORE_LIST_CONSISTENT);
}

static void what_a_store_does_not_claim_is_not_believed_however_well_it_does(void **state)
{
	struct weak_store w;

	(void)state;
	open_weak(&w);
	w.store.capabilities = STORE_READ_LATEST;
	assert_int_equal(capabilities_found(&w), STORE_READ_LATEST);
}

static void where_no_condition_is_known_a_pool_is_written_by_a_lone_host_only(void **state)
{
	struct error err = { 0 };
	struct weak_store w;
	struct pool *p;

	(void)state;
	open_weak(&w);
	w.unconditional = true;
	assert_int_equal(capabilities_found(&w), 0);
	assert_int_equal(pool_open(dir, NULL, NULL, &p, &err), 0);
	assert_int_equal(pool_may_write(p, false, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "exclusive=yes"));
	assert_int_equal(pool_may_write(p, true, &err), 0);
	pool_close(p);
	open_weak(&w);
	w.unconditional = true;
	assert_int_equal(pool_make(&w.store, NULL, NULL, 0, &err), -EEXIST);
	close_weak(&w);
}

static void a_store_that_fails_is_not_probed_to_an_end_and_keeps_nothing(void **state)
{
	struct error err = { 0 };
	struct faulty_store f;
	struct store *below;
	struct pool p;

	(void)state;
	for (unsigned steps = 0; steps < 20; steps++) {
		assert_int_equal(store_open(dir, NULL, &below, NULL), 0);
		p.store = below;
		faulty_put_in(&f, &p, steps, false);
		assert_int_equal(pool_make(&f.store, &weak_clock, NULL, 0, &err), -EIO);
		assert_int_equal(store_head_wait(below, POOL_KEY, &(uint64_t){ 0 }, NULL), -ENOENT);
		store_close(below);
		/* What it could not clean up is no content. */
		assert_int_equal(pool_may_begin(dir, NULL, &err), 1);
	}
}

/* Another host's pool takes the place of ours while we wait. */
static void another_pool_comes(void *arg, uint64_t ns)
{
	(void)ns;
	assert_int_equal(store_put_wait(arg, POOL_KEY, "another's", 9, 0, NULL), 0);
}

static void who_finds_another_s_pool_after_waiting_has_made_none(void **state)
{
	struct pool_clock clock = weak_clock;
	struct error err = { 0 };
	struct weak_store w;

	(void)state;
	open_weak(&w);
	w.store.capabilities = STORE_READ_LATEST;
	clock.sleep_ns = another_pool_comes;
	clock.arg = w.below;
	assert_int_equal(pool_make(&w.store, &clock, NULL, 0, &err), -EEXIST);
	assert_non_null(strstr(err.text, "another host"));
	close_weak(&w);
}

static void whoever_was_too_slow_is_told_that_there_may_be_a_pool(void **state)
{
	struct pool_clock clock = weak_clock;
	struct error err = { 0 };
	struct weak_store w;

	(void)state;
	open_weak(&w);
	w.store.capabilities = STORE_READ_LATEST;
	clock.now_ns = weak_slow_ns;
	assert_int_equal(pool_make(&w.store, &clock, NULL, 0, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.text, "garner info"));
	close_weak(&w);
}

static void a_uuid_is_written_as_everywhere(void **state)
{
	static const uint8_t uuid[16] = { 0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x42, 0xd3,
		                          0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0x00 };
	char text[UUID_TEXT_BYTES];

	(void)state;
	assert_string_equal(uuid_format(uuid, text), "123e4567-e89b-42d3-a456-426614174000");
}

static void two_secrets_are_one_too_many(void **state)
{
	struct error err = { 0 };
	struct secret *s;

	(void)state;
	assert_int_equal(pool_secret("/a", "/b", &s, &err), -EINVAL);
	assert_null(s);
	assert_int_equal(pool_secret(NULL, NULL, &s, &err), 0);
	assert_null(s);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_plain_pool_is_made_and_opened_and_only_its_format_object_is_left),
		T(a_sealed_pool_opens_with_its_key_only),
		T(rewrapping_changes_the_secret_and_not_the_key),
		T(a_plain_pool_cannot_be_rewrapped_or_opened_with_a_key),
		T(a_place_that_is_taken_is_refused),
		T(where_no_pool_is_the_text_says_how_to_make_one),
		T(impossible_grains_are_refused),
		T(a_newer_pool_is_refused_and_a_damaged_one_too),
		T(what_comes_damaged_is_asked_for_once_more),
		T(a_race_that_two_win_is_found_out),
		T(a_listing_that_lags_is_found_out),
		T(old_content_is_found_out),
		T(what_a_store_does_not_claim_is_not_believed_however_well_it_does),
		T(where_no_condition_is_known_a_pool_is_written_by_a_lone_host_only),
		T(a_store_that_fails_is_not_probed_to_an_end_and_keeps_nothing),
		T(who_finds_another_s_pool_after_waiting_has_made_none),
		T(whoever_was_too_slow_is_told_that_there_may_be_a_pool),
		T(a_uuid_is_written_as_everywhere),
		T(two_secrets_are_one_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
