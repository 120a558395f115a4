/* SPDX-License-Identifier: GPL-3.0-only */
/* test_drive_journal.c: small objects that one sync of a drive's journal makes durable: the power goes at every moment, while halves are
 * filled and emptied, and again while what was left is put right; journals that are damaged, that fail, or that are old.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "lib/crash_state.h"
#include "lib/object_wait.h"
#include "lib/recorder.h"
#include "node/journal_entry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define JOURNAL (UINT64_C(384) << 10) /* a half has room for two large bodies */
#define HALF (JOURNAL / 2)
#define KEYS 5u
#define FDS 1024

enum what { PUT, CLAIM, REMOVE, FORGET, RESTART };

struct step {
	enum what what;
	unsigned key;
	uint64_t counter;
};

/* Each key is put, replaced, removed, forgotten and put again, in other halves of the journal and within one. */
static const struct step steps[] = {
	{ PUT, 0, 1 },     { PUT, 1, 2 },     { PUT, 2, 3 },    { PUT, 0, 4 },     { CLAIM, 3, 5 },   { PUT, 4, 6 },
	{ REMOVE, 2, 7 },  { PUT, 1, 8 },     { FORGET, 2, 7 }, { PUT, 0, 9 },     { FORGET, 1, 8 },  { PUT, 2, 10 },
	{ PUT, 1, 11 },    { RESTART, 0, 0 }, { PUT, 0, 12 },   { REMOVE, 3, 13 }, { PUT, 4, 14 },    { PUT, 2, 15 },
	{ FORGET, 3, 13 }, { PUT, 3, 16 },    { PUT, 0, 17 },   { REMOVE, 0, 18 }, { FORGET, 0, 18 }, { PUT, 1, 19 },
	{ PUT, 2, 20 },    { PUT, 4, 21 },    { PUT, 3, 22 },   { PUT, 0, 23 },
};

#define STEPS (sizeof steps / sizeof steps[0])

static char dir[256], drive[300], second[300], after_cut[300], after_second[300];
static struct recording *recording;
static uint64_t base_seed;
static struct disk hasty;
static struct disk_ops hasty_ops;

/* ---- the steps ---- */

struct value {
	uint64_t counter; /* 0: is not there */
	bool tombstone, claimed;
};

static const char *name_of(unsigned key)
{
	static const char *const names[KEYS] = { "pool/a", "pool/images/1/head", "pool/x", "other/a", "other/b" };

	return names[key];
}

static size_t body_of(unsigned key)
{
	static const size_t lengths[KEYS] = { 70000, 3000, 65536 - JOURNAL_HEADER, 0, 81000 };

	return lengths[key];
}

/* What the key holds when `done` steps were done. */
static struct value value_after(unsigned key, size_t done)
{
	struct value v = { 0 };

	for (size_t i = 0; i < done; i++) {
		const struct step *s = &steps[i];
		if (s->what == RESTART || s->key != key)
			continue;
		if (s->what == FORGET)
			v = (struct value){ 0 };
		else
			v = (struct value){ s->counter, s->what == REMOVE, v.claimed || s->what == CLAIM };
	}
	return v;
}

static int open_with(struct object_store **s, struct disk *disk, size_t drives, const char *const *paths,
                     uint64_t journal, struct error *err)
{
	struct object_store_options options = {
		.drives = paths,
		.drive_count = drives,
		.cluster_id = WAIT_CLUSTER,
		.node_id = 1,
		.disk = disk,
		.reserve = 1,
		.journal = journal,
	};

	return object_store_open(&options, s, err);
}

static struct object_store *open_store(const char *path, struct disk *disk)
{
	struct object_store *s = NULL;
	struct error err = { 0 };

	if (open_with(&s, disk, 1, &path, JOURNAL, &err) != 0)
		fail_msg("%s", err.text);
	return s;
}

/* The node counts as one that had everything from the others. */
static void settle(struct object_store *s)
{
	uint64_t loss;

	(void)object_store_state(s, &loss);
	assert_int_equal(object_store_recovered(s, loss), 0);
}

