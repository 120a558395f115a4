/* SPDX-License-Identifier: GPL-3.0-only */
/* test_image_model.c: the engine's random life against plain memory: everything that a guest, an administrator and bad luck do to
 * images, one thing after the other, with options so small that every mechanism is at work.
 *
 * GARNER_TEST_SEED repeats one life; GARNER_TEST_ROUNDS: how many lives (8); GARNER_TEST_SCALE: steps of each life in percent
 * (100; less for slow builds); GARNER_TEST_STORE: the URL of a store, below which each life makes a pool of its own (tests/servers/swift
 * says what its is). test_image_threads.c has the lives with several threads.
 */
#include "lib/image_life.h"

#include "base/clock.h"
#include "log/log_private.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void check_all(struct world *w)
{
	trace(w, "everything is compared");
	for (unsigned k = 0; k < FILES; k++)
		if (w->file[k].name[0])
			check_file(w, &w->file[k]);
	for (unsigned k = 0; k < PASTS; k++)
		if (w->past[k].was.name[0])
			check_past(w, &w->past[k]);
	/* Each of them makes an image. */
	if (random_once_in(&w->r, 4))
		check_moments(w);
}

/* ---- what the engine does by itself, now ---- */

static void engine_step(struct world *w)
{
	struct file *f = any_file(w);
	struct timespec pause = { .tv_nsec = (long)random_below(&w->r, 60) * 1000000 };

	switch (random_below(&w->r, 7)) {
	case 0:
	case 1:
		trace(w, "%s: flush", f->name);
		expect(w, f, "a flush", flush_wait(f->image, IMAGE_FLUSH_LOCAL), 0);
		break;
	case 2:
		trace(w, "%s: flush to the store", f->name);
		expect(w, f, "a remote flush", flush_wait(f->image, IMAGE_FLUSH_REMOTE), 0);
		break;
	case 3:
		trace(w, "%s: save", f->name);
		expect(w, f, "saving", save_now(f->image, false), 0);
		break;
	case 4:
		trace(w, "%s: checkpoint", f->name);
		expect(w, f, "a checkpoint", save_now(f->image, true), 0);
		break;
	case 5:
		trace(w, "evict");
		cache_evict_all(w->f.engine->cache);
		break;
	default:
		nanosleep(&pause, NULL);
		break;
	}
}

/* ---- cleaning ---- */

static void do_clean(struct world *w)
{
	const struct file *f = any_file(w);
	struct clean_options options = { .now = random_once_in(&w->r, 2), .dry_run = random_once_in(&w->r, 8) };
	struct clean_result result;
	struct error err = { 0 };

	if (options.dry_run)
		options.now = false;
	trace(w, "%s: clean%s%s", f->name, options.now ? " now" : "", options.dry_run ? ": dry run" : "");
	if (engine_clean(w->f.engine, f->id, &options, NULL, NULL, &result, &err))
		fail_msg("seed %" PRIu64 " step %u: %s", w->seed, w->step, error_text(&err));
	trace(w, "%s: %" PRIu64 " segments, %" PRIu64 " emptied, %" PRIu64 " deleted, %" PRIu64 " wait", f->name,
	      result.segments, result.moved_segments, result.removed_segments, result.waiting_segments);
	if (random_once_in(&w->r, 3))
		check_file(w, f);
}

/* All the images of an engine that ends with the process, again and again. */
static void *clean_for_ever(void *arg)
{
	const struct clean_options options = { .now = true };
	struct world *w = arg;

	for (unsigned k = 0;; k = (k + 1) % FILES) {
		struct clean_result result;
		struct error err = { 0 };
		if (w->file[k].name[0] &&
		    engine_clean(w->f.engine, w->file[k].id, &options, NULL, NULL, &result, &err)) {
			fprintf(stderr, "seed %" PRIu64 ": cleaning in a child: %s\n", w->seed, error_text(&err));
			_exit(2);
		}
	}
	return NULL;
}

/* ---- opening and closing ---- */

