/* SPDX-License-Identifier: GPL-3.0-only */
/* options.c: the command line of garnerfs and of mount.garnerfs. */
#include "fuse/options.h"

#include "base/bytes.h"
#include "base/size.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)
#define TIB (1024 * 1024 * MIB)
#define HOUR_MS ((uint64_t)3600 * 1000)

const char options_help[] = "Usage: garnerfs STORE MOUNTPOINT [-f] [-o OPTION[,OPTION...]]\n"
			    "Shows the disk images of the pool in STORE (file:///srv/pool, s3://bucket/prefix,\n"
			    "swift://container/prefix, node://host:7070/pool?cluster=FILE) as files under MOUNTPOINT.\n"
			    "\n"
			    "  -f                     stay in the foreground, messages on standard error\n"
			    "  -o cache_dir=DIR       local segments (/var/cache/garnerfs/POOL)\n"
			    "     cache_size=SIZE     how large they may grow (20G)\n"
			    "     dirty_limit=SIZE    bytes not yet in the store (4G)\n"
			    "     sync=local|remote|none   when a flush is answered (local)\n"
			    "     on_full=block|error what writes do at the limit while the store is away (block)\n"
			    "     key_file=FILE, passphrase_file=FILE   the key of a sealed pool\n"
			    "     passwd_file=FILE    NAME:SECRET, what logs in to an s3: or swift: store\n"
			    "     ca_file=FILE        the certificate authorities that count (the system's)\n"
			    "     client_cert=FILE, client_key=FILE     shown to a store that asks\n"
			    "     plain=yes|no        http:// also to other hosts (no)\n"
			    "     upload_rate=SIZE, download_rate=SIZE  a second, at most (no limit)\n"
			    "     store_timeout=TIME  until the store has answered a request (30s)\n"
			    "     segment_size=SIZE   1M to 64M (8M)\n"
			    "     seal_after=TIME     when a segment that is not full is sent (5s)\n"
			    "     grain=SIZE          of new images, 4K to 64K (that of the pool)\n"
			    "     map_memory=SIZE     for grain maps (64M)\n"
			    "     stage_size=SIZE     for writes on their way to the cache (64M)\n"
			    "     uploads=N           at a time (4)\n"
			    "     boot_trace=yes|no   fetch ahead what was read first last time (yes)\n"
			    "     compression=N       zstd level, 1 to 19 (1)\n"
			    "     lease=TIME          how long other hosts wait for this one (15s)\n"
			    "     stop_deadline=TIME  how long to upload at the end (60s)\n"
			    "     trash=TIME          how long deleted images can be had back (7d)\n"
			    "     exclusive=yes       no other host ever uses the pool (no)\n"
			    "     threads=N           for requests (16)\n"
			    "     ro, debug, [no_]allow_other, [no_]default_permissions\n"
			    "  -h, --help             this text\n"
			    "  -V, --version          the version\n"
			    "\n"
			    "The manual is garnerfs(8), that of the stores garnerfs-stores(7).\n";

/* ---- values ------------------------------------------------------------------------------------------------------ */

enum option_kind {
	KIND_SIZE,     /* uint64_t bytes */
	KIND_SIZE32,   /* uint32_t bytes, a power of two */
	KIND_DURATION, /* uint64_t milliseconds */
	KIND_UNSIGNED,
	KIND_PERCENT, /* unsigned; 0 becomes 101 */
	KIND_INT,
	KIND_TEXT, /* char *, not empty */
	KIND_TRUE, /* bool, without a value */
	KIND_FALSE,
	KIND_YES, /* bool, "yes" or "no" */
	KIND_SYNC,
	KIND_FULL,
};

struct option_row {
	const char *name;
	enum option_kind kind;
	size_t where; /* in struct mount_options */
	uint64_t least, most;
};

#define AT(field) offsetof(struct mount_options, field)

