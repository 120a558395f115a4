/* SPDX-License-Identifier: GPL-3.0-only */
/* server_commands.c: the commands of the control socket: words in, calls of the engine, lines out. */
#include "ctl/server_private.h"

#include "ctl/ctl.h"
#include "ctl/server_clean.h"
#include "ctl/status.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX (2 + CTL_SNAPSHOT_IMAGES_MAX)

/* Sends what was printed into a memory stream, each line marked as data. */
static void send_lines(struct connection *c, const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n");

		connection_send(c, "= ", 2);
		connection_send(c, text, len);
		connection_send(c, "\n", 1);
		text += len + (text[len] == '\n');
	}
}

struct command {
	const char *name;
	int words_min, words_max; /* after the name */
	int (*run)(struct connection *c, char **word, int words, struct error *err);
};

static int parse_format(const char *word, bool *json, struct error *err)
{
	*json = strcmp(word, "json") == 0;
	if (!*json && strcmp(word, "text") != 0)
		return error_set(err, -EINVAL, "\"%s\" is not a format: text or json", word);
	return 0;
}

static int parse_id(const char *word, uint64_t *id, struct error *err)
{
	if (strlen(word) != 16 || strspn(word, "0123456789abcdef") != 16)
		return error_set(err, -EINVAL, "\"%s\" is not an id: 16 hex digits", word);
	*id = strtoull(word, NULL, 16);
	return 0;
}

static int parse_number(const char *word, uint64_t *number, struct error *err)
{
	char *end;

	errno = 0;
	*number = strtoull(word, &end, 10);
	return word[0] >= '0' && word[0] <= '9' && !*end && !errno
	               ? 0
	               : error_set(err, -EINVAL, "\"%s\" is not a number", word);
}

static int finish_stream(struct connection *c, FILE *out, char **text, int rc, struct error *err)
{
	if (fclose(out) != 0 && rc == 0)
		rc = error_set(err, -ENOMEM, "out of memory");
	if (rc == 0)
		send_lines(c, *text);
	free(*text);
	return rc;
}

static int run_status(struct connection *c, char **word, int words, struct error *err)
{
	struct engine_status engine = { 0 };
	struct image_status image = { 0 };
	char *text = NULL;
	size_t size = 0;
	uint64_t id = 0;
	bool json;
	FILE *out;
	int rc;

	rc = parse_format(word[0], &json, err);
	if (rc == 0 && words > 1)
		rc = parse_id(word[1], &id, err);
	if (rc == 0 && id)
		rc = engine_image_status(connection_engine(c), id, &image, err);
	if (rc < 0)
		return rc;
	out = open_memstream(&text, &size);
	if (!out)
		return error_set(err, -errno, "out of memory");
	if (id) {
		(json ? status_image_json : status_image_text)(out, &image);
	} else {
		engine_status(connection_engine(c), &engine);
		(json ? status_engine_json : status_engine_text)(out, &engine);
	}
	return finish_stream(c, out, &text, 0, err);
}

struct lines_out {
	FILE *out;
	bool json;
};

static int print_image(void *arg, const struct image_status *status)
{
	struct lines_out *o = arg;

	(o->json ? status_image_json : status_image_line)(o->out, status);
	putc('\n', o->out);
	return 0;
}

static int run_images(struct connection *c, char **word, int words, struct error *err)
{
	struct lines_out o = { 0 };
	char *text = NULL;
	size_t size = 0;
	int rc;

	(void)words;
	rc = parse_format(word[0], &o.json, err);
	if (rc < 0)
		return rc;
	o.out = open_memstream(&text, &size);
	if (!o.out)
		return error_set(err, -errno, "out of memory");
	rc = engine_each_image(connection_engine(c), print_image, &o);
	return finish_stream(c, o.out, &text, rc, err);
}

static bool flush_progress(void *arg, uint64_t bytes_left)
{
	struct connection *c = arg;
	char line[48];
	int n = snprintf(line, sizeof line, "= left %" PRIu64 "\n", bytes_left);

	connection_send(c, line, (size_t)n);
	return connection_listens(c);
}

static bool snapshot_taken(void *arg)
{
	static const char line[] = "= taken\n";
	struct connection *c = arg;

	connection_send(c, line, sizeof line - 1);
	return connection_listens(c);
}

static int run_flush(struct connection *c, char **word, int words, struct error *err)
{
	uint64_t id;
	int rc;

	(void)words;
	rc = parse_id(word[0], &id, err);
	return rc < 0 ? rc : engine_flush(connection_engine(c), id, flush_progress, c, err);
}

