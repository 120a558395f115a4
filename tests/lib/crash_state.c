/* SPDX-License-Identifier: GPL-3.0-only */
/* crash_state.c: choosing and building a state after a power cut. The rules are in crash_state.h.
 *
 * One pass over the operations says for each file and directory what is certain. Then, per file, each sector gets a number:
 * the last operation that reached it ("last"); a second pass applies to every sector the operations up to that one.
 */
#include "lib/crash_state.h"
#include "lib/random.h"
#include "lib/recording.h"
#include "lib/remove_tree.h"

#include "base/bytes.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u
#define PAGE 4096u
#define SECTORS_PER_PAGE (PAGE / SECTOR)
#define FILE_BYTES_MAX ((uint64_t)1 << 32)

/* A file or directory while a state is built. */
struct node {
	size_t *ops; /* indices into the recording, in order of their beginning */
	size_t op_count, op_room;
	uint64_t synced;       /* operations answered before this moment are certain */
	size_t keep;           /* directories: how many of ops[] are in the state */
	bool is_dir, favoured; /* CRASH_FILES: with all */
	char *written;         /* where the file was built already: other names are links to it */
	mode_t mode;
};

struct builder {
	const struct op *ops;
	size_t op_count;
	struct crash_state *state;
	struct node *nodes; /* by number */
	size_t node_count;
	struct random random;
	uint64_t horizon; /* CRASH_PREFIX */
	uint64_t last_write_begin[3];
	bool grow_without_bytes;
	const char *outdir;
	int error;
};

/* True once in `n`. */
static bool one_in(struct builder *b, unsigned n)
{
	return random_once_in(&b->random, n);
}

static bool is_dir_op(enum op_kind k)
{
	return k >= OP_CREATE && k <= OP_RENAME;
}

static bool is_file_op(enum op_kind k)
{
	return k >= OP_WRITE && k <= OP_GROW;
}

static bool is_bytes(const struct op *o)
{
	return o->kind == OP_WRITE;
}

/* Index records and headers are such writes; the slots they speak of are pages. */
static bool is_small(const struct op *o)
{
	return is_bytes(o) && o->len < PAGE;
}

static bool certain(const struct builder *b, const struct node *n, const struct op *o)
{
	return o->base || o->end < n->synced || (o->durable && o->end < b->state->cut);
}

/* ---- what happened ----------------------------------------------------------------------------------------------- */

static int node_add_op(struct node *n, size_t index)
{
	if (n->op_count == n->op_room) {
		size_t room = n->op_room ? n->op_room * 2 : 16;
		size_t *ops = realloc(n->ops, room * sizeof ops[0]);
		if (!ops)
			return -ENOMEM;
		n->ops = ops;
		n->op_room = room;
	}
	n->ops[n->op_count++] = index;
	return 0;
}

/* Sorts what began before the cut to its files and directories. */
static int collect(struct builder *b)
{
	struct crash_state *s = b->state;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < b->op_count; i++) {
		const struct op *o = &b->ops[i];
		if (!o->base && o->begin >= s->cut)
			break;
		if (o->kind == OP_NOTE) {
			s->noted[o->offset % RECORDING_NOTE_KINDS] = true;
			s->note[o->offset % RECORDING_NOTE_KINDS] = o->len;
		} else if (o->kind == OP_SYNC || o->kind == OP_SYNC_DIR) {
			if (o->end < s->cut && o->begin > b->nodes[o->ino].synced)
				b->nodes[o->ino].synced = o->begin;
		} else if (is_file_op(o->kind)) {
			rc = node_add_op(&b->nodes[o->ino], i);
		} else if (is_dir_op(o->kind)) {
			if (o->kind == OP_MKDIR || o->kind == OP_CREATE) {
				b->nodes[o->ino].is_dir = o->kind == OP_MKDIR;
				b->nodes[o->ino].mode = o->mode;
			}
			if (o->kind != OP_LINK)
				rc = node_add_op(&b->nodes[o->dir], i);
			if (rc == 0 && o->name2 && (o->kind == OP_LINK || o->dir2 != o->dir))
				rc = node_add_op(&b->nodes[o->dir2], i);
		}
	}
	return rc;
}

