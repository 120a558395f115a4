/* SPDX-License-Identifier: GPL-3.0-only */
/* node_history.c: a client of a store that does random things to a few keys and writes down what it was told; and the check of what
 * several of these have written down (history.h).
 *
 *   node_history run   -u URL -o FILE -w WRITER -s SEED [-t SECONDS] [-j THREADS] [-d DEADLINE_MS] [-c CLOCK_STEP_S] [-p PAUSE_US] [-x]
 *       adds to FILE. WRITER is a number that no other client of the history has. -c: the wall clock of this client jumps by up to that.
 *       -x: only puts and removes registers, so that it does not wait for reads where too few nodes are in reach
 *   node_history look  -u URL -o FILE -w WRITER [-d DEADLINE_MS]
 *       reads every key once, when nothing else goes on and nothing is broken: exit code 1 if one cannot be read
 *   node_history wipe  -u URL
 *       removes all keys
 *   node_history check FILE...
 *       exit code 1: there are violations, a line for each
 *
 * The keys: reg/N are put, removed and read by all; name/N are made create-only by all, as names are; seg/W.N are made by writer W, as
 * segments are. Bytes tell which value they are of, and all of them are compared.
 */
#include "base/clock.h"
#include "history.h"
#include "lib/random.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define REGISTERS 6u
#define NAMES 5u
#define WRITERS 3u /* whose segments the others read */
#define OWN_MAX 4000u
#define BODY_MAX ((size_t)2 << 20)
#define LINE 8192
#define LISTED_MAX ((size_t)4 << 20)
#define WORD 48

struct job {
	const char *url, *file;
	unsigned writer, threads;
	uint64_t seed, seconds, deadline_ms, clock_step_s, pause_us;
	bool only_writes;
	struct store *store;
	int fd;
	uint64_t until_ns;
	atomic_uint unread;
};

/* What a segment's owner knows of it. */
enum own_state { OWN_NONE, OWN_MAYBE, OWN_MADE, OWN_REMOVED };

struct worker {
	struct job *job;
	unsigned number; /* of all workers of the history: the writer in values */
	struct random random;
	uint64_t sequence;
	uint8_t *body, *expected;
	char *listed;
	size_t listed_length;
	unsigned own_count, own_gone;
	uint8_t own[OWN_MAX];
};

/* ---- the wall clock, which this program may shift: linked in the place of clock_wall_ns() ---- */

static _Atomic int64_t wall_shift_ns;

uint64_t __real_clock_wall_ns(void);
uint64_t __wrap_clock_wall_ns(void);
uint64_t __wrap_clock_wall_ns(void)
{
	return __real_clock_wall_ns() + (uint64_t)atomic_load(&wall_shift_ns);
}

/* ---- chance ---- */

static uint64_t next(struct worker *w)
{
	return random_next(&w->random);
}

static unsigned below(struct worker *w, unsigned n)
{
	return (unsigned)(next(w) % n);
}

/* ---- bodies ---- */

/* The bytes of a value under a key. Returns how many. */
static size_t make_body(const char *key, const char *value, uint8_t *body)
{
	size_t length = history_value_length(value);
	uint64_t x = history_hash(value, history_hash(key, 3));
	int n = snprintf((char *)body, BODY_MAX, "%s %s\n", key, value);

	for (size_t i = (size_t)n; i < length; i += 8) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		uint64_t mixed = x ^ x >> 29;
		memcpy(body + i, &mixed, length - i < 8 ? length - i : 8);
	}
	return length;
}

/* Which value of `key` these bytes are; false: none. */
static bool which_value(struct worker *w, const char *key, const uint8_t *body, size_t length, char value[WORD])
{
	size_t n = strlen(key);
	const uint8_t *end =
		length > n + 1 ? memchr(body + n + 1, '\n', length < n + WORD ? length - n - 1 : WORD - 1) : NULL;

	if (!end || memcmp(body, key, n) != 0 || body[n] != ' ')
		return false;
	memcpy(value, body + n + 1, (size_t)(end - body) - n - 1);
	value[(size_t)(end - body) - n - 1] = '\0';
	if (history_value_length(value) != length)
		return false;
	return make_body(key, value, w->expected) == length && memcmp(body, w->expected, length) == 0;
}

/* ---- the log ---- */

static void note(struct job *j, const char *line, size_t length)
{
	if (write(j->fd, line, length) != (ssize_t)length) {
		perror(j->file);
		exit(2);
	}
}

/* Of what failed: for people. */
static const char *error_word(int rc)
{
	const char *name = strerrorname_np(-rc);

	return name ? name : "-";
}