static void open_images(struct world *w)
{
	for (unsigned k = 0; k < FILES; k++)
		if (w->file[k].name[0])
			w->file[k].image = image_fixture_open_image(w->f.engine, w->file[k].name);
}

static void close_images(struct world *w)
{
	for (unsigned k = 0; k < FILES; k++) {
		if (!w->file[k].name[0])
			continue;
		check_stat(w, &w->file[k]);
		image_fixture_close_image(w->file[k].image);
	}
}

/* The options of the next opening. */
static void choose_options(struct world *w)
{
	static const uint32_t grain[] = { 4096, 4096, 16384, 65536 };
	struct engine_options *o = &w->f.options;

	o->grain_size = grain[random_below(&w->r, 4)];
	o->segment_size = random_once_in(&w->r, 4) ? 2u << 20 : 1u << 20;
	o->cache_size = (4 + random_below(&w->r, 3) * 8) * o->segment_size;
	o->dirty_limit = o->cache_size / (2 + random_below(&w->r, 3));
	o->seal_after_ms = 50 + random_below(&w->r, 150);
	o->uploads = 1 + (unsigned)random_below(&w->r, 4);
	o->gc_grace_ms = 1;
	o->gc_target = 101; /* only when a life says so */
	o->share_min = random_once_in(&w->r, 2) ? 4096 : 64u << 10;
}

struct times {
	uint64_t size[FILES], mtime[FILES];
};

static void note_times(struct world *w, struct times *t)
{
	for (unsigned k = 0; k < FILES; k++)
		if (w->file[k].name[0]) {
			struct node_attr attr;
			image_stat(w->file[k].image, &attr);
			t->mtime[k] = attr.mtime_ns;
		}
}

/* After an orderly end any host knows size, allocation and time without opening the image. */
static void check_names(struct world *w, const struct times *t)
{
	for (unsigned k = 0; k < FILES; k++) {
		struct file *f = &w->file[k];
		struct node_attr attr;
		struct error err = { 0 };
		if (!f->name[0])
			continue;
		if (engine_lookup(w->f.engine, NODE_ROOT, f->name, &attr, &err))
			fail_msg("seed %" PRIu64 " step %u: %s: %s", w->seed, w->step, f->name, error_text(&err));
		assert_true(attr.id == f->id);
		expect(w, f, "looking up the size", (int64_t)attr.size, (int64_t)oracle_size(f->oracle));
		expect(w, f, "looking up the allocation", (int64_t)attr.allocated_bytes,
		       (int64_t)oracle_allocated(f->oracle, f->grain));
		if (t->mtime[k])
			expect(w, f, "looking up the time", (int64_t)attr.mtime_ns, (int64_t)t->mtime[k]);
	}
}

static void check_times(struct world *w, const struct times *t)
{
	for (unsigned k = 0; k < FILES; k++)
		if (w->file[k].name[0] && t->mtime[k]) {
			struct node_attr attr;
			image_stat(w->file[k].image, &attr);
			expect(w, &w->file[k], "the time after opening again", (int64_t)attr.mtime_ns,
			       (int64_t)t->mtime[k]);
		}
}

/* An orderly end, some loss, and a beginning on either host. */
static void do_reopen(struct world *w)
{
	unsigned host = random_once_in(&w->r, 3) ? !w->f.host : w->f.host;
	uint64_t loss = random_below(&w->r, 6);
	struct times t = { 0 };

	note_times(w, &t);
	close_images(w);
	image_fixture_close(&w->f);
	image_fixture_verify(&w->f);
	if (loss == 0)
		image_fixture_lose_cache(&w->f, host);
	else if (loss == 1)
		image_fixture_lose_db(&w->f, host);
	choose_options(w);
	trace(w, "closed; opened on host %u%s", host,
	      loss == 0   ? ", its cache lost"
	      : loss == 1 ? ", its SQLite lost"
	                  : "");
	image_fixture_open(&w->f, host);
	check_names(w, &t);
	open_images(w);
	check_times(w, &t);
	check_all(w);
}

