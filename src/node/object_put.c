/* SPDX-License-Identifier: GPL-3.0-only */
/* object_put.c: a put, from its first byte to its answer: the rules of a replica.
 *
 * What is appended is a queue, which one thread at a time works off: the body is summed and written (object_body.h). When it is
 * complete and what was announced, the put waits for its name's lane, looks what is there, and decides. A drive that fails on the way is replaced by
 * another: what was written is read back from the file and compared with its sums.
 */
#include "node/object_store_private.h"

#include "base/clock.h"
#include "base/crc32c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct object_put {
	struct object_store *s;
	struct object_entry entry; /* as it will be */
	enum object_rule rule;
	object_put_fn *done;
	void *arg;
	atomic_bool settled;
	atomic_bool no_memory; /* something could not be appended */

	pthread_mutex_t mutex; /* guards what follows */
	struct body_pieces queue;
	bool scheduled, ended, aborted;

	/* Of the thread that works off the queue, then of the one that has the lane. */
	bool begun;
	int status; /* why it cannot go on */
	struct object_put_result result;
	struct drive *drive;
	uint32_t tried; /* drives */
	int fd;         /* -1: no file */
	char path[DRIVE_FILE_PATH];
	struct object_body body;
	struct lane_wait wait;
};

/* ---- the rules ---- */

static bool same_body(const struct object_meta *a, const struct object_meta *b)
{
	return !((a->flags ^ b->flags) & OBJECT_TOMBSTONE) && a->length == b->length &&
	       memcmp(a->digest, b->digest, OBJECT_DIGEST_BYTES) == 0;
}

/* Whether the result is known without storing anything, and then what it is; result->was in any case. */
static bool decide(const struct object_meta *meta, enum object_rule rule, struct object_version floor,
                   const struct lookup *found, struct object_put_result *result)
{
	const struct object_meta *was = &found->entry.meta;

	*result = (struct object_put_result){ 0 };
	if (!found->drive) {
		if (rule == OBJECT_RULE_COPY || object_version_compare(meta->version, floor) > 0)
			return false;
		result->had = true;
		result->was = (struct object_meta){ .version = floor, .flags = OBJECT_TOMBSTONE };
		result->status = -ESTALE;
		return true;
	}
	result->had = true;
	result->was = *was;
	result->claimed = was->flags & OBJECT_CLAIMED;
	int order = object_version_compare(meta->version, was->version);
	if (order == 0) {
		if (!same_body(meta, was))
			result->status = -EBADMSG;
		else if (was->flags & OBJECT_DAMAGED || meta->flags & ~was->flags & OBJECT_CLAIMED)
			return false;
		else
			result->already = true;
		return true;
	}
	if (rule == OBJECT_RULE_ABSENT && !(was->flags & OBJECT_TOMBSTONE))
		result->status = -EEXIST;
	else if (order < 0)
		result->status = -ESTALE;
	return result->status < 0;
}

static void settle(struct object_put *p, int status)
{
	p->status = status;
	atomic_store(&p->settled, true);
}

/* ---- the file ---- */

static void drop_file(struct object_put *p)
{
	if (p->fd < 0)
		return;
	disk_close(p->s->disk, p->fd);
	(void)disk_unlink(p->s->disk, p->path);
	p->fd = -1;
}

/* Whether an error is this process's, rather than a drive's. */
static bool is_ours(int rc)
{
	return rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE || rc == -EBUSY;
}

/* A file on a drive that was not tried yet. */
static int open_file(struct object_put *p)
{
	const struct object_meta *meta = &p->entry.meta;
	uint64_t bytes = object_file_bytes(meta);
	int rc;

	for (;;) {
		p->drive = store_place(p->s, p->entry.name, bytes, meta->flags & OBJECT_TOMBSTONE, p->tried, &rc);
		if (!p->drive)
			return rc;
		p->fd = drive_new_file(p->drive, p->path);
		if (p->fd >= 0)
			return 0;
		if (is_ours(p->fd))
			return -ENOMEM;
		p->tried |= store_drive_bit(p->s, p->drive);
	}
}

