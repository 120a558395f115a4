/* SPDX-License-Identifier: GPL-3.0-only */
/* map_db.c: grain maps in SQLite: nodes, states, checkpoints, and the cache of small values. */
#include "map/map_db.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "map/checkpoint.h"
#include "map/map_db_sql.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGE_ROWS 256
#define FORGET_ROWS 1024
#define STATE_BYTES 104
#define SLOT_BITS 32
#define LEVEL_BITS 28

/* An inner node waiting for the end of its checkpoint. */
struct pending_node {
	STAILQ_ENTRY(pending_node) link;
	uint64_t key; /* within the image */
	map_entry_t entries[MAP_FANOUT];
};

struct map_checkpoint {
	LIST_ENTRY(map_checkpoint) link;
	uint64_t image;
	STAILQ_HEAD(, pending_node) nodes;
};

static uint64_t key_in_image(unsigned level, uint64_t index)
{
	assert(level < MAP_LEVELS && index < (uint64_t)1 << (MAP_FANOUT_BITS * (MAP_LEVELS - 1 - level)));
	return (uint64_t)level << LEVEL_BITS | index;
}

/* The checksum of a row covers its key too, so a row in the wrong place is found. */
static uint32_t row_crc(uint64_t image, uint64_t key, const void *bytes, size_t len)
{
	uint8_t head[16];

	put_le64(head, image);
	put_le64(head + 8, key);
	return crc32c(crc32c(0, head, sizeof head), bytes, len);
}

int map_db_open(const char *path, bool check, struct map_db **db_out, struct error *err)
{
	struct map_db *db = calloc(1, sizeof *db);
	int rc;

	if (!db)
		return -ENOMEM;
	LIST_INIT(&db->checkpoints);
	rc = -pthread_mutex_init(&db->mutex, NULL);
	if (rc < 0) {
		free(db);
		return rc;
	}
	rc = map_db_connect(db, path, check, err);
	while (rc == 0) { /* finish what a crash interrupted */
		uint64_t image = 0;

		rc = map_db_row(db, SQL_FORGOTTEN, err);
		if (rc > 0)
			image = (uint64_t)sqlite3_column_int64(db->sql[SQL_FORGOTTEN], 0);
		map_db_reset(db, SQL_FORGOTTEN);
		if (rc <= 0)
			break;
		rc = map_db_forget(db, image, err);
	}
	if (rc < 0) {
		error_prefix(err, rc, "%s", path);
		map_db_close(db);
		return rc;
	}
	*db_out = db;
	return 0;
}

static void checkpoint_free(struct map_checkpoint *c)
{
	struct pending_node *n;

	while ((n = STAILQ_FIRST(&c->nodes))) {
		STAILQ_REMOVE_HEAD(&c->nodes, link);
		free(n);
	}
	LIST_REMOVE(c, link);
	free(c);
}

void map_db_close(struct map_db *db)
{
	struct map_checkpoint *c;

	if (!db)
		return;
	while ((c = LIST_FIRST(&db->checkpoints)))
		checkpoint_free(c);
	map_db_disconnect(db);
	pthread_mutex_destroy(&db->mutex);
	free(db);
}

/* Binding fails for want of memory only. */
static int bind_int(struct map_db *db, enum map_sql which, int at, uint64_t value)
{
	return sqlite3_bind_int64(db->sql[which], at, (sqlite3_int64)value) == SQLITE_OK ? 0 : -ENOMEM;
}

static int bind_bytes(struct map_db *db, enum map_sql which, int at, const void *bytes, size_t len)
{
	return sqlite3_bind_blob64(db->sql[which], at, bytes, len, SQLITE_STATIC) == SQLITE_OK ? 0 : -ENOMEM;
}

static int bind_text(struct map_db *db, enum map_sql which, int at, const char *text)
{
	return sqlite3_bind_text(db->sql[which], at, text, -1, SQLITE_STATIC) == SQLITE_OK ? 0 : -ENOMEM;
}