/* An image that nobody has open is handed over after a while; it is opened before, during, or after that. */
static void do_close_one(struct world *w)
{
	struct file *f = any_file(w);
	uint64_t ms = random_below(&w->r, 600);
	struct timespec pause = { .tv_nsec = (long)ms * 1000000 };

	trace(w, "%s: closed for %" PRIu64 " ms", f->name, ms);
	image_fixture_close_image(f->image);
	nanosleep(&pause, NULL);
	f->image = image_fixture_open_image(w->f.engine, f->name);
}

/* ---- names ---- */

static void create_file(struct world *w, struct file *f)
{
	struct node_attr attr;
	struct error err = { 0 };

	make_name(w, f->name);
	trace(w, "%s: create", f->name);
	if (engine_create(w->f.engine, NODE_ROOT, f->name, NODE_FILE, 0600, 0, 0, &attr, &err))
		fail_msg("seed %" PRIu64 " step %u: %s", w->seed, w->step, error_text(&err));
	f->id = attr.id;
	f->grain = attr.grain_bytes;
	f->oracle = oracle_new();
	f->image = image_fixture_open_image(w->f.engine, f->name);
	if (random_once_in(&w->r, 2))
		keep_history(w, f, 3600);
}

/* The name is gone; the bytes are there until the last close. */
static void forget_file(struct world *w, struct file *f)
{
	struct node_attr attr;

	check_file(w, f);
	assert_int_equal(engine_getattr(w->f.engine, f->id, &attr, NULL), 0);
	assert_int_equal(attr.nlink, 0);
	image_fixture_close_image(f->image);
	forget_moments_of(w, f);
	oracle_free(f->oracle);
	memset(f, 0, sizeof *f);
}

/* ---- clones ---- */

static void make_place(struct world *w, struct file *to)
{
	struct error err = { 0 };

	if (!to->name[0])
		return;
	drop_pasts_of(w, to);
	trace(w, "%s: unlink", to->name);
	assert_int_equal(engine_unlink(w->f.engine, NODE_ROOT, to->name, &err), 0);
	forget_file(w, to);
}

/* A clone of a file, or of a moment of one, in the place of another file, which may be its parent's. */
static void do_clone(struct world *w)
{
	struct past *p = &w->past[random_below(&w->r, PASTS)];
	const struct file *from = p->was.name[0] && random_once_in(&w->r, 2) ? &p->was : any_file(w);
	const struct file *owner = from == &p->was ? p->of : from;
	struct file *to = &w->file[random_below(&w->r, FILES)];
	struct error err = { 0 };
	struct node_attr source, attr;
	char path[60];

	if (to == owner)
		return;
	make_place(w, to);
	snprintf(path, sizeof path, "%s%s%s%s", from == owner ? "" : ".snapshots/", owner->name,
	         from == owner ? "" : "/", from == owner ? "" : from->name);
	make_name(w, to->name);
	trace(w, "%s: clone of %s", to->name, path);
	if (engine_resolve(w->f.engine, path, &source, &err) ||
	    engine_clone(w->f.engine, source.id, NODE_ROOT, to->name, &attr, &err))
		fail_msg("seed %" PRIu64 " step %u: %s: %s", w->seed, w->step, path, error_text(&err));
	to->id = attr.id;
	to->grain = attr.grain_bytes;
	to->oracle = oracle_clone(from->oracle);
	to->image = image_fixture_open_image(w->f.engine, to->name);
	if (random_once_in(&w->r, 2))
		keep_history(w, to, 3600);
	check_file(w, to);
}

/* A file as it was, in the place of another one. */
static void do_rewind(struct world *w)
{
	struct moment *m = any_moment(w);
	struct file *to = &w->file[random_below(&w->r, FILES)];
	struct node_attr attr;
	char name[16];

	if (!m || to == m->of)
		return;
	make_name(w, name);
	if (!rewind_to(w, m, name, &attr))
		return;
	make_place(w, to);
	memcpy(to->name, name, sizeof name);
	to->id = attr.id;
	to->grain = attr.grain_bytes;
	to->oracle = oracle_clone(m->oracle);
	to->image = image_fixture_open_image(w->f.engine, to->name);
	if (random_once_in(&w->r, 2))
		keep_history(w, to, 3600);
	check_file(w, to);
}

