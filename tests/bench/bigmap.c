/* SPDX-License-Identifier: GPL-3.0-only */
/* bigmap.c: makes an image with a large map in a file: pool without writing its data through a mount.
 *
 *   bigmap STORE NAME SIZE MAPPED [RUN]       e.g. bigmap file:///srv/pool big.raw 1T 50G
 *
 * The log is a sound one: data segments whose slots compress to almost nothing, then the map's nodes and a checkpoint, as a
 * writer that has handed over would leave them; `garner verify` accepts it. What is mapped lies in runs of 1 MiB, or RUN (a power of two), and
 * is spread evenly over the disk. Of a leaf of the map that is in use one half is mapped, or with a RUN of 2 MiB and more all. Every mapped
 * grain begins with its number (u64, little-endian).
 */
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/size.h"
#include "image/catalog.h"
#include "image/epoch.h"
#include "image/pool.h"
#include "log/segment_object.h"
#include "map/checkpoint.h"
#include "map/grain_map.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define GRAIN 4096u
#define SEGMENT (8u << 20)
#define SLOTS (SEGMENT / GRAIN)

/* The log that is being made: one segment is filled at a time. */
struct maker {
	struct pool *pool;
	uint64_t image, epoch, size;
	uint64_t leaves; /* in use */
	uint64_t disk_leaves;
	uint64_t run;      /* grains */
	uint64_t together; /* so many leaves in use lie together */
	unsigned per_leaf; /* grains */
	struct sealer *sealer;
	struct seal_key key;
	struct segment_shape shape;

	segment_no_t number; /* of the segment that is filled */
	struct record *records;
	uint32_t record_count, slot_count;
	uint8_t *slots; /* SEGMENT bytes */
	struct log_position checkpoint;
	uint8_t prev_digest[DIGEST_BYTES];
	uint64_t now_ns;
};

static int slot_data(void *arg, uint32_t slot, uint32_t count, void *buf)
{
	struct maker *m = arg;

	memcpy(buf, m->slots + (size_t)slot * GRAIN, (size_t)count * GRAIN);
	return 0;
}

/* Packs and stores the segment, begins the next. */
static int finish_segment(struct maker *m, struct error *err)
{
	struct segment_pack p = { .pool = m->pool->uuid,
		                  .image = m->image,
		                  .number = m->number,
		                  .epoch = m->epoch,
		                  .shape = m->shape,
		                  .records = m->records,
		                  .record_count = m->record_count,
		                  .checkpoint = m->checkpoint,
		                  .prev_digest = m->prev_digest,
		                  .image_size = m->size,
		                  .slot_data = slot_data,
		                  .arg = m };
	uint8_t digest[DIGEST_BYTES], *object = NULL;
	char key[STORE_KEY_MAX + 1];
	size_t len;
	int rc;

	if (m->record_count == 0)
		return 0;
	rc = segment_digest(m->image, m->number, m->prev_digest, m->records, m->record_count, digest);
	if (rc < 0)
		return rc;
	p.digest = digest;
	rc = segment_object_pack(&p, m->sealer, &m->key, &object, &len, err);
	if (rc < 0)
		return rc;
	segment_key_format(m->image, m->number, m->epoch, key);
	rc = store_put_wait(m->pool->store, key, object, len, STORE_PUT_CREATE_ONLY, err);
	free(object);
	if (rc < 0)
		return rc;
	memcpy(m->prev_digest, digest, sizeof digest);
	m->number++;
	m->record_count = m->slot_count = 0;
	return 0;
}

/* Adds a record without a slot. There is always room: it is the first of a segment. */
static void add_plain(struct maker *m, enum record_kind kind, uint64_t value)
{
	m->records[m->record_count++] =
		(struct record){ .kind = (uint8_t)kind, .slot = RECORD_NO_SLOT, .value = value, .time_ns = m->now_ns };
}

/* Adds a record with the bytes of its slot; finishes the segment first when it is full. Says where it went. */
static int add_slot(struct maker *m, enum record_kind kind, unsigned level, uint64_t value, const uint8_t bytes[GRAIN],
                    map_entry_t *where, struct error *err)
{
	struct record r = {
		.kind = (uint8_t)kind, .level = (uint8_t)level, .value = value, .count = 1, .time_ns = m->now_ns
	};
	int rc;

	if (m->slot_count == SLOTS) {
		rc = finish_segment(m, err);
		if (rc < 0)
			return rc;
	}
	r.slot = (uint16_t)m->slot_count;
	r.data_crc = crc32c(0, bytes, GRAIN);
	memcpy(m->slots + (size_t)m->slot_count * GRAIN, bytes, GRAIN);
	*where = map_entry(0, m->number, m->slot_count);
	m->slot_count++;
	m->records[m->record_count++] = r;
	return 0;
}