static int run_flatten(struct connection *c, char **word, int words, struct error *err)
{
	uint64_t id;
	int rc = parse_id(word[0], &id, err);

	(void)words;
	return rc ? rc : engine_flatten(connection_engine(c), id, flush_progress, c, err);
}

static int run_takeover(struct connection *c, char **word, int words, struct error *err)
{
	uint64_t id;
	int rc;

	(void)words;
	rc = parse_id(word[0], &id, err);
	return rc < 0 ? rc : engine_takeover(connection_engine(c), id, err);
}

static int print_snapshot(void *arg, const struct snapshot_info *s)
{
	struct lines_out *o = arg;

	(o->json ? status_snapshot_json : status_snapshot_line)(o->out, s);
	putc('\n', o->out);
	return 0;
}

static int run_snapshot_list(struct connection *c, char **word, struct error *err)
{
	struct lines_out o = { 0 };
	char *text = NULL;
	size_t size = 0;
	uint64_t id;
	int rc = parse_format(word[0], &o.json, err);

	if (!rc)
		rc = parse_id(word[1], &id, err);
	if (rc)
		return rc;
	o.out = open_memstream(&text, &size);
	if (!o.out)
		return error_set(err, -errno, "out of memory");
	rc = engine_snapshot_each(connection_engine(c), id, print_snapshot, &o, err);
	return finish_stream(c, o.out, &text, rc, err);
}

static int run_snapshot_find(struct connection *c, const char *name, uint64_t id, struct error *err)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return error_set(err, -errno, "out of memory");
	return finish_stream(c, out, &text, ctl_print_found(out, connection_engine(c), name, id, err), err);
}

static int run_diff(struct connection *c, char **word, int words, struct error *err)
{
	char *text = NULL;
	size_t size = 0;
	uint64_t id, begin;
	FILE *out;
	int rc = parse_id(word[0], &id, err);

	(void)words;
	if (!rc)
		rc = parse_number(word[3], &begin, err);
	if (rc)
		return rc;
	out = open_memstream(&text, &size);
	if (!out)
		return error_set(err, -errno, "out of memory");
	rc = ctl_print_diff(out, connection_engine(c), id, word[1], word[2], begin, err);
	return finish_stream(c, out, &text, rc, err);
}

static int run_snapshot(struct connection *c, char **word, int words, struct error *err)
{
	const struct snapshot_watch watch = { snapshot_taken, flush_progress, c };
	struct engine *e = connection_engine(c);
	uint64_t ids[CTL_SNAPSHOT_IMAGES_MAX];
	int rc = 0, count = words - 2;

	if (!strcmp(word[0], "list"))
		return words == 3 ? run_snapshot_list(c, word + 1, err)
		                  : error_set(err, -EINVAL, "snapshot: wrong words");
	if (count > CTL_SNAPSHOT_IMAGES_MAX)
		return error_set(err, -E2BIG, "at most %d images at once", CTL_SNAPSHOT_IMAGES_MAX);
	for (int k = 0; k < count && !rc; k++)
		rc = parse_id(word[2 + k], &ids[k], err);
	if (rc)
		return rc;
	if (!strcmp(word[0], "create"))
		return engine_snapshot_create_watched(e, ids, (size_t)count, word[1], &watch, err);
	if (!strcmp(word[0], "check"))
		return engine_snapshot_check(e, ids, (size_t)count, word[1], err);
	if (!strcmp(word[0], "import") && count == 2)
		return engine_snapshot_import(e, ids[0], word[1], ids[1], err);
	if (count != 1)
		return error_set(err, -EINVAL, "snapshot: wrong words");
	if (!strcmp(word[0], "find"))
		return run_snapshot_find(c, word[1], ids[0], err);
	if (!strcmp(word[0], "delete"))
		return engine_snapshot_delete(e, ids[0], word[1], err);
	if (!strcmp(word[0], "protect") || !strcmp(word[0], "unprotect"))
		return engine_snapshot_protect(e, ids[0], word[1], word[0][0] == 'p', err);
	return error_set(err, -EOPNOTSUPP, "this daemon knows no \"snapshot %s\"", word[0]);
}

static int print_trashed(void *arg, const struct trashed_image *t)
{
	char name[CTL_NAME_TEXT_MAX];

	ctl_name_encode(t->name, name);
	fprintf(arg, "%016" PRIx64 " %" PRIu64 " %" PRIu64 " %s\n", t->id, t->deleted_ns, t->expires_ns, name);
	return 0;
}

