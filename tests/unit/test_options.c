/* SPDX-License-Identifier: GPL-3.0-only */
/* test_options.c: the command line of garnerfs and mount.garnerfs. */
#include "fuse/options.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct mount_options options;
static struct error error;

/* Parses a line of words parted by blanks. getopt permutes, so the words are copied. */
static int parse_as(bool root, const char *line)
{
	static char copy[8192];
	char *argv[64], *save = NULL;
	int argc = 0;

	options_free(&options);
	memset(&error, 0, sizeof error);
	assert_true((size_t)snprintf(copy, sizeof copy, "%s", line) < sizeof copy);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		assert_true(argc < 63);
		argv[argc++] = w;
	}
	argv[argc] = NULL;
	return options_parse(argc, argv, root, &options, &error);
}

static int parse(const char *line)
{
	return parse_as(true, line);
}

static int teardown(void **state)
{
	(void)state;
	options_free(&options);
	return 0;
}

static void operands_are_store_and_mountpoint_wherever_options_stand(void **state)
{
	(void)state;
	assert_int_equal(parse("garnerfs -o seal_after=1s file:///srv/pool -f /mnt -o uploads=2"), 0);
	assert_int_equal(options.action, ACTION_MOUNT);
	assert_string_equal(options.engine.store_url, "file:///srv/pool");
	assert_string_equal(options.mountpoint, "/mnt");
	assert_true(options.foreground);
	assert_int_equal(options.engine.seal_after_ms, 1000);
	assert_int_equal(options.engine.uploads, 2);
}

static void defaults_are_left_to_the_engine(void **state)
{
	(void)state;
	assert_int_equal(parse("garnerfs file:///p /mnt"), 0);
	assert_int_equal(options.engine.cache_size, 0);
	assert_int_equal(options.engine.sync, SYNC_LOCAL);
	assert_int_equal(options.engine.on_full, FULL_BLOCK);
	assert_null(options.engine.cache_dir);
	assert_null(options.engine.passwd_file);
	assert_int_equal(options.engine.store_timeout_ms, 0);
	assert_int_equal(options.engine.upload_rate, 0);
	assert_true(options.engine.may_init);
	assert_true(options.engine.boot_trace);
	assert_false(options.engine.read_only);
	assert_int_equal(options.threads, THREADS_DEFAULT);
	assert_false(options.foreground);
	assert_string_equal(options.kernel_options, "");
}

static void root_mounts_for_others_unless_told_not_to(void **state)
{
	(void)state;
	assert_int_equal(parse_as(true, "garnerfs s m"), 0);
	assert_true(options.allow_other && options.default_permissions);
	assert_int_equal(parse_as(false, "garnerfs s m"), 0);
	assert_false(options.allow_other || options.default_permissions);
	assert_int_equal(parse_as(true, "garnerfs s m -o no_allow_other,no_default_permissions"), 0);
	assert_false(options.allow_other || options.default_permissions);
	assert_int_equal(parse_as(false, "garnerfs s m -o allow_other,default_permissions"), 0);
	assert_true(options.allow_other && options.default_permissions);
}

static void every_option_reaches_its_field(void **state)
{
	(void)state;
	assert_int_equal(
		parse("garnerfs s m -o "
	              "cache_dir=/c,cache_size=20G,dirty_limit=4G,sync=remote,on_full=error,key_file=/k,"
	              "segment_size=16M,grain=64K,seal_after=500ms,map_memory=32M,uploads=8,compression=3,lease=30s,"
	              "stop_deadline=2m,threads=4,ro,debug,boot_trace=no"),
		0);
	assert_string_equal(options.engine.cache_dir, "/c");
	assert_int_equal(options.engine.cache_size, 20ull << 30);
	assert_int_equal(options.engine.dirty_limit, 4ull << 30);
	assert_int_equal(options.engine.sync, SYNC_REMOTE);
	assert_int_equal(options.engine.on_full, FULL_ERROR);
	assert_string_equal(options.engine.key_file, "/k");
	assert_null(options.engine.passphrase_file);
	assert_int_equal(options.engine.segment_size, 16 << 20);
	assert_int_equal(options.engine.grain_size, 65536);
	assert_int_equal(options.engine.seal_after_ms, 500);
	assert_int_equal(options.engine.map_memory, 32 << 20);
	assert_int_equal(options.engine.uploads, 8);
	assert_int_equal(options.engine.compression, 3);
	assert_int_equal(options.engine.lease_ms, 30000);
	assert_int_equal(options.engine.stop_deadline_ms, 120000);
	assert_int_equal(options.threads, 4);
	assert_true(options.engine.read_only);
	assert_true(options.debug);
	assert_false(options.engine.boot_trace);
	assert_int_equal(parse("garnerfs s m -o boot_trace=no,boot_trace=yes"), 0);
	assert_true(options.engine.boot_trace);
	assert_int_equal(parse("garnerfs s m -o sync=none,passphrase_file=/p"), 0);
	assert_int_equal(options.engine.sync, SYNC_NONE);
	assert_string_equal(options.engine.passphrase_file, "/p");
}