static void state_encode(uint64_t image, const struct map_state *s, uint8_t out[STATE_BYTES])
{
	memset(out, 0, STATE_BYTES);
	put_le64(out, s->position.segment);
	put_le32(out + 8, s->position.record);
	put_le32(out + 12, s->checkpoint.record);
	put_le64(out + 16, s->checkpoint.segment);
	put_le64(out + 24, s->checkpoint_root);
	put_le64(out + 32, s->size);
	put_le64(out + 40, s->allocated);
	put_le64(out + 48, s->mtime_ns);
	memcpy(out + 56, s->prev_digest, DIGEST_BYTES);
	put_le64(out + 56 + DIGEST_BYTES, s->segment_created_ns);
	put_le16(out + 64 + DIGEST_BYTES, s->clean);
	put_le16(out + 66 + DIGEST_BYTES, s->layers);
	put_le32(out + STATE_BYTES - 4, row_crc(image, UINT64_MAX, out, STATE_BYTES - 4));
}

static int state_decode(uint64_t image, const uint8_t *in, size_t len, struct map_state *s)
{
	if (!in || len != STATE_BYTES)
		return -EBADMSG;
	if (get_le32(in + STATE_BYTES - 4) != row_crc(image, UINT64_MAX, in, STATE_BYTES - 4))
		return -EBADMSG;
	s->position = (struct log_position){ get_le64(in), get_le32(in + 8) };
	s->checkpoint = (struct log_position){ get_le64(in + 16), get_le32(in + 12) };
	s->checkpoint_root = get_le64(in + 24);
	s->size = get_le64(in + 32);
	s->allocated = get_le64(in + 40);
	s->mtime_ns = get_le64(in + 48);
	memcpy(s->prev_digest, in + 56, DIGEST_BYTES);
	s->segment_created_ns = get_le64(in + 56 + DIGEST_BYTES);
	s->clean = get_le16(in + 64 + DIGEST_BYTES) != 0;
	s->layers = get_le16(in + 66 + DIGEST_BYTES);
	return 0;
}