/* Draws what holds for the state as a whole. */
static void set_up(struct builder *b)
{
	struct crash_state *s = b->state;

	if (s->mode == CRASH_ANY)
		s->mode = (enum crash_mode)(1 + random_next(&b->random) % (CRASH_MODES - 1));
	b->grow_without_bytes = one_in(b, 4);
	b->horizon = s->cut ? random_next(&b->random) % s->cut : 0;
	if (one_in(b, 2)) /* near the cut is where it is interesting */
		b->horizon =
			s->cut - (s->cut < 64 ? random_next(&b->random) % (s->cut + 1) : random_next(&b->random) % 64);
	for (size_t i = 0; i < b->node_count; i++)
		b->nodes[i].favoured = one_in(b, 2);
	for (size_t i = 0; i < b->op_count && (b->ops[i].base || b->ops[i].begin < s->cut); i++) {
		const struct op *o = &b->ops[i];
		if (!is_bytes(o) || certain(b, &b->nodes[o->ino], o))
			continue;
		b->last_write_begin[2] = b->last_write_begin[1];
		b->last_write_begin[1] = b->last_write_begin[0];
		b->last_write_begin[0] = o->begin;
	}
}

/* ---- directories ------------------------------------------------------------------------------------------------- */

static void choose_dir(struct builder *b, struct node *n)
{
	size_t least = 0, most = n->op_count;

	for (size_t i = 0; i < n->op_count; i++)
		if (certain(b, n, &b->ops[n->ops[i]]))
			least = i + 1;
	n->keep = least;
	switch (b->state->mode) {
	case CRASH_NOTHING:
		break;
	case CRASH_KILLED:
		n->keep = most;
		break;
	case CRASH_FILES:
		n->keep = n->favoured ? most : least;
		break;
	case CRASH_PREFIX:
		while (n->keep < most && b->ops[n->ops[n->keep]].begin < b->horizon)
			n->keep++;
		break;
	default:
		n->keep = least + random_next(&b->random) % (most - least + 1);
		if (one_in(b, 2))
			n->keep = one_in(b, 2) ? least : most;
	}
}

/* What is kept in one directory is kept in the other: raises until nothing changes. */
static void keep_renames_whole(struct builder *b)
{
	bool again = true;

	while (again) {
		again = false;
		for (size_t d = 0; d < b->node_count; d++) {
			struct node *n = &b->nodes[d];
			for (size_t i = 0; n->is_dir && i < n->keep; i++) {
				assert(n->ops);
				const struct op *o = &b->ops[n->ops[i]];
				struct node *other = &b->nodes[o->dir == d ? o->dir2 : o->dir];
				if (!o->name2 || o->dir == o->dir2)
					continue;
				for (size_t k = other->keep; k < other->op_count; k++)
					if (other->ops[k] == n->ops[i]) {
						other->keep = k + 1;
						again = true;
					}
			}
		}
	}
}

