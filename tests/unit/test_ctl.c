/* SPDX-License-Identifier: GPL-3.0-only */
/* test_ctl.c: both sides of the control socket, over an engine that only pretends. */
#include "ctl/ctl.h"

#include "lib/fake_engine.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES(literal) literal, sizeof literal - 1

struct fixture {
	char dir[512]; /* longer than an address of a socket may be */
	char top[64];
	struct fake_engine fake;
	struct ctl_server *server;
	struct ctl_client *client;
};

/* Seconds that have passed without anybody waiting for them. */
static _Atomic long later_s;

int clock_gettime(clockid_t clock, struct timespec *time)
{
	int rc = (int)syscall(SYS_clock_gettime, clock, time);

	time->tv_sec += later_s;
	return rc;
}

static struct fixture fixture;
static char lines[8][CTL_LINE_MAX];
static unsigned line_count;

static int keep_line(void *arg, const char *line)
{
	(void)arg;
	assert_true(line_count < 8);
	strcpy(lines[line_count++], line);
	return 0;
}

static int setup(void **state)
{
	struct fixture *f = &fixture;
	const char *tmp = getenv("TMPDIR");
	struct error err = { 0 };
	memset(f, 0, sizeof *f);
	line_count = 0;
	snprintf(f->top, sizeof f->top, "%.40s/ctl.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(f->top))
		return -1;
	snprintf(f->dir, sizeof f->dir, "%.60s/%0150d", f->top, 1);
	if (mkdir(f->dir, 0700) < 0)
		return -1;
	fake_engine_init(&f->fake, f->dir);
	f->fake.image_count = 2;
	f->fake.image[0] = (struct image_status){ .id = 0xa1, .size = 1 << 20, .sync = "local", .state = "ok" };
	f->fake.image[1] = (struct image_status){ .id = 0xa2, .size = 2 << 20, .sync = "none", .state = "fenced" };
	if (ctl_server_start(fake_engine(&f->fake), &f->server, &err) < 0 ||
	    ctl_connect_socket(ctl_server_path(f->server), &f->client, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return -1;
	}
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	ctl_disconnect(f->client);
	ctl_server_stop(f->server);
	fake_engine_destroy(&f->fake);
	return rmdir(f->dir) < 0 || rmdir(f->top) < 0 ? -1 : 0; /* the socket is gone, else this fails */
}

/* A connection without manners. */
static int raw_connect(const struct fixture *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int dir = open(f->dir, O_PATH | O_DIRECTORY), s = socket(AF_UNIX, SOCK_STREAM, 0);
	const struct timeval timeout = { .tv_sec = 10 };

	assert_true(dir >= 0 && s >= 0);
	snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/control", dir);
	assert_int_equal(connect(s, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout), 0);
	close(dir);
	return s;
}

/* Sends bytes and returns all that comes until the other side closes, or `until` lines have come. */
static const char *raw_ask(int s, const void *bytes, size_t len, unsigned until)
{
	static char answer[65536];
	size_t have = 0;

	if (len > 0)
		assert_int_equal(send(s, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
	while (until > 0) {
		ssize_t n = recv(s, answer + have, 1, 0);

		if (n == 0 || (n < 0 && errno == ECONNRESET))
			break;
		assert_int_equal(n, 1); /* a timeout fails here */
		assert_true(have < sizeof answer - 1);
		until -= answer[have++] == '\n';
	}
	answer[have] = '\0';
	return answer;
}

static void the_socket_is_for_its_owner_only(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(stat(ctl_server_path(f->server), &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_true(strlen(ctl_server_path(f->server)) > sizeof((struct sockaddr_un *)0)->sun_path);
}

static void status_comes_as_text_and_as_json(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };

	assert_int_equal(ctl_status(f->client, 0, true, keep_line, NULL, &err), 0);
	assert_int_equal(line_count, 1);
	assert_non_null(strstr(lines[0], "\"store\":\"file:///srv/pool\""));
	line_count = 0;
	assert_int_equal(ctl_status(f->client, 0xa2, true, keep_line, NULL, &err), 0);
	assert_int_equal(line_count, 1);
	assert_non_null(strstr(lines[0], "\"id\":\"00000000000000a2\""));
	line_count = 0;
	assert_int_equal(ctl_status(f->client, 0xa1, false, keep_line, NULL, &err), 0);
	assert_int_equal(line_count, 8);
	assert_string_equal(lines[0], "id            00000000000000a1");
}

static void images_come_one_a_line(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };

	assert_int_equal(ctl_images(f->client, true, keep_line, NULL, &err), 0);
	assert_int_equal(line_count, 2);
	assert_int_equal(lines[0][0], '{');
	assert_non_null(strstr(lines[1], "\"state\":\"fenced\""));
}

static void an_error_arrives_with_its_code_and_text_on_one_line(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };

	assert_int_equal(ctl_status(f->client, 0xdead, false, keep_line, NULL, &err), -ENOENT);
	assert_string_equal(err.text, "no image 000000000000dead in this pool");
	assert_int_equal(line_count, 0);
	/* and the connection is still of use */
	assert_int_equal(ctl_takeover(f->client, 0xa2, &err), 0);
	assert_int_equal(f->fake.taken_over, 0xa2);
}

struct clean_watch {
	unsigned calls, until;
};

static bool watch_clean(void *arg, enum clean_phase phase, uint64_t done, uint64_t all)
{
	struct clean_watch *w = arg;

	assert_int_equal(phase, CLEAN_MOVE);
	assert_int_equal(done, w->calls);
	assert_int_equal(all, 3);
	return ++w->calls < w->until;
}

static void cleaning_tells_how_far_it_is_and_what_came_of_it(void **state)
{
	const struct clean_result expected = { 1, 2, 3, 4, 5, 6, 7, 8, 9 };
	struct fixture *f = *state;
	struct clean_watch watch = { .until = 100 };
	struct clean_options options = { .now = true };
	struct clean_result result;
	struct image_space space;
	struct error err = { 0 };
	uint64_t orphans;

	assert_int_equal(ctl_clean(f->client, 0xa1, &options, watch_clean, &watch, &result, &err), 0);
	assert_string_equal(f->fake.cleaned, "a1 now");
	assert_int_equal(watch.calls, 3);
	assert_memory_equal(&result, &expected, sizeof result);
	options = (struct clean_options){ .dry_run = true };
	assert_int_equal(ctl_clean(f->client, 0xa1, &options, NULL, NULL, &result, &err), 0);
	assert_string_equal(f->fake.cleaned, "a1 dry");
	assert_int_equal(ctl_orphans(f->client, true, &orphans, &err), 0);
	assert_int_equal(orphans, 5);
	assert_int_equal(ctl_orphans(f->client, false, &orphans, &err), -EOPNOTSUPP);
	options = (struct clean_options){ 0 };
	assert_int_equal(ctl_clean(f->client, 0xdead, &options, NULL, NULL, &result, &err), -ENOENT);
	assert_int_equal(ctl_call(f->client, "clean wildly 00000000000000a1", NULL, NULL, &err), -EINVAL);

	assert_int_equal(ctl_space(f->client, 0xdead, &space, &err), -ENOENT);
	assert_int_equal(ctl_space(f->client, 0xa1, &space, &err), 0);
	assert_int_equal(space.logical, 1);
	assert_int_equal(space.snapshots, 9);
	assert_true(space.ratio > 1.49 && space.ratio < 1.51);

	watch = (struct clean_watch){ .until = 1 };
	assert_int_equal(ctl_clean(f->client, 0xa1, &options, watch_clean, &watch, &result, &err), -EINTR);
	assert_int_equal(watch.calls, 1);
}

/* More than one answer holds, from an offset on. */
static void a_diff_comes_in_pieces_and_leaves_nothing_open(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };
	struct image_range *ranges;
	uint64_t begin = 3 * 8192, k = 3;
	unsigned pieces = 0;
	size_t count;

	f->fake.ranges = 20000;
	for (; begin != UINT64_MAX; pieces++) {
		assert_int_equal(ctl_diff(f->client, 0xa1, "one", "two", &begin, &ranges, &count, &err), 0);
		for (size_t n = 0; n < count; n++, k++) {
			assert_int_equal(ranges[n].offset, k * 8192);
			assert_int_equal(ranges[n].length, 4096);
			assert_int_equal(ranges[n].data, k % 2);
		}
		free(ranges);
	}
	assert_int_equal(k, 20000);
	assert_true(pieces > 1 && pieces < 10);
	begin = 19999 * 8192;
	assert_int_equal(ctl_diff(f->client, 0xa1, NULL, "two", &begin, &ranges, &count, &err), 0);
	assert_int_equal(count, 1);
	assert_true(ranges[0].data);
	free(ranges);
	begin = 0;
	assert_int_equal(ctl_diff(f->client, 0xa1, "one", "three", &begin, &ranges, &count, &err), -ENOENT);
	assert_int_equal(ctl_call(f->client, "diff 00000000000000a1 one two x", NULL, NULL, &err), -EINVAL);
	assert_int_equal(f->fake.opened, 0);
}

static void moments_are_found_and_compared_by_their_place(void **state)
{
	struct fixture *f = *state;
	struct image_moment m = { 7, 8, 9 };
	struct image_range *ranges;
	struct error err = { 0 };
	uint64_t begin = 0;
	size_t count;

	assert_int_equal(ctl_moment_find(f->client, 0xa1, &m, &err), 0);
	assert_true(m.segment == 8 && m.record == 9 && m.time_ns == 10);
	assert_int_equal(ctl_moment_find(f->client, 0xdead, &m, &err), -ERANGE);
	f->fake.ranges = 1;
	assert_int_equal(
		ctl_diff(f->client, 0xa1, "@18446744073709551615.4294967295", "two", &begin, &ranges, &count, &err), 0);
	free(ranges);
	assert_string_equal(f->fake.moment, "18446744073709551615.4294967295");
	begin = 0;
	assert_int_equal(ctl_diff(f->client, 0xa1, NULL, "@3.0", &begin, &ranges, &count, &err), 0);
	free(ranges);
	assert_string_equal(f->fake.moment, "3.0");
	assert_int_equal(ctl_call(f->client, "diff 00000000000000a1 @0.1 two 0", NULL, NULL, &err), -EINVAL);
	assert_int_equal(ctl_call(f->client, "diff 00000000000000a1 - @1.1x 0", NULL, NULL, &err), -EINVAL);
	assert_int_equal(ctl_call(f->client, "moment 00000000000000a1 1 x 0", NULL, NULL, &err), -EINVAL);
	assert_int_equal(f->fake.opened, 0);
}

static void snapshots_are_asked_for_by_name_and_image(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };
	uint64_t ids[101] = { 0xa1, 0xa2 };

	assert_int_equal(ctl_snapshot_create(f->client, "one", ids, 2, NULL, NULL, &err), 0);
	assert_string_equal(f->fake.snapshot, "create one 00000000000000a1 00000000000000a2");
	assert_int_equal(ctl_snapshot_create(f->client, "taken", ids, 1, NULL, NULL, &err), -EEXIST);
	assert_non_null(strstr(err.text, "taken"));
	assert_int_equal(ctl_snapshot_check(f->client, "two", ids, 2, &err), 0);
	assert_string_equal(f->fake.snapshot, "check two 00000000000000a1 00000000000000a2");
	assert_int_equal(ctl_snapshot_check(f->client, "taken", ids, 1, &err), -EEXIST);
	assert_int_equal(ctl_snapshot_change(f->client, "delete", "one", 0xa1, &err), 0);
	assert_string_equal(f->fake.snapshot, "delete one 00000000000000a1");
	assert_int_equal(ctl_snapshot_change(f->client, "protect", "one", 0xa1, &err), 0);
	assert_string_equal(f->fake.snapshot, "protect one 00000000000000a1");
	assert_int_equal(ctl_snapshot_change(f->client, "unprotect", "one", 0xa1, &err), 0);
	assert_string_equal(f->fake.snapshot, "unprotect one 00000000000000a1");
	assert_int_equal(ctl_snapshot_change(f->client, "rename", "one", 0xa1, &err), -EOPNOTSUPP);

	line_count = 0;
	assert_int_equal(ctl_snapshot_list(f->client, 0xa1, true, keep_line, NULL, &err), 0);
	assert_int_equal(line_count, 2);
	line_count = 0;
	assert_int_equal(ctl_snapshot_list(f->client, 0xa1, false, keep_line, NULL, &err), 0);
	assert_int_equal(line_count, 2);
	assert_int_equal(ctl_snapshot_list(f->client, 0xdead, false, keep_line, NULL, &err), -ENOENT);

	struct snapshot_info info;
	assert_int_equal(ctl_snapshot_find(f->client, "one", 0xa1, &info, &err), 0);
	assert_string_equal(info.name, "one");
	assert_int_equal(info.id, 0x51);
	assert_int_equal(info.origin, 0x99);
	assert_int_equal(info.time_ns, 7);
	assert_int_equal(info.size, 4096);
	assert_int_equal(ctl_snapshot_find(f->client, "three", 0xa1, &info, &err), -ENOENT);
	assert_int_equal(ctl_snapshot_import(f->client, "one", 0xa1, 0x99, &err), 0);
	assert_string_equal(f->fake.snapshot, "import one 00000000000000a1 0000000000000099");

	/* As many as fit into a request, and one more. */
	assert_int_equal(ctl_snapshot_create(f->client, "many", ids, 100, NULL, NULL, &err), 0);
	assert_int_equal(ctl_snapshot_create(f->client, "many", ids, 101, NULL, NULL, &err), -E2BIG);
}

static void count_taken(void *arg)
{
	++*(unsigned *)arg;
}

static void a_snapshot_says_when_its_moment_is_taken(void **state)
{
	struct fixture *f = *state;
	const uint64_t id = 0xa1;
	struct error err = { 0 };
	unsigned taken = 0;

	assert_int_equal(ctl_snapshot_create(f->client, "one", &id, 1, count_taken, &taken, &err), 0);
	assert_int_equal(taken, 1);
	assert_int_equal(ctl_snapshot_create(f->client, "taken", &id, 1, count_taken, &taken, &err), -EEXIST);
	assert_int_equal(taken, 1);
}

static void a_snapshot_is_given_up_at_the_deadline(void **state)
{
	struct fixture *f = *state;
	const uint64_t id = 0xa1;
	struct error err = { 0 };
	unsigned taken = 0;

	f->fake.flush_blocks = true;
	ctl_set_deadline(f->client, clock_monotonic_ns() + 300 * 1000000ull);
	assert_int_equal(ctl_snapshot_create(f->client, "never-taken", &id, 1, count_taken, &taken, &err), -ETIMEDOUT);
	assert_int_equal(taken, 0);
	assert_true(fake_engine_wait(&f->fake, 0, 1));
	assert_int_equal(ctl_status(f->client, 0, true, NULL, NULL, &err), -ENOTCONN);
}

static bool pass_two_minutes(void *arg, uint64_t bytes_left)
{
	(void)bytes_left;
	later_s += *(long *)arg;
	*(long *)arg = 0;
	return true;
}

static void a_command_that_took_long_is_followed_by_another(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };
	long seconds = 120;

	assert_int_equal(ctl_flush(f->client, 0xa1, pass_two_minutes, &seconds, &err), 0);
	assert_int_equal(seconds, 0);
	assert_int_equal(ctl_status(f->client, 0, true, NULL, NULL, &err), 0);
}

