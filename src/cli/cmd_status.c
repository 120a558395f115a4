/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_status.c: garner status, flush, takeover: what the daemon behind a mount is asked for through its control socket. */
#include "cli/command.h"
#include "cli/image_list.h"
#include "cli/progress.h"
#include "cli/store_images.h"
#include "cli/target.h"

#include "base/report.h"
#include "ctl/ctl.h"
#include "ctl/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- status ------------------------------------------------------------------------------------------------------- */

struct status_print {
	struct image_list names; /* of the whole mount, so that images can be named */
	unsigned lines;
};

/* Host names and errors come from elsewhere, too. */
static int print_line(void *arg, const char *line)
{
	(void)arg;
	command_print(line);
	putchar('\n');
	return 0;
}

/* The id at the start of an image's line: `prefix`, then 16 hex digits. */
static const char *path_of_line(const struct status_print *p, const char *line, const char *prefix)
{
	size_t len = strlen(prefix);
	char digits[17], *end;
	uint64_t id;

	if (strncmp(line, prefix, len) != 0 || strlen(line + len) < 16)
		return NULL;
	memcpy(digits, line + len, 16);
	digits[16] = '\0';
	id = strtoull(digits, &end, 16);
	return *end ? NULL : image_list_path(&p->names, id);
}

/* "ID  SIZE ... STATE", and behind it the image's path. */
static int print_image_line(void *arg, const char *line)
{
	struct status_print *p = arg;
	const char *path = path_of_line(p, line, "");

	if (p->lines++ == 0)
		putchar('\n');
	command_print(line);
	if (path) {
		fputs("  ", stdout);
		command_print(path);
	}
	putchar('\n');
	return 0;
}

/* An image's object, which gets its path as first member. */
static int print_image_object(void *arg, const char *line)
{
	struct status_print *p = arg;
	const char *path = path_of_line(p, line, "{\"id\":\"");

	if (p->lines++ > 0)
		putchar(',');
	if (!path) {
		fputs(line, stdout);
		return 0;
	}
	fputs("{\"path\":", stdout);
	status_json_string(stdout, path);
	printf(",%s", line + 1);
	return 0;
}

/* The mount's object without its last brace: more members follow. */
static int print_open_object(void *arg, const char *line)
{
	size_t len = strlen(line);

	(void)arg;
	if (len < 2 || line[0] != '{' || line[len - 1] != '}')
		return -EPROTO;
	fwrite(line, 1, len - 1, stdout);
	return 0;
}

static int mount_status(struct ctl_client *client, const char *path, bool json, struct error *err)
{
	struct status_print print = { 0 };
	char root[PATH_MAX];
	int rc = target_mount_point(path, root, err);

	if (rc == 0)
		rc = image_list_from_mount(&print.names, root, err);
	if (rc == 0)
		rc = ctl_status(client, 0, json, json ? print_open_object : print_line, NULL, err);
	if (rc == 0 && json)
		fputs(",\"images\":[", stdout);
	if (rc == 0)
		rc = ctl_images(client, json, json ? print_image_object : print_image_line, &print, err);
	if (rc == 0 && json)
		puts("]}");
	image_list_destroy(&print.names);
	return rc;
}

static int show_status(const char *path, bool json, struct error *err)
{
	struct ctl_client *client = NULL;
	uint64_t id;
	int rc = target_want_mount(path, err);

	if (rc == 0)
		rc = ctl_connect(path, &client, &id, err);
	if (rc == 0)
		rc = id ? ctl_status(client, id, json, print_line, NULL, err) : mount_status(client, path, json, err);
	ctl_disconnect(client);
	return rc;
}

int cmd_status(const struct command *c, int argc, char **argv)
{
	bool json = false;
	const struct command_option options[] = { { "json", NULL, &json }, { 0 } };
	struct error err = { 0 };
	const char *path;
	int rc = command_parse(c, argc, argv, options, 1, 1, &path);

	if (rc != 0)
		return command_parse_exit(rc);
	return show_status(path, json, &err) < 0 ? command_failed(c, &err) : EXIT_DONE;
}

/* ---- flush -------------------------------------------------------------------------------------------------------- */

struct flush_watch {
	struct progress progress;
	bool started;
	uint64_t most; /* that was ever left; what is done is counted from there */
};