static void begin(struct worker *w, char id[WORD], const char *kind, const char *key, const char *value)
{
	char line[LINE];
	int n;

	snprintf(id, WORD, "w%u.%" PRIu64, w->number, ++w->sequence);
	n = snprintf(line, sizeof line, "b %s %" PRIu64 " %s %s %s\n", id, clock_monotonic_ns(), kind, key, value);
	note(w->job, line, (size_t)n);
}

static void end(struct worker *w, const char *id, const char *outcome, const char *found)
{
	uint64_t now = clock_monotonic_ns();
	size_t room = strlen(found) + 200;
	char *line = malloc(room);
	int n;

	if (!line)
		abort();
	n = snprintf(line, room, "e %s %" PRIu64 " %s %s\n", id, now, outcome, found);
	note(w->job, line, (size_t)n);
	free(line);
}

/* ---- operations ---- */

static int put(struct worker *w, const char *kind, const char *key, const char *value, unsigned flags)
{
	size_t length = make_body(key, value, w->body);
	struct error err = { 0 };
	char id[WORD];
	int rc;

	begin(w, id, kind, key, value);
	rc = store_put_wait(w->job->store, key, w->body, length, flags, &err);
	end(w, id, !rc ? "ok" : rc == -EEXIST ? "exists" : "unknown", rc ? error_word(rc) : "-");
	return rc;
}

static int remove_key(struct worker *w, const char *key)
{
	struct error err = { 0 };
	char id[WORD];
	int rc;

	begin(w, id, "remove", key, "-");
	rc = store_remove_wait(w->job->store, key, &err);
	end(w, id, rc ? "unknown" : "ok", rc ? error_word(rc) : "-");
	return rc;
}

/* A part of what never changes: whose bytes are known. */
struct waiting {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool done;
	int status;
	uint64_t length;
};

static void got(void *arg, int status, uint64_t length, const struct error *err)
{
	struct waiting *wait = arg;

	(void)err;
	pthread_mutex_lock(&wait->mutex);
	wait->done = true;
	wait->status = status;
	wait->length = length;
	pthread_cond_signal(&wait->cond);
	pthread_mutex_unlock(&wait->mutex);
}

static int get_with(struct worker *w, const char *key, uint64_t offset, size_t room, unsigned flags, size_t *length)
{
	struct waiting wait = { .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };

	store_get(w->job->store, key, offset, w->body, room, flags, got, &wait);
	pthread_mutex_lock(&wait.mutex);
	while (!wait.done)
		pthread_cond_wait(&wait.cond, &wait.mutex);
	pthread_mutex_unlock(&wait.mutex);
	*length = wait.length;
	return wait.status;
}

/* What was read instead: for people. */
static void end_wrong(struct worker *w, const char *id, size_t length)
{
	char text[WORD];
	int n = snprintf(text, sizeof text, "%zu:", length);

	for (size_t i = 0; i < 12 && i < length; i++)
		n += snprintf(text + n, sizeof text - (size_t)n, "%02x", w->body[i]);
	end(w, id, "wrong", text);
}

static int get(struct worker *w, const char *key)
{
	char id[WORD], value[WORD];
	size_t length;
	int rc;

	begin(w, id, "get", key, "-");
	rc = get_with(w, key, 0, BODY_MAX, 0, &length);
	if (rc)
		end(w, id, rc == -ENOENT ? "absent" : "unknown", error_word(rc));
	else if (which_value(w, key, w->body, length, value))
		end(w, id, "ok", value);
	else
		end_wrong(w, id, length);
	return rc == -ENOENT ? 0 : rc;
}

/* Segments have one value, so parts can be compared, too. */
static int get_any(struct worker *w, const char *key)
{
	const char *value = strchr(key, '/') + 1;
	uint64_t whole = history_value_length(value), offset = 0;
	size_t room = BODY_MAX, length, expect;
	char id[WORD];
	int rc;

	if (below(w, 2)) {
		offset = next(w) % whole;
		room = 1 + next(w) % (whole - offset);
	}
	expect = room < whole - offset ? room : (size_t)(whole - offset);
	begin(w, id, "any", key, "-");
	rc = get_with(w, key, offset, room, STORE_GET_IMMUTABLE, &length);
	if (rc) {
		end(w, id, rc == -ENOENT ? "absent" : "unknown", error_word(rc));
		return rc == -ENOENT ? 0 : rc;
	}
	make_body(key, value, w->expected);
	if (length == expect && memcmp(w->body, w->expected + offset, length) == 0)
		end(w, id, "ok", value);
	else
		end_wrong(w, id, length);
	return 0;
}