static int keep_trashed(void *arg, const struct ctl_trashed *t)
{
	struct ctl_trashed *kept = arg;

	kept[t->id == 0x72] = *t;
	return 0;
}

static void names_of_any_bytes_come_out_of_the_trash(void **state)
{
	struct fixture *f = *state;
	struct ctl_trashed kept[2] = { 0 };
	struct error err = { 0 };
	char longest[NAME_BYTES_MAX + 1];

	assert_int_equal(ctl_trash_list(f->client, keep_trashed, kept, &err), 0);
	assert_string_equal(kept[0].name, "old disk");
	assert_string_equal(kept[1].name, "\xc3\xa4\n");
	assert_int_equal(ctl_undelete(f->client, 0x71, 0, NULL, &err), 0);
	assert_string_equal(f->fake.undeleted, "71 0 (none)");
	assert_int_equal(ctl_undelete(f->client, 0x72, 0xd1, "\xc3\xa4 new\n", &err), 0);
	assert_string_equal(f->fake.undeleted, "72 d1 \xc3\xa4 new\n");
	memset(longest, 'n', NAME_BYTES_MAX);
	longest[NAME_BYTES_MAX] = 0;
	assert_int_equal(ctl_undelete(f->client, 0x72, 0xd1, longest, &err), 0);
	assert_string_equal(f->fake.undeleted + 6, longest);
	assert_int_equal(ctl_undelete(f->client, 0xdead, 0, NULL, &err), -ENOENT);
	assert_int_equal(ctl_call(f->client, "undelete 0000000000000071 0000000000000000 abc", NULL, NULL, &err),
	                 -EINVAL);
	assert_int_equal(ctl_call(f->client, "undelete 0000000000000071 0000000000000000 00", NULL, NULL, &err),
	                 -EINVAL);
	assert_int_equal(ctl_call(f->client, "undelete 0000000000000071 0000000000000000", NULL, NULL, &err), -EINVAL);
}