static int run_trash(struct connection *c, char **word, int words, struct error *err)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	int rc;

	(void)word;
	(void)words;
	if (!out)
		return error_set(err, -errno, "out of memory");
	rc = engine_trash_each(connection_engine(c), print_trashed, out, err);
	return finish_stream(c, out, &text, rc, err);
}

/* "ID DIR NAME" */
struct placing {
	uint64_t id, dir;
	char name[NAME_BYTES_MAX + 1];
};

static int parse_placing(char **word, bool named, struct placing *p, struct error *err)
{
	int rc = parse_id(word[0], &p->id, err);

	if (!rc)
		rc = parse_id(word[1], &p->dir, err);
	if (!rc && named && ctl_name_decode(word[2], p->name))
		rc = error_set(err, -EINVAL, "\"%s\" is not a name in hex", word[2]);
	return rc;
}

static int run_undelete(struct connection *c, char **word, int words, struct error *err)
{
	bool named = strcmp(word[2], "-") != 0;
	struct placing p;
	int rc = parse_placing(word, named, &p, err);

	(void)words;
	return rc ? rc : engine_undelete(connection_engine(c), p.id, p.dir, named ? p.name : NULL, err);
}

static int run_clone(struct connection *c, char **word, int words, struct error *err)
{
	struct node_attr attr;
	struct placing p;
	int rc = parse_placing(word, true, &p, err);

	(void)words;
	return rc ? rc : engine_clone(connection_engine(c), p.id, p.dir, p.name, &attr, err);
}

static void send_moment(struct connection *c, const char *what, const struct image_moment *m)
{
	char line[96];
	int n = snprintf(line, sizeof line, "= %s %" PRIu64 " %" PRIu32 " %" PRIu64 "\n", what, m->segment, m->record,
	                 m->time_ns);

	connection_send(c, line, (size_t)n);
}

static int parse_moment(char **word, struct image_moment *m, struct error *err)
{
	uint64_t record;
	int rc = parse_number(word[0], &m->segment, err);

	if (!rc)
		rc = parse_number(word[1], &record, err);
	if (!rc)
		rc = parse_number(word[2], &m->time_ns, err);
	if (!rc && record > UINT32_MAX)
		rc = error_set(err, -EINVAL, "no segment has %" PRIu64 " records", record);
	m->record = rc ? 0 : (uint32_t)record;
	return rc;
}

static int run_moment(struct connection *c, char **word, int words, struct error *err)
{
	struct image_moment m;
	uint64_t id;
	int rc = parse_id(word[0], &id, err);

	(void)words;
	if (!rc)
		rc = parse_moment(word + 1, &m, err);
	if (!rc)
		rc = engine_moment_find(connection_engine(c), id, &m, err);
	if (!rc)
		send_moment(c, "moment", &m);
	return rc;
}

static int run_rewind(struct connection *c, char **word, int words, struct error *err)
{
	bool named = strcmp(word[2], "-") != 0;
	struct image_moment m, before;
	struct node_attr attr;
	struct placing p;
	int rc = parse_placing(word, named, &p, err);

	(void)words;
	if (!rc)
		rc = parse_moment(word + 3, &m, err);
	if (!rc && !named && p.dir)
		rc = error_set(err, -EINVAL, "a directory and no name");
	if (rc)
		return rc;
	if (named)
		rc = engine_rewind(connection_engine(c), p.id, &m, p.dir, p.name, &attr, err);
	else
		rc = engine_rewind_in_place(connection_engine(c), p.id, &m, &before, err);
	if (rc)
		return rc;
	send_moment(c, "moment", &m);
	if (!named)
		send_moment(c, "before", &before);
	return 0;
}

struct past_out {
	FILE *out;
	uint64_t since_ns;
};

static int print_span(void *arg, const struct history_span *s)
{
	struct past_out *o = arg;

	fprintf(o->out, "span %" PRIu64 " %" PRIu32 " %" PRIu64 " %" PRIu64 "\n", s->begin.segment, s->begin.record,
	        s->begin.time_ns, s->bytes);
	return 0;
}

static int print_snapshot_time(void *arg, const struct snapshot_info *s)
{
	struct past_out *o = arg;

	if (s->time_ns >= o->since_ns)
		fprintf(o->out, "snapshot %" PRIu64 " %s\n", s->time_ns, s->name);
	return 0;
}