/* The drive failed, or is full: the put goes on with another one. Its error when there is none. */
static int move(struct object_put *p, int why)
{
	int from = p->fd, rc;
	char path[DRIVE_FILE_PATH];

	memcpy(path, p->path, sizeof path);
	do {
		p->fd = -1;
		if (is_ours(why))
			rc = why;
		else {
			p->tried |= store_drive_bit(p->s, p->drive);
			rc = open_file(p);
		}
		if (rc < 0)
			break;
		bool write_failed;
		rc = body_copy(&p->body, from, p->fd, &write_failed);
		why = write_failed ? drive_write_failed(p->drive, rc, "writing") : 0;
		if (rc < 0)
			drop_file(p);
	} while (rc < 0 && why < 0);
	disk_close(p->s->disk, from);
	(void)disk_unlink(p->s->disk, path);
	return rc;
}

/* ---- the body ---- */

/* On the first piece: what is known already, and a file. */
static void begin(struct object_put *p)
{
	struct lookup found;
	int rc;

	p->begun = true;
	rc = store_lookup(p->s, p->entry.name, &found);
	if (rc == 0 && decide(&p->entry.meta, p->rule, object_store_floor(p->s), &found, &p->result)) {
		settle(p, p->result.status);
		return;
	}
	if (rc == 0)
		rc = body_init(&p->body, p->s->disk, &p->s->buffers, p->entry.meta.length);
	if (rc == 0)
		rc = open_file(p);
	if (rc == 0)
		body_begin_file(&p->body, p->fd);
	else
		settle(p, rc);
}

static int write_body(struct object_put *p)
{
	int rc;

	while ((rc = body_write(&p->body, p->fd)) < 0) {
		rc = move(p, drive_write_failed(p->drive, rc, "writing"));
		if (rc < 0)
			break;
	}
	return rc;
}

static void take_pieces(struct object_put *p, struct body_pieces *pieces)
{
	struct body_piece *piece;
	int rc = 0;

	if (!p->begun)
		begin(p);
	while (!atomic_load(&p->settled) && (piece = STAILQ_FIRST(pieces))) {
		STAILQ_REMOVE_HEAD(pieces, link);
		rc = body_take(&p->body, piece);
		if (rc < 0)
			STAILQ_INSERT_HEAD(pieces, piece, link);
		else
			rc = write_body(p);
		if (rc < 0) {
			settle(p, rc);
			body_pieces_release(&p->body.held);
		}
	}
	body_pieces_release(pieces);
}

/* ---- the end ---- */

static void put_free(struct object_put *p)
{
	struct object_store *s = p->s;

	if (p->begun)
		drop_file(p);
	body_free(&p->body);
	pthread_mutex_destroy(&p->mutex);
	free(p);
	store_leave(s);
}

static void answer(struct object_put *p, int status)
{
	p->result.status = status;
	if (status == 0)
		atomic_fetch_add(&p->s->puts, 1);
	atomic_fetch_sub(&p->s->puts_waiting, 1);
	p->done(p->arg, &p->result);
}

void store_remove_older(struct object_store *s, struct drive *drive, const struct object_entry *entry,
                        const struct lookup *before)
{
	for (size_t i = 0; before->drive && i <= before->count; i++) {
		struct drive *d = i < before->count ? before->other[i].drive : before->drive;
		const struct object_entry *old = i < before->count ? &before->other[i].entry : &before->entry;

		if (d != drive) {
			struct drive_op op = { .kind = DRIVE_REMOVE, .durable = true, .entry = *old };
			if (atomic_load(&d->state) != DRIVE_OK)
				continue;
			atomic_fetch_add(&s->moves, 1);
			if (drive_commit(d, &op) < 0)
				continue;
		} else if (object_version_compare(old->meta.version, entry->meta.version) == 0 &&
		           ((old->meta.flags ^ entry->meta.flags) & OBJECT_FLAGS_FILE) == 0) {
			continue; /* it is the same file */
		}
		drive_unlink_object(d, old->name, &old->meta);
	}
}