static bool note_left(void *arg, uint64_t bytes_left)
{
	uint64_t *seen = arg;

	*seen = *seen * 10 + bytes_left / 1000;
	return true;
}

static void flattening_tells_its_progress(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };
	uint64_t seen = 0;

	assert_int_equal(ctl_flatten(f->client, 0xa1, note_left, &seen, &err), 0);
	assert_int_equal(seen, 21);
	assert_int_equal(f->fake.flattened, 0xa1);
}

static void a_clone_is_asked_for_by_id_and_place(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };

	assert_int_equal(ctl_clone(f->client, 0xa1, 0xd1, "a new one", &err), 0);
	assert_string_equal(f->fake.cloned, "a1 d1 a new one");
	assert_int_equal(ctl_clone(f->client, 0xdead, 0xd1, "x", &err), -ENOENT);
	assert_int_equal(ctl_call(f->client, "clone 00000000000000a1 00000000000000d1 -", NULL, NULL, &err), -EINVAL);
}

static void rewinding_says_which_moment_it_was(void **state)
{
	struct fixture *f = *state;
	struct image_moment m = { .time_ns = 7 }, before;
	struct error err = { 0 };

	assert_int_equal(ctl_rewind(f->client, 0xa1, &m, 0xd1, "as it was", &err), 0);
	assert_string_equal(f->fake.rewound, "a1 0.0 7 d1 as it was");
	assert_true(m.segment == 12 && m.record == 34 && m.time_ns == 5600000000);
	assert_int_equal(ctl_rewind(f->client, 0xa1, &m, 0xd1, "again", &err), 0);
	assert_string_equal(f->fake.rewound, "a1 12.34 5600000000 d1 again");
	assert_int_equal(ctl_rewind(f->client, 0xdead, &m, 0xd1, "x", &err), -ERANGE);
	m = (struct image_moment){ .segment = 5 };
	assert_int_equal(ctl_rewind_in_place(f->client, 0xa1, &m, &before, &err), 0);
	assert_string_equal(f->fake.rewound, "a1 5.0 0 itself");
	assert_true(m.segment == 12 && before.segment == 78 && before.time_ns == 9000000000);
	assert_int_equal(ctl_rewind_in_place(f->client, 0xdead, &m, &before, &err), -EBUSY);
	assert_int_equal(ctl_rewind(f->client, 0xdead, &m, 0xd1, "x", &err), -ERANGE);
	assert_non_null(strstr(error_text(&err), "first moment"));
	assert_int_equal(
		ctl_call(f->client, "rewind 00000000000000a1 00000000000000d1 61 1 4294967296 0", NULL, NULL, &err),
		-EINVAL);
	assert_int_equal(ctl_call(f->client, "rewind 00000000000000a1 00000000000000d1 61 1 x 0", NULL, NULL, &err),
	                 -EINVAL);
}

