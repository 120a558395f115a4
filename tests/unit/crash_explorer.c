/* SPDX-License-Identifier: GPL-3.0-only */
/* crash_explorer.c: the power goes at any moment of an engine's work, and of its recovery: what was flushed is there, and the
 * disk is what it was after some one step.
 *
 * Records runs (lib/crash_run.h), builds thousands of states that a power cut could have left (lib/crash_state.h), opens an engine
 * on each, reads every image and compares it with its model; then goes on writing. Some states lose garner.db as well, or
 * the whole cache directory; of some the recovery is recorded too, and cut short in turn.
 *
 * From the environment: GARNER_CRASH_RUNS and GARNER_CRASH_STATES (how many, of both; without them as many as fit into
 * GARNER_CRASH_SECONDS, 40 if that is not set either), GARNER_TEST_SEED (of the first run), GARNER_CRASH_WORKERS, GARNER_CRASH_KEEP
 * (any value: the directory of a wrong state stays).
 */
#include "lib/crash_run.h"
#include "lib/crash_state.h"

#include "base/clock.h"
#include "base/report.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS_MAX 16u
#define HANG_SECONDS 60u
#define WRONG_MOST 5u /* after so many wrong states a run ends */
#define CUTS_OF_RECOVERY 3u

enum loss { LOSE_NOTHING, LOSE_DB, LOSE_DB_BYTES, LOSE_CACHE, LOSSES };

static const char *const loss_names[LOSSES] = { "nothing more", "garner.db", "bytes of garner.db",
	                                        "the cache directory" };

/* Shared with the workers. */
struct tally {
	_Atomic uint64_t states, of_recovery, lost[LOSSES], cut_off, wrong;
	_Atomic uint64_t end_ns; /* 0: none */
	struct {
		char text[400]; /* what the worker is looking at */
	} worker[WORKERS_MAX];
};

static struct tally *tally;
static const char *base_dir;
static bool keep;

/* What one image may be in a state. */
struct wanted {
	const struct disk_model *model;
	uint32_t low, high;
	bool may_be_missing;
};

/* A recording to cut, and what it says of its images: with `earlier`, of a recovery: until an image was opened that still holds. */
struct source {
	struct crash_run *run;
	struct recording *recording;
	struct journal *journal;
	struct disk_model *const *model;
	const struct wanted *earlier;
};

/* One state being looked at. */
struct look {
	struct source *source;
	struct crash_state state;
	enum loss loss;
	struct random random;
	unsigned worker;
	bool may_fail; /* with an error, that is; not with other bytes */
	char dir[256];
	struct wanted wanted[RUN_IMAGES];
	struct disk_model *found[RUN_IMAGES]; /* what it was; then what was written after that */
};

static void wrong(const struct look *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void wrong(const struct look *l, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "\nWRONG: %s\n  ", tally->worker[l->worker].text);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
}

/* An error is a finding, too, unless it was to be expected. */
static void failed(const struct look *l, const char *what, const char *why)
{
	if (!l->may_fail)
		wrong(l, "%s: %s", what, why);
}

/* ---- what to expect ---------------------------------------------------------------------------------------------- */

static void expect(struct look *l)
{
	const struct source *s = l->source;
	size_t events = l->state.noted[0] ? (size_t)l->state.note[0] : 0;

	for (unsigned n = 0; n < s->run->images; n++) {
		struct wanted *w = &l->wanted[n];
		struct bounds b;

		journal_bounds(s->journal, events, n, &b);
		if (s->earlier && !b.any[EVENT_OPENED]) {
			*w = s->earlier[n];
			continue;
		}
		*w = (struct wanted){ .model = s->model[n], .low = b.step[EVENT_REMOTE], .high = b.step[EVENT_ISSUED] };
		w->may_be_missing = !b.any[EVENT_CREATED] && !s->earlier;
		if (l->loss == LOSE_CACHE)
			continue;
		if (b.step[EVENT_LOCAL] > w->low)
			w->low = b.step[EVENT_LOCAL];
		/* A killed daemon loses nothing that it answered. But what it gathers in stages is mapped, and not recorded. */
		if (l->state.mode == CRASH_KILLED && s->run->options.stage_size == RUN_NO_STAGES &&
		    b.step[EVENT_ANSWERED] > w->low)
			w->low = b.step[EVENT_ANSWERED];
	}
}