static void every_option_for_remote_stores_reaches_its_field(void **state)
{
	(void)state;
	assert_int_equal(parse("garnerfs s3://b/p m -o passwd_file=/etc/p,ca_file=/etc/ca.pem,client_cert=/etc/c.pem,"
	                       "client_key=/etc/k.pem,plain=yes,upload_rate=20M,download_rate=100M,store_timeout=45s"),
	                 0);
	assert_string_equal(options.engine.store_url, "s3://b/p");
	assert_string_equal(options.engine.passwd_file, "/etc/p");
	assert_string_equal(options.engine.ca_file, "/etc/ca.pem");
	assert_string_equal(options.engine.client_cert, "/etc/c.pem");
	assert_string_equal(options.engine.client_key, "/etc/k.pem");
	assert_true(options.engine.allow_plain);
	assert_int_equal(options.engine.upload_rate, 20 << 20);
	assert_int_equal(options.engine.download_rate, 100 << 20);
	assert_int_equal(options.engine.store_timeout_ms, 45000);
	assert_null(options.engine.key_file);
}

static void plain_http_is_allowed_only_by_the_word_yes(void **state)
{
	(void)state;
	assert_int_equal(parse("garnerfs s m"), 0);
	assert_false(options.engine.allow_plain);
	assert_int_equal(parse("garnerfs s m -o plain=yes,plain=no"), 0);
	assert_false(options.engine.allow_plain);
	assert_int_equal(parse("garnerfs s m -o plain=yesterday"), -EINVAL);
	assert_non_null(strstr(error.text, "plain=yesterday: yes or no"));
	assert_int_equal(parse("garnerfs s m -o plain"), -EINVAL);
	assert_false(options.engine.allow_plain);
}

static void a_later_option_wins(void **state)
{
	(void)state;
	assert_int_equal(parse("garnerfs s m -o ro,cache_dir=/a -o cache_dir=/b,rw"), 0);
	assert_string_equal(options.engine.cache_dir, "/b");
	assert_false(options.engine.read_only);
}

static void an_unknown_option_is_named_with_where_to_look(void **state)
{
	(void)state;
	assert_int_equal(parse("garnerfs s m -o ro,cash_size=1G"), -EINVAL);
	assert_non_null(strstr(error.text, "\"cash_size\""));
	assert_non_null(strstr(error.text, "garnerfs(8)"));
	assert_int_equal(parse("garnerfs s m --frobnicate"), -EINVAL);
	assert_non_null(strstr(error.text, "--frobnicate"));
	assert_int_equal(parse("garnerfs s m -o"), -EINVAL);
	assert_non_null(strstr(error.text, "-o"));
}

static void that_no_other_host_uses_the_pool_is_said_and_not_guessed(void **state)
{
	(void)state;
	assert_int_equal(parse("garnerfs s m"), 0);
	assert_false(options.engine.exclusive);
	assert_int_equal(parse("garnerfs s m -o exclusive=yes"), 0);
	assert_true(options.engine.exclusive);
	assert_int_equal(parse("garnerfs s m -o exclusive=yes,exclusive=no"), 0);
	assert_false(options.engine.exclusive);
}