/* The index of the i-th leaf in use. */
static uint64_t leaf_index(const struct maker *m, uint64_t i)
{
	unsigned __int128 group = i / m->together;

	return (uint64_t)(group * (m->disk_leaves / m->together) / (m->leaves / m->together)) * m->together +
	       i % m->together;
}

/* The k-th grain of a leaf that is mapped. */
static unsigned mapped_grain(const struct maker *m, unsigned k)
{
	return m->per_leaf == MAP_FANOUT ? k : (unsigned)(k / m->run * 2 * m->run + k % m->run);
}

static int write_data(struct maker *m, map_entry_t *leaf_entries, struct error *err)
{
	uint8_t bytes[GRAIN];

	memset(bytes, 'g', sizeof bytes);
	for (uint64_t i = 0; i < m->leaves; i++) {
		for (unsigned g = 0; g < m->per_leaf; g++) {
			uint64_t grain = leaf_index(m, i) * MAP_FANOUT + mapped_grain(m, g);
			map_entry_t where;
			int rc;
			put_le64(bytes, grain);
			rc = add_slot(m, RECORD_DATA, 0, grain, bytes, &where, err);
			if (rc < 0)
				return rc;
			if (g == 0)
				leaf_entries[i] = where;
		}
		if (i % 512 == 0 && isatty(STDERR_FILENO))
			fprintf(stderr, "\r%3" PRIu64 " %%", i * 100 / m->leaves);
	}
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r100 %%\n");
	return finish_segment(m, err);
}

/* The entries of a leaf, of which the first is known; they may go on in the next segment. */
static void leaf_fill(const struct maker *m, map_entry_t first, map_entry_t *entries)
{
	segment_no_t segment = map_entry_segment(first);
	uint32_t slot = map_entry_slot(first);

	memset(entries, 0, MAP_FANOUT * sizeof entries[0]);
	for (unsigned g = 0; g < m->per_leaf; g++) {
		entries[mapped_grain(m, g)] = map_entry(0, segment, slot);
		if (++slot == SLOTS) {
			slot = 0;
			segment++;
		}
	}
}

/* Writes all nodes of one level. index[] and address[] (count of them) are the nodes below, and become those of this level. */
static int write_level(struct maker *m, unsigned level, uint64_t *index, map_entry_t *address, uint64_t *count,
                       struct error *err)
{
	uint8_t bytes[MAP_NODE_BYTES];
	map_entry_t entries[MAP_FANOUT];
	uint64_t made = 0, i = 0;

	while (i < *count) {
		uint64_t node = level ? index[i] / MAP_FANOUT : index[i];
		map_entry_t where;
		int rc;
		if (level == 0) {
			leaf_fill(m, address[i++], entries);
		} else {
			memset(entries, 0, sizeof entries);
			for (; i < *count && index[i] / MAP_FANOUT == node; i++)
				entries[index[i] % MAP_FANOUT] = address[i];
		}
		map_node_encode(entries, bytes);
		rc = add_slot(m, RECORD_NODE, level, node, bytes, &where, err);
		if (rc < 0)
			return rc;
		index[made] = node;
		address[made++] = where;
	}
	*count = made;
	return 0;
}

/* Writes the tree and the checkpoint. `address` are the data runs' first entries. */
static int write_map(struct maker *m, map_entry_t *address, struct error *err)
{
	struct checkpoint c = { .position = { m->number, 0 },
		                .size = m->size,
		                .allocated = m->leaves * m->per_leaf,
		                .mtime_ns = m->now_ns,
		                .time_ns = m->now_ns };
	uint64_t *index = calloc(m->leaves, sizeof index[0]), count = m->leaves;
	uint8_t bytes[GRAIN] = { 0 };
	map_entry_t where;
	int rc = index ? 0 : -ENOMEM;

	for (uint64_t i = 0; index && i < m->leaves; i++)
		index[i] = leaf_index(m, i);
	for (unsigned level = 0; rc == 0 && level < MAP_LEVELS; level++)
		rc = write_level(m, level, index, address, &count, err);
	if (rc == 0) {
		c.root = address[0];
		checkpoint_encode(&c, bytes);
		if (m->slot_count == SLOTS)
			rc = finish_segment(m, err);
	}
	if (rc == 0) {
		m->checkpoint = (struct log_position){ m->number, m->record_count };
		rc = add_slot(m, RECORD_CHECKPOINT, 0, 0, bytes, &where, err);
	}
	if (rc == 0)
		rc = finish_segment(m, err);
	free(index);
	return rc;
}