static void choose_dirs(struct builder *b)
{
	for (size_t d = 0; d < b->node_count; d++)
		if (b->nodes[d].is_dir)
			choose_dir(b, &b->nodes[d]);
	keep_renames_whole(b);
	for (size_t d = 0; d < b->node_count; d++) {
		struct node *n = &b->nodes[d];
		for (size_t i = 0; n->is_dir && i < n->op_count; i++) {
			if (certain(b, n, &b->ops[n->ops[i]]))
				continue;
			b->state->dir_changes++;
			b->state->dir_kept += i < n->keep;
		}
	}
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

enum fate { MISSING, PRESENT, TORN };

static enum fate any_fate(struct builder *b)
{
	return (enum fate)(random_next(&b->random) % 3);
}

/* What becomes of an uncertain operation. */
static enum fate choose_fate(struct builder *b, const struct node *n, const struct op *o)
{
	switch (b->state->mode) {
	case CRASH_NOTHING:
		return MISSING;
	case CRASH_KILLED:
		return o->end < b->state->cut ? PRESENT : any_fate(b);
	case CRASH_LAST_MISSING:
		if (o->begin == b->last_write_begin[0])
			return one_in(b, 2) ? MISSING : TORN;
		if (o->begin == b->last_write_begin[1] || o->begin == b->last_write_begin[2])
			return any_fate(b);
		return PRESENT;
	case CRASH_SMALL_AHEAD:
		return is_small(o) ? PRESENT : any_fate(b);
	case CRASH_SMALL_BEHIND:
		return is_small(o) ? any_fate(b) : PRESENT;
	case CRASH_PREFIX:
		if (o->end < b->horizon)
			return PRESENT;
		return o->begin < b->horizon ? TORN : MISSING;
	case CRASH_FILES:
		return n->favoured ? PRESENT : MISSING;
	default:
		return any_fate(b);
	}
}

/* The content of one file while it is built. */
struct content {
	uint8_t *bytes; /* mapped, `room` of them */
	uint64_t room, size;
	uint8_t *page_used; /* per page: not a hole */
	uint32_t *last;     /* per sector: 1 + position in node->ops of the last operation that reached it */
};

static void content_destroy(struct content *c)
{
	if (c->bytes && c->bytes != MAP_FAILED)
		munmap(c->bytes, c->room);
	free(c->page_used);
	free(c->last);
}

static int content_init(struct content *c, uint64_t room)
{
	c->room = round_up(room ? room : 1, PAGE);
	if (c->room > FILE_BYTES_MAX)
		return -EFBIG;
	c->bytes = mmap(NULL, c->room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	c->page_used = calloc(c->room / PAGE, 1);
	c->last = calloc(c->room / SECTOR, sizeof c->last[0]);
	return c->bytes == MAP_FAILED || !c->page_used || !c->last ? -ENOMEM : 0;
}

/* The bytes that an operation touches, within the room. */
static uint64_t op_from(const struct op *o)
{
	return o->kind == OP_TRUNCATE ? o->len : o->offset;
}

static uint64_t op_to(const struct op *o, const struct content *c)
{
	if (o->kind == OP_TRUNCATE)
		return c->room;
	return o->offset + o->len < c->room ? o->offset + o->len : c->room;
}

/* Marks which sectors the operation at position `at` reached. */
static void reach(struct builder *b, struct content *c, const struct op *o, uint32_t at, enum fate fate)
{
	uint64_t from = op_from(o), to = op_to(o, c);
	bool half = one_in(b, 2); /* torn: the front is there, or any sectors */
	uint64_t edge;

	if (fate == MISSING || from >= to || o->kind == OP_GROW)
		return;
	edge = from + random_next(&b->random) % (to - from);
	for (uint64_t s = from / SECTOR; s <= (to - 1) / SECTOR; s++)
		if (fate == PRESENT || (half ? s < edge / SECTOR : one_in(b, 2)))
			c->last[s] = at + 1;
}

/* Puts bytes [from, to) of one operation in place. */
static void apply(struct content *c, const struct op *o, uint64_t from, uint64_t to)
{
	if (o->kind == OP_GROW || from >= to)
		return;
	if (is_bytes(o)) {
		if (o->data)
			memcpy(c->bytes + from, o->data + (from - o->offset), to - from);
		else if (c->page_used[from / PAGE])
			memset(c->bytes + from, 0, to - from);
		c->page_used[from / PAGE] = 1;
	} else if (c->page_used[from / PAGE]) {
		memset(c->bytes + from, 0, to - from);
		if (to - from == PAGE)
			c->page_used[from / PAGE] = 0;
	}
}

/* Applies one operation to the sectors that it, or something later, reached. */
static bool apply_where_reached(struct content *c, const struct op *o, uint32_t at, uint64_t *end)
{
	uint64_t from = op_from(o), to = op_to(o, c);
	bool any = false;

	*end = 0;
	while (from < to) {
		uint64_t s = from / SECTOR, stop = (s + 1) * SECTOR;
		bool reached = c->last[s] > at;
		if (s % SECTORS_PER_PAGE == 0 && from % SECTOR == 0) /* a whole page at once, where it can */
			for (uint64_t k = s + 1; k < s + SECTORS_PER_PAGE && k * SECTOR < to; k++) {
				if ((c->last[k] > at) != reached)
					break;
				stop = (k + 1) * SECTOR;
			}
		stop = stop < to ? stop : to;
		if (reached) {
			apply(c, o, from, stop);
			any = true;
			*end = stop;
		}
		from = stop;
	}
	return any;
}

/* Decides for every operation of a file, and applies. */
static int build_content(struct builder *b, const struct node *n, struct content *c)
{
	uint64_t room = 0;
	size_t sizes = 0; /* size changes before this position are there */
	int rc;

	for (size_t i = 0; i < n->op_count; i++) {
		const struct op *o = &b->ops[n->ops[i]];
		uint64_t end = o->kind == OP_TRUNCATE ? o->len : o->offset + o->len;
		room = end > room ? end : room;
	}
	rc = content_init(c, room);
	if (rc < 0)
		return rc;

	for (size_t i = 0; i < n->op_count; i++) {
		const struct op *o = &b->ops[n->ops[i]];
		enum fate fate = PRESENT;
		if (!certain(b, n, o)) {
			if (is_bytes(o)) {
				fate = choose_fate(b, n, o);
				b->state->unsynced++;
				b->state->present += fate == PRESENT;
				b->state->torn += fate == TORN;
			} else {
				fate = sizes == i && choose_fate(b, n, o) != MISSING ? PRESENT : MISSING;
			}
		}
		reach(b, c, o, (uint32_t)i, fate);
		if (is_bytes(o) ? sizes == i : fate == PRESENT)
			sizes = i + 1;
	}

	for (size_t i = 0; i < n->op_count; i++) {
		const struct op *o = &b->ops[n->ops[i]];
		uint64_t end;
		bool any = apply_where_reached(c, o, (uint32_t)i, &end);
		if (is_bytes(o) && (any || (b->grow_without_bytes && b->state->mode != CRASH_NOTHING)))
			c->size = any && end > c->size ? end : c->size;
		if (is_bytes(o) && b->grow_without_bytes && b->state->mode != CRASH_NOTHING &&
		    o->offset + o->len > c->size)
			c->size = o->offset + o->len;
		if (o->kind == OP_TRUNCATE && i < sizes)
			c->size = o->len;
		if (o->kind == OP_GROW && i < sizes && o->offset + o->len > c->size)
			c->size = o->offset + o->len;
	}
	return 0;
}

static int write_content(const struct content *c, const char *path, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode | 0600);
	int rc = 0;

	if (fd < 0 || ftruncate(fd, (off_t)c->size) < 0)
		rc = -errno;
	for (uint64_t p = 0; rc == 0 && p < c->room / PAGE && p * PAGE < c->size; p++) {
		uint64_t first = p, end;
		if (!c->page_used[p])
			continue;
		while (p + 1 < c->room / PAGE && c->page_used[p + 1])
			p++;
		end = (p + 1) * PAGE < c->size ? (p + 1) * PAGE : c->size;
		if (first * PAGE < end && pwrite(fd, c->bytes + first * PAGE, end - first * PAGE,
		                                 (off_t)(first * PAGE)) != (ssize_t)(end - first * PAGE))
			rc = errno ? -errno : -EIO;
	}
	if (fd >= 0 && close(fd) < 0 && rc == 0)
		rc = -errno;
	return rc;
}

/* ---- the tree ---------------------------------------------------------------------------------------------------- */

struct tree_entry {
	const char *name;
	uint32_t ino;
};

static void entries_remove(struct tree_entry *e, size_t *count, const char *name)
{
	for (size_t i = 0; i < *count; i++)
		if (strcmp(e[i].name, name) == 0) {
			e[i] = e[--*count];
			return;
		}
}

/* The entries of directory `d` after what is kept of its changes. `e` has room for one a change. */
static size_t entries_of(const struct builder *b, uint32_t d, struct tree_entry *e)
{
	const struct node *n = &b->nodes[d];
	size_t count = 0;

	for (size_t i = 0; i < n->keep; i++) {
		const struct op *o = &b->ops[n->ops[i]];
		if (o->kind == OP_UNLINK || (o->kind == OP_RENAME && o->dir == d))
			entries_remove(e, &count, o->name);
		if ((o->kind == OP_CREATE || o->kind == OP_MKDIR) && o->dir == d) {
			entries_remove(e, &count, o->name);
			e[count++] = (struct tree_entry){ o->name, o->ino };
		} else if (o->name2 && o->dir2 == d) {
			entries_remove(e, &count, o->name2);
			e[count++] = (struct tree_entry){ o->name2, o->ino };
		}
	}
	return count;
}

static int build_file(struct builder *b, uint32_t ino, const char *path)
{
	struct node *n = &b->nodes[ino];
	struct content c = { 0 };
	int rc;

	if (n->written)
		return link(n->written, path) < 0 ? -errno : 0;
	rc = build_content(b, n, &c);
	if (rc == 0)
		rc = write_content(&c, path, n->mode);
	content_destroy(&c);
	if (rc == 0 && !(n->written = strdup(path)))
		rc = -ENOMEM;
	return rc;
}

static int build_dir(struct builder *b, uint32_t d, const char *path, unsigned depth)
{
	struct tree_entry *e = calloc(b->nodes[d].keep + 1, sizeof *e);
	size_t count;
	int rc = 0;

	if (!e)
		return -ENOMEM;
	count = entries_of(b, d, e);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		char child[4096];
		if (depth > 32 || snprintf(child, sizeof child, "%s/%s", path, e[i].name) >= (int)sizeof child)
			rc = -ENAMETOOLONG;
		else if (!b->nodes[e[i].ino].is_dir)
			rc = build_file(b, e[i].ino, child);
		else if (mkdir(child, b->nodes[e[i].ino].mode | 0700) < 0)
			rc = -errno;
		else
			rc = build_dir(b, e[i].ino, child, depth + 1);
	}
	free(e);
	return rc;
}