static int do_step(struct object_store *s, const struct step *step)
{
	const char *name = name_of(step->key);

	switch (step->what) {
	case PUT:
	case CLAIM:
		return put_made(s, name, step->counter, body_of(step->key), step->what == CLAIM ? OBJECT_CLAIMED : 0,
		                OBJECT_RULE_COPY, NULL);
	case REMOVE:
		return remove_wait(s, name, step->counter, 0, NULL);
	case FORGET:
		return forget_wait(s, name, step->counter);
	case RESTART:
		break;
	}
	return 0;
}

static void do_steps(struct disk *disk)
{
	struct object_store *s = open_store(drive, disk);

	settle(s);
	recording_note(recording, 1, 1);
	for (size_t i = 0; i < STEPS; i++) {
		if (steps[i].what == RESTART) {
			object_store_close(s);
			s = open_store(drive, disk);
		}
		assert_int_equal(do_step(s, &steps[i]), 0);
		recording_note(recording, 0, i + 1);
	}
	object_store_close(s);
}

static void record(void)
{
	assert_int_equal(record_vfs_install(recording), 0);
	do_steps(recording_disk(recording));
	record_vfs_remove();
}

/* ---- looking ---- */

static bool holds(struct object_store *s, unsigned key, struct value v)
{
	struct object_meta meta;
	int rc = look_wait(s, name_of(key), &meta);

	if (!v.counter)
		return rc == -ENOENT;
	if (rc != 0 || object_version_compare(meta.version, version_of(v.counter)) != 0 ||
	    meta.flags & OBJECT_DAMAGED || v.tombstone != !!(meta.flags & OBJECT_TOMBSTONE) ||
	    v.claimed != !!(meta.flags & OBJECT_CLAIMED))
		return false;
	return read_made(s, name_of(key), v.counter, body_of(key)) == (v.tombstone ? -ENOENT : 0);
}

/* How much is wrong in the drive at `path`, which is what a cut left. */
static int look(const char *path, const struct crash_state *state, bool aloud)
{
	size_t done = state->noted[0] ? (size_t)state->note[0] : 0, next = done < STEPS ? done + 1 : done;
	struct object_store *s = open_store(path, &hasty);
	char text[200];
	int wrong = 0;

	for (unsigned k = 0; k < KEYS; k++) {
		struct object_meta meta = { 0 };
		if (holds(s, k, value_after(k, done)) || holds(s, k, value_after(k, next)))
			continue;
		wrong++;
		if (aloud) {
			int rc = look_wait(s, name_of(k), &meta);
			print_error("%s: after %zu steps %s is %d: version %llu, flags %x\n",
			            crash_state_text(state, text), done, name_of(k), rc,
			            (unsigned long long)meta.version.counter, meta.flags);
		}
	}
	if (state->noted[1] && object_store_state(s, NULL) != OBJECT_STORE_COMPLETE) {
		wrong++;
		if (aloud)
			print_error("%s: it is not complete\n", crash_state_text(state, text));
	}
	if (put_made(s, name_of(0), 1000, body_of(0), 0, OBJECT_RULE_NEWER, NULL) != 0)
		wrong++;
	object_store_close(s);
	return wrong;
}

static int look_at_cuts(bool aloud, uint64_t each)
{
	uint64_t moments = recording_moments(recording);
	struct crash_state state;
	int wrong = 0;

	for (uint64_t cut = base_seed % each; cut <= moments && (aloud || !wrong); cut += each) {
		assert_int_equal(crash_state_build(recording, cut, base_seed + cut, CRASH_ANY, after_cut, &state), 0);
		wrong += look(after_cut, &state, aloud);
		assert_int_equal(crash_state_remove(after_cut), 0);
	}
	return wrong;
}

static void what_was_answered_is_there_after_a_power_cut_and_what_was_forgotten_is_not(void **state)
{
	(void)state;
	record();
	assert_int_equal(look_at_cuts(true, 3), 0);
}