static int head(struct worker *w, const char *key)
{
	struct error err = { 0 };
	char id[WORD], found[WORD];
	uint64_t size = 0;
	int rc;

	begin(w, id, "head", key, "-");
	rc = store_head_wait(w->job->store, key, &size, &err);
	snprintf(found, sizeof found, "#%" PRIu64, size);
	end(w, id, !rc ? "ok" : rc == -ENOENT ? "absent" : "unknown", rc ? error_word(rc) : found);
	return rc == -ENOENT ? 0 : rc;
}

static int add_listed(void *arg, const struct store_entry *entry)
{
	struct worker *w = arg;
	int n = snprintf(w->listed + w->listed_length, LISTED_MAX - w->listed_length, "%s%s",
	                 w->listed_length ? "," : "", entry->key);

	w->listed_length += (size_t)n;
	return w->listed_length + STORE_KEY_MAX + 2 > LISTED_MAX ? -E2BIG : 0;
}

static int list(struct worker *w, const char *prefix)
{
	struct error err = { 0 };
	char id[WORD];
	int rc;

	w->listed_length = 0;
	begin(w, id, "list", prefix, "-");
	rc = store_list_each(w->job->store, prefix, NULL, add_listed, w, &err);
	end(w, id, rc ? "unknown" : "ok", rc ? error_word(rc) : w->listed_length ? w->listed : "-");
	return rc;
}

/* ---- what a worker does ---- */

static void own_key(char key[WORD], unsigned writer, unsigned n)
{
	snprintf(key, WORD, "seg/%u.%u", writer, n);
}

/* The next segment; or the same again while it is not known whether it was made. */
static void make_own(struct worker *w)
{
	char key[WORD];
	unsigned n = w->own_count;
	int rc;

	if (n == OWN_MAX)
		return;
	own_key(key, w->number, n);
	rc = put(w, "own", key, strchr(key, '/') + 1, STORE_PUT_CREATE_ONLY | STORE_UPLOAD);
	if (!rc || (rc == -EEXIST && w->own[n] == OWN_MAYBE)) {
		w->own[n] = OWN_MADE;
		w->own_count++;
	} else {
		w->own[n] = OWN_MAYBE;
	}
}

static void remove_own(struct worker *w)
{
	char key[WORD];

	if (w->own_gone + 4 >= w->own_count)
		return;
	own_key(key, w->number, w->own_gone++);
	remove_key(w, key);
}

static void read_own(struct worker *w)
{
	unsigned of = (1 + below(w, WRITERS)) * 100 + 1 + below(w, w->job->threads), n;
	char key[WORD];

	/* One's own newest, or one of others that may not be there yet. */
	if (below(w, 2)) {
		n = w->own_count ? w->own_count - 1 - below(w, w->own_count < 8 ? w->own_count : 8) : 0;
		own_key(key, w->number, n);
	} else {
		own_key(key, of, below(w, w->own_count + 2));
	}
	if (below(w, 4))
		get_any(w, key);
	else
		get(w, key);
}

static void use_register(struct worker *w)
{
	unsigned what = below(w, 100);
	char key[WORD], value[WORD];

	snprintf(key, sizeof key, "reg/%u", below(w, REGISTERS));
	if (what < 35) {
		snprintf(value, sizeof value, "v%u.%" PRIu64, w->number, w->sequence);
		put(w, "put", key, value, 0);
	} else if (what < 45) {
		remove_key(w, key);
	} else if (what < 85) {
		get(w, key);
	} else {
		head(w, key);
	}
}

static void use_name(struct worker *w)
{
	unsigned what = below(w, 100);
	char key[WORD], value[WORD];

	snprintf(key, sizeof key, "name/%u", below(w, NAMES));
	if (what < 45) {
		snprintf(value, sizeof value, "c%u.%" PRIu64, w->number, w->sequence);
		put(w, "create", key, value, STORE_PUT_CREATE_ONLY);
	} else if (what < 65) {
		remove_key(w, key);
	} else {
		get(w, key);
	}
}

static void write_register(struct worker *w)
{
	char key[WORD], value[WORD];

	snprintf(key, sizeof key, "reg/%u", below(w, REGISTERS));
	snprintf(value, sizeof value, "v%u.%" PRIu64, w->number, w->sequence);
	if (below(w, 5))
		put(w, "put", key, value, 0);
	else
		remove_key(w, key);
}