static void the_past_is_told_and_what_is_kept_is_set(void **state)
{
	struct fixture *f = *state;
	struct ctl_past past;
	struct error err = { 0 };

	assert_int_equal(ctl_history(f->client, 0xa1, 1500000000, &past, &err), 0);
	assert_int_equal(past.history.keep_s, 60);
	assert_int_equal(past.history.segments, 2);
	assert_true(past.history.oldest.segment == 1 && past.history.oldest.record == 1);
	assert_true(past.history.newest.segment == 3 && past.history.newest.time_ns == 1500000000);
	assert_int_equal(past.span_count, 2);
	assert_true(past.spans[0].begin.segment == 1 && past.spans[0].bytes == 4096);
	assert_true(past.spans[1].begin.time_ns == 3000000000 && past.spans[1].bytes == 0);
	/* The first snapshot is older than what was asked for. */
	assert_int_equal(past.snapshot_count, 1);
	assert_string_equal(past.snapshots[0].name, "two");
	ctl_past_free(&past);
	assert_int_equal(ctl_history(f->client, 0xdead, 0, &past, &err), -ENODATA);
	ctl_past_free(&past);
	assert_int_equal(ctl_keep(f->client, 0xa1, 86400, &err), 0);
	assert_int_equal(f->fake.kept_s, 86400);
	assert_int_equal(ctl_keep(f->client, 0xdead, 1, &err), -ENOENT);
}