static const struct option_row rows[] = {
	{ "cache_dir", KIND_TEXT, AT(cache_dir), 0, 0 },
	{ "cache_size", KIND_SIZE, AT(engine.cache_size), 64 * MIB, 1024 * TIB },
	{ "dirty_limit", KIND_SIZE, AT(engine.dirty_limit), 16 * MIB, 1024 * TIB },
	{ "sync", KIND_SYNC, AT(engine.sync), 0, 0 },
	{ "on_full", KIND_FULL, AT(engine.on_full), 0, 0 },
	{ "key_file", KIND_TEXT, AT(key_file), 0, 0 },
	{ "passphrase_file", KIND_TEXT, AT(passphrase_file), 0, 0 },
	{ "passwd_file", KIND_TEXT, AT(passwd_file), 0, 0 },
	{ "ca_file", KIND_TEXT, AT(ca_file), 0, 0 },
	{ "client_cert", KIND_TEXT, AT(client_cert), 0, 0 },
	{ "client_key", KIND_TEXT, AT(client_key), 0, 0 },
	{ "plain", KIND_YES, AT(engine.allow_plain), 0, 0 },
	{ "upload_rate", KIND_SIZE, AT(engine.upload_rate), 64 * KIB, TIB },
	{ "download_rate", KIND_SIZE, AT(engine.download_rate), MIB, TIB },
	{ "store_timeout", KIND_DURATION, AT(engine.store_timeout_ms), 1000, HOUR_MS },
	{ "segment_size", KIND_SIZE32, AT(engine.segment_size), MIB, 64 * MIB },
	{ "grain", KIND_SIZE32, AT(engine.grain_size), 4 * KIB, 64 * KIB },
	{ "seal_after", KIND_DURATION, AT(engine.seal_after_ms), 100, 24 * HOUR_MS },
	{ "map_memory", KIND_SIZE, AT(engine.map_memory), MIB, TIB },
	{ "stage_size", KIND_SIZE, AT(engine.stage_size), MIB, TIB },
	{ "uploads", KIND_UNSIGNED, AT(engine.uploads), 1, 64 },
	{ "compression", KIND_INT, AT(engine.compression), 1, 19 },
	{ "lease", KIND_DURATION, AT(engine.lease_ms), 1000, HOUR_MS },
	{ "stop_deadline", KIND_DURATION, AT(engine.stop_deadline_ms), 1, 24 * HOUR_MS },
	{ "trash", KIND_DURATION, AT(engine.trash_ms), 1, 3660 * 24 * HOUR_MS },
	{ "gc_target", KIND_PERCENT, AT(engine.gc_target), 0, 100 },
	{ "gc_grace", KIND_DURATION, AT(engine.gc_grace_ms), 1, 3660 * 24 * HOUR_MS },
	{ "boot_trace", KIND_YES, AT(engine.boot_trace), 0, 0 },
	{ "threads", KIND_UNSIGNED, AT(threads), 1, THREADS_MAX },
	{ "exclusive", KIND_YES, AT(engine.exclusive), 0, 0 },
	{ "ro", KIND_TRUE, AT(engine.read_only), 0, 0 },
	{ "rw", KIND_FALSE, AT(engine.read_only), 0, 0 },
	{ "debug", KIND_TRUE, AT(debug), 0, 0 },
	{ "allow_other", KIND_TRUE, AT(allow_other), 0, 0 },
	{ "no_allow_other", KIND_FALSE, AT(allow_other), 0, 0 },
	{ "default_permissions", KIND_TRUE, AT(default_permissions), 0, 0 },
	{ "no_default_permissions", KIND_FALSE, AT(default_permissions), 0, 0 },
};

/* For mount(8), systemd and people who read fstab. */
static const char *const ignored[] = { "defaults", "auto",  "noauto", "nofail", "_netdev",  "user", "nouser",
	                               "users",    "owner", "group",  "async",  "relatime", "atime" };

/* For the kernel, which takes them from libfuse. */
static const char *const passed_on[] = { "suid", "nosuid", "dev", "nodev", "exec", "noexec", "noatime" };

static bool is_among(const char *word, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(word, list[i]) == 0)
			return true;
	return false;
}