/* A clone parts from its parents, unless a moment of it, or a clone of it, needs them. */
/* Also one that nothing leads into, as what led there was lost with the host. */
static bool has_layers(struct world *w, const struct file *f)
{
	struct layer_list list;
	struct error err = { 0 };
	int rc = layer_list_load(w->f.engine->pool, f->id, &list, &err);

	if (!rc)
		layer_list_destroy(&list);
	return !rc;
}

static void do_flatten(struct world *w)
{
	struct file *f = any_file(w);
	bool layered = has_layers(w, f);
	struct error err = { 0 };
	int rc;

	trace(w, "%s: flatten", f->name);
	rc = engine_flatten(w->f.engine, f->id, NULL, NULL, &err);
	if (rc && rc != -EBUSY)
		fail_msg("seed %" PRIu64 " step %u: %s: %s", w->seed, w->step, f->name, error_text(&err));
	if (layered && !rc)
		end_history(w, f);
	check_file(w, f);
}

static void do_names(struct world *w)
{
	struct file *f = &w->file[random_below(&w->r, FILES)], *other = any_file(w);
	struct error err = { 0 };
	struct node_attr attr;
	char name[16];

	if (!f->name[0]) {
		create_file(w, f);
	} else if (f == other) {
		make_name(w, name);
		trace(w, "%s: rename to %s", f->name, name);
		assert_int_equal(engine_rename(w->f.engine, NODE_ROOT, f->name, NODE_ROOT, name, true, &err), 0);
		assert_int_equal(engine_lookup(w->f.engine, NODE_ROOT, f->name, &attr, NULL), -ENOENT);
		memcpy(f->name, name, sizeof name);
	} else if (random_once_in(&w->r, 2)) {
		drop_pasts_of(w, f);
		trace(w, "%s: unlink", f->name);
		assert_int_equal(engine_unlink(w->f.engine, NODE_ROOT, f->name, &err), 0);
		assert_int_equal(engine_lookup(w->f.engine, NODE_ROOT, f->name, &attr, NULL), -ENOENT);
		forget_file(w, f);
	} else {
		drop_pasts_of(w, other);
		trace(w, "%s: rename over %s", f->name, other->name);
		assert_int_equal(engine_rename(w->f.engine, NODE_ROOT, f->name, NODE_ROOT, other->name, true, NULL),
		                 -EEXIST);
		assert_int_equal(engine_rename(w->f.engine, NODE_ROOT, f->name, NODE_ROOT, other->name, false, &err),
		                 0);
		memcpy(name, other->name, sizeof name);
		forget_file(w, other);
		memcpy(f->name, name, sizeof name);
	}
}

/* ---- bad luck ---- */

/* Recovery ends where something was still under way: of what was answered counts what comes before that. Cleaning, and what the engine does
 * by itself, may be at it. */
static void let_earlier_ones_complete(struct image *i)
{
	struct log *l = atomic_load(&i->log);

	if (!l)
		return;
	pthread_mutex_lock(&l->mutex);
	for (uint64_t target = l->next_sequence; log_frontier(l) < target && !l->failed;) {
		pthread_mutex_unlock(&l->mutex);
		sched_yield();
		pthread_mutex_lock(&l->mutex);
	}
	pthread_mutex_unlock(&l->mutex);
}

/* A child goes on with the images and is killed. */
static void live_and_die(struct world *w, unsigned steps, bool remote, bool clean)
{
	pthread_t cleaner;

	image_fixture_open(&w->f, w->f.host);
	open_images(w);
	if (clean && pthread_create(&cleaner, NULL, clean_for_ever, w))
		_exit(3);
	for (unsigned k = 0; k < steps; k++)
		guest_step(w);
	for (unsigned k = 0; remote && k < FILES; k++)
		if (w->file[k].name[0] && flush_wait(w->file[k].image, IMAGE_FLUSH_REMOTE))
			_exit(1);
	for (unsigned k = 0; k < FILES; k++)
		if (w->file[k].name[0])
			let_earlier_ones_complete(w->file[k].image);
	kill(getpid(), SIGKILL);
}