/* ---- losing more ------------------------------------------------------------------------------------------------- */

static void lose(struct look *l)
{
	static const char *const files[] = { "garner.db", "garner.db-wal", "garner.db-shm" };
	char path[400];

	if (l->loss == LOSE_CACHE) {
		snprintf(path, sizeof path, "%s/cache", l->dir);
		crash_state_remove(path);
	}
	for (int i = 0; i < 3 && l->loss == LOSE_DB; i++) {
		snprintf(path, sizeof path, "%s/cache/%s", l->dir, files[i]);
		unlink(path);
	}
	if (l->loss == LOSE_DB_BYTES) {
		snprintf(path, sizeof path, "%s/cache/garner.db", l->dir);
		int fd = open(path, O_WRONLY | O_CLOEXEC);
		off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
		for (int i = 0; i < 4 && size > 0; i++) {
			uint64_t junk[64];
			for (int k = 0; k < 64; k++)
				junk[k] = random_next(&l->random);
			if (pwrite(fd, junk, sizeof junk, (off_t)random_below(&l->random, (uint64_t)size) & ~511) < 0)
				break; /* it stays whole, which is a state too */
		}
		if (fd >= 0)
			close(fd);
	}
}

/* ---- opening and looking ----------------------------------------------------------------------------------------- */

/* Opens image `n`: 1 when there is none, and none is needed. */
static int open_image(struct look *l, struct engine *e, unsigned n, struct image **image, struct error *err)
{
	struct node_attr attr;
	char name[16];
	int rc;

	snprintf(name, sizeof name, "disk%u", n);
	rc = engine_lookup(e, NODE_ROOT, name, &attr, err);
	if (rc == -ENOENT && l->wanted[n].may_be_missing)
		return 1;
	if (rc == 0 && l->loss == LOSE_CACHE)
		rc = engine_takeover(e, attr.id, err);
	return rc ? rc : image_open(e, attr.id, IMAGE_READ | IMAGE_WRITE, image, err);
}

/* Reads the image and compares. What it holds becomes l->found[n]. */
static int compare(struct look *l, struct image *i, unsigned n)
{
	const struct wanted *w = &l->wanted[n];
	uint64_t room = disk_model_room(w->model), size;
	uint8_t *bytes = malloc(room);
	uint32_t step;

	if (!bytes)
		abort();
	int rc = image_read_all(i, bytes, room, &size);
	if (rc) {
		failed(l, "an image cannot be read", strerror(-rc));
	} else if (!disk_model_matches(w->model, bytes, size, w->low, w->high, &step)) {
		wrong(l,
		      "image %u is not what it was after any step from %" PRIu32 " (flushed) to %" PRIu32 " (issued)",
		      n, w->low, w->high);
		disk_model_explain(w->model, bytes, size, step);
		rc = -EILSEQ;
	}
	if (rc == 0)
		l->found[n] = disk_model_new(room, bytes, size);
	free(bytes);
	return rc;
}

/* A recovered image is one that can be written: some operations, and all is as it should be. */
static int go_on(struct look *l, struct image *image, struct image *source, unsigned n, struct journal *journal)
{
	struct worker w = { .image = image, .source = source, .number = n, .model = l->found[n], .journal = journal };
	uint32_t step, last;
	uint64_t size;
	int rc;

	w.random.state = random_next(&l->random);
	w.operations = journal->recording ? 6 + (unsigned)random_below(&l->random, 24) : 4;
	worker_run(&w);
	if (w.error[0]) {
		wrong(l, "after the recovery: %s", w.error);
		return -EIO;
	}
	last = disk_model_step(l->found[n]);
	uint8_t *bytes = malloc(disk_model_room(l->found[n]));
	if (!bytes)
		abort();
	rc = image_read_all(image, bytes, disk_model_room(l->found[n]), &size);
	if (rc || !disk_model_matches(l->found[n], bytes, size, last, last, &step)) {
		wrong(l, "image %u is not what was written after the recovery: %s", n,
		      rc ? strerror(-rc) : "other bytes");
		if (!rc)
			disk_model_explain(l->found[n], bytes, size, last);
		rc = -EIO;
	}
	free(bytes);
	return rc;
}

