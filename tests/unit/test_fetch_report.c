/* SPDX-License-Identifier: GPL-3.0-only */
/* test_fetch_report.c: what the operator is told of segments that cannot be read: each once, until it can be read again. */
#include "cache/fetch.h"

#include "lib/cache_fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct capture {
	int saved, pipe[2];
	char text[16384];
};

static void capture_begin(struct capture *p)
{
	must(!pipe(p->pipe), "pipe");
	p->saved = dup(STDERR_FILENO);
	must(p->saved >= 0 && dup2(p->pipe[1], STDERR_FILENO) >= 0 && !close(p->pipe[1]), "dup");
}

/* How many lines came. */
static unsigned capture_end(struct capture *p)
{
	size_t len = 0;
	unsigned lines = 0;
	ssize_t n;

	must(dup2(p->saved, STDERR_FILENO) >= 0 && !close(p->saved), "dup");
	while ((n = read(p->pipe[0], p->text + len, sizeof p->text - 1 - len)) > 0)
		len += (size_t)n;
	must(!n && !close(p->pipe[0]), "read");
	p->text[len] = '\0';
	for (const char *at = p->text; (at = strchr(at, '\n')); at++)
		lines++;
	return lines;
}

/* Reads all chunks of segments 1 and 2 three times over; how many lines that makes. */
static unsigned lines_of_failing(struct cache_fixture *c, struct capture *p)
{
	capture_begin(p);
	for (unsigned again = 0; again < 3; again++)
		for (segment_no_t n = 1; n <= 2; n++)
			for (uint32_t i = 1; i < TEST_CHUNKS; i++)
				must(read_chunk(c, n, i) < 0, "a read worked");
	return capture_end(p);
}

static void segment_that_cannot_be_read_is_told_once_until_it_can(void **state)
{
	struct cache_fixture *c = *state;
	static struct capture p;
	char key[STORE_KEY_MAX + 1];

	put_segments(c, 2);
	atomic_store(&c->spy.get_error, -ETIMEDOUT);
	assert_int_equal(lines_of_failing(c, &p), 2);
	fixture_key(1, key);
	assert_non_null(strstr(p.text, key));
	fixture_key(2, key);
	assert_non_null(strstr(p.text, key));
	assert_non_null(strstr(p.text, "a fault of the store"));
	assert_int_equal(lines_of_failing(c, &p), 0);
	/* One can be read again, and then no longer: that is news, whether it is the header or a chunk. */
	atomic_store(&c->spy.get_error, 0);
	assert_int_equal(read_chunk(c, 2, 0), 0);
	atomic_store(&c->spy.get_error, -EIO);
	assert_int_equal(lines_of_failing(c, &p), 1);
	assert_non_null(strstr(p.text, key));
	/* That one is not in the store at all is worse, and is said although the other was. */
	atomic_store(&c->in_store, 0);
	assert_int_equal(lines_of_failing(c, &p), 2);
	assert_non_null(strstr(p.text, "segment 1 is not in the store"));
	assert_non_null(strstr(p.text, "segment 2 is not in the store"));
	assert_int_equal(lines_of_failing(c, &p), 0);
}

static void damaged_segment_is_told_once_until_it_is_whole(void **state)
{
	struct cache_fixture *c = *state;
	static struct capture p;
	size_t len[3];
	uint8_t *object[3];

	put_segments(c, 2);
	for (segment_no_t n = 1; n <= 2; n++)
		object[n] = get_object(c, n, &len[n]);
	/* The first has damaged chunks, behind a table that is here; the other a damaged table. */
	assert_int_equal(read_chunk(c, 1, 0), 0);
	memset(object[1] + SEGMENT_OBJECT_HEADER, 0x55, len[1] - SEGMENT_OBJECT_HEADER);
	object[2][SEGMENT_OBJECT_HEADER] ^= 1;
	for (segment_no_t n = 1; n <= 2; n++) {
		put_object(c, n, object[n], len[n]);
		free(object[n]);
	}
	assert_int_equal(lines_of_failing(c, &p), 2);
	assert_int_equal(lines_of_failing(c, &p), 0);
	put_segments(c, 2);
	assert_int_equal(read_chunk(c, 1, 1), 0);
	assert_int_equal(read_chunk(c, 2, 1), 0);
	empty_the_file(c, 1);
	object[1] = get_object(c, 1, &len[1]);
	put_object(c, 1, object[1], len[1] - 15 * CHUNK_BYTES); /* cut short */
	put_object(c, 2, object[1], 20);
	free(object[1]);
	cache_evict_all(c->cache);
	assert_int_equal(lines_of_failing(c, &p), 2);
	assert_non_null(strstr(p.text, "cut short: "));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, cache_fixture_setup, cache_fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(segment_that_cannot_be_read_is_told_once_until_it_can),
		T(damaged_segment_is_told_once_until_it_is_whole),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