/* Notes that something in the database is not what was put there. -EBADMSG. */
static int row_damaged(struct map_db *db, struct error *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static int row_damaged(struct map_db *db, struct error *err, const char *format, ...)
{
	char text[100];
	va_list args;

	db->damaged = true;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return error_set(err, -EBADMSG, "map database: %s", text);
}

bool map_db_damaged(struct map_db *db)
{
	map_db_lock(db);
	bool damaged = db->damaged;
	map_db_unlock(db);
	return damaged;
}

int map_db_load_state(struct map_db *db, uint64_t image, struct map_state *state, struct error *err)
{
	int rc;

	map_db_lock(db);
	rc = bind_int(db, SQL_STATE_GET, 1, image);
	if (rc == 0)
		rc = map_db_row(db, SQL_STATE_GET, err);
	if (rc == 0) {
		rc = -ENOENT;
	} else if (rc > 0) {
		sqlite3_stmt *row = db->sql[SQL_STATE_GET];

		rc = state_decode(image, sqlite3_column_blob(row, 0), (size_t)sqlite3_column_bytes(row, 0), state);
		if (rc < 0)
			row_damaged(db, err, "the state of image %016" PRIx64 " is damaged", image);
	}
	map_db_reset(db, SQL_STATE_GET);
	map_db_unlock(db);
	return rc;
}

/* Decodes a node from columns `crc_at` (crc) and the one after (entries). */
static int node_from_row(struct map_db *db, enum map_sql which, int crc_at, uint64_t image, uint64_t key,
                         map_entry_t *entries, struct error *err)
{
	sqlite3_stmt *row = db->sql[which];
	const uint8_t *bytes = sqlite3_column_blob(row, crc_at + 1);
	size_t len = (size_t)sqlite3_column_bytes(row, crc_at + 1);

	if (!bytes && len == 0 && sqlite3_errcode(db->sqlite) == SQLITE_NOMEM)
		return -ENOMEM;
	if (!bytes || len != MAP_NODE_BYTES ||
	    (uint64_t)sqlite3_column_int64(row, crc_at) != row_crc(image, key, bytes, len) ||
	    map_node_decode(bytes, false, entries) < 0)
		return row_damaged(db, err, "node %" PRIx64 " of image %016" PRIx64 " is damaged", key, image);
	return 0;
}

/* There is no row. If one is marked as changed it was lost to damage, and the older copy in the log must not be taken for
 * the newest: -EBADMSG, else -ENOENT. */
static int absent_node(struct map_db *db, uint64_t image, uint64_t key, struct error *err)
{
	int rc = bind_int(db, SQL_CHANGED_GET, 1, image);

	if (rc == 0)
		rc = bind_int(db, SQL_CHANGED_GET, 2, key);
	if (rc == 0)
		rc = map_db_row(db, SQL_CHANGED_GET, err);
	map_db_reset(db, SQL_CHANGED_GET);
	if (rc > 0)
		return row_damaged(db, err, "node %" PRIx64 " of image %016" PRIx64 " is missing", key, image);
	return rc < 0 ? rc : -ENOENT;
}

int map_db_load_node(struct map_db *db, uint64_t image, unsigned level, uint64_t index, map_entry_t *entries,
                     struct error *err)
{
	uint64_t key = key_in_image(level, index);
	int rc;

	map_db_lock(db);
	rc = bind_int(db, SQL_NODE_GET, 1, image);
	if (rc == 0)
		rc = bind_int(db, SQL_NODE_GET, 2, key);
	if (rc == 0)
		rc = map_db_row(db, SQL_NODE_GET, err);
	if (rc == 0)
		rc = absent_node(db, image, key, err);
	else if (rc > 0)
		rc = node_from_row(db, SQL_NODE_GET, 0, image, key, entries, err);
	map_db_reset(db, SQL_NODE_GET);
	map_db_unlock(db);
	return rc;
}

/* The first key of the image's rows. 0, -ENOENT when nothing was ever saved for it, or an error. */
static int image_base(struct map_db *db, uint64_t image, uint64_t *base, struct error *err)
{
	int rc = bind_int(db, SQL_IMAGE_SLOT, 1, image);

	if (rc == 0)
		rc = map_db_row(db, SQL_IMAGE_SLOT, err);
	if (rc == 0) {
		rc = -ENOENT;
	} else if (rc > 0) {
		*base = (uint64_t)sqlite3_column_int64(db->sql[SQL_IMAGE_SLOT], 0) << SLOT_BITS;
		rc = 0;
	}
	map_db_reset(db, SQL_IMAGE_SLOT);
	return rc;
}

static int put_state(struct map_db *db, uint64_t image, const struct map_state *state, struct error *err)
{
	uint8_t bytes[STATE_BYTES];
	int rc;

	state_encode(image, state, bytes);
	rc = bind_int(db, SQL_STATE_PUT, 1, image);
	if (rc == 0)
		rc = bind_bytes(db, SQL_STATE_PUT, 2, bytes, sizeof bytes);
	if (rc == 0)
		return map_db_run(db, SQL_STATE_PUT, err);
	map_db_reset(db, SQL_STATE_PUT);
	return rc;
}

static int put_node(struct map_db *db, uint64_t image, uint64_t base, uint64_t key, const map_entry_t *entries,
                    struct error *err)
{
	uint8_t bytes[MAP_NODE_BYTES];
	int rc;

	map_node_encode(entries, bytes);
	rc = bind_int(db, SQL_NODE_PUT, 1, base | key);
	if (rc == 0)
		rc = bind_int(db, SQL_NODE_PUT, 2, row_crc(image, key, bytes, sizeof bytes));
	if (rc == 0)
		rc = bind_bytes(db, SQL_NODE_PUT, 3, bytes, sizeof bytes);
	if (rc == 0)
		return map_db_run(db, SQL_NODE_PUT, err);
	map_db_reset(db, SQL_NODE_PUT);
	return rc;
}

/* Runs a statement whose parameters are the keys from `first` to before `end`, and `limit` if it has a third. */
static int run_range(struct map_db *db, enum map_sql which, uint64_t first, uint64_t end, uint64_t limit,
                     struct error *err)
{
	int rc = bind_int(db, which, 1, first);

	if (rc == 0)
		rc = bind_int(db, which, 2, end);
	if (rc == 0 && limit)
		rc = bind_int(db, which, 3, limit);
	if (rc == 0)
		return map_db_run(db, which, err);
	map_db_reset(db, which);
	return rc;
}

static int run_image(struct map_db *db, enum map_sql which, uint64_t image, struct error *err)
{
	int rc = bind_int(db, which, 1, image);

	return rc == 0 ? map_db_run(db, which, err) : rc;
}

static struct map_checkpoint *find_checkpoint(struct map_db *db, uint64_t image)
{
	struct map_checkpoint *c;

	LIST_FOREACH(c, &db->checkpoints, link)
		if (c->image == image)
			return c;
	return NULL;
}

static int save_batch(struct map_db *db, uint64_t image, const struct map_batch *batch, struct error *err)
{
	uint64_t base;
	int rc = image_base(db, image, &base, err);

	for (size_t i = 0; rc == 0 && i < map_batch_count(batch); i++) {
		unsigned level;
		uint64_t index, key;
		const map_entry_t *entries = map_batch_node(batch, i, &level, &index);

		key = key_in_image(level, index);
		rc = put_node(db, image, base, key, entries, err);
		if (rc == 0)
			rc = bind_int(db, SQL_CHANGED_PUT, 1, base | key);
		if (rc == 0)
			rc = map_db_run(db, SQL_CHANGED_PUT, err);
	}
	return rc;
}

int map_db_save(struct map_db *db, uint64_t image, const struct map_state *state, const struct map_batch *batch,
                struct error *err)
{
	int rc;

	map_db_lock(db);
	if (find_checkpoint(db, image)) {
		rc = error_set(err, -EBUSY, "map database: a checkpoint of image %016" PRIx64 " is being written",
		               image);
		goto out;
	}
	rc = map_db_run(db, SQL_BEGIN, err);
	if (rc < 0)
		goto out;
	rc = put_state(db, image, state, err);
	if (rc == 0 && batch)
		rc = save_batch(db, image, batch, err);
	rc = map_db_finish(db, rc, err);
out:
	map_db_unlock(db);
	return rc;
}

struct changed_page {
	size_t count;
	uint64_t key[PAGE_ROWS];
	map_entry_t entries[PAGE_ROWS][MAP_FANOUT];
};

/* Reads the changed nodes of the image with keys from `first` to before `end`, as many as fit. */
static int read_changed(struct map_db *db, uint64_t image, uint64_t first, uint64_t end, struct changed_page *page,
                        struct error *err)
{
	uint64_t base;
	int rc;

	page->count = 0;
	map_db_lock(db);
	rc = image_base(db, image, &base, err);
	if (rc < 0)
		goto out;
	rc = bind_int(db, SQL_CHANGED_PAGE, 1, base | first);
	if (rc == 0)
		rc = bind_int(db, SQL_CHANGED_PAGE, 2, base | end);
	if (rc == 0)
		rc = bind_int(db, SQL_CHANGED_PAGE, 3, PAGE_ROWS);
	while (rc == 0 && (rc = map_db_row(db, SQL_CHANGED_PAGE, err)) > 0) {
		uint64_t key = (uint64_t)sqlite3_column_int64(db->sql[SQL_CHANGED_PAGE], 0) - base;

		if (key < first || key >= end || page->count == PAGE_ROWS)
			rc = row_damaged(db, err, "rows of image %016" PRIx64 " are out of order", image);
		else
			rc = node_from_row(db, SQL_CHANGED_PAGE, 1, image, key, page->entries[page->count], err);
		if (rc < 0)
			break;
		first = key + 1;
		page->key[page->count++] = key;
	}
	map_db_reset(db, SQL_CHANGED_PAGE);
out:
	map_db_unlock(db);
	return rc == -ENOENT ? 0 : rc;
}

int map_db_each_changed(struct map_db *db, uint64_t image, unsigned level,
                        int (*each)(void *arg, uint64_t index, const map_entry_t *entries), void *arg,
                        struct error *err)
{
	uint64_t level_first = key_in_image(level, 0), end = (uint64_t)(level + 1) << LEVEL_BITS, first = level_first;
	struct changed_page *page = malloc(sizeof *page);
	int rc = 0;

	if (!page)
		return -ENOMEM;
	do {
		rc = read_changed(db, image, first, end, page, err);
		for (size_t i = 0; rc == 0 && i < page->count; i++) {
			rc = each(arg, page->key[i] - level_first, page->entries[i]);
			first = page->key[i] + 1;
		}
	} while (rc == 0 && page->count == PAGE_ROWS);
	free(page);
	return rc;
}

int map_db_checkpoint_begin(struct map_db *db, uint64_t image, struct error *err)
{
	struct map_checkpoint *c = calloc(1, sizeof *c);

	if (!c)
		return -ENOMEM;
	c->image = image;
	STAILQ_INIT(&c->nodes);
	map_db_lock(db);
	if (find_checkpoint(db, image)) {
		map_db_unlock(db);
		free(c);
		return error_set(err, -EBUSY, "map database: a checkpoint of image %016" PRIx64 " is being written",
		                 image);
	}
	LIST_INSERT_HEAD(&db->checkpoints, c, link);
	map_db_unlock(db);
	return 0;
}

int map_db_checkpoint_node(struct map_db *db, uint64_t image, unsigned level, uint64_t index,
                           const map_entry_t *entries, struct error *err)
{
	struct pending_node *n = malloc(sizeof *n);
	struct map_checkpoint *c;

	if (!n)
		return -ENOMEM;
	n->key = key_in_image(level, index);
	memcpy(n->entries, entries, sizeof n->entries);
	map_db_lock(db);
	c = find_checkpoint(db, image);
	if (c)
		STAILQ_INSERT_TAIL(&c->nodes, n, link);
	map_db_unlock(db);
	if (c)
		return 0;
	free(n);
	return error_set(err, -EINVAL, "map database: no checkpoint of image %016" PRIx64 " was begun", image);
}

static int apply_checkpoint(struct map_db *db, const struct map_checkpoint *c, const struct map_state *state,
                            struct error *err)
{
	struct pending_node *n;
	uint64_t base;
	int rc = map_db_run(db, SQL_BEGIN, err);

	if (rc < 0)
		return rc;
	rc = put_state(db, c->image, state, err);
	if (rc == 0)
		rc = image_base(db, c->image, &base, err);
	STAILQ_FOREACH(n, &c->nodes, link) {
		if (rc < 0)
			break;
		rc = put_node(db, c->image, base, n->key, n->entries, err);
	}
	if (rc == 0)
		rc = run_range(db, SQL_CHANGED_CLEAR, base, base + ((uint64_t)1 << SLOT_BITS), 0, err);
	return map_db_finish(db, rc, err);
}

int map_db_checkpoint_end(struct map_db *db, uint64_t image, const struct map_state *state, bool commit,
                          struct error *err)
{
	struct map_checkpoint *c;
	int rc = 0;

	map_db_lock(db);
	c = find_checkpoint(db, image);
	if (!c) {
		rc = error_set(err, -EINVAL, "map database: no checkpoint of image %016" PRIx64 " was begun", image);
	} else {
		if (commit)
			rc = apply_checkpoint(db, c, state, err);
		checkpoint_free(c);
	}
	map_db_unlock(db);
	return rc;
}

/* One step: some of the rows, so that others get their turn between. Returns 1 while rows are left. A row fills a page, so more than
 * `*left` rows cannot be there, and deleting more shows a tree that leads back into itself. */
static int forget_some(struct map_db *db, uint64_t base, int64_t *left, struct error *err)
{
	int rc;

	map_db_lock(db);
	rc = *left < 0 ? map_db_pages(db, left, err) : 0;
	if (rc == 0)
		rc = run_range(db, SQL_FORGET_NODES, base, base + ((uint64_t)1 << SLOT_BITS), FORGET_ROWS, err);
	if (rc == 0)
		rc = sqlite3_changes(db->sqlite) > 0;
	if (rc > 0 && (*left -= sqlite3_changes(db->sqlite)) < 0)
		rc = row_damaged(db, err, "there are more nodes than pages");
	map_db_unlock(db);
	return rc;
}

int map_db_forget(struct map_db *db, uint64_t image, struct error *err)
{
	struct map_checkpoint *c;
	uint64_t base;
	int rc;

	map_db_lock(db);
	c = find_checkpoint(db, image);
	if (c)
		checkpoint_free(c);
	rc = image_base(db, image, &base, err);
	if (rc == 0)
		rc = map_db_run(db, SQL_BEGIN, err);
	if (rc == 0) {
		rc = run_image(db, SQL_FORGET_MARK, image, err);
		if (rc == 0)
			rc = run_range(db, SQL_CHANGED_CLEAR, base, base + ((uint64_t)1 << SLOT_BITS), 0, err);
		rc = map_db_finish(db, rc, err);
	}
	map_db_unlock(db);
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	int64_t left = -1;
	do
		rc = forget_some(db, base, &left, err);
	while (rc > 0);
	if (rc < 0)
		return rc;
	map_db_lock(db);
	rc = run_image(db, SQL_FORGET_IMAGE, image, err);
	map_db_unlock(db);
	return rc;
}

static uint32_t cache_crc(const char *key, uint64_t version, const void *value, size_t len)
{
	uint8_t head[8];

	put_le64(head, version);
	return crc32c(crc32c(crc32c(0, key, strlen(key)), head, sizeof head), value, len);
}

int map_db_cache_put(struct map_db *db, const char *key, uint64_t version, const void *value, size_t len)
{
	int rc;

	map_db_lock(db);
	rc = bind_text(db, SQL_CACHE_PUT, 1, key);
	if (rc == 0)
		rc = bind_int(db, SQL_CACHE_PUT, 2, version);
	if (rc == 0)
		rc = bind_int(db, SQL_CACHE_PUT, 3, cache_crc(key, version, value, len));
	if (rc == 0)
		rc = bind_bytes(db, SQL_CACHE_PUT, 4, len ? value : "", len);
	if (rc == 0)
		rc = map_db_row(db, SQL_CACHE_PUT, NULL);
	map_db_reset(db, SQL_CACHE_PUT);
	map_db_unlock(db);
	return rc;
}

int map_db_cache_get(struct map_db *db, const char *key, uint64_t *version, void **value, size_t *len)
{
	sqlite3_stmt *row = db->sql[SQL_CACHE_GET];
	int rc;

	map_db_lock(db);
	rc = bind_text(db, SQL_CACHE_GET, 1, key);
	if (rc == 0)
		rc = map_db_row(db, SQL_CACHE_GET, NULL);
	if (rc == 0) {
		rc = -ENOENT;
	} else if (rc > 0) {
		const void *bytes = sqlite3_column_blob(row, 2);
		size_t n = (size_t)sqlite3_column_bytes(row, 2);
		uint64_t v = (uint64_t)sqlite3_column_int64(row, 0);
		void *copy = NULL;

		rc = 0;
		if ((uint64_t)sqlite3_column_int64(row, 1) != cache_crc(key, v, bytes, n))
			rc = -EBADMSG;
		else if (!(copy = malloc(n ? n : 1)))
			rc = -ENOMEM;
		if (copy) {
			if (n)
				memcpy(copy, bytes, n);
			*version = v;
			*value = copy;
			*len = n;
		}
	}
	map_db_reset(db, SQL_CACHE_GET);
	map_db_unlock(db);
	return rc;
}

int map_db_cache_remove(struct map_db *db, const char *key)
{
	int rc;

	map_db_lock(db);
	rc = bind_text(db, SQL_CACHE_REMOVE, 1, key);
	if (rc == 0)
		rc = map_db_row(db, SQL_CACHE_REMOVE, NULL);
	map_db_reset(db, SQL_CACHE_REMOVE);
	map_db_unlock(db);
	return rc;
}