static int run_history(struct connection *c, char **word, int words, struct error *err)
{
	struct past_out o;
	struct history h;
	char *text = NULL;
	size_t size = 0;
	uint64_t id;
	int rc = parse_id(word[0], &id, err);

	(void)words;
	if (!rc)
		rc = parse_number(word[1], &o.since_ns, err);
	if (rc)
		return rc;
	o.out = open_memstream(&text, &size);
	if (!o.out)
		return error_set(err, -errno, "out of memory");
	rc = engine_history(connection_engine(c), id, o.since_ns, &h, print_span, &o, err);
	if (!rc)
		rc = engine_snapshot_each(connection_engine(c), id, print_snapshot_time, &o, err);
	if (!rc)
		fprintf(o.out,
		        "keep %" PRIu64 "\nsegments %" PRIu64 "\noldest %" PRIu64 " %" PRIu32 " %" PRIu64
		        "\nnewest %" PRIu64 " %" PRIu32 " %" PRIu64 "\n",
		        h.keep_s, h.segments, h.oldest.segment, h.oldest.record, h.oldest.time_ns, h.newest.segment,
		        h.newest.record, h.newest.time_ns);
	return finish_stream(c, o.out, &text, rc, err);
}

static int run_keep(struct connection *c, char **word, int words, struct error *err)
{
	uint64_t id, seconds;
	int rc = parse_id(word[0], &id, err);

	(void)words;
	if (!rc)
		rc = parse_number(word[1], &seconds, err);
	return rc ? rc : engine_history_keep(connection_engine(c), id, seconds, err);
}

static bool say_line(void *arg, const char *line)
{
	struct connection *c = arg;

	send_lines(c, line);
	return connection_listens(c);
}

static int run_clean(struct connection *c, char **word, int words, struct error *err)
{
	uint64_t id;
	int rc = parse_id(word[1], &id, err);

	(void)words;
	return rc ? rc : server_clean(connection_engine(c), word[0], id, say_line, c, err);
}

static int run_orphans(struct connection *c, char **word, int words, struct error *err)
{
	(void)words;
	return server_orphans(connection_engine(c), word[0], say_line, c, err);
}

static int run_space(struct connection *c, char **word, int words, struct error *err)
{
	uint64_t id;
	int rc = parse_id(word[0], &id, err);

	(void)words;
	return rc ? rc : server_space(connection_engine(c), id, say_line, c, err);
}

static const struct command commands[] = {
	{ "status", 1, 2, run_status },     { "images", 1, 1, run_images },
	{ "flush", 1, 1, run_flush },       { "takeover", 1, 1, run_takeover },
	{ "clean", 2, 2, run_clean },       { "space", 1, 1, run_space },
	{ "orphans", 1, 1, run_orphans },   { "trash", 0, 0, run_trash },
	{ "undelete", 3, 3, run_undelete }, { "clone", 3, 3, run_clone },
	{ "moment", 4, 4, run_moment },     { "rewind", 6, 6, run_rewind },
	{ "history", 2, 2, run_history },   { "keep", 2, 2, run_keep },
	{ "diff", 4, 4, run_diff },         { "snapshot", 3, 2 + CTL_SNAPSHOT_IMAGES_MAX, run_snapshot },
	{ "flatten", 1, 1, run_flatten },
};

/* Not the status of one image: of one that is not in memory it is read from the store. */
bool server_request_is_quick(const char *line)
{
	static const char *const quick[] = { "garner 1 status text", "garner 1 status json", "garner 1 images text",
		                             "garner 1 images json" };

	for (size_t i = 0; i < sizeof quick / sizeof quick[0]; i++)
		if (!strcmp(line, quick[i]))
			return true;
	return false;
}

/* "garner 1 COMMAND [WORD...]". The line is cut up in place. */
int server_run_request(struct connection *c, char *line, struct error *err)
{
	char *word[2 + 1 + WORDS_MAX], *save = NULL;
	int words = 0;

	for (char *w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		if (words == (int)(sizeof word / sizeof word[0]))
			return error_set(err, -EINVAL, "too many words");
		word[words++] = w;
	}
	if (words < 3 || strcmp(word[0], "garner") != 0)
		return error_set(err, -EPROTO, "not a request of the garner protocol");
	if (strcmp(word[1], "1") != 0)
		return error_set(err, -EPROTO, "this daemon speaks version %d of the protocol, not %s", CTL_VERSION,
		                 word[1]);
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		const struct command *k = &commands[i];

		if (strcmp(word[2], k->name) != 0)
			continue;
		if (words - 3 < k->words_min || words - 3 > k->words_max)
			return error_set(err, -EINVAL, "%s: wrong number of words", k->name);
		return k->run(c, word + 3, words - 3, err);
	}
	return error_set(err, -EOPNOTSUPP, "this daemon knows no command \"%s\"", word[2]);
}