static int write_log(struct maker *m, struct error *err)
{
	map_entry_t *leaf_entries = calloc(m->leaves, sizeof leaf_entries[0]);
	int rc = -ENOMEM;

	m->records = calloc(SLOTS + 2, sizeof m->records[0]);
	m->slots = malloc(SEGMENT);
	m->sealer = sealer_new(0);
	if (leaf_entries && m->records && m->slots && m->sealer)
		rc = segment_shape(GRAIN, SEGMENT, &m->shape);
	if (rc == 0) {
		m->number = 1;
		add_plain(m, RECORD_RESIZE, m->size);
		rc = write_data(m, leaf_entries, err);
	}
	if (rc == 0)
		rc = write_map(m, leaf_entries, err);
	sealer_free(m->sealer);
	free(m->slots);
	free(m->records);
	free(leaf_entries);
	return rc;
}

/* Claims the image as a host that then hands it over. */
static int make_image(struct maker *m, const char *name, struct error *err)
{
	struct catalog *catalog = catalog_new(m->pool, NULL);
	struct catalog_entry entry = { .parent = NODE_ROOT,
		                       .type = NODE_FILE,
		                       .mode = 0644,
		                       .uid = getuid(),
		                       .gid = getgid(),
		                       .grain_bytes = GRAIN };
	struct host host = { .id = 0x6269676d6170, .name = "bigmap" };
	struct log_view view = { 0 };
	struct head head;
	int rc = -ENOMEM;

	if (!catalog)
		return rc;
	snprintf(entry.name, sizeof entry.name, "%s", name);
	rc = catalog_create(catalog, &entry, err);
	m->image = entry.id;
	if (rc == 0)
		rc = log_view_load(m->pool, m->image, &view, err);
	if (rc == 0)
		rc = epoch_claim(m->pool, m->image, &host, &view, err);
	if (rc == 0)
		rc = epoch_begin_term(m->pool, m->image, &view, 1, err);
	if (rc == 0) {
		m->epoch = view.newest_epoch;
		image_key(&m->pool->master, m->image, &m->key);
		rc = write_log(m, err);
	}
	if (rc == 0) {
		head = (struct head){ .epoch = m->epoch,
			              .checkpoint = m->checkpoint,
			              .size = m->size,
			              .allocated = m->leaves * m->per_leaf,
			              .mtime_ns = m->now_ns,
			              .grain_bytes = GRAIN };
		rc = head_save(m->pool, m->image, &head, err);
	}
	if (rc == 0)
		rc = epoch_release(m->pool, m->image, &host, &view, m->number - 1, err);
	log_view_destroy(&view);
	catalog_free(catalog);
	return rc;
}

int main(int argc, char **argv)
{
	struct store_options options = { .create = true };
	struct maker m = { 0 };
	struct error err = { 0 };
	struct timespec now;
	uint64_t mapped, run = 1 << 20;
	int rc;

	if (argc != 5 && argc != 6) {
		fprintf(stderr, "usage: bigmap STORE NAME SIZE MAPPED [RUN]\n");
		return 2;
	}
	rc = size_parse(argv[3], &m.size, &err);
	if (rc == 0)
		rc = size_parse(argv[4], &mapped, &err);
	if (rc == 0 && argc == 6)
		rc = size_parse(argv[5], &run, &err);
	if (rc == 0 && (run < GRAIN || run & (run - 1)))
		rc = error_set(&err, -EINVAL, "a run is a power of two, and at least 4K");
	m.run = run / GRAIN;
	m.together = m.run > MAP_FANOUT ? m.run / MAP_FANOUT : 1;
	m.per_leaf = m.run < MAP_FANOUT ? MAP_FANOUT / 2 : MAP_FANOUT;
	if (rc == 0) {
		m.disk_leaves = m.size / GRAIN / MAP_FANOUT / m.together * m.together;
		m.leaves = mapped / GRAIN / m.per_leaf / m.together * m.together;
	}
	if (rc == 0 && (m.leaves == 0 || m.leaves > m.disk_leaves))
		rc = error_set(&err, -EINVAL, "so much cannot be mapped in such runs");
	clock_gettime(CLOCK_REALTIME, &now);
	m.now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	if (rc == 0)
		rc = pool_init(argv[1], &options, NULL, GRAIN, &err);
	if (rc == 0 || rc == -EEXIST)
		rc = pool_open(argv[1], &options, NULL, &m.pool, &err);
	if (rc == 0)
		rc = make_image(&m, argv[2], &err);
	pool_close(m.pool);
	if (rc < 0) {
		fprintf(stderr, "bigmap: %s\n", err.text[0] ? err.text : strerror(-rc));
		return 1;
	}
	printf("%" PRIu64 " segments, %" PRIu64 " leaves\n", m.number - 1, m.leaves);
	return 0;
}