/* Opens what the first cut left, cuts that too, and looks at what is left then. */
static int look_at_second_cuts(uint64_t cut)
{
	struct recording *first = recording;
	struct crash_state left, again;
	int wrong = 0;

	assert_int_equal(crash_state_build(first, cut, base_seed + cut, CRASH_ANY, after_cut, &left), 0);
	recording = recording_new(after_cut);
	assert_non_null(recording);
	assert_int_equal(record_vfs_install(recording), 0);
	object_store_close(open_store(after_cut, recording_disk(recording)));
	record_vfs_remove();
	uint64_t moments = recording_moments(recording);
	for (uint64_t i = 1; i <= 5; i++) {
		/* What the notes of the first recording tell holds after the second cut. */
		assert_int_equal(
			crash_state_build(recording, moments * i / 6, base_seed + i, CRASH_ANY, after_second, &again),
			0);
		wrong += look(after_second, &left, true);
		assert_int_equal(crash_state_remove(after_second), 0);
	}
	recording_free(recording);
	recording = first;
	assert_int_equal(crash_state_remove(after_cut), 0);
	return wrong;
}

static void a_replay_that_is_cut_short_is_done_again(void **state)
{
	int wrong = 0;

	(void)state;
	record();
	uint64_t moments = recording_moments(recording);
	for (uint64_t i = 1; i <= 16; i++)
		wrong += look_at_second_cuts(moments * i / 17 + base_seed % 7);
	assert_int_equal(wrong, 0);
}

static void a_sync_of_the_journal_that_is_missing_would_be_seen(void **state)
{
	(void)state;
	recording_forget_syncs(recording, "journal");
	record();
	assert_true(look_at_cuts(false, 3) > 0);
}

static void a_half_that_is_filled_again_before_its_files_are_synced_would_be_seen(void **state)
{
	(void)state;
	recording_forget_syncs(recording, "-"); /* objects are named so */
	record();
	assert_true(look_at_cuts(false, 3) > 0);
}

/* ---- what is in the journal alone ---- */

/* The state in which nothing is there but what was synced. */
static void lose_what_is_not_synced(void)
{
	struct crash_state state;

	assert_int_equal(
		crash_state_build(recording, recording_moments(recording), base_seed, CRASH_NOTHING, after_cut, &state),
		0);
}

static bool file_exists(const char *in, const char *name)
{
	char path[400];

	snprintf(path, sizeof path, "%s/%s", in, name);
	return access(path, F_OK) == 0;
}

static int count_one(void *arg, const char *path)
{
	(void)path;
	++*(int *)arg;
	return 0;
}

static int objects_in(const char *in)
{
	char path[400];
	int count = 0;

	for (unsigned i = 0; i < 16; i++) {
		snprintf(path, sizeof path, "%s/objects/%x", in, i);
		assert_int_equal(disk_each_file(path, count_one, &count), 0);
	}
	return count;
}

static void a_small_object_is_durable_before_its_file_is(void **state)
{
	struct object_store *s = open_store(drive, recording_disk(recording));
	struct recording_counts before, after;

	(void)state;
	recording_counts(recording, &before);
	assert_int_equal(put_made(s, "pool/a", 1, 70000, 0, OBJECT_RULE_NEWER, NULL), 0);
	recording_counts(recording, &after);
	assert_int_equal(after.syncs - before.syncs, 1);
	assert_int_equal(after.dir_syncs - before.dir_syncs, 0);
	lose_what_is_not_synced();
	assert_int_equal(objects_in(after_cut), 0);
	object_store_close(s);
	s = open_store(after_cut, &hasty);
	assert_int_equal(objects_in(after_cut), 1);
	assert_int_equal(read_made(s, "pool/a", 1, 70000), 0);
	object_store_close(s);
}