static bool give_up(void *arg, uint64_t bytes_left)
{
	(void)arg;
	(void)bytes_left;
	return false;
}

static void flush_tells_its_progress(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };
	uint64_t seen = 0;

	assert_int_equal(ctl_flush(f->client, 0xa1, note_left, &seen, &err), 0);
	assert_int_equal(seen, 21);
	assert_int_equal(f->fake.flushed, 0xa1);
}

static void a_flush_is_given_up_when_its_caller_leaves(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };

	f->fake.flush_blocks = true;
	assert_int_equal(ctl_flush(f->client, 0, give_up, NULL, &err), -EINTR);
	assert_true(fake_engine_wait(&f->fake, 0, 1));
	assert_int_equal(ctl_status(f->client, 0, true, NULL, NULL, &err), -ENOTCONN);
}

static void a_long_flush_does_not_hold_up_others(void **state)
{
	struct fixture *f = *state;
	struct ctl_client *other;
	struct error err = { 0 };
	int s = raw_connect(f);

	f->fake.flush_blocks = true;
	raw_ask(s, BYTES("garner 1 flush 0000000000000000\n"), 1);
	assert_int_equal(ctl_connect_socket(ctl_server_path(f->server), &other, &err), 0);
	assert_int_equal(ctl_status(other, 0, true, keep_line, NULL, &err), 0);
	ctl_disconnect(other);
	close(s);
	assert_true(fake_engine_wait(&f->fake, 0, 1));
}