static bool flush_step(void *arg, uint64_t left)
{
	struct flush_watch *w = arg;

	if (!w->started)
		progress_start(&w->progress, "flush", NULL, left);
	w->started = true;
	if (left > w->most) /* others go on writing */
		w->most = w->progress.view.total = left;
	progress_update(&w->progress, w->most - left);
	return !interrupted();
}

/* Hands the daemon what the page cache still holds of mappings. */
static int sync_pages(const char *path, bool whole_mount, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	if ((whole_mount ? syncfs(fd) : fsync(fd)) < 0)
		rc = error_set(err, -errno, "%s: %s", path, strerror(errno));
	close(fd);
	return rc;
}

static int flush(const char *path, struct error *err)
{
	struct flush_watch watch = { 0 };
	struct ctl_client *client = NULL;
	uint64_t id;
	int rc = target_want_mount(path, err);

	if (rc == 0)
		rc = ctl_connect(path, &client, &id, err);
	if (rc == 0)
		rc = sync_pages(path, id == 0, err);
	if (rc == 0)
		rc = ctl_flush(client, id, flush_step, &watch, err);
	if (watch.started)
		progress_end(&watch.progress);
	ctl_disconnect(client);
	if (rc == -EINTR)
		return error_set(err, rc,
		                 "interrupted: the daemon goes on uploading by itself; flush again to wait for it");
	return rc;
}

int cmd_flush(const struct command *c, int argc, char **argv)
{
	const struct command_option options[] = { { 0 } };
	struct error err = { 0 };
	const char *path;
	int rc = command_parse(c, argc, argv, options, 1, 1, &path);

	if (rc != 0)
		return command_parse_exit(rc);
	interrupt_catch();
	return flush(path, &err) < 0 ? command_failed(c, &err) : EXIT_DONE;
}

/* ---- takeover ----------------------------------------------------------------------------------------------------- */

/* Keeps the line of an image's status that says who owns it. */
static int keep_owner(void *arg, const char *line)
{
	char *owner = arg;

	if (strncmp(line, "owner ", 6) == 0)
		snprintf(owner, CTL_LINE_MAX, "%s", line + 6 + strspn(line + 6, " "));
	return 0;
}

static int taken_over(const char *path, const char *owner)
{
	command_print(path);
	fputs(": taken over; its owner was ", stdout);
	command_print(*owner ? owner : "nobody");
	putchar('\n');
	report_notice("takeover: what that host had not uploaded stays in its cache directory and is not part of the "
	              "image any more");
	return 0;
}

static int take_over(const char *path, struct error *err)
{
	char owner[CTL_LINE_MAX] = "unknown";
	struct ctl_client *client = NULL;
	uint64_t id;
	int rc = target_want_image(path, err);

	if (rc == 0)
		rc = ctl_connect(path, &client, &id, err);
	if (rc == 0)
		rc = ctl_status(client, id, false, keep_owner, owner, err);
	if (rc == 0)
		rc = ctl_takeover(client, id, err);
	ctl_disconnect(client);
	return rc < 0 ? rc : taken_over(path, owner);
}

/* Without a mount: nobody owns the image afterwards. */
static int take_over_in_store(const char *word, const char *path, const struct target_key *key, struct error *err)
{
	struct store_images *store;
	struct error closing = { 0 };
	char owner[128];
	int rc = store_images_open(word, key, false, &store, err), closed;

	if (rc < 0)
		return rc;
	rc = store_images_take_over(store, path, owner, err);
	closed = store_images_close(store, &closing);
	if (rc == 0 && closed < 0)
		return error_set(err, closed, "%s was taken over, but not handed over again: %s", path,
		                 error_text(&closing));
	return rc < 0 ? rc : taken_over(path, owner);
}

int cmd_takeover(const struct command *c, int argc, char **argv)
{
	struct target_key key = { 0 };
	const struct command_option options[] = {
		{ "key-file", &key.key_file, NULL },
		{ "passphrase-file", &key.passphrase_file, NULL },
		{ "passwd-file", &key.passwd_file, NULL },
		{ 0 },
	};
	struct error err = { 0 };
	const char *arguments[2];
	int rc = command_parse(c, argc, argv, options, 1, 2, arguments);

	if (rc != 0)
		return command_parse_exit(rc);
	if (!arguments[1] && target_key_given(&key))
		return command_usage(c, TARGET_KEY_ASTRAY);
	interrupt_catch();
	rc = arguments[1] ? take_over_in_store(arguments[0], arguments[1], &key, &err) : take_over(arguments[0], &err);
	return rc < 0 ? command_failed(c, &err) : EXIT_DONE;
}