static void take_images_over(struct world *w, struct engine *e)
{
	for (unsigned k = 0; k < FILES; k++) {
		struct error err = { 0 };
		struct node_attr attr;
		if (!w->file[k].name[0])
			continue;
		int rc = engine_lookup(e, NODE_ROOT, w->file[k].name, &attr, &err);
		if (!rc)
			rc = engine_takeover(e, attr.id, &err);
		/* On a slow machine the lease runs out meanwhile, and a host that has something unsent of the image takes it by itself. */
		if (rc && rc != -EALREADY)
			fail_msg("seed %" PRIu64 " step %u: %s: %s", w->seed, w->step, w->file[k].name,
			         error_text(&err));
	}
}

/* The daemon is killed. What was answered is there for its host, and what was flushed to the store for any. */
static void do_crash(struct world *w)
{
	unsigned steps = (unsigned)random_below(&w->r, 30);
	bool remote = random_once_in(&w->r, 3), clean = random_once_in(&w->r, 2);
	uint64_t loss = random_below(&w->r, 4);
	int status;

	close_images(w);
	image_fixture_close(&w->f);
	choose_options(w);
	trace(w, "a child does %u steps, %s%sand is killed", steps, remote ? "flushes to the store " : "",
	      clean ? "cleans meanwhile " : "");
	w->notes = 0;
	pid_t child = fork();
	assert_true(child >= 0);
	if (!child)
		live_and_die(w, steps, remote, clean);
	assert_true(waitpid(child, &status, 0) == child);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("seed %" PRIu64 " step %u: the child ended with status %x", w->seed, w->step,
		         (unsigned)status);
	w->only_oracle = true;
	w->notes = 0;
	for (unsigned k = 0; k < steps; k++)
		guest_step(w);
	w->only_oracle = false;
	if (loss == 0)
		image_fixture_lose_db(&w->f, w->f.host);
	if (remote && loss == 1)
		image_fixture_lose_cache(&w->f, w->f.host);
	trace(w, "opened again%s", loss == 0 ? ", SQLite lost" : remote && loss == 1 ? ", on the other host" : "");
	image_fixture_open(&w->f, remote && loss == 1 ? !w->f.host : w->f.host);
	if (remote && loss == 1)
		take_images_over(w, w->f.engine);
	open_images(w);
	if (remote && loss == 1)
		forget_positions(w);
	check_all(w);
}

/* Another host takes the images from a living owner, which does not know yet and goes on writing: to no effect. */
static void do_takeover(struct world *w)
{
	struct engine *old = w->f.engine;
	struct error err = { 0 };
	struct image *image[FILES];

	for (unsigned k = 0; k < FILES; k++)
		if (w->file[k].name[0])
			expect(w, &w->file[k], "a remote flush", flush_wait(w->file[k].image, IMAGE_FLUSH_REMOTE), 0);
	trace(w, "the other host takes over");
	w->f.engine = image_fixture_open_beside(&w->f, !w->f.host);
	w->f.host = !w->f.host;
	take_images_over(w, w->f.engine);
	random_fill(&w->r, w->other, MIB);
	for (unsigned k = 0; k < FILES; k++) {
		image[k] = w->file[k].image;
		if (w->file[k].name[0] && random_once_in(&w->r, 2)) {
			write_wait(image[k], random_below(&w->r, DISK), w->other, 1 + random_below(&w->r, MIB));
			if (!flush_wait(image[k], IMAGE_FLUSH_REMOTE))
				fail_msg("seed %" PRIu64 " step %u: %s: a fenced owner answered a flush to the store",
				         w->seed, w->step, w->file[k].name);
			const struct clean_options now = { .now = true };
			struct clean_result result;
			if (!engine_clean(old, image[k]->id, &now, NULL, NULL, &result, NULL) ||
			    result.removed_segments)
				fail_msg("seed %" PRIu64 " step %u: %s: a fenced owner cleaned", w->seed, w->step,
				         w->file[k].name);
		}
	}
	open_images(w);
	forget_positions(w);
	for (unsigned k = random_once_in(&w->r, 2) ? 10 : 0; k; k--)
		guest_step(w);
	for (unsigned k = 0; k < FILES; k++)
		if (w->file[k].name[0])
			image_fixture_close_image(image[k]);
	int rc = engine_close(old, &err);
	if (rc && rc != -EAGAIN)
		fail_msg("seed %" PRIu64 " step %u: the old owner: %s", w->seed, w->step, error_text(&err));
	check_all(w);
}

