/* SPDX-License-Identifier: GPL-3.0-only */
/* moment.c: moments of images as they are named on the command line. */
#include "cli/moment.h"

#include "base/report.h"
#include "base/time_text.h"
#include "cli/target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* How long a snapshot that was not waited for may take to appear. */
#define DOUBT_TRIES 10
#define DOUBT_US 100000

static int check_name(const char *name, struct error *err)
{
	if (snapshot_name_valid(name))
		return 0;
	return error_set(err, -EINVAL,
	                 "%s: a snapshot's name is up to %d letters, digits and . _ : + -, and does not begin with . "
	                 "or -",
	                 name, SNAPSHOT_NAME_MAX);
}

static int cut_up(const char *word, size_t path_len, const char *name, struct moment *m, struct error *err)
{
	*m = (struct moment){ 0 };
	if (path_len >= sizeof m->path)
		return error_set(err, -ENAMETOOLONG, "%.40s...: the path is too long", word);
	memcpy(m->path, word, path_len);
	snprintf(m->s.name, sizeof m->s.name, "%s", name);
	return 0;
}

int moment_parse_named(const char *word, struct moment *m, struct error *err)
{
	const char *at = strrchr(word, '@');
	int rc;

	if (!at || at == word || !at[1])
		return error_set(err, -EINVAL,
		                 "%s: give an image and the snapshot's name, as in vm1.raw@before-upgrade", word);
	rc = check_name(at + 1, err);
	return rc ? rc : cut_up(word, (size_t)(at - word), at + 1, m, err);
}

int moment_parse(const char *word, struct moment *m, struct error *err)
{
	if (!strchr(word, '@') || access(word, F_OK) == 0)
		return cut_up(word, strlen(word), "", m, err);
	return moment_parse_named(word, m, err);
}

/* "SEGMENT.RECORD" */
static bool parse_position(const char *text, struct image_moment *m)
{
	int end = 0;

	return text[0] >= '0' && text[0] <= '9' &&
	       sscanf(text, "%20" SCNu64 ".%9" SCNu32 "%n", &m->segment, &m->record, &end) == 2 && !text[end] &&
	       m->segment;
}

int moment_parse_past(const char *text, struct image_moment *m, struct error *err)
{
	uint64_t now = clock_wall_ns();
	int rc;

	*m = (struct image_moment){ 0 };
	if (parse_position(text, m))
		return 0;
	*m = (struct image_moment){ 0 };
	rc = time_parse(text, now, &m->time_ns, err);
	if (!rc && m->time_ns > now)
		rc = error_set(err, -EINVAL, "'%s' is yet to come", text);
	return rc;
}

int moment_parse_any(const char *word, struct moment *m, struct error *err)
{
	const char *at = strrchr(word, '@');
	struct image_moment past;
	struct error why = { 0 };
	int rc;

	if (!at || at == word || access(word, F_OK) == 0 || strlen(at + 1) > SNAPSHOT_NAME_MAX)
		return moment_parse(word, m, err);
	rc = moment_parse_past(at + 1, &past, &why);
	if (rc && !snapshot_name_valid(at + 1))
		return error_set(err, rc, "%s: %s", word, error_text(&why));
	if (cut_up(word, (size_t)(at - word), at + 1, m, err))
		return err->code;
	m->may_be_past = !rc;
	m->past = past;
	return 0;
}

int moment_beside(const struct moment *m, const char *word, struct moment *other, struct error *err)
{
	int rc = check_name(word, err);

	return rc ? rc : cut_up(m->path, strlen(m->path), word, other, err);
}

int moment_connect(const char *path, struct ctl_client **client, uint64_t *id, struct error *err)
{
	int rc = target_want_image(path, err);

	return rc ? rc : ctl_connect(path, client, id, err);
}

