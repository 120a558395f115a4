/* SPDX-License-Identifier: GPL-3.0-only */
/* test_status.c: engine and image state as text and as JSON. */
#include "ctl/status.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *text;

static int teardown(void **state)
{
	(void)state;
	free(text);
	text = NULL;
	return 0;
}

static FILE *begin(size_t *len)
{
	FILE *out;

	free(text);
	text = NULL;
	out = open_memstream(&text, len);
	assert_non_null(out);
	return out;
}

static const char *json_string(const char *s)
{
	size_t len;
	FILE *out = begin(&len);

	status_json_string(out, s);
	assert_int_equal(fclose(out), 0);
	return text;
}

static struct image_status sample_image(void)
{
	return (struct image_status){ .id = 0xa1,
		                      .owner = "host1 (0011)",
		                      .writable_here = true,
		                      .epoch = 3,
		                      .size = 10ull << 30,
		                      .allocated_bytes = 3ull << 29,
		                      .segment = 12,
		                      .stored_segment = 10,
		                      .lag_bytes = 4096,
		                      .lag_seconds = 1.25,
		                      .sync = "local",
		                      .state = "ok",
		                      .last_flush = { .wall_ns = 1,
		                                      .remote = true,
		                                      .us = 2500,
		                                      .stored_us = 2000,
		                                      .acks = "coordinator h1:7070 410 us, n1 350 us" } };
}

static void strings_are_escaped(void **state)
{
	(void)state;
	assert_string_equal(json_string(""), "\"\"");
	assert_string_equal(json_string("a\"b\\c/d"), "\"a\\\"b\\\\c/d\"");
	assert_string_equal(json_string("\n\t\x01\x1f\x7f"), "\"\\u000a\\u0009\\u0001\\u001f\\u007f\"");
}

static void valid_utf8_stays_and_other_bytes_are_replaced(void **state)
{
	(void)state;
	assert_string_equal(json_string("\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"),
	                    "\"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80\"");
	assert_string_equal(json_string("\xff"), "\"\\ufffd\"");
	assert_string_equal(json_string("\xc0\xaf"), "\"\\ufffd\\ufffd\"");            /* overlong */
	assert_string_equal(json_string("\xed\xa0\x80"), "\"\\ufffd\\ufffd\\ufffd\""); /* surrogate */
	assert_string_equal(json_string("\xe2\x82"), "\"\\ufffd\\ufffd\"");            /* cut short */
	assert_string_equal(json_string("\xf4\x90\x80\x80"), "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
	assert_string_equal(json_string("\xc3"
	                                "a"),
	                    "\"\\ufffda\"");
}

static void an_image_is_one_flat_object(void **state)
{
	struct image_status s = sample_image();
	size_t len;
	FILE *out = begin(&len);

	(void)state;
	status_image_json(out, &s);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text,
	                    "{\"id\":\"00000000000000a1\",\"state\":\"ok\",\"detail\":\"\",\"owner\":\"host1 (0011)\","
	                    "\"writable_here\":true,\"sync\":\"local\",\"epoch\":3,\"size\":10737418240,"
	                    "\"allocated_bytes\":1610612736,\"segment\":12,\"stored_segment\":10,\"lag_bytes\":4096,"
	                    "\"lag_seconds\":1.250,\"last_flush_us\":2500,\"last_flush_stored_us\":2000,"
	                    "\"last_flush_acks\":\"coordinator h1:7070 410 us, n1 350 us\"}");
}

static void an_engine_tells_every_counter(void **state)
{
	struct engine_status s = { .store_url = "file:///a\"b",
		                   .sealed = true,
		                   .cache_size = 1,
		                   .cache_used = 2,
		                   .dirty_limit = 3,
		                   .lag_bytes = 4,
		                   .lag_seconds = 0.5,
		                   .store_error = "away",
		                   .reads = 5,
		                   .writes = 6,
		                   .flushes = 7,
		                   .read_bytes = 8,
		                   .write_bytes = 9,
		                   .cache_hits = 10,
		                   .cache_misses = 11,
		                   .store_puts = 12,
		                   .store_gets = 13,
		                   .store_lists = 14,
		                   .store_heads = 15,
		                   .store_removes = 16,
		                   .store_put_bytes = 17,
		                   .store_get_bytes = 18,
		                   .retries = 19,
		                   .hedges = 21,
		                   .moved_bytes = 22,
		                   .map_bytes = UINT64_MAX,
		                   .images_open = 20 };
	size_t len;
	FILE *out;

	(void)state;
	for (int i = 0; i < 16; i++)
		s.pool_uuid[i] = (uint8_t)(i * 17);
	strcpy(s.cache_dir, "/c");
	out = begin(&len);
	status_engine_json(out, &s);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(
		text, "{\"store\":\"file:///a\\\"b\",\"pool\":\"00112233-4455-6677-8899-aabbccddeeff\",\"sealed\":true,"
		      "\"store_ok\":false,\"store_error\":\"away\",\"cache_dir\":\"/c\",\"lag_seconds\":0.500,"
		      "\"cache_size\":1,\"cache_used\":2,\"dirty_limit\":3,\"lag_bytes\":4,\"images_open\":20,"
		      "\"reads\":5,\"writes\":6,\"flushes\":7,\"read_bytes\":8,\"write_bytes\":9,\"cache_hits\":10,"
		      "\"cache_misses\":11,\"store_puts\":12,\"store_gets\":13,\"store_lists\":14,"
		      "\"store_heads\":15,\"store_removes\":16,\"store_put_bytes\":17,\"store_get_bytes\":18,"
		      "\"retries\":19,\"hedges\":21,\"moved_bytes\":22,\"map_bytes\":18446744073709551615}");
}

