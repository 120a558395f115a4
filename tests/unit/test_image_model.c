/* SPDX-License-Identifier: GPL-3.0-only */
/* test_image_model.c: the engine's random life against plain memory: everything that a guest, an administrator and bad luck do to
 * images, one thing after the other, with options so small that every mechanism is at work.
 *
 * GARNER_TEST_SEED repeats one life; GARNER_TEST_ROUNDS: how many lives (8); GARNER_TEST_SCALE: steps of each life in percent
 * (100; less for slow builds). test_image_threads.c has the lives with several threads.
 */
#include "lib/image_fixture.h"
#include "lib/oracle.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define FILES 3
#define PASTS 4
#define MIB ((uint64_t)1 << 20)
#define BYTES_MAX (3 * MIB)
#define DISK (64 * MIB)
#define FAR_MAX (16 * MIB * MIB) /* 16 TiB */

struct file {
	char name[16]; /* "": there is none */
	uint64_t id;
	uint32_t grain;
	struct oracle *oracle;
	struct image *image; /* while the engine is open */
};

/* A snapshot: a moment of a file. */
struct past {
	struct file was; /* its name is that of the snapshot; "": there is none */
	const struct file *of;
	bool is_protected;
};

struct world {
	struct image_fixture f;
	struct random r;
	struct file file[FILES];
	struct past past[PASTS];
	unsigned names; /* for making new ones */
	uint64_t seed;
	unsigned step;
	bool only_oracle;     /* what a child did is repeated, without an engine */
	uint8_t *buf, *other; /* BYTES_MAX each */
};

static bool verbose;