/* What was copied from must be whole, unless nobody had begun to. */
static int open_source(struct look *l, struct engine *e, struct image **source, struct error *err)
{
	bool used = false;
	int rc = crash_source_open(e, false, source, err);

	for (unsigned n = 0; n < l->source->run->images; n++)
		used |= !l->wanted[n].may_be_missing;
	if (!rc)
		return 0;
	*source = NULL;
	if (!used)
		return 0;
	failed(l, "what was copied from", error_text(err));
	return rc;
}

/* Opens an engine on the state, on this disk, and looks at every image. With a journal whose recording is set, what happens is
 * noted there. Returns 0, -EILSEQ when an image was wrong, or -1. */
static int open_and_look(struct look *l, struct disk *disk, struct journal *journal)
{
	const struct crash_run *run = l->source->run;
	struct image *image[RUN_IMAGES] = { 0 }, *source = NULL;
	struct error err = { 0 };
	struct engine *e;
	int rc = crash_run_open_engine(run, l->dir, disk, &e, &err);

	if (rc) {
		failed(l, "the engine does not open", error_text(&err));
		return -1;
	}
	rc = open_source(l, e, &source, &err);
	for (unsigned n = 0; n < run->images && rc >= 0; n++) {
		rc = open_image(l, e, n, &image[n], &err);
		if (rc < 0)
			failed(l, "an image does not open", error_text(&err));
		if (rc == 0)
			rc = compare(l, image[n], n);
		if (rc == 0)
			journal_note(journal, EVENT_OPENED, n, 0);
	}
	for (unsigned n = 0; n < run->images && rc >= 0; n++)
		if (image[n] && !l->may_fail)
			rc = go_on(l, image[n], source, n, journal);
	if (source)
		image_close(source, IMAGE_READ);
	for (unsigned n = 0; n < run->images; n++)
		if (image[n])
			image_close(image[n], IMAGE_READ | IMAGE_WRITE);
	int closed = engine_close(e, &err);
	if (closed && !(closed == -EAGAIN && run->options.stop_deadline_ms == 1) && rc >= 0) {
		failed(l, "closing", error_text(&err));
		rc = -1;
	}
	return rc == -EILSEQ ? rc : rc < 0 ? -1 : 0;
}

static void forget_found(struct look *l)
{
	for (unsigned n = 0; n < RUN_IMAGES; n++) {
		disk_model_free(l->found[n]);
		l->found[n] = NULL;
	}
}

/* ---- one state --------------------------------------------------------------------------------------------------- */

/* Any moment; half of the time one near an answer. */
static uint64_t some_cut(const struct source *s, struct random *random)
{
	uint64_t moments = recording_moments(s->recording), cut;

	if (random_below(random, 2) || !s->journal->count)
		return random_below(random, moments + 1);
	cut = s->journal->event[random_below(random, s->journal->count)].moment + random_below(random, 24);
	return cut < moments ? cut : moments;
}

static int build(struct look *l, uint64_t cut, uint64_t seed, const char *which)
{
	char text[200];
	int rc = crash_state_build(l->source->recording, cut, seed, CRASH_ANY, l->dir, &l->state);

	snprintf(tally->worker[l->worker].text, sizeof tally->worker[0].text,
	         "run seed %" PRIu64 ", %s%s, and %s is lost (in %s)", l->source->run->seed, which,
	         crash_state_text(&l->state, text), loss_names[l->loss], l->dir);
	if (rc) {
		wrong(l, "cannot build the state: %s", strerror(-rc));
		return -1;
	}
	lose(l);
	expect(l);
	atomic_fetch_add(&tally->states, 1);
	atomic_fetch_add(&tally->lost[l->loss], 1);
	return 0;
}

static void report_wrong(const struct look *l)
{
	uint64_t cut = l->state.cut;

	fprintf(stderr, "  the last moments before the cut:\n");
	recording_print(l->source->recording, cut > 40 ? cut - 40 : 0, cut);
	atomic_fetch_add(&tally->wrong, 1);
}