static void a_large_object_and_one_without_room_go_the_other_way(void **state)
{
	struct object_store *s = open_store(drive, recording_disk(recording));

	(void)state;
	assert_int_equal(put_made(s, "pool/a", 1, JOURNAL_BODY_MAX + 1, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(put_made(s, "pool/b", 2, HALF, 0, OBJECT_RULE_NEWER, NULL), 0);
	lose_what_is_not_synced();
	assert_int_equal(objects_in(after_cut), 2);
	object_store_close(s);
}

#define MANY 200

static void many_at_once_are_all_there(void **state)
{
	struct object_store *s = open_store(drive, recording_disk(recording));
	static struct object_waiter w[MANY];
	static uint8_t bytes[MANY][9000];
	struct object_put *put;
	char name[32];

	(void)state;
	for (unsigned i = 0; i < MANY; i++) {
		body_fill(i + 1, bytes[i], sizeof bytes[i]);
		struct object_meta meta = body_meta(version_of(i + 1), bytes[i], sizeof bytes[i], 0);
		snprintf(name, sizeof name, "pool/%u", i);
		assert_int_equal(object_put_begin(s, name, &meta, OBJECT_RULE_NEWER, &put), 0);
		waiter_begin(&w[i]);
		object_put_append(put, bytes[i], sizeof bytes[i], NULL, NULL);
		object_put_finish(put, waiter_put, &w[i]);
	}
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(waiter_end(&w[i]), 0);
	lose_what_is_not_synced();
	object_store_close(s);
	s = open_store(after_cut, &hasty);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof name, "pool/%u", i);
		assert_int_equal(read_made(s, name, i + 1, sizeof bytes[i]), 0);
	}
	object_store_close(s);
}