#define IS_AMONG(word, list) is_among(word, list, sizeof(list) / sizeof *(list))

static int out_of_range(const struct option_row *r, const char *value, struct error *err)
{
	char least[SIZE_TEXT_MAX], most[SIZE_TEXT_MAX];

	switch (r->kind) {
	case KIND_SIZE:
	case KIND_SIZE32:
		return error_set(err, -EINVAL, "option %s=%s: %s%s to %s", r->name, value,
		                 r->kind == KIND_SIZE32 ? "a power of two from " : "from ",
		                 size_format(r->least, least), size_format(r->most, most));
	case KIND_DURATION:
		return error_set(err, -EINVAL, "option %s=%s: from %llums to %llus", r->name, value,
		                 (unsigned long long)r->least, (unsigned long long)r->most / 1000);
	default:
		return error_set(err, -EINVAL, "option %s=%s: a number from %llu to %llu", r->name, value,
		                 (unsigned long long)r->least, (unsigned long long)r->most);
	}
}

static int parse_number(const struct option_row *r, const char *value, uint64_t *n, struct error *err)
{
	char *end;
	int rc = 0;

	switch (r->kind) {
	case KIND_SIZE:
	case KIND_SIZE32:
		rc = size_parse(value, n, err);
		break;
	case KIND_DURATION:
		rc = duration_parse(value, n, err);
		if (rc == 0 && r->least == 1 && *n == 0)
			*n = 1; /* "do not wait", "keep nothing"; 0 would be the default */
		break;
	default:
		errno = 0;
		*n = strtoull(value, &end, 10);
		if (value[0] < '0' || value[0] > '9' || *end || errno)
			return out_of_range(r, value, err);
	}
	if (rc < 0)
		return error_prefix(err, rc, "option %s", r->name);
	if (*n < r->least || *n > r->most || (r->kind == KIND_SIZE32 && !is_power_of_two(*n)))
		return out_of_range(r, value, err);
	if (r->kind == KIND_PERCENT && *n == 0)
		*n = 101; /* never; 0 would be the default */
	return 0;
}

static int parse_word(const struct option_row *r, const char *value, void *where, struct error *err)
{
	static const char *const policies[] = {
		[SYNC_LOCAL] = "local", [SYNC_REMOTE] = "remote", [SYNC_NONE] = "none"
	};

	if (r->kind == KIND_YES) {
		if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
			return error_set(err, -EINVAL, "option %s=%s: yes or no", r->name, value);
		*(bool *)where = value[0] == 'y';
		return 0;
	}
	if (r->kind == KIND_FULL) {
		if (strcmp(value, "block") != 0 && strcmp(value, "error") != 0)
			return error_set(err, -EINVAL, "option on_full=%s: block or error", value);
		*(enum full_policy *)where = value[0] == 'e' ? FULL_ERROR : FULL_BLOCK;
		return 0;
	}
	for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++) {
		if (strcmp(value, policies[i]) == 0) {
			*(enum sync_policy *)where = (enum sync_policy)i;
			return 0;
		}
	}
	return error_set(err, -EINVAL, "option sync=%s: local, remote or none", value);
}

static int set_text(const struct option_row *r, const char *value, char **where, struct error *err)
{
	char *copy;

	if (!value[0])
		return error_set(err, -EINVAL, "option %s wants a value", r->name);
	copy = strdup(value);
	if (!copy)
		return error_set(err, -ENOMEM, "out of memory");
	free(*where);
	*where = copy;
	return 0;
}