int crash_state_build(struct recording *r, uint64_t cut, uint64_t seed, enum crash_mode mode, const char *outdir,
                      struct crash_state *state)
{
	struct builder b = { .state = state, .outdir = outdir };
	struct op *ops = NULL;
	int rc = -ENOMEM;

	*state = (struct crash_state){ .cut = cut, .seed = seed, .mode = mode };
	b.random.state = seed * 0x2545f4914f6cdd1du ^ cut;

	/* A copy of the operations; names and bytes stay where they are as long as the recording. */
	pthread_mutex_lock(&r->lock);
	b.op_count = r->op_count;
	b.node_count = r->next_ino;
	ops = malloc((r->op_count + 1) * sizeof ops[0]);
	if (ops && r->op_count)
		memcpy(ops, r->ops, r->op_count * sizeof ops[0]);
	pthread_mutex_unlock(&r->lock);
	b.ops = ops;
	b.nodes = calloc(b.node_count, sizeof b.nodes[0]);
	if (!ops || !b.nodes)
		goto out;

	b.nodes[ROOT_INO].is_dir = true;
	rc = collect(&b);
	if (rc < 0)
		goto out;
	set_up(&b);
	choose_dirs(&b);
	if (mkdir(outdir, 0700) < 0 && errno != EEXIST)
		rc = -errno;
	else
		rc = build_dir(&b, ROOT_INO, outdir, 0);
out:
	for (size_t i = 0; b.nodes && i < b.node_count; i++) {
		free(b.nodes[i].ops);
		free(b.nodes[i].written);
	}
	free(b.nodes);
	free(ops);
	return rc;
}

const char *crash_state_text(const struct crash_state *s, char out[200])
{
	static const char *const modes[CRASH_MODES] = { "any",          "nothing",      "killed",
		                                        "random",       "last missing", "small ahead",
		                                        "small behind", "prefix",       "files" };

	snprintf(out, 200,
	         "cut %" PRIu64 ", seed %" PRIu64
	         ", %s: %u of %u unsynced writes (%u torn), %u of %u changes of directories",
	         s->cut, s->seed, modes[s->mode], s->present + s->torn, s->unsynced, s->torn, s->dir_kept,
	         s->dir_changes);
	return out;
}

int crash_state_remove(const char *dir)
{
	return remove_tree(dir);
}