/* As many as there are connections for. */
static void however_many_commands_take_long_the_status_is_told(void **state)
{
	struct fixture *f = *state;
	int s[14];

	f->fake.flush_blocks = true;
	for (int k = 0; k < 14; k++) {
		s[k] = raw_connect(f);
		assert_int_equal(send(s[k], "garner 1 flush 0000000000000000\n", 32, MSG_NOSIGNAL), 32);
	}
	assert_true(fake_engine_wait(&f->fake, 4, 0));
	/* One that is not answered in time fails here. */
	int own = raw_connect(f);
	assert_non_null(strstr(raw_ask(own, BYTES("garner 1 status json\n"), 2), "ok\n"));
	assert_non_null(strstr(raw_ask(own, BYTES("garner 1 images text\n"), 3), "ok\n"));
	assert_true(fake_engine_wait(&f->fake, 4, 0));
	close(own);
	for (int k = 0; k < 14; k++)
		close(s[k]);
}

static void stopping_gives_up_what_runs(void **state)
{
	struct fixture *f = *state;
	int s = raw_connect(f);

	f->fake.flush_blocks = true;
	raw_ask(s, BYTES("garner 1 flush 0000000000000000\n"), 1);
	ctl_server_stop(f->server);
	f->server = NULL;
	assert_true(fake_engine_wait(&f->fake, 0, 1));
	assert_non_null(strstr(raw_ask(s, "", 0, 1000), "error 4 given up\n"));
	close(s);
}