/* The file becomes the object, on this drive or on another. */
static int store_file(struct object_put *p)
{
	size_t sums_bytes = 4 * object_file_blocks(p->entry.meta.length);
	struct object_header h = { .entry = p->entry, .sums_crc = crc32c(0, p->body.sums, sums_bytes) };
	int rc = p->fd < 0 ? open_file(p) : 0;

	h.entry.meta.flags &= OBJECT_FLAGS_FILE;
	while (rc == 0) {
		struct drive_op op = { .kind = DRIVE_PUT, .entry = p->entry };

		if (sums_bytes) {
			rc = disk_pwrite(p->s->disk, p->fd, p->body.sums, sums_bytes,
			                 object_file_sums_at(p->entry.meta.length));
			if (rc < 0)
				rc = drive_write_failed(p->drive, rc, "writing");
		}
		if (rc == 0)
			rc = drive_place_file(p->drive, p->fd, p->path, &h);
		if (rc == 0) {
			drive_object_path(p->drive, p->entry.name, &p->entry.meta, p->path);
			rc = drive_commit(p->drive, &op);
		}
		if (rc == 0)
			return 0;
		rc = move(p, rc);
	}
	return rc;
}

/* With the lane, on a thread of `changers`. */
static void commit(void *arg)
{
	struct object_put *p = arg;
	struct object_store *s = p->s;
	struct lookup found;
	int rc = store_lookup(s, p->entry.name, &found);

	if (rc == 0 && decide(&p->entry.meta, p->rule, object_store_floor(s), &found, &p->result)) {
		rc = p->result.status;
	} else if (rc == 0) {
		p->entry.stored_s = clock_wall_ns() / 1000000000u;
		if (found.drive)
			p->entry.meta.flags |= found.entry.meta.flags & OBJECT_CLAIMED;
		if (found.drive && object_version_compare(found.entry.meta.version, p->entry.meta.version) == 0)
			p->entry.meta.flags |= found.entry.meta.flags & OBJECT_CONFIRMED;
		rc = store_file(p);
		if (rc == 0) {
			disk_close(s->disk, p->fd);
			p->fd = -1;
			answer(p, 0);
			store_remove_older(s, p->drive, &p->entry, &found);
			lane_leave(s, p->entry.name);
			put_free(p);
			return;
		}
	}
	lane_leave(s, p->entry.name);
	answer(p, rc);
	put_free(p);
}

static void want_lane(void *arg)
{
	struct object_put *p = arg;

	p->wait.go = commit;
	p->wait.arg = p;
	if (lane_enter(p->s, p->entry.name, &p->wait))
		commit(p);
}

static void end(struct object_put *p)
{
	if (p->aborted) {
		put_free(p);
		return;
	}
	if (!p->begun)
		begin(p);
	if (!atomic_load(&p->settled)) {
		int rc = atomic_load(&p->no_memory) ? -ENOMEM : body_check(&p->body, p->entry.meta.digest);
		if (rc < 0)
			settle(p, rc);
	}
	if (atomic_load(&p->settled)) {
		answer(p, p->status);
		put_free(p);
		return;
	}
	store_run(p->s->changers, want_lane, p);
}

static void work_off(void *arg)
{
	struct object_put *p = arg;
	bool ended;

	pthread_mutex_lock(&p->mutex);
	while (!STAILQ_EMPTY(&p->queue)) {
		struct body_pieces pieces = STAILQ_HEAD_INITIALIZER(pieces);
		STAILQ_CONCAT(&pieces, &p->queue);
		pthread_mutex_unlock(&p->mutex);
		take_pieces(p, &pieces);
		pthread_mutex_lock(&p->mutex);
	}
	p->scheduled = false;
	ended = p->ended;
	pthread_mutex_unlock(&p->mutex);
	if (ended)
		end(p);
}

/* ---- the calls ---- */

static struct object_put *put_new(struct object_store *s, const char *name, const struct object_meta *meta,
                                  enum object_rule rule)
{
	struct object_put *p;