static void trace(const struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void trace(const struct world *w, const char *format, ...)
{
	va_list args;

	if (!verbose || w->only_oracle)
		return;
	fprintf(stderr, "%u: ", w->step);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

/* ---- places ---- */

static struct file *any_file(struct world *w)
{
	struct file *f;

	do
		f = &w->file[random_below(&w->r, FILES)];
	while (!f->name[0]);
	return f;
}

/* An offset: mostly in a hot corner or on the disk, now and then far out; aligned to a grain, to 4 KiB, to 512 bytes, or not at all. */
static uint64_t any_offset(struct world *w, const struct file *f)
{
	static const uint64_t far[] = { MIB << 10, (MIB << 20) - 5000, FAR_MAX / 2 - MIB, FAR_MAX - 8 * MIB };
	const uint64_t align[] = { f->grain, f->grain, 4096, 512, 1 };
	uint64_t offset;

	switch (random_below(&w->r, 8)) {
	case 0:
		offset = far[random_below(&w->r, 4)] + random_below(&w->r, 4 * MIB);
		break;
	case 1:
	case 2:
		offset = random_below(&w->r, DISK);
		break;
	case 3:
		offset = oracle_size(f->oracle);
		offset -= random_below(&w->r, (offset < MIB ? offset : MIB) + 1);
		break;
	default:
		offset = random_below(&w->r, 3 * MIB);
		break;
	}
	return offset - offset % align[random_below(&w->r, 5)];
}

static size_t any_length(struct world *w, const struct file *f)
{
	uint64_t len;

	switch (random_below(&w->r, 8)) {
	case 0:
		len = BYTES_MAX;
		break;
	case 1:
		len = MIB;
		break;
	case 2:
		len = MIB / 4;
		break;
	case 3:
		len = 600;
		break;
	default:
		len = 20 * (uint64_t)f->grain;
		len = len < BYTES_MAX / 4 ? len : BYTES_MAX / 4;
		break;
	}
	len = 1 + random_below(&w->r, len);
	if (random_once_in(&w->r, 2) && len > f->grain)
		len -= len % f->grain;
	return len;
}

/* ---- looking ---- */

static void check_range(struct world *w, const struct file *f, uint64_t offset, size_t len)
{
	uint64_t size = oracle_size(f->oracle);
	uint64_t want = offset >= size ? 0 : len < size - offset ? len : size - offset;
	int64_t got = read_wait(f->image, offset, w->buf, len);

	if (got != (int64_t)want)
		fail_msg("seed %" PRIu64 " step %u: %s (grain %u): reading %zu at %" PRIu64 " of %" PRIu64
		         " answered %" PRId64,
		         w->seed, w->step, f->name, f->grain, len, offset, size, got);
	oracle_read(f->oracle, offset, w->other, want);
	if (!memcmp(w->buf, w->other, want))
		return;
	uint64_t at = 0, last = want;
	while (w->buf[at] == w->other[at])
		at++;
	while (w->buf[last - 1] == w->other[last - 1])
		last--;
	fail_msg("seed %" PRIu64 " step %u: %s (grain %u): bytes %" PRIu64 " to %" PRIu64
	         " of the image differ, the first is %02x, "
	         "not %02x",
	         w->seed, w->step, f->name, f->grain, offset + at, offset + last, w->buf[at], w->other[at]);
}

static int64_t check_seek(struct world *w, const struct file *f, uint64_t offset, bool data)
{
	int64_t want = oracle_seek(f->oracle, offset, data, f->grain), got = seek_wait(f->image, offset, data);

	if (got != want)
		fail_msg("seed %" PRIu64 " step %u: %s (grain %u): seeking %s from %" PRIu64 " of %" PRIu64
		         " answered %" PRId64 ", not %" PRId64,
		         w->seed, w->step, f->name, f->grain, data ? "data" : "a hole", offset, oracle_size(f->oracle),
		         got, want);
	return got;
}

static void check_stat(struct world *w, const struct file *f)
{
	uint64_t allocated = oracle_allocated(f->oracle, f->grain);
	struct node_attr attr;

	image_stat(f->image, &attr);
	if (attr.size != oracle_size(f->oracle) || attr.allocated_bytes != allocated || attr.grain_bytes != f->grain)
		fail_msg("seed %" PRIu64 " step %u: %s has %" PRIu64 " bytes, %" PRIu64 " allocated; not %" PRIu64
		         ", %" PRIu64,
		         w->seed, w->step, f->name, attr.size, attr.allocated_bytes, oracle_size(f->oracle), allocated);
}

/* The whole image: its size, every extent, and every byte that is not in a hole. */
static void check_file(struct world *w, const struct file *f)
{
	int64_t from = 0, to;

	check_stat(w, f);
	while ((from = check_seek(w, f, (uint64_t)from, true)) >= 0) {
		to = check_seek(w, f, (uint64_t)from, false);
		for (uint64_t at = (uint64_t)from; at < (uint64_t)to; at += BYTES_MAX)
			check_range(w, f, at, (uint64_t)to - at < BYTES_MAX ? (size_t)((uint64_t)to - at) : BYTES_MAX);
		from = to;
		if ((uint64_t)to >= oracle_size(f->oracle))
			break;
	}
}

static void check_past(struct world *w, struct past *p)
{
	struct error err = { 0 };
	struct node_attr attr;
	char path[60];

	snprintf(path, sizeof path, ".snapshots/%s/%s", p->of->name, p->was.name);
	if (engine_resolve(w->f.engine, path, &attr, &err) ||
	    image_open(w->f.engine, attr.id, IMAGE_READ, &p->was.image, &err))
		fail_msg("seed %" PRIu64 " step %u: %s: %s", w->seed, w->step, path, error_text(&err));
	check_file(w, &p->was);
	image_close(p->was.image, IMAGE_READ);
}

static void check_all(struct world *w)
{
	trace(w, "everything is compared");
	for (unsigned k = 0; k < FILES; k++)
		if (w->file[k].name[0])
			check_file(w, &w->file[k]);
	for (unsigned k = 0; k < PASTS; k++)
		if (w->past[k].was.name[0])
			check_past(w, &w->past[k]);
}

static void expect(struct world *w, const struct file *f, const char *what, int64_t got, int64_t want)
{
	if (got != want)
		fail_msg("seed %" PRIu64 " step %u: %s: %s answered %" PRId64 ", not %" PRId64, w->seed, w->step,
		         f->name, what, got, want);
}

/* ---- what guests do ---- */

/* Random bytes, of which some grains are zeros. */
static void fill(struct world *w, size_t len, uint32_t grain)
{
	unsigned one_in = random_once_in(&w->r, 3) ? 2 : 20;

	random_fill(&w->r, w->buf, len);
	for (size_t at = 0; at < len; at += grain)
		if (random_once_in(&w->r, one_in))
			memset(w->buf + at, 0, len - at < grain ? len - at : grain);
}

static void do_write(struct world *w, bool zeros)
{
	struct file *f = any_file(w);
	uint64_t offset = any_offset(w, f);
	size_t len = any_length(w, f);

	if (zeros)
		memset(w->buf, 0, len);
	else
		fill(w, len, f->grain);
	trace(w, "%s: write %s%zu at %" PRIu64, f->name, zeros ? "zeros " : "", len, offset);
	if (!w->only_oracle)
		expect(w, f, "a write", write_wait(f->image, offset, w->buf, len), (int64_t)len);
	oracle_write(f->oracle, offset, w->buf, len);
}

static void do_discard(struct world *w)
{
	struct file *f = any_file(w);
	uint64_t offset = any_offset(w, f);
	uint64_t len = random_once_in(&w->r, 10) ? random_below(&w->r, FAR_MAX) : any_length(w, f);

	if (random_once_in(&w->r, 30))
		len = UINT64_MAX - offset;
	trace(w, "%s: discard %" PRIu64 " at %" PRIu64 " of %" PRIu64, f->name, len, offset, oracle_size(f->oracle));
	if (!w->only_oracle)
		expect(w, f, "a discard", discard_wait(f->image, offset, len), 0);
	oracle_zero(f->oracle, offset, len);
}

static void do_resize(struct world *w)
{
	struct file *f = any_file(w);
	uint64_t size = any_offset(w, f);

	trace(w, "%s: resize %" PRIu64 " to %" PRIu64, f->name, oracle_size(f->oracle), size);
	if (!w->only_oracle)
		expect(w, f, "a resize", resize_wait(f->image, size), 0);
	oracle_resize(f->oracle, size);
}

static void do_set_mtime(struct world *w)
{
	struct file *f = any_file(w);
	uint64_t mtime = 1 + random_below(&w->r, UINT64_MAX / 4);
	struct node_attr attr;

	if (w->only_oracle)
		return;
	trace(w, "%s: set mtime", f->name);
	expect(w, f, "setting the time", set_mtime_wait(f->image, mtime), 0);
	image_stat(f->image, &attr);
	assert_true(attr.mtime_ns == mtime);
}

static void do_copy(struct world *w)
{
	struct file *from = any_file(w), *to = any_file(w);
	uint64_t offset = any_offset(w, from), to_offset = any_offset(w, to), len = any_length(w, from), size, within;

	size = oracle_size(from->oracle);
	within = offset >= size ? 0 : len < size - offset ? len : size - offset;
	bool overlap = from == to && within && offset < to_offset + within && to_offset < offset + within;
	trace(w, "copy %" PRIu64 " of %s at %" PRIu64 " to %s at %" PRIu64, len, from->name, offset, to->name,
	      to_offset);
	int64_t want = overlap ? -EINVAL : (int64_t)oracle_copy(from->oracle, offset, to->oracle, to_offset, len);
	if (!w->only_oracle)
		expect(w, from, "a copy", copy_wait(from->image, offset, to->image, to_offset, len), want);
}

/* What a crash has to leave as it is: the same numbers are drawn whether there is an engine or not. */
static void guest_step(struct world *w)
{
	uint64_t what = random_below(&w->r, 100);

	w->step++;
	if (what < 52)
		do_write(w, false);
	else if (what < 60)
		do_write(w, true);
	else if (what < 76)
		do_discard(w);
	else if (what < 82)
		do_resize(w);
	else if (what < 85)
		do_set_mtime(w);
	else
		do_copy(w);
}

static void look_step(struct world *w)
{
	struct file *f = any_file(w);
	uint64_t offset = any_offset(w, f);

	if (random_once_in(&w->r, 3)) {
		bool data = random_once_in(&w->r, 2);
		trace(w, "%s: seek from %" PRIu64, f->name, offset);
		check_seek(w, f, offset, data);
		return;
	}
	size_t len = any_length(w, f);
	trace(w, "%s: read %zu at %" PRIu64, f->name, len, offset);
	check_range(w, f, offset, len);
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
	o->share_min = random_once_in(&w->r, 2) ? 4096 : 256u << 10;
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

static void make_name(struct world *w, char name[16])
{
	snprintf(name, 16, "n%u.raw", w->names++);
}

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
}

/* ---- snapshots ---- */

static void drop_past(struct world *w, struct past *p)
{
	struct error err = { 0 };

	trace(w, "%s@%s: delete", p->of->name, p->was.name);
	check_past(w, p);
	if (p->is_protected) {
		assert_int_equal(engine_snapshot_delete(w->f.engine, p->of->id, p->was.name, NULL), -EBUSY);
		assert_int_equal(engine_snapshot_protect(w->f.engine, p->of->id, p->was.name, false, &err), 0);
	}
	if (engine_snapshot_delete(w->f.engine, p->of->id, p->was.name, &err))
		fail_msg("seed %" PRIu64 " step %u: %s", w->seed, w->step, error_text(&err));
	oracle_free(p->was.oracle);
	memset(p, 0, sizeof *p);
}

/* An image with snapshots cannot be unlinked. */
static void drop_pasts_of(struct world *w, const struct file *f)
{
	for (unsigned k = 0; k < PASTS; k++) {
		if (!w->past[k].was.name[0] || w->past[k].of != f)
			continue;
		assert_int_equal(engine_unlink(w->f.engine, NODE_ROOT, f->name, NULL), -EBUSY);
		drop_past(w, &w->past[k]);
	}
}

/* Of one file, or of all as one moment. */
static void do_snapshot(struct world *w)
{
	bool group = random_once_in(&w->r, 3);
	const struct file *chosen = any_file(w);
	uint64_t ids[FILES];
	size_t count = 0;
	struct error err = { 0 };
	char name[16];

	snprintf(name, sizeof name, "s%u", w->names++);
	for (unsigned k = 0, at = 0; k < FILES; k++) {
		struct file *f = &w->file[k];
		if (!f->name[0] || (!group && f != chosen))
			continue;
		while (at < PASTS && w->past[at].was.name[0])
			at++;
		/* Those of this moment are not there yet. */
		while (at == PASTS || !strcmp(w->past[at].was.name, name))
			at = (unsigned)random_below(&w->r, PASTS);
		if (w->past[at].was.name[0])
			drop_past(w, &w->past[at]);
		ids[count++] = f->id;
		w->past[at] = (struct past){ .was = *f, .of = f };
		w->past[at].was.oracle = oracle_clone(f->oracle);
		memcpy(w->past[at].was.name, name, sizeof name);
		at++;
	}
	trace(w, "%s@%s: snapshot of %zu", chosen->name, name, count);
	if (engine_snapshot_create(w->f.engine, ids, count, name, &err))
		fail_msg("seed %" PRIu64 " step %u: %s", w->seed, w->step, error_text(&err));
}

static void snapshot_step(struct world *w)
{
	struct past *p = &w->past[random_below(&w->r, PASTS)];

	if (!p->was.name[0] || random_once_in(&w->r, 3)) {
		do_snapshot(w);
	} else if (random_once_in(&w->r, 2)) {
		check_past(w, p);
	} else if (random_once_in(&w->r, 3)) {
		p->is_protected = !p->is_protected;
		assert_int_equal(engine_snapshot_protect(w->f.engine, p->of->id, p->was.name, p->is_protected, NULL),
		                 0);
	} else {
		drop_past(w, p);
	}
}

/* The name is gone; the bytes are there until the last close. */
static void forget_file(struct world *w, struct file *f)
{
	struct node_attr attr;

	check_file(w, f);
	assert_int_equal(engine_getattr(w->f.engine, f->id, &attr, NULL), 0);
	assert_int_equal(attr.nlink, 0);
	image_fixture_close_image(f->image);
	oracle_free(f->oracle);
	memset(f, 0, sizeof *f);
}

/* ---- clones ---- */

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
	if (to->name[0]) {
		drop_pasts_of(w, to);
		trace(w, "%s: unlink", to->name);
		assert_int_equal(engine_unlink(w->f.engine, NODE_ROOT, to->name, &err), 0);
		forget_file(w, to);
	}
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
	check_file(w, to);
}

/* A clone parts from its parents, unless a moment of it, or a clone of it, needs them. */
static void do_flatten(struct world *w)
{
	struct file *f = any_file(w);
	struct error err = { 0 };
	int rc;

	trace(w, "%s: flatten", f->name);
	rc = engine_flatten(w->f.engine, f->id, NULL, NULL, &err);
	if (rc && rc != -EBUSY)
		fail_msg("seed %" PRIu64 " step %u: %s: %s", w->seed, w->step, f->name, error_text(&err));
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
	kill(getpid(), SIGKILL);
}

static void take_images_over(struct world *w, struct engine *e)
{
	for (unsigned k = 0; k < FILES; k++) {
		struct error err = { 0 };
		struct node_attr attr;
		if (!w->file[k].name[0])
			continue;
		if (engine_lookup(e, NODE_ROOT, w->file[k].name, &attr, &err) || engine_takeover(e, attr.id, &err))
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
	pid_t child = fork();
	assert_true(child >= 0);
	if (!child)
		live_and_die(w, steps, remote, clean);
	assert_true(waitpid(child, &status, 0) == child);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("seed %" PRIu64 " step %u: the child ended with status %x", w->seed, w->step,
		         (unsigned)status);
	w->only_oracle = true;
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
	uint64_t what = random_below(&w->r, 1000);

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
	else if (what >= 992)
		do_takeover(w);
}

static void one_life(uint64_t seed, unsigned steps)
{
	struct world *w = calloc(1, sizeof *w);

	assert_non_null(w);
	w->seed = seed;
	w->r.state = seed;
	w->buf = malloc(BYTES_MAX);
	w->other = malloc(BYTES_MAX);
	assert_true(w->buf && w->other);
	image_fixture_init(&w->f, random_once_in(&w->r, 2));
	choose_options(w);
	image_fixture_open(&w->f, 0);
	create_file(w, &w->file[0]);
	create_file(w, &w->file[1]);
	while (w->step < steps)
		one_step(w);
	check_all(w);
	do_reopen(w);
	close_images(w);
	image_fixture_destroy(&w->f);
	for (unsigned k = 0; k < FILES; k++)
		if (w->file[k].name[0])
			oracle_free(w->file[k].oracle);
	for (unsigned k = 0; k < PASTS; k++)
		if (w->past[k].was.name[0])
			oracle_free(w->past[k].was.oracle);
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

	verbose = env_number("GARNER_TEST_VERBOSE", 0) != 0;
	report_init("test_image_model", verbose ? REPORT_DEBUG : REPORT_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