static void step(struct worker *w)
{
	unsigned what = below(w, 100);

	if (w->job->only_writes)
		write_register(w);
	else if (what < 48)
		use_register(w);
	else if (what < 70)
		use_name(w);
	else if (what < 80)
		make_own(w);
	else if (what < 82)
		remove_own(w);
	else if (what < 96)
		read_own(w);
	else
		list(w, what == 96 ? "reg/" : what == 97 ? "name/" : "seg/");
}

static void worker_init(struct worker *w, struct job *j, unsigned thread)
{
	*w = (struct worker){ .job = j, .number = j->writer * 100 + thread + 1 };
	w->random.state = j->seed * 1000003u + w->number;
	w->body = malloc(BODY_MAX);
	w->expected = malloc(BODY_MAX);
	w->listed = calloc(1, LISTED_MAX);
	if (!w->body || !w->expected || !w->listed)
		abort();
}

static void worker_destroy(struct worker *w)
{
	free(w->body);
	free(w->expected);
	free(w->listed);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct job *j = w->job;

	while (clock_monotonic_ns() < j->until_ns) {
		step(w);
		if (j->pause_us)
			usleep((useconds_t)(next(w) % (2 * j->pause_us)));
		if (j->clock_step_s && below(w, 200) == 0)
			atomic_store(&wall_shift_ns,
			             (int64_t)(next(w) % (2 * j->clock_step_s) - j->clock_step_s) * 1000000000);
	}
	return NULL;
}

static int run(struct job *j)
{
	struct worker *w = calloc(j->threads, sizeof *w);
	pthread_t *thread = calloc(j->threads, sizeof *thread);

	if (!w || !thread)
		abort();
	j->until_ns = clock_monotonic_ns() + j->seconds * 1000000000u;
	for (unsigned i = 0; i < j->threads; i++) {
		worker_init(&w[i], j, i);
		if (pthread_create(&thread[i], NULL, work, &w[i]))
			abort();
	}
	for (unsigned i = 0; i < j->threads; i++) {
		pthread_join(thread[i], NULL);
		worker_destroy(&w[i]);
	}
	free(w);
	free(thread);
	return 0;
}

/* ---- everything once ---- */

/* The keys of segments that were begun, out of the histories. */
static int look_at_segments(struct worker *w, int *failed)
{
	struct stat st;
	char *text, *line, *rest, *seen = NULL;
	size_t n, seen_length = 0;

	if (fstat(w->job->fd, &st) < 0 || !(text = calloc(1, (size_t)st.st_size + 1)))
		return -ENOMEM;
	if (pread(w->job->fd, text, (size_t)st.st_size, 0) != st.st_size) {
		free(text);
		return -EIO;
	}
	rest = text;
	seen = calloc(1, (size_t)st.st_size + 2);
	while (seen && (line = strsep(&rest, "\n"))) {
		char key[WORD], word[WORD + 2];
		if (sscanf(line, "b %*s %*s own %47s", key) != 1)
			continue;
		n = (size_t)snprintf(word, sizeof word, " %s ", key);
		if (strstr(seen, word))
			continue;
		memcpy(seen + seen_length, word, n);
		seen_length += n;
		*failed += get(w, key) != 0;
		*failed += get_any(w, key) != 0;
	}
	free(seen);
	free(text);
	return 0;
}

static int look(struct job *j)
{
	struct worker w;
	int failed = 0, rc;
	char key[WORD];

	worker_init(&w, j, 0);
	for (unsigned i = 0; i < REGISTERS + NAMES; i++) {
		snprintf(key, sizeof key, i < REGISTERS ? "reg/%u" : "name/%u", i < REGISTERS ? i : i - REGISTERS);
		failed += get(&w, key) != 0;
		failed += head(&w, key) != 0;
	}
	failed += list(&w, "reg/") != 0;
	failed += list(&w, "name/") != 0;
	failed += list(&w, "seg/") != 0;
	rc = look_at_segments(&w, &failed);
	worker_destroy(&w);
	if (failed || rc)
		fprintf(stderr, "%d keys cannot be read: %s\n", failed, strerror(-rc));
	return failed || rc ? 1 : 0;
}

/* ---- wipe ---- */

struct wipe {
	char (*key)[STORE_KEY_MAX + 1];
	size_t count;
};

static int collect(void *arg, const struct store_entry *entry)
{
	struct wipe *w = arg;

	memcpy(w->key[w->count++], entry->key, sizeof w->key[0]);
	return w->count == STORE_REMOVE_MANY_MAX;
}

