/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_info.c: garner info: what an image or a pool is. How it does at the moment is told by garner status. */
#include "cli/command.h"
#include "cli/image_list.h"
#include "cli/target.h"

#include "base/clock.h"
#include "base/size.h"
#include "ctl/ctl.h"
#include "ctl/status.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define NS_PER_S UINT64_C(1000000000)

static void row(const char *label, const char *text)
{
	printf("%-12s  %s\n", label, text);
}

static void row_time(const char *label, uint64_t ns)
{
	char text[CLOCK_TEXT_MAX];

	row(label, clock_wall_format(ns, text));
}

/* ---- a pool ------------------------------------------------------------------------------------------------------- */

struct pool_totals {
	uint64_t images, size, allocated;
};

static struct pool_totals add_up(const struct image_list *list)
{
	struct pool_totals t = { .images = list->count };

	for (size_t i = 0; i < list->count; i++) {
		t.size += list->image[i].size;
		t.allocated += list->image[i].allocated;
	}
	return t;
}

static void pool_text(const struct pool *p, const struct pool_totals *t)
{
	char uuid[UUID_TEXT_BYTES], size[SIZE_TEXT_MAX], used[SIZE_TEXT_MAX], text[128];

	row("store", p->store->url);
	row("pool", uuid_format(p->uuid, uuid));
	snprintf(text, sizeof text, "%d", POOL_VERSION);
	row("version", text);
	row_time("created", p->created_ns);
	row("encryption",
	    p->sealed ? "sealed: XChaCha20-Poly1305, the key wrapped with Argon2id" : "none: this pool is plain");
	row("grain", size_format(p->grain_bytes, size));
	snprintf(text, sizeof text, "%" PRIu64 ", %s, %s in use", t->images, size_format(t->size, size),
	         size_format(t->allocated, used));
	row("images", text);
}

static void pool_json(const struct pool *p, const struct pool_totals *t)
{
	char uuid[UUID_TEXT_BYTES];

	fputs("{\"store\":", stdout);
	status_json_string(stdout, p->store->url);
	printf(",\"pool\":\"%s\",\"version\":%d,\"created\":%" PRIu64 ",\"sealed\":%s,\"grain_bytes\":%" PRIu32,
	       uuid_format(p->uuid, uuid), POOL_VERSION, p->created_ns / NS_PER_S, p->sealed ? "true" : "false",
	       p->grain_bytes);
	printf(",\"images\":%" PRIu64 ",\"size\":%" PRIu64 ",\"allocated_bytes\":%" PRIu64 "}\n", t->images, t->size,
	       t->allocated);
}

static int pool_info(const char *word, const struct target_key *key, bool json, struct error *err)
{
	struct image_list list = { 0 };
	struct pool *pool = NULL;
	struct pool_totals totals;
	int rc = target_open_pool(word, key, &pool, err);

	if (rc == 0)
		rc = image_list_from_store(&list, pool, true, err);
	if (rc == 0) {
		totals = add_up(&list);
		if (json)
			pool_json(pool, &totals);
		else
			pool_text(pool, &totals);
	}
	image_list_destroy(&list);
	pool_close(pool);
	return rc;
}

/* ---- an image ----------------------------------------------------------------------------------------------------- */

static int print_line(void *arg, const char *line)
{
	(void)arg;
	command_print(line);
	putchar('\n');
	return 0;
}

/* The daemon's members, behind ours. */
static int print_members(void *arg, const char *line)
{
	(void)arg;
	if (line[0] != '{')
		return -EPROTO;
	printf(",%s\n", line + 1);
	return 0;
}

static void image_text(const char *path, const struct stat *st)
{
	char text[64];

	row("file", path);
	snprintf(text, sizeof text, "%04o, user %u, group %u", (unsigned)st->st_mode & 07777, (unsigned)st->st_uid,
	         (unsigned)st->st_gid);
	row("mode", text);
	row_time("changed", (uint64_t)st->st_mtim.tv_sec * NS_PER_S);
	snprintf(text, sizeof text, "%jd bytes", (intmax_t)st->st_size);
	row("length", text);
}

static void image_json(const char *path, const struct stat *st)
{
	/* Seconds: nanoseconds since 1970 are more than JSON readers keep of a number. */
	fputs("{\"path\":", stdout);
	status_json_string(stdout, path);
	printf(",\"mode\":\"%04o\",\"uid\":%u,\"gid\":%u,\"mtime\":%" PRIu64, (unsigned)st->st_mode & 07777,
	       (unsigned)st->st_uid, (unsigned)st->st_gid, (uint64_t)st->st_mtim.tv_sec);
}

static int image_info(const char *path, bool json, struct error *err)
{
	struct ctl_client *client;
	struct stat st;
	uint64_t id;
	int rc = ctl_connect(path, &client, &id, err);

	if (rc < 0)
		return rc;
	if (stat(path, &st) < 0) {
		rc = error_set(err, -errno, "%s: %s", path, strerror(errno));
	} else if (json) {
		image_json(path, &st);
		rc = ctl_status(client, id, true, print_members, NULL, err);
	} else {
		image_text(path, &st);
		rc = ctl_status(client, id, false, print_line, NULL, err);
	}
	ctl_disconnect(client);
	return rc;
}

int cmd_info(const struct command *c, int argc, char **argv)
{
	struct target_key key = { 0 };
	bool json = false;
	const struct command_option options[] = {
		{ "key-file", &key.key_file, NULL },
		{ "passphrase-file", &key.passphrase_file, NULL },
		{ "passwd-file", &key.passwd_file, NULL },
		{ "json", NULL, &json },
		{ 0 },
	};
	struct error err = { 0 };
	enum target_kind kind;
	const char *word;
	int rc = command_parse(c, argc, argv, options, 1, 1, &word);

	if (rc != 0)
		return command_parse_exit(rc);
	rc = target_find(word, &kind, &err);
	if (rc == 0 && kind == TARGET_IMAGE && target_key_given(&key))
		return command_usage(c, TARGET_KEY_ASTRAY);
	if (rc == 0 && kind == TARGET_DIRECTORY)
		rc = error_set(&err, -EISDIR,
		               "%s is a directory: give an image or a store (garner status tells about a mount)", word);
	else if (rc == 0)
		rc = kind == TARGET_STORE ? pool_info(word, &key, json, &err) : image_info(word, json, &err);
	return rc < 0 ? command_failed(c, &err) : EXIT_DONE;
}