static void values_out_of_range_are_refused_by_name(void **state)
{
	static const char *const bad[] = { "grain=5K",
		                           "grain=128K",
		                           "grain=2K",
		                           "segment_size=512K",
		                           "segment_size=128M",
		                           "segment_size=3M",
		                           "cache_size=1M",
		                           "cache_size=",
		                           "cache_size=-1",
		                           "cache_size",
		                           "uploads=0",
		                           "uploads=65",
		                           "uploads=4x",
		                           "uploads=-4",
		                           "uploads=99999999999999999999",
		                           "compression=0",
		                           "compression=20",
		                           "threads=0",
		                           "threads=129",
		                           "lease=10ms",
		                           "seal_after=0",
		                           "seal_after=soon",
		                           "sync",
		                           "sync=maybe",
		                           "sync=",
		                           "on_full=panic",
		                           "ro=1",
		                           "key_file=",
		                           "key_file",
		                           "dirty_limit=1",
		                           "map_memory=1K",
		                           "exclusive",
		                           "exclusive=",
		                           "exclusive=1",
		                           "passwd_file=",
		                           "passwd_file",
		                           "client_key=",
		                           "upload_rate=0",
		                           "upload_rate=63K",
		                           "upload_rate=fast",
		                           "download_rate=2048T",
		                           "download_rate=1023K",
		                           "store_timeout=0",
		                           "store_timeout=999ms",
		                           "store_timeout=61m",
		                           "boot_trace",
		                           "boot_trace=",
		                           "boot_trace=maybe",
		                           "plain=",
		                           "plain=1" };

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char line[128], name[32];

		snprintf(line, sizeof line, "garnerfs s m -o %s", bad[i]);
		snprintf(name, sizeof name, "%.*s", (int)strcspn(bad[i], "="), bad[i]);
		if (parse(line) != -EINVAL || !strstr(error.text, name))
			fail_msg("-o %s: code %d, \"%s\"", bad[i], error.code, error.text);
	}
}

static void options_that_exclude_each_other_are_refused(void **state)
{
	(void)state;
	assert_int_equal(parse("garnerfs s m -o key_file=/a,passphrase_file=/b"), -EINVAL);
	assert_int_equal(parse("garnerfs s m -o cache_size=1G,dirty_limit=600M"), -EINVAL);
	assert_int_equal(parse("garnerfs s m -o cache_size=1G,dirty_limit=512M"), 0);
}

static void stop_deadline_zero_is_not_the_default(void **state)
{
	(void)state;
	assert_int_equal(parse("garnerfs s m -o stop_deadline=0s,trash=0"), 0);
	assert_int_equal(options.engine.stop_deadline_ms, 1);
	assert_int_equal(options.engine.trash_ms, 1);
	assert_int_equal(parse("garnerfs s m -o gc_target=0,gc_grace=0"), 0);
	assert_int_equal(options.engine.gc_target, 101);
	assert_int_equal(options.engine.gc_grace_ms, 1);
	assert_int_equal(parse("garnerfs s m -o gc_target=40,gc_grace=1h"), 0);
	assert_int_equal(options.engine.gc_target, 40);
	assert_int_equal(options.engine.gc_grace_ms, 3600 * 1000);
	assert_int_equal(parse("garnerfs s m -o gc_target=101"), -EINVAL);
	assert_int_equal(parse("garnerfs s m -o trash=7d"), 0);
	assert_int_equal(options.engine.trash_ms, 7 * 24 * 3600 * UINT64_C(1000));
}

static void an_escaped_comma_belongs_to_the_value(void **state)
{
	(void)state;
	assert_int_equal(parse("garnerfs s m -o cache_dir=/a\\,b\\\\c,ro"), 0);
	assert_string_equal(options.engine.cache_dir, "/a,b\\c");
	assert_true(options.engine.read_only);
}

static void fstab_options_are_passed_over_and_the_kernels_passed_on(void **state)
{
	(void)state;
	assert_int_equal(
		parse("mount.garnerfs file:///p /mnt -n -v -t garnerfs -o rw,defaults,noauto,nofail,_netdev,user,"
	              "x-systemd.requires=network-online.target,X-mount.mkdir,comment=vm,noexec,nosuid"),
		0);
	assert_string_equal(options.kernel_options, "noexec,nosuid");
	assert_string_equal(options.engine.store_url, "file:///p");
}

static void a_mount_helper_is_sloppy_only_with_s_and_fakes_with_f(void **state)
{
	(void)state;
	assert_int_equal(parse("/sbin/mount.garnerfs s m -o unheard_of"), -EINVAL);
	assert_int_equal(parse("/sbin/mount.garnerfs s m -s -o unheard_of"), 0);
	assert_int_equal(options.action, ACTION_MOUNT);
	assert_int_equal(parse("/sbin/mount.garnerfs s m -f"), 0);
	assert_int_equal(options.action, ACTION_NOTHING);
	assert_int_equal(parse("garnerfs s m -s"), -EINVAL);
}

static void help_and_version_need_no_operands(void **state)
{
	(void)state;
	assert_int_equal(parse("garnerfs --help"), 0);
	assert_int_equal(options.action, ACTION_HELP);
	assert_int_equal(parse("garnerfs -V"), 0);
	assert_int_equal(options.action, ACTION_VERSION);
}