/* ---- lives ---- */

static void one_step(struct world *w)
{
	uint64_t what = random_below(&w->r, 1020);

	if (what < 600)
		guest_step(w);
	else
		w->step++;
	if (what >= 600 && what < 820)
		look_step(w);
	else if (what >= 820 && what < 835)
		do_clean(w);
	else if (what >= 860 && what < 930)
		engine_step(w);
	else if (what >= 930 && what < 945)
		do_names(w);
	else if (what >= 945 && what < 955)
		do_close_one(w);
	else if (what >= 955 && what < 960)
		check_all(w);
	else if (what >= 835 && what < 854)
		snapshot_step(w);
	else if (what >= 854 && what < 856)
		do_flatten(w);
	else if (what >= 856 && what < 860)
		do_clone(w);
	else if (what >= 960 && what < 980)
		do_reopen(w);
	else if (what >= 980 && what < 992)
		do_crash(w);
	else if (what >= 992 && what < 1000)
		do_takeover(w);
	else if (what >= 1000 && what < 1014)
		history_step(w);
	else if (what >= 1014 && what < 1017)
		do_rewind(w);
	else if (what >= 1017)
		do_rewind_in_place(w);
}

static void one_life(uint64_t seed, unsigned steps)
{
	struct world *w = calloc(1, sizeof *w);

	assert_non_null(w);
	w->seed = seed;
	w->verbose = env_number("GARNER_TEST_VERBOSE", 0) != 0;
	w->note = mmap(NULL, NOTES * sizeof *w->note, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(w->note != MAP_FAILED);
	w->r.state = seed;
	w->buf = malloc(BYTES_MAX);
	w->other = malloc(BYTES_MAX);
	assert_true(w->buf && w->other);
	image_fixture_init_in(&w->f, random_once_in(&w->r, 2), getenv("GARNER_TEST_STORE"));
	choose_options(w);
	image_fixture_open(&w->f, 0);
	create_file(w, &w->file[0]);
	create_file(w, &w->file[1]);
	while (w->step < steps)
		one_step(w);
	check_all(w);
	do_reopen(w);
	check_moments(w);
	close_images(w);
	image_fixture_destroy(&w->f);
	for (unsigned k = 0; k < FILES; k++)
		if (w->file[k].name[0])
			oracle_free(w->file[k].oracle);
	for (unsigned k = 0; k < PASTS; k++)
		if (w->past[k].was.name[0])
			oracle_free(w->past[k].was.oracle);
	printf("  %" PRIu64 " moments were had back, %" PRIu64 " were not there any more\n", w->had, w->gone);
	free_moments(w);
	munmap(w->note, NOTES * sizeof *w->note);
	free(w->buf);
	free(w->other);
	free(w);
}

static void images_hold_what_was_written_whatever_happens(void **state)
{
	uint64_t seed = env_number("GARNER_TEST_SEED", 0), rounds = env_number("GARNER_TEST_ROUNDS", seed ? 1 : 8);
	unsigned steps = (unsigned)(300 * env_number("GARNER_TEST_SCALE", 100) / 100);

	(void)state;
	for (uint64_t k = 0; k < rounds; k++) {
		uint64_t s = seed ? seed + k : clock_wall_ns() % 1000000000 + 1;
		printf("GARNER_TEST_SEED=%" PRIu64 "\n", s);
		fflush(stdout);
		one_life(s, steps);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(images_hold_what_was_written_whatever_happens),
	};

	report_init("test_image_model", env_number("GARNER_TEST_VERBOSE", 0) ? REPORT_DEBUG : REPORT_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