static void seconds_that_are_no_number_are_zero(void **state)
{
	const double odd[] = { NAN, INFINITY, -INFINITY, -1.0, 0.0 };

	(void)state;
	for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
		struct image_status s = sample_image();
		size_t len;
		FILE *out = begin(&len);

		s.lag_seconds = odd[i];
		status_image_json(out, &s);
		assert_int_equal(fclose(out), 0);
		assert_non_null(strstr(text, "\"lag_seconds\":0.000,"));
	}
}

static void fields_without_an_end_are_not_read_past(void **state)
{
	struct image_status s = sample_image();
	size_t len;
	FILE *out = begin(&len);

	(void)state;
	memset(s.state, 'x', sizeof s.state);
	memset(s.owner, 'y', sizeof s.owner);
	s.sync = NULL;
	status_image_json(out, &s);
	status_image_text(out, &s);
	assert_int_equal(fclose(out), 0);
	assert_non_null(strstr(text, "\"state\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\","));
	assert_non_null(strstr(text, "\"sync\":\"\""));
}

static void text_is_aligned_and_one_line_for_each_fact(void **state)
{
	struct image_status s = sample_image();
	size_t len, lines = 0;
	FILE *out = begin(&len);

	(void)state;
	strcpy(s.state, "fenced");
	strcpy(s.detail, "by host2\nrm -rf /\x1b[2J");
	status_image_text(out, &s);
	assert_int_equal(fclose(out), 0);
	assert_non_null(strstr(text, "state         fenced: by host2?rm -rf /?[2J\n"));
	assert_non_null(strstr(text, "owner         host1 (0011) (open for writing here), epoch 3\n"));
	assert_non_null(strstr(text, "size          10 GiB, 1.5 GiB in use\n"));
	assert_non_null(strstr(text, "to send       4 KiB, the oldest written 1.2 s ago\n"));
	assert_non_null(strstr(text,
	                       ": in the store after 2.00 ms (coordinator h1:7070 410 us, n1 350 us), still the owner "
	                       "after 2.50 ms\n"));
	for (char *line = text; *line; line = strchr(line, '\n') + 1, lines++)
		assert_true(line[12] == ' ' && line[13] == ' ' && line[14] != ' ');
	assert_int_equal(lines, 8);
}

static void a_store_that_is_away_is_told_first_hand(void **state)
{
	struct engine_status s = { .store_url = "file:///p", .store_error = "no route" };
	size_t len;
	FILE *out = begin(&len);

	(void)state;
	status_engine_text(out, &s);
	assert_int_equal(fclose(out), 0);
	assert_non_null(strstr(text, "state         store away: no route\n"));
	assert_non_null(strstr(text, ", plain\n"));
}

static void a_list_line_has_no_newline(void **state)
{
	struct image_status s = sample_image();
	size_t len;
	FILE *out = begin(&len);

	(void)state;
	status_image_line(out, &s);
	assert_int_equal(fclose(out), 0);
	assert_null(strchr(text, '\n'));
	assert_int_equal(strncmp(text, "00000000000000a1  ", 18), 0);
	assert_non_null(strstr(text, "  ok"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(strings_are_escaped, teardown),
		cmocka_unit_test_teardown(valid_utf8_stays_and_other_bytes_are_replaced, teardown),
		cmocka_unit_test_teardown(an_image_is_one_flat_object, teardown),
		cmocka_unit_test_teardown(an_engine_tells_every_counter, teardown),
		cmocka_unit_test_teardown(seconds_that_are_no_number_are_zero, teardown),
		cmocka_unit_test_teardown(fields_without_an_end_are_not_read_past, teardown),
		cmocka_unit_test_teardown(text_is_aligned_and_one_line_for_each_fact, teardown),
		cmocka_unit_test_teardown(a_store_that_is_away_is_told_first_hand, teardown),
		cmocka_unit_test_teardown(a_list_line_has_no_newline, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