	if (posix_memalign((void **)&p, _Alignof(struct object_put), sizeof *p) != 0)
		return NULL;
	memset(p, 0, sizeof *p);
	p->s = s;
	p->rule = rule;
	p->fd = -1;
	p->entry.meta = *meta;
	memcpy(p->entry.name, name, strlen(name) + 1);
	STAILQ_INIT(&p->queue);
	pthread_mutex_init(&p->mutex, NULL);
	store_enter(s);
	return p;
}

static bool version_valid(struct object_version v)
{
	return !object_version_is_none(v) && v.counter <= OBJECT_COUNTER_MAX;
}

int object_put_begin(struct object_store *s, const char *name, const struct object_meta *meta, enum object_rule rule,
                     struct object_put **put)
{
	struct object_meta wanted = *meta;

	if (!object_name_valid(name) || !version_valid(meta->version) || meta->length > OBJECT_LENGTH_MAX)
		return -EINVAL;
	wanted.flags &= OBJECT_CLAIMED;
	*put = put_new(s, name, &wanted, rule);
	return *put ? 0 : -ENOMEM;
}

/* Something happened to the put: whether nobody works it off. With its mutex. */
static bool take_schedule(struct object_put *p)
{
	bool mine = !p->scheduled;

	p->scheduled = true;
	return mine;
}

static void append(struct object_put *p, struct body_piece *piece)
{
	bool mine;

	pthread_mutex_lock(&p->mutex);
	STAILQ_INSERT_TAIL(&p->queue, piece, link);
	mine = take_schedule(p);
	pthread_mutex_unlock(&p->mutex);
	if (mine)
		store_run(p->s->writers, work_off, p);
}

static void not_appended(struct object_put *p)
{
	atomic_store(&p->no_memory, true);
}

void object_put_append(struct object_put *p, const void *bytes, size_t len, void (*release)(void *arg), void *arg)
{
	struct body_piece *piece = malloc(sizeof *piece);

	if (!piece) {
		not_appended(p);
		if (release)
			release(arg);
		return;
	}
	*piece = (struct body_piece){ .bytes = bytes, .len = len, .release = release, .arg = arg };
	append(p, piece);
}

void object_put_append_copy(struct object_put *p, const void *bytes, size_t len)
{
	struct body_piece *piece = malloc(sizeof *piece + len);

	if (!piece) {
		not_appended(p);
		return;
	}
	*piece = (struct body_piece){ .bytes = piece + 1, .len = len };
	memcpy(piece + 1, bytes, len);
	append(p, piece);
}

bool object_put_settled(const struct object_put *p)
{
	return atomic_load(&p->settled) || atomic_load(&p->no_memory);
}

static void end_put(struct object_put *p, bool aborted)
{
	bool mine;

	pthread_mutex_lock(&p->mutex);
	p->ended = true;
	p->aborted = aborted;
	mine = take_schedule(p);
	pthread_mutex_unlock(&p->mutex);
	if (mine)
		store_run(p->s->writers, work_off, p);
}

void object_put_finish(struct object_put *p, object_put_fn *done, void *arg)
{
	p->done = done;
	p->arg = arg;
	atomic_fetch_add(&p->s->puts_waiting, 1);
	end_put(p, false);
}

void object_put_abort(struct object_put *p)
{
	end_put(p, true);
}

void object_store_remove(struct object_store *s, const char *name, struct object_version version, unsigned flags,
                         enum object_rule rule, object_put_fn *done, void *arg)
{
	struct object_meta meta = { .version = version, .flags = OBJECT_TOMBSTONE | (flags & OBJECT_CLAIMED) };
	struct object_put_result result = { .status = -EINVAL };
	struct object_put *p = NULL;

	if (object_name_valid(name) && version_valid(version)) {
		p = put_new(s, name, &meta, rule);
		result.status = -ENOMEM;
	}
	if (!p) {
		done(arg, &result);
		return;
	}
	p->done = done;
	p->arg = arg;
	p->begun = true;
	atomic_fetch_add(&s->puts_waiting, 1);
	store_run(s->changers, want_lane, p);
}