static void requests_sent_together_are_answered_in_order(void **state)
{
	static const char two[] = "garner 1 takeover 00000000000000a1\ngarner 1 images text\n";
	struct fixture *f = *state;
	int s = raw_connect(f);
	const char *answer = raw_ask(s, two, sizeof two - 1, 4);

	assert_int_equal(strncmp(answer, "ok\n= 00000000000000a1", 20), 0);
	assert_string_equal(strstr(answer, "fenced"), "fenced\nok\n");
	close(s);
}

static void hostile_requests_are_refused(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *answer;
	} cases[] = {
		{ BYTES("\n"), "error 71 " },
		{ BYTES("GET / HTTP/1.1\n"), "error 71 " },
		{ BYTES("garner 2 status text\n"), "error 71 this daemon speaks version 1 " },
		{ BYTES("garner 1 explode\n"), "error 95 " },
		{ BYTES("garner 1 status\n"), "error 22 " },
		{ BYTES("garner 1 status xml\n"), "error 22 " },
		{ BYTES("garner 1 status text a1\n"), "error 22 " },
		{ BYTES("garner 1 flush 00000000000000A1\n"), "error 22 " },
		{ BYTES("garner 1 flush 000000000000000g\n"), "error 22 " },
		{ BYTES("garner 1 status text 00000000000000a1 more and more and more\n"), "error 22 " },
		{ BYTES("garner 1 status\0text\n"), "error 71 " },
		{ BYTES("garner 1 \x1b[2J\n"), "error 71 " },
		{ BYTES("garner 1 \xff\n"), "error 71 " },
	};
	struct fixture *f = *state;
	char flood[CTL_REQUEST_MAX];

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int s = raw_connect(f);
		const char *answer = raw_ask(s, cases[i].bytes, cases[i].len, 1);

		if (strncmp(answer, cases[i].answer, strlen(cases[i].answer)) != 0)
			fail_msg("case %zu: \"%s\"", i, answer);
		close(s);
	}
	memset(flood, 'x', sizeof flood);
	int s = raw_connect(f);
	assert_int_equal(strncmp(raw_ask(s, flood, sizeof flood, 1000), "error 90 ", 9), 0);
	close(s);
}

static void connections_are_bounded_and_free_again_when_closed(void **state)
{
	struct fixture *f = *state;
	int s[15], more;

	/* The fixture's own is the sixteenth. An answer shows that each has been taken in. */
	for (int i = 0; i < 15; i++) {
		s[i] = raw_connect(f);
		raw_ask(s[i], BYTES("garner 1 x\n"), 1);
	}
	more = raw_connect(f);
	assert_int_equal(strncmp(raw_ask(more, "", 0, 1), "error 16 ", 9), 0);
	close(more);
	for (int i = 0; i < 15; i++)
		close(s[i]);
	for (int i = 0; i < 100; i++) { /* the server closes its ends a moment later */
		more = raw_connect(f);
		const char *answer = raw_ask(more, BYTES("garner 1 images json\n"), 1);
		bool taken = answer[0] == '=';

		close(more);
		if (taken)
			return;
		usleep(20 * 1000);
	}
	fail_msg("no connection became free");
}