static void after_a_clean_end_there_is_nothing_to_replay(void **state)
{
	struct object_store *s = open_store(drive, recording_disk(recording));

	(void)state;
	assert_int_equal(put_made(s, "pool/a", 1, 70000, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(put_made(s, "pool/b", 2, 5000, 0, OBJECT_RULE_NEWER, NULL), 0);
	object_store_close(s);
	lose_what_is_not_synced();
	assert_false(file_exists(after_cut, "unclean"));
	assert_int_equal(objects_in(after_cut), 2);
}

/* ---- journals that are made by hand ---- */

struct hand {
	uint8_t bytes[JOURNAL];
	uint8_t tag[JOURNAL_TAG_BYTES];
	uint64_t at;
};

/* The journal of a drive that was closed, and looks as if it was not. */
static void hand_begin(struct hand *h)
{
	struct journal_half_header half;
	char path[400];

	object_store_close(open_store(drive, NULL));
	snprintf(path, sizeof path, "%s/unclean", drive);
	assert_true(close(open(path, O_CREAT | O_WRONLY, 0600)) == 0);
	snprintf(path, sizeof path, "%s/journal", drive);
	int fd = open(path, O_RDONLY);
	assert_int_equal(read(fd, h->bytes, JOURNAL), JOURNAL);
	close(fd);
	assert_int_equal(journal_half_decode(h->bytes, &half), 0);
	assert_int_equal(half.bytes, HALF);
	memcpy(h->tag, half.tag, sizeof h->tag);
	h->at = JOURNAL_BLOCK;
}

static void hand_end(const struct hand *h)
{
	char path[400];

	snprintf(path, sizeof path, "%s/journal", drive);
	int fd = open(path, O_WRONLY);
	assert_int_equal(write(fd, h->bytes, JOURNAL), JOURNAL);
	close(fd);
}

/* Returns where the entry is. */
static uint8_t *hand_add(struct hand *h, const uint8_t tag[JOURNAL_TAG_BYTES], const char *name, uint64_t counter,
                         uint64_t sequence, uint64_t durable)
{
	struct journal_entry e = { .sequence = sequence, .durable = durable };
	uint8_t *entry = h->bytes + h->at, sum[4];

	memcpy(e.tag, tag, sizeof e.tag);
	body_fill(counter, entry + JOURNAL_HEADER, 5000);
	e.object.entry.meta = body_meta(version_of(counter), entry + JOURNAL_HEADER, 5000, 0);
	e.object.entry.stored_s = 1;
	snprintf(e.object.entry.name, sizeof e.object.entry.name, "%s", name);
	put_le32(sum, crc32c(0, entry + JOURNAL_HEADER, 5000));
	e.object.sums_crc = crc32c(0, sum, sizeof sum);
	journal_entry_encode(&e, entry);
	h->at += journal_entry_bytes(5000);
	return entry;
}

static enum object_store_state state_of(struct object_store *s)
{
	return object_store_state(s, NULL);
}

static void make_complete(void)
{
	struct object_store *s = open_store(drive, NULL);

	settle(s);
	object_store_close(s);
}

static void entries_of_an_earlier_use_are_not_replayed(void **state)
{
	static struct hand h;
	uint8_t old[JOURNAL_TAG_BYTES] = { 1 };
	struct object_meta meta;

	(void)state;
	make_complete();
	hand_begin(&h);
	hand_add(&h, h.tag, "pool/new", 1, 0, 0);
	hand_add(&h, old, "pool/old", 2, 1, 1);
	hand_add(&h, old, "pool/older", 3, 2, 2);
	hand_end(&h);
	struct object_store *s = open_store(drive, NULL);
	assert_int_equal(read_made(s, "pool/new", 1, 5000), 0);
	assert_int_equal(look_wait(s, "pool/old", &meta), -ENOENT);
	assert_int_equal(look_wait(s, "pool/older", &meta), -ENOENT);
	assert_int_equal(state_of(s), OBJECT_STORE_COMPLETE);
	object_store_close(s);
}

static void a_torn_entry_at_the_end_was_never_answered(void **state)
{
	static struct hand h;
	struct object_meta meta;

	(void)state;
	make_complete();
	hand_begin(&h);
	hand_add(&h, h.tag, "pool/whole", 1, 0, 0);
	hand_add(&h, h.tag, "pool/torn", 2, 1, 1)[JOURNAL_HEADER + 4096] ^= 1;
	hand_end(&h);
	struct object_store *s = open_store(drive, NULL);
	assert_int_equal(read_made(s, "pool/whole", 1, 5000), 0);
	assert_int_equal(look_wait(s, "pool/torn", &meta), -ENOENT);
	assert_int_equal(state_of(s), OBJECT_STORE_COMPLETE);
	object_store_close(s);
}

static void an_entry_that_was_durable_and_is_damaged_is_a_loss(void **state)
{
	static struct hand h;

	(void)state;
	make_complete();
	hand_begin(&h);
	hand_add(&h, h.tag, "pool/first", 1, 0, 0);
	hand_add(&h, h.tag, "pool/damaged", 2, 1, 1)[JOURNAL_HEADER] ^= 1;
	hand_add(&h, h.tag, "pool/last", 3, 2, 2);
	hand_end(&h);
	struct object_store *s = open_store(drive, NULL);
	assert_int_equal(read_made(s, "pool/first", 1, 5000), 0);
	assert_int_equal(read_made(s, "pool/last", 3, 5000), 0);
	assert_int_equal(state_of(s), OBJECT_STORE_LOST);
	object_store_close(s);
}

static void a_half_without_a_header_is_a_loss_after_an_unclean_end_only(void **state)
{
	static struct hand h;
	char path[400];

	(void)state;
	make_complete();
	hand_begin(&h);
	h.bytes[HALF] ^= 1;
	hand_end(&h);
	snprintf(path, sizeof path, "%s/unclean", drive);
	assert_int_equal(unlink(path), 0);
	struct object_store *s = open_store(drive, NULL);
	assert_int_equal(state_of(s), OBJECT_STORE_COMPLETE);
	object_store_close(s);
	hand_begin(&h);
	h.bytes[HALF] ^= 1;
	hand_end(&h);
	s = open_store(drive, NULL);
	assert_int_equal(state_of(s), OBJECT_STORE_LOST);
	assert_int_equal(put_made(s, "pool/a", 1, 5000, 0, OBJECT_RULE_NEWER, NULL), 0);
	object_store_close(s);
}

static void of_two_entries_the_newer_one_counts(void **state)
{
	static struct hand h;

	(void)state;
	make_complete();
	hand_begin(&h);
	hand_add(&h, h.tag, "pool/a", 7, 0, 0);
	hand_add(&h, h.tag, "pool/b", 1, 1, 1);
	hand_add(&h, h.tag, "pool/a", 3, 2, 2);
	hand_end(&h);
	struct object_store *s = open_store(drive, NULL);
	assert_int_equal(read_made(s, "pool/a", 7, 5000), 0);
	assert_int_equal(objects_in(drive), 2);
	object_store_close(s);
}

static void a_drive_without_a_journal_works(void **state)
{
	const char *path = drive;
	struct object_store *s = NULL;

	(void)state;
	make_complete();
	assert_true(file_exists(drive, "journal"));
	assert_int_equal(open_with(&s, recording_disk(recording), 1, &path, 1, NULL), 0);
	assert_false(file_exists(drive, "journal"));
	assert_int_equal(put_made(s, "pool/a", 1, 5000, 0, OBJECT_RULE_NEWER, NULL), 0);
	object_store_close(s);
	s = open_store(drive, NULL);
	assert_true(file_exists(drive, "journal"));
	assert_int_equal(read_made(s, "pool/a", 1, 5000), 0);
	object_store_close(s);
}

/* ---- a disk with faults, which is recorded ---- */

static struct disk_ops faulty, recorded;
static atomic_bool is_journal[FDS], is_object[FDS];
static _Atomic int journal_write_error, journal_sync_error, object_sync_error;
static atomic_bool second_is_full;

static int faulty_open(struct disk *d, const char *path, int flags, mode_t mode)
{
	if (atomic_load(&second_is_full) && strstr(path, "/second/tmp/"))
		return -ENOSPC;
	int fd = recorded.open(d, path, flags, mode);
	if (fd >= 0) {
		assert_true(fd < FDS);
		atomic_store(&is_journal[fd], strcmp(strrchr(path, '/'), "/journal") == 0);
		atomic_store(&is_object[fd], strstr(path, "/tmp/") || strstr(path, "/objects/"));
	}
	return fd;
}

static ssize_t faulty_pwritev(struct disk *d, int fd, const struct iovec *iov, int count, uint64_t offset)
{
	int rc = atomic_load(&is_journal[fd]) ? atomic_load(&journal_write_error) : 0;

	return rc ? rc : recorded.pwritev(d, fd, iov, count, offset);
}

static int faulty_fdatasync(struct disk *d, int fd)
{
	int rc = atomic_load(&is_journal[fd])  ? atomic_load(&journal_sync_error)
	         : atomic_load(&is_object[fd]) ? atomic_load(&object_sync_error)
	                                       : 0;

	return rc ? rc : recorded.fdatasync(d, fd);
}

static struct disk *faulty_disk(void)
{
	struct disk *d = recording_disk(recording);

	if (d->ops != &faulty) {
		recorded = faulty = *d->ops;
		faulty.open = faulty_open;
		faulty.pwritev = faulty_pwritev;
		faulty.fdatasync = faulty_fdatasync;
		d->ops = &faulty;
	}
	return d;
}

/* The journal fails after some puts: they are in files soon, and the drive goes on. */
static void fail_the_journal(_Atomic int *error)
{
	struct object_store *s = open_store(drive, faulty_disk());

	settle(s);
	assert_int_equal(put_made(s, "pool/a", 1, 5000, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(put_made(s, "pool/b", 2, 70000, 0, OBJECT_RULE_NEWER, NULL), 0);
	atomic_store(error, -EIO);
	assert_int_equal(put_made(s, "pool/c", 3, 5000, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(put_made(s, "pool/d", 4, 5000, 0, OBJECT_RULE_NEWER, NULL), 0);
	/* Forgetting waits until the journal is gone. */
	assert_int_equal(forget_wait(s, "pool/a", 1), 0);
	assert_false(file_exists(drive, "journal"));
	struct object_store_stats stats;
	object_store_stats(s, &stats);
	assert_string_equal(stats.drive[0].state, "ok");
	assert_true(stats.drive[0].journal_failed);
	assert_int_equal(state_of(s), OBJECT_STORE_COMPLETE);
	lose_what_is_not_synced();
	object_store_close(s);
	atomic_store(error, 0);

	struct object_meta meta;
	s = open_store(after_cut, &hasty);
	assert_int_equal(look_wait(s, "pool/a", &meta), -ENOENT);
	assert_int_equal(read_made(s, "pool/b", 2, 70000), 0);
	assert_int_equal(read_made(s, "pool/c", 3, 5000), 0);
	assert_int_equal(read_made(s, "pool/d", 4, 5000), 0);
	assert_int_equal(state_of(s), OBJECT_STORE_COMPLETE);
	object_store_close(s);
}

static void a_journal_that_cannot_be_written_is_given_up(void **state)
{
	(void)state;
	fail_the_journal(&journal_write_error);
}

static void a_journal_that_cannot_be_synced_is_given_up(void **state)
{
	(void)state;
	fail_the_journal(&journal_sync_error);
}

static void a_file_that_cannot_be_synced_later_fails_the_drive(void **state)
{
	struct object_store *s = open_store(drive, faulty_disk());
	struct object_meta meta;

	(void)state;
	settle(s);
	assert_int_equal(put_made(s, "pool/a", 1, 5000, 0, OBJECT_RULE_NEWER, NULL), 0);
	atomic_store(&object_sync_error, -EIO);
	/* It waits for that sync. */
	assert_int_equal(forget_wait(s, "pool/a", 1), -EIO);
	assert_int_equal(state_of(s), OBJECT_STORE_LOST);
	assert_int_equal(look_wait(s, "pool/a", &meta), -EIO);
	object_store_close(s);
	atomic_store(&object_sync_error, 0);
}

/* ---- after a replay ---- */

/* An object whose file is not synced, and whose row of the index is: forgetting another one synced that. */
static void put_with_durable_row(enum crash_mode mode)
{
	struct crash_state state;

	assert_int_equal(record_vfs_install(recording), 0);
	struct object_store *s = open_store(drive, recording_disk(recording));
	assert_int_equal(put_made(s, "pool/a", 1, 70000, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(remove_wait(s, "pool/b", 2, 0, NULL), 0);
	assert_int_equal(forget_wait(s, "pool/b", 2), 0);
	assert_int_equal(crash_state_build(recording, recording_moments(recording), base_seed, mode, after_cut, &state),
	                 0);
	object_store_close(s);
	record_vfs_remove();
}

static void what_a_replay_wrote_is_durable_when_the_journal_is_used_again(void **state)
{
	struct crash_state again;

	(void)state;
	put_with_durable_row(CRASH_NOTHING);
	recording_free(recording);
	recording = recording_new(after_cut);
	assert_non_null(recording);
	assert_int_equal(record_vfs_install(recording), 0);
	struct object_store *s = open_store(after_cut, recording_disk(recording));
	assert_int_equal(crash_state_build(recording, recording_moments(recording), base_seed, CRASH_NOTHING,
	                                   after_second, &again),
	                 0);
	object_store_close(s);
	record_vfs_remove();
	s = open_store(after_second, &hasty);
	assert_int_equal(read_made(s, "pool/a", 1, 70000), 0);
	object_store_close(s);
}

static void what_a_replay_found_whole_is_synced(void **state)
{
	const char *path = after_cut;
	struct object_store *s = NULL;
	struct error err = { 0 };

	(void)state;
	put_with_durable_row(CRASH_KILLED);
	assert_int_equal(objects_in(after_cut), 1);
	atomic_store(&object_sync_error, -EIO);
	assert_int_equal(open_with(&s, faulty_disk(), 1, &path, JOURNAL, &err), -EIO);
	atomic_store(&object_sync_error, 0);
}

/* ---- two drives ---- */

static struct object_store *open_two(const char *root, struct disk *disk)
{
	char one[400], two[400];
	const char *paths[] = { one, two };
	struct object_store *s = NULL;
	struct error err = { 0 };

	snprintf(one, sizeof one, "%s/drive", root);
	snprintf(two, sizeof two, "%s/second", root);
	if (open_with(&s, disk, 2, paths, JOURNAL, &err) != 0)
		fail_msg("%s", err.text);
	return s;
}

/* A version in the journal of one drive was replaced by one on the other drive, which then was forgotten. */
static void what_another_drive_replaced_does_not_come_back(void **state)
{
	char name[32];
	struct object_meta meta;
	unsigned moved = 0;

	(void)state;
	recording_free(recording);
	assert_int_equal(mkdir(second, 0700), 0);
	recording = recording_new(dir);
	assert_non_null(recording);
	assert_int_equal(record_vfs_install(recording), 0);
	struct object_store *s = open_two(dir, faulty_disk());
	for (unsigned i = 0; i < 12; i++) {
		snprintf(name, sizeof name, "pool/%u", i);
		assert_int_equal(put_made(s, name, 1, 3000, 0, OBJECT_RULE_NEWER, NULL), 0);
	}
	moved = (unsigned)objects_in(second);
	assert_true(moved > 0);
	atomic_store(&second_is_full, true);
	for (unsigned i = 0; i < 12; i++) {
		snprintf(name, sizeof name, "pool/%u", i);
		assert_int_equal(put_made(s, name, 2, 3000, 0, OBJECT_RULE_NEWER, NULL), 0);
		assert_int_equal(forget_wait(s, name, 2), 0);
	}
	lose_what_is_not_synced();
	object_store_close(s);
	record_vfs_remove();
	atomic_store(&second_is_full, false);
	s = open_two(after_cut, &hasty);
	for (unsigned i = 0; i < 12; i++) {
		snprintf(name, sizeof name, "pool/%u", i);
		assert_int_equal(look_wait(s, name, &meta), -ENOENT);
	}
	object_store_close(s);
}

/* ---- before and after ---- */

static int synced(struct disk *d, int fd)
{
	(void)d;
	(void)fd;
	return 0;
}

static int dir_synced(struct disk *d, const char *path)
{
	(void)d;
	(void)path;
	return 0;
}

static int start_recording(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof dir, "%s/garner-drive-journal-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	snprintf(drive, sizeof drive, "%s/drive", dir);
	snprintf(second, sizeof second, "%s/second", dir);
	snprintf(after_cut, sizeof after_cut, "%s-after", dir);
	snprintf(after_second, sizeof after_second, "%s-again", dir);
	if (mkdir(drive, 0700) < 0)
		return -1;
	/* Those who look need no syncs. */
	hasty_ops = *disk_posix()->ops;
	hasty_ops.fdatasync = synced;
	hasty_ops.sync_dir = dir_synced;
	hasty.ops = &hasty_ops;
	recording = recording_new(drive);
	return recording ? 0 : -1;
}

static int end_recording(void **state)
{
	(void)state;
	recording_free(recording);
	(void)crash_state_remove(after_second);
	(void)crash_state_remove(after_cut);
	return crash_state_remove(dir);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start_recording, end_recording)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_small_object_is_durable_before_its_file_is),
		TEST(a_large_object_and_one_without_room_go_the_other_way),
		TEST(many_at_once_are_all_there),
		TEST(after_a_clean_end_there_is_nothing_to_replay),
		TEST(entries_of_an_earlier_use_are_not_replayed),
		TEST(a_torn_entry_at_the_end_was_never_answered),
		TEST(an_entry_that_was_durable_and_is_damaged_is_a_loss),
		TEST(a_half_without_a_header_is_a_loss_after_an_unclean_end_only),
		TEST(of_two_entries_the_newer_one_counts),
		TEST(a_drive_without_a_journal_works),
		TEST(a_journal_that_cannot_be_written_is_given_up),
		TEST(a_journal_that_cannot_be_synced_is_given_up),
		TEST(a_file_that_cannot_be_synced_later_fails_the_drive),
		TEST(what_a_replay_wrote_is_durable_when_the_journal_is_used_again),
		TEST(what_a_replay_found_whole_is_synced),
		TEST(what_another_drive_replaced_does_not_come_back),
		TEST(what_was_answered_is_there_after_a_power_cut_and_what_was_forgotten_is_not),
		TEST(a_replay_that_is_cut_short_is_done_again),
		TEST(a_sync_of_the_journal_that_is_missing_would_be_seen),
		TEST(a_half_that_is_filled_again_before_its_files_are_synced_would_be_seen),
	};

	base_seed = env_number("GARNER_TEST_SEED", (uint64_t)time(NULL));
	printf("GARNER_TEST_SEED=%llu\n", (unsigned long long)base_seed);
	return cmocka_run_group_tests_name("drive_journal", tests, NULL, NULL);
}