/* The recovery was recorded: cuts it short, and recovers again. */
static int cut_recovery(struct look *first, struct recording *recording, struct journal *journal)
{
	struct source source = { .run = first->source->run,
		                 .recording = recording,
		                 .journal = journal,
		                 .model = first->found,
		                 .earlier = first->wanted };
	struct journal none;
	int rc = 0;

	journal_init(&none, NULL);
	for (unsigned i = 0; i < CUTS_OF_RECOVERY && rc == 0; i++) {
		struct look l = { .source = &source,
			          .worker = first->worker,
			          .random = { random_next(&first->random) } };
		uint64_t cut = some_cut(&source, &l.random);
		snprintf(l.dir, sizeof l.dir, "%s/again%u", base_dir, l.worker);
		l.loss = random_below(&l.random, 8) ? LOSE_NOTHING : LOSE_DB;
		rc = build(&l, cut, random_next(&l.random), "a cut of the recovery: ");
		if (rc == 0)
			rc = open_and_look(&l, NULL, &none);
		if (rc)
			report_wrong(&l);
		forget_found(&l);
		if (!rc || !keep)
			crash_state_remove(l.dir);
		atomic_fetch_add(&tally->of_recovery, 1);
	}
	journal_destroy(&none);
	return rc;
}

/* Recovers a state while that is recorded, and then cuts the recovery. */
static int recover_recorded(struct look *l)
{
	struct recording *recording = recording_new(l->dir);
	struct journal journal;
	int rc = -1;

	journal_init(&journal, recording);
	if (!recording || record_vfs_install(recording)) {
		wrong(l, "the recovery cannot be recorded: %s", strerror(errno));
	} else {
		rc = open_and_look(l, recording_disk(recording), &journal);
		record_vfs_remove();
	}
	if (rc == 0)
		rc = cut_recovery(l, recording, &journal);
	journal_destroy(&journal);
	recording_free(recording);
	return rc;
}

/* Damage in garner.db is found when what is damaged is used. Until then an image may fail, but never be another; and without
 * garner.db, which the engine puts aside once it has found damage, all is well. */
static int open_and_look_again(struct look *l, struct journal *none)
{
	int rc = 0;

	if (l->loss == LOSE_DB_BYTES) {
		l->may_fail = true;
		rc = open_and_look(l, NULL, none);
		l->may_fail = false;
		forget_found(l);
		l->loss = LOSE_DB;
		lose(l);
	}
	return rc == -EILSEQ ? rc : open_and_look(l, NULL, none);
}

static int one_state(struct source *s, unsigned worker, uint64_t seed)
{
	struct look l = { .source = s, .worker = worker, .random = { seed } };
	struct journal none;
	uint64_t cut, pick = random_below(&l.random, 100);
	int rc;

	l.loss = pick < 12 ? LOSE_DB : pick < 18 ? LOSE_DB_BYTES : pick < 30 ? LOSE_CACHE : LOSE_NOTHING;
	snprintf(l.dir, sizeof l.dir, "%s/state%u", base_dir, worker);
	cut = some_cut(s, &l.random);
	journal_init(&none, NULL);
	alarm(HANG_SECONDS);
	rc = build(&l, cut, random_next(&l.random), "");
	/* Of a damaged garner.db the first look may fail, and then there is no recovery to cut. */
	if (rc == 0 && l.loss != LOSE_CACHE && l.loss != LOSE_DB_BYTES && random_below(&l.random, 8) == 0)
		rc = recover_recorded(&l);
	else if (rc == 0)
		rc = open_and_look_again(&l, &none);
	alarm(0);
	if (rc)
		report_wrong(&l);
	forget_found(&l);
	journal_destroy(&none);
	if (!rc || !keep)
		crash_state_remove(l.dir);
	return rc;
}

/* ---- runs and workers -------------------------------------------------------------------------------------------- */

static bool time_is_up(void)
{
	uint64_t end = atomic_load(&tally->end_ns);

	return end && clock_monotonic_ns() >= end;
}

static void work(struct crash_run *run, unsigned worker, unsigned workers, uint64_t states)
{
	struct source s = { .run = run, .recording = run->recording, .journal = &run->journal, .model = run->model };

	for (uint64_t i = worker; i < states && !time_is_up() && atomic_load(&tally->wrong) < WRONG_MOST; i += workers)
		one_state(&s, worker, run->seed * 1000003u + i);
}