static int wipe(struct job *j)
{
	struct wipe w = { .key = calloc(STORE_REMOVE_MANY_MAX, sizeof *w.key) };
	const char *keys[STORE_REMOVE_MANY_MAX];
	struct error err = { 0 };
	int rc;

	if (!w.key)
		abort();
	do {
		w.count = 0;
		rc = store_list_each(j->store, "", NULL, collect, &w, &err);
		for (size_t i = 0; i < w.count; i++)
			keys[i] = w.key[i];
		if (rc >= 0 && w.count)
			rc = store_remove_many_wait(j->store, keys, w.count, &err);
	} while (rc >= 0 && w.count);
	free(w.key);
	if (rc < 0)
		fprintf(stderr, "%s\n", error_text(&err));
	return rc < 0;
}

/* ---- check ---- */

static void tell(void *arg, const char *text)
{
	(void)arg;
	printf("VIOLATION %s\n", text);
}

static int read_history(struct history *h, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = -errno;
	struct stat st;
	char *text = NULL;
	size_t line = 0;

	if (fd >= 0 && fstat(fd, &st) == 0 && (text = malloc((size_t)st.st_size + 1)) &&
	    read(fd, text, (size_t)st.st_size) == st.st_size)
		rc = history_add(h, text, (size_t)st.st_size, &line);
	if (rc)
		fprintf(stderr, "%s:%zu: %s\n", path, line, strerror(-rc));
	free(text);
	if (fd >= 0)
		close(fd);
	return rc;
}

static int check(int argc, char **argv)
{
	struct history *h = history_new();
	struct history_stats s;
	size_t bad;

	if (!h)
		abort();
	for (int i = 0; i < argc; i++) {
		if (read_history(h, argv[i])) {
			history_free(h);
			return 2;
		}
	}
	bad = history_check(h, tell, NULL);
	history_stats(h, &s);
	printf("%zu operations (%zu reads, %zu writes, %zu unknown) on %zu keys, the longest %.1f s; at most %zu "
	       "states: %zu violations\n",
	       s.operations, s.reads, s.writes, s.unknown, s.keys, (double)s.longest_ns / 1e9, s.states_max, bad);
	history_free(h);
	return bad ? 1 : s.operations ? 0 : 2;
}

/* ---- the command line ---- */

static int usage(void)
{
	fputs("usage: node_history run|look|wipe -u URL [-o FILE] [-w WRITER] ... | check FILE...; see "
	      "node_history.c\n",
	      stderr);
	return 2;
}

static int parse(struct job *j, int argc, char **argv)
{
	int opt;

	while ((opt = getopt(argc, argv, "u:o:w:s:t:j:d:c:p:x")) != -1) {
		uint64_t number = optarg ? strtoull(optarg, NULL, 10) : 0;
		switch (opt) {
		case 'u':
			j->url = optarg;
			break;
		case 'o':
			j->file = optarg;
			break;
		case 'w':
			j->writer = (unsigned)number;
			break;
		case 's':
			j->seed = number;
			break;
		case 't':
			j->seconds = number;
			break;
		case 'j':
			j->threads = (unsigned)number;
			break;
		case 'd':
			j->deadline_ms = number;
			break;
		case 'c':
			j->clock_step_s = number;
			break;
		case 'x':
			j->only_writes = true;
			break;
		case 'p':
			j->pause_us = number;
			break;
		default:
			return -EINVAL;
		}
	}
	return j->url && (j->threads >= 1 && j->threads <= 99) ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	struct job j = { .threads = 4, .seconds = 5, .deadline_ms = 6000, .fd = -1, .pause_us = 2000 };
	struct store_options options = { .allow_plain = true };
	struct error err = { 0 };
	int code;

	if (argc < 2 || sodium_init() < 0)
		return usage();
	if (strcmp(argv[1], "check") == 0)
		return check(argc - 2, argv + 2);
	if (parse(&j, argc - 1, argv + 1) || (strcmp(argv[1], "wipe") != 0 && !j.file))
		return usage();
	options.deadline_ms = j.deadline_ms;
	if (store_open(j.url, &options, &j.store, &err)) {
		fprintf(stderr, "%s\n", error_text(&err));
		return 2;
	}
	if (j.file && (j.fd = open(j.file, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0) {
		perror(j.file);
		store_close(j.store);
		return 2;
	}
	code = strcmp(argv[1], "run") == 0    ? run(&j)
	       : strcmp(argv[1], "look") == 0 ? look(&j)
	       : strcmp(argv[1], "wipe") == 0 ? wipe(&j)
	                                      : usage();
	store_close(j.store);
	if (j.fd >= 0)
		close(j.fd);
	return code;
}