int moment_find(struct moment *m, const char *label, struct error *err)
{
	struct ctl_client *client = NULL;
	uint64_t random;
	int rc = moment_connect(m->path, &client, &m->image, err);

	if (!rc && !m->s.name[0]) {
		randombytes_buf(&random, sizeof random);
		snprintf(m->s.name, sizeof m->s.name, "%s-%016" PRIx64, label, random);
		rc = ctl_snapshot_create(client, m->s.name, &m->image, 1, NULL, NULL, err);
		/* The daemon gives up what nobody waits for any more, if it learns of that in time. */
		m->in_doubt = rc == -EINTR || rc == -ECONNRESET;
		m->passing = !rc || m->in_doubt;
	}
	if (!rc)
		rc = snapshot_name_valid(m->s.name) ? ctl_snapshot_find(client, m->s.name, m->image, &m->s, err)
		                                    : -ENOENT;
	if (rc == -ENOENT && m->may_be_past) {
		rc = ctl_moment_find(client, m->image, &m->past, err);
		m->is_past = !rc;
	}
	ctl_disconnect(client);
	return rc ? error_prefix(err, rc, "%s", m->path) : 0;
}

static int delete_passing(const struct moment *m, struct error *err)
{
	struct ctl_client *client = NULL;
	uint64_t id;
	int rc = moment_connect(m->path, &client, &id, err);

	if (!rc)
		rc = ctl_snapshot_change(client, "delete", m->s.name, id, err);
	ctl_disconnect(client);
	return rc;
}

void moment_release(struct moment *m)
{
	struct error err = { 0 };
	int rc;

	if (!m->passing)
		return;
	m->passing = false;
	rc = delete_passing(m, &err);
	for (unsigned tries = 0; m->in_doubt && rc == -ENOENT && tries < DOUBT_TRIES; tries++) {
		usleep(DOUBT_US);
		rc = delete_passing(m, &err);
	}
	if (rc && rc != -ENOENT)
		report_warning("%s@%s was for a moment only: if it is there, delete it (garner snapshot delete): %s",
		               m->path, m->s.name, error_text(&err));
}

int moment_open(const struct moment *m, int *fd, struct error *err)
{
	char path[PATH_MAX];
	struct stat st;
	int rc = target_snapshot(m->path, m->s.name, path, err);

	if (rc)
		return rc;
	/* For a moment the kernel remembers a snapshot that had the name before. */
	for (unsigned tries = 0; tries < 100; tries++) {
		*fd = open(path, O_RDONLY | O_CLOEXEC);
		if (*fd < 0)
			return error_set(err, -errno, "%s: %s", path, strerror(errno));
		if (fstat(*fd, &st) == 0 && st.st_ino == m->s.id)
			return 0;
		close(*fd);
		*fd = -1;
		usleep(50000);
	}
	return error_set(err, -ESTALE, "%s is another snapshot than a moment ago", path);
}

static const char *diff_word(const struct moment *m, char word[SNAPSHOT_NAME_MAX + 1])
{
	if (m->is_past)
		snprintf(word, SNAPSHOT_NAME_MAX + 1, CTL_POSITION, m->past.segment, m->past.record);
	else
		snprintf(word, SNAPSHOT_NAME_MAX + 1, "%s", m->s.name);
	return word;
}

int moment_diff(const struct moment *from, const struct moment *to, image_range_fn *each, void *arg, struct error *err)
{
	char a[SNAPSHOT_NAME_MAX + 1], b[SNAPSHOT_NAME_MAX + 1];
	struct image_range *range;
	struct ctl_client *client;
	uint64_t begin = 0, id;
	size_t count;
	int rc = 0;

	/* A connection for each piece: one that is silent for long is closed. */
	while (!rc && begin != UINT64_MAX) {
		range = NULL;
		count = 0;
		client = NULL;
		rc = ctl_connect(to->path, &client, &id, err);
		if (!rc)
			rc = ctl_diff(client, to->image, from ? diff_word(from, a) : NULL, diff_word(to, b), &begin,
			              &range, &count, err);
		ctl_disconnect(client);
		for (size_t k = 0; k < count && !rc; k++)
			rc = each(arg, &range[k]);
		free(range);
	}
	return rc;
}