static void missing_and_surplus_words_are_usage_errors(void **state)
{
	(void)state;
	assert_int_equal(parse("garnerfs"), -EINVAL);
	assert_int_equal(parse("garnerfs s"), -EINVAL);
	assert_int_equal(parse("garnerfs s m x"), -EINVAL);
}

static void relative_file_names_become_absolute(void **state)
{
	char *cwd = getcwd(NULL, 0), *expected;

	(void)state;
	assert_non_null(cwd);
	assert_int_equal(parse("garnerfs file:///p mnt -o cache_dir=c,key_file=/abs"), 0);
	assert_int_equal(options_make_absolute(&options, &error), 0);
	assert_true(asprintf(&expected, "%s/mnt", cwd) > 0);
	assert_string_equal(options.mountpoint, expected);
	free(expected);
	assert_true(asprintf(&expected, "%s/c", cwd) > 0);
	assert_string_equal(options.engine.cache_dir, expected);
	free(expected);
	assert_string_equal(options.engine.key_file, "/abs");
	assert_string_equal(options.store, "file:///p");
	free(cwd);
}

static void file_names_for_remote_stores_become_absolute(void **state)
{
	static const char *const names[] = { "pw", "certs/ca", "cert", "../key" };
	char *cwd = getcwd(NULL, 0), expected[PATH_MAX + 16];

	(void)state;
	assert_non_null(cwd);
	assert_int_equal(
		parse("garnerfs s3://b/p /m -o passwd_file=pw,ca_file=certs/ca,client_cert=cert,client_key=../key"), 0);
	assert_int_equal(options_make_absolute(&options, &error), 0);
	const char *const made[] = { options.engine.passwd_file, options.engine.ca_file, options.engine.client_cert,
		                     options.engine.client_key };
	for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
		snprintf(expected, sizeof expected, "%s/%s", cwd, names[i]);
		assert_string_equal(made[i], expected);
	}
	assert_string_equal(options.engine.store_url, "s3://b/p");
	free(cwd);
}

static void help_names_every_option(void **state)
{
	static const char *const names[] = { "cache_dir=",   "cache_size=",  "dirty_limit=",     "sync=",
		                             "on_full=",     "key_file=",    "passphrase_file=", "segment_size=",
		                             "seal_after=",  "grain=",       "map_memory=",      "uploads=",
		                             "compression=", "lease=",       "stop_deadline=",   "threads=",
		                             "ro,",          "debug",        "allow_other",      "default_permissions",
		                             "passwd_file=", "ca_file=",     "client_cert=",     "client_key=",
		                             "plain=",       "upload_rate=", "download_rate=",   "store_timeout=",
		                             "boot_trace=" };

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (!strstr(options_help, names[i]))
			fail_msg("--help does not tell of %s", names[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(operands_are_store_and_mountpoint_wherever_options_stand, teardown),
		cmocka_unit_test_teardown(defaults_are_left_to_the_engine, teardown),
		cmocka_unit_test_teardown(root_mounts_for_others_unless_told_not_to, teardown),
		cmocka_unit_test_teardown(every_option_reaches_its_field, teardown),
		cmocka_unit_test_teardown(every_option_for_remote_stores_reaches_its_field, teardown),
		cmocka_unit_test_teardown(plain_http_is_allowed_only_by_the_word_yes, teardown),
		cmocka_unit_test_teardown(a_later_option_wins, teardown),
		cmocka_unit_test_teardown(an_unknown_option_is_named_with_where_to_look, teardown),
		cmocka_unit_test_teardown(that_no_other_host_uses_the_pool_is_said_and_not_guessed, teardown),
		cmocka_unit_test_teardown(values_out_of_range_are_refused_by_name, teardown),
		cmocka_unit_test_teardown(options_that_exclude_each_other_are_refused, teardown),
		cmocka_unit_test_teardown(stop_deadline_zero_is_not_the_default, teardown),
		cmocka_unit_test_teardown(an_escaped_comma_belongs_to_the_value, teardown),
		cmocka_unit_test_teardown(fstab_options_are_passed_over_and_the_kernels_passed_on, teardown),
		cmocka_unit_test_teardown(a_mount_helper_is_sloppy_only_with_s_and_fakes_with_f, teardown),
		cmocka_unit_test_teardown(help_and_version_need_no_operands, teardown),
		cmocka_unit_test_teardown(missing_and_surplus_words_are_usage_errors, teardown),
		cmocka_unit_test_teardown(relative_file_names_become_absolute, teardown),
		cmocka_unit_test_teardown(file_names_for_remote_stores_become_absolute, teardown),
		cmocka_unit_test(help_names_every_option),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