/* The states of one run, by several processes: one that dies of a state is a finding, too. */
static int explore(struct crash_run *run, unsigned workers, uint64_t states)
{
	pid_t pid[WORKERS_MAX];
	int status, rc = 0;

	fflush(NULL);
	for (unsigned w = 0; w < workers; w++) {
		pid[w] = fork();
		if (pid[w] < 0)
			return -errno;
		if (pid[w] == 0) {
			work(run, w, workers, states);
			_exit(0);
		}
	}
	for (unsigned w = 0; w < workers; w++) {
		while (waitpid(pid[w], &status, 0) < 0 && errno == EINTR)
			;
		if (status == 0)
			continue;
		fprintf(stderr, "\nWRONG: %s\n  the process ended with status %d%s\n", tally->worker[w].text, status,
		        WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? ": it hung" : "");
		atomic_fetch_add(&tally->wrong, 1);
		rc = -1;
	}
	return rc;
}

static int one_run(uint64_t seed, unsigned workers, uint64_t states)
{
	struct crash_run run;
	struct recording_counts c;
	char dir[200];
	int rc;

	snprintf(dir, sizeof dir, "%s/run", base_dir);
	if (mkdir(dir, 0700) < 0)
		return -errno;
	alarm(HANG_SECONDS);
	rc = crash_run_record(&run, dir, seed);
	alarm(0);
	if (run.recording) {
		recording_counts(run.recording, &c);
		if (c.unseen && !rc) {
			fprintf(stderr, "run seed %" PRIu64 ": %" PRIu64 " files were made past the seam\n", seed,
			        c.unseen);
			rc = -1;
		}
	}
	if (rc)
		atomic_fetch_add(&tally->wrong, 1);
	else
		rc = explore(&run, workers, states);
	crash_run_destroy(&run);
	crash_state_remove(dir);
	return rc;
}

static void clean_up(void)
{
	char path[300];

	for (unsigned w = 0; w < WORKERS_MAX && !keep; w++) {
		snprintf(path, sizeof path, "%s/state%u", base_dir, w);
		crash_state_remove(path);
		snprintf(path, sizeof path, "%s/again%u", base_dir, w);
		crash_state_remove(path);
	}
	if (!keep)
		crash_state_remove(base_dir);
}

int main(void)
{
	bool full = getenv("GARNER_CRASH_RUNS") || getenv("GARNER_CRASH_STATES");
	uint64_t runs = env_number("GARNER_CRASH_RUNS", full ? 50 : 1000), done = 0;
	uint64_t per_run = full ? (env_number("GARNER_CRASH_STATES", 20000) + runs - 1) / runs : 100;
	unsigned workers = (unsigned)env_number("GARNER_CRASH_WORKERS", 4);
	uint64_t seed = env_number("GARNER_TEST_SEED", clock_wall_ns() % 1000000 * 1000);
	const char *memory = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	char dir[100];

	workers = workers < 1 ? 1 : workers > WORKERS_MAX ? WORKERS_MAX : workers;
	keep = getenv("GARNER_CRASH_KEEP") != NULL;
	snprintf(dir, sizeof dir, "%s/garner-crash-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : memory);
	base_dir = mkdtemp(dir);
	tally = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!base_dir || tally == MAP_FAILED) {
		perror("crash_explorer");
		return 99; /* automake: a hard error */
	}
	report_init("crash_explorer", REPORT_ERROR);
	if (!full)
		tally->end_ns = clock_monotonic_ns() + env_number("GARNER_CRASH_SECONDS", 40) * 1000000000u;
	printf("seed %" PRIu64 " (GARNER_TEST_SEED)\n", seed);
	while (done < runs && !time_is_up() && atomic_load(&tally->wrong) < WRONG_MOST)
		one_run(seed + done++, workers, per_run);
	printf("%" PRIu64 " runs, %" PRIu64 " states (%" PRIu64 " of them cuts of a recovery; %" PRIu64
	       " without garner.db, %" PRIu64 " with a damaged one, %" PRIu64 " without the cache directory): %" PRIu64
	       " wrong\n",
	       done, tally->states, tally->of_recovery, tally->lost[LOSE_DB], tally->lost[LOSE_DB_BYTES],
	       tally->lost[LOSE_CACHE], tally->wrong);
	clean_up();
	return tally->wrong ? 1 : 0;
}