static void nobody_there_is_said_so(void **state)
{
	struct fixture *f = *state;
	struct ctl_client *client;
	struct error err = { 0 };
	char path[600];
	uint64_t id;

	snprintf(path, sizeof path, "%s/nothing", f->dir);
	assert_int_equal(ctl_connect_socket(path, &client, &err), -ECONNREFUSED);
	assert_non_null(strstr(err.text, path));
	assert_null(client);
	assert_int_equal(ctl_connect(f->dir, &client, &id, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, "not in a garnerfs mount"));
	assert_int_equal(ctl_connect(path, &client, &id, &err), -ENOENT);
}

static void a_socket_left_by_a_crash_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct ctl_server *second;
	struct ctl_client *client;
	struct error err = { 0 };

	/* As after a crash: the first one's socket is still there. */
	assert_int_equal(ctl_server_start(fake_engine(&f->fake), &second, &err), 0);
	assert_int_equal(ctl_connect_socket(ctl_server_path(second), &client, &err), 0);
	assert_int_equal(ctl_status(client, 0, true, NULL, NULL, &err), 0);
	ctl_disconnect(client);
	ctl_server_stop(second);
}

static void a_client_notices_that_the_daemon_went_away(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };

	ctl_server_stop(f->server);
	f->server = NULL;
	assert_int_equal(ctl_status(f->client, 0, true, NULL, NULL, &err), -ECONNRESET);
	assert_int_equal(ctl_status(f->client, 0, true, NULL, NULL, &err), -ENOTCONN);
}

static void a_request_with_a_newline_is_not_sent(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };

	assert_int_equal(ctl_call(f->client, "images text\ngarner 1 takeover 00000000000000a1", NULL, NULL, &err),
	                 -EINVAL);
	assert_int_equal(f->fake.taken_over, 0);
}

int main(void)
{
#define CTL_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CTL_TEST(the_socket_is_for_its_owner_only),
		CTL_TEST(status_comes_as_text_and_as_json),
		CTL_TEST(images_come_one_a_line),
		CTL_TEST(an_error_arrives_with_its_code_and_text_on_one_line),
		CTL_TEST(cleaning_tells_how_far_it_is_and_what_came_of_it),
		CTL_TEST(snapshots_are_asked_for_by_name_and_image),
		CTL_TEST(a_snapshot_says_when_its_moment_is_taken),
		CTL_TEST(a_snapshot_is_given_up_at_the_deadline),
		CTL_TEST(a_command_that_took_long_is_followed_by_another),
		CTL_TEST(a_diff_comes_in_pieces_and_leaves_nothing_open),
		CTL_TEST(moments_are_found_and_compared_by_their_place),
		CTL_TEST(names_of_any_bytes_come_out_of_the_trash),
		CTL_TEST(a_clone_is_asked_for_by_id_and_place),
		CTL_TEST(rewinding_says_which_moment_it_was),
		CTL_TEST(the_past_is_told_and_what_is_kept_is_set),
		CTL_TEST(flattening_tells_its_progress),
		CTL_TEST(flush_tells_its_progress),
		CTL_TEST(a_flush_is_given_up_when_its_caller_leaves),
		CTL_TEST(a_long_flush_does_not_hold_up_others),
		CTL_TEST(however_many_commands_take_long_the_status_is_told),
		CTL_TEST(stopping_gives_up_what_runs),
		CTL_TEST(requests_sent_together_are_answered_in_order),
		CTL_TEST(hostile_requests_are_refused),
		CTL_TEST(connections_are_bounded_and_free_again_when_closed),
		CTL_TEST(nobody_there_is_said_so),
		CTL_TEST(a_socket_left_by_a_crash_is_replaced),
		CTL_TEST(a_client_notices_that_the_daemon_went_away),
		CTL_TEST(a_request_with_a_newline_is_not_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