static int set_row(const struct option_row *r, const char *value, struct mount_options *o, struct error *err)
{
	void *where = (char *)o + r->where;
	uint64_t n;
	int rc;

	if (r->kind == KIND_TRUE || r->kind == KIND_FALSE) {
		if (value)
			return error_set(err, -EINVAL, "option %s takes no value", r->name);
		*(bool *)where = r->kind == KIND_TRUE;
		return 0;
	}
	if (!value)
		return error_set(err, -EINVAL, "option %s wants a value: see garnerfs(8)", r->name);
	if (r->kind == KIND_TEXT)
		return set_text(r, value, where, err);
	if (r->kind == KIND_YES || r->kind == KIND_SYNC || r->kind == KIND_FULL)
		return parse_word(r, value, where, err);
	rc = parse_number(r, value, &n, err);
	if (rc < 0)
		return rc;
	if (r->kind == KIND_SIZE || r->kind == KIND_DURATION)
		*(uint64_t *)where = n;
	else if (r->kind == KIND_INT)
		*(int *)where = (int)n;
	else if (r->kind == KIND_SIZE32)
		*(uint32_t *)where = (uint32_t)n;
	else
		*(unsigned *)where = (unsigned)n;
	return 0;
}

static int pass_on(const char *word, struct mount_options *o, struct error *err)
{
	char *joined;

	if (asprintf(&joined, "%s%s%s", o->kernel_options, o->kernel_options[0] ? "," : "", word) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	free(o->kernel_options);
	o->kernel_options = joined;
	return 0;
}

/* One "name" or "name=value"; `word` is cut up. */
static int set_option(char *word, bool sloppy, struct mount_options *o, struct error *err)
{
	char *equals = strchr(word, '=');

	if (IS_AMONG(word, ignored) || strncasecmp(word, "x-", 2) == 0 || strncmp(word, "comment=", 8) == 0)
		return 0;
	if (IS_AMONG(word, passed_on))
		return pass_on(word, o, err);
	if (equals)
		*equals = '\0';
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if (strcmp(word, rows[i].name) == 0)
			return set_row(&rows[i], equals ? equals + 1 : NULL, o, err);
	if (sloppy)
		return 0;
	return error_set(err, -EINVAL, "unknown option \"%s\": the options are in garnerfs(8), or try garnerfs --help",
	                 word);
}

/* A list as -o takes it: commas part the options; "\," and "\\" are a comma and a backslash inside a value. */
static int set_list(const char *list, bool sloppy, struct mount_options *o, struct error *err)
{
	char *copy = malloc(strlen(list) + 1);
	int rc = 0;

	if (!copy)
		return error_set(err, -ENOMEM, "out of memory");
	while (*list && rc == 0) {
		char *p = copy;

		for (; *list && *list != ','; list++) {
			if (list[0] == '\\' && (list[1] == ',' || list[1] == '\\'))
				list++;
			*p++ = *list;
		}
		*p = '\0';
		if (*list == ',')
			list++;
		if (copy[0])
			rc = set_option(copy, sloppy, o, err);
	}
	free(copy);
	return rc;
}

/* ---- the line ---------------------------------------------------------------------------------------------------- */

/* What holds between options. */
static int check_together(struct mount_options *o, struct error *err)
{
	if (o->key_file && o->passphrase_file)
		return error_set(err, -EINVAL, "options key_file and passphrase_file exclude each other");
	if (o->engine.cache_size && o->engine.dirty_limit && o->engine.dirty_limit > o->engine.cache_size / 2)
		return error_set(err, -EINVAL, "option dirty_limit: at most half of cache_size");
	return 0;
}

/* The engine's strings are ours. */
static void point_engine_at_strings(struct mount_options *o)
{
	o->engine.store_url = o->store;
	o->engine.cache_dir = o->cache_dir;
	o->engine.key_file = o->key_file;
	o->engine.passphrase_file = o->passphrase_file;
	o->engine.passwd_file = o->passwd_file;
	o->engine.ca_file = o->ca_file;
	o->engine.client_cert = o->client_cert;
	o->engine.client_key = o->client_key;
}

static int set_operands(int argc, char **argv, struct mount_options *o, struct error *err)
{
	if (argc != 2)
		return error_set(err, -EINVAL,
		                 "%s: usage: garnerfs STORE MOUNTPOINT [-f] [-o OPTIONS], or garnerfs --help",
		                 argc < 2 ? "STORE and MOUNTPOINT are wanted" : "too many words");
	o->store = strdup(argv[0]);
	o->mountpoint = strdup(argv[1]);
	if (!o->store || !o->mountpoint)
		return error_set(err, -ENOMEM, "out of memory");
	point_engine_at_strings(o);
	return 0;
}

/* Whether we are called as mount(8) calls its helpers: mount.garnerfs STORE DIR [-sfnv] [-o OPTIONS] [-t TYPE] [-N NS]. */
static bool is_mount_helper(const char *program)
{
	const char *slash = strrchr(program, '/');

	return strncmp(slash ? slash + 1 : program, "mount.", 6) == 0;
}

static int defaults(bool root, struct mount_options *o)
{
	*o = (struct mount_options){ .action = ACTION_MOUNT, .threads = THREADS_DEFAULT };
	o->engine.may_init = true;
	o->engine.boot_trace = true;
	o->allow_other = o->default_permissions = root;
	o->kernel_options = strdup("");
	return o->kernel_options ? 0 : -ENOMEM;
}

int options_parse(int argc, char **argv, bool root, struct mount_options *o, struct error *err)
{
	static const struct option names[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	bool helper = argc > 0 && is_mount_helper(argv[0]), sloppy = false;
	const char *lists[32];
	size_t list_count = 0;
	int c, rc;

	if (defaults(root, o) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	optind = 0; /* GNU: start anew, and permute */
	opterr = 0;
	while ((c = getopt_long(argc, argv, helper ? ":fhnsvVo:t:N:" : ":fhVo:", names, NULL)) != -1) {
		switch (c) {
		case 'h':
			o->action = ACTION_HELP;
			return 0;
		case 'V':
			o->action = ACTION_VERSION;
			return 0;
		case 'f':
			if (helper)
				o->action = ACTION_NOTHING;
			else
				o->foreground = true;
			break;
		case 's':
			sloppy = true;
			break;
		case 'o':
			if (list_count == sizeof lists / sizeof lists[0])
				return error_set(err, -EINVAL, "-o given too often");
			lists[list_count++] = optarg;
			break;
		case 'n': /* no mtab, verbose, the type, the namespace: nothing for us to do */
		case 'v':
		case 't':
		case 'N':
			break;
		case ':':
			return error_set(err, -EINVAL, "-%c wants a value", optopt);
		default:
			return error_set(err, -EINVAL, "unknown option \"%s\": try garnerfs --help", argv[optind - 1]);
		}
	}
	for (size_t i = 0; i < list_count; i++) {
		rc = set_list(lists[i], sloppy, o, err);
		if (rc < 0)
			return rc;
	}
	rc = check_together(o, err);
	return rc < 0 ? rc : set_operands(argc - optind, argv + optind, o, err);
}

void options_free(struct mount_options *o)
{
	free(o->store);
	free(o->mountpoint);
	free(o->cache_dir);
	free(o->key_file);
	free(o->passphrase_file);
	free(o->passwd_file);
	free(o->ca_file);
	free(o->client_cert);
	free(o->client_key);
	free(o->kernel_options);
	*o = (struct mount_options){ 0 };
}

static int make_absolute(char **path, struct error *err)
{
	char *cwd, *joined;

	if (!*path || (*path)[0] == '/')
		return 0;
	cwd = getcwd(NULL, 0);
	if (!cwd)
		return error_set(err, -errno, "the current directory: %s", strerror(errno));
	if (asprintf(&joined, "%s/%s", cwd, *path) < 0)
		joined = NULL;
	free(cwd);
	if (!joined)
		return error_set(err, -ENOMEM, "out of memory");
	free(*path);
	*path = joined;
	return 0;
}

int options_make_absolute(struct mount_options *o, struct error *err)
{
	char **paths[] = { &o->mountpoint,  &o->cache_dir, &o->key_file,    &o->passphrase_file,
		           &o->passwd_file, &o->ca_file,   &o->client_cert, &o->client_key };

	for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
		int rc = make_absolute(paths[i], err);

		if (rc < 0)
			return rc;
	}
	point_engine_at_strings(o);
	return 0;
}
