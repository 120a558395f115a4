/* SPDX-License-Identifier: GPL-3.0-only */
/* segment_file.h: one segment in the local cache directory: a header, an index of records, a box table, then slots.
 *
 * The same file serves three lives: open (the log appends to it), sealed (complete and durable, waiting for its upload),
 * and stored (a cache of the object, perhaps with only some chunks present: holes are what is absent). Slots lie at
 * fixed offsets and are plain. The file is made of allocated blocks before it is opened for appending, so that
 * a disk that fills does not stop it half-way. It knows nothing of the map, of stores or of who else uses the file; the caller
 * says which slot and record numbers to write and serialises the state changes (open/seal/mark), while reading and writing
 * distinct slots and records is safe on any threads.
 *
 * Layout (all little-endian):
 *   0        header, SEGMENT_HEADER_BYTES (512, one sector, so that it is never torn), then zeros up to 4096
 *   4096     index: records_max records of RECORD_BYTES, rounded up to 4096
 *   ...      box table: one SEAL_BOX_BYTES + u32 offset per chunk, rounded up to 4096; only valid in state stored
 *   data     slots, beginning at a multiple of 65536
 */
#ifndef GARNER_LOG_SEGMENT_FILE_H
#define GARNER_LOG_SEGMENT_FILE_H

#include "base/disk.h"
#include "base/error.h"
#include "log/record.h"
#include "log/types.h"
#include "seal/seal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define SEGMENT_HEADER_BYTES 512
#define SEGMENT_INDEX_OFFSET 4096u
/* Version 1, which is read as well, is from before there were share records. */
#define SEGMENT_FILE_VERSION 2
#define POOL_UUID_BYTES 16

enum segment_state {
	SEGMENT_OPEN = 1,   /* the index is valid up to the first record that fails its checksum */
	SEGMENT_SEALED = 2, /* record_count records, all durable; digest is set */
	SEGMENT_STORED = 3, /* as sealed, and the store has it; slots may be absent (holes) */
};

/* The shape of a segment: a pure function of grain size and segment size. */
struct segment_shape {
	uint32_t slot_bytes;  /* the image's grain size */
	uint32_t slots;       /* segment bytes / slot bytes */
	uint32_t records_max; /* at least 2 * slots and 1024 */
	uint32_t chunks;      /* of CHUNK_BYTES slots each, the last may be short */
	uint64_t table_offset;
	uint64_t data_offset;
	uint64_t file_bytes;
};

/* Returns 0, or -EINVAL when grain or segment size is out of range or not a power of two (slots <= SEGMENT_SLOTS_MAX). */
int segment_shape(uint32_t grain_bytes, uint32_t segment_bytes, struct segment_shape *shape);

static inline uint64_t segment_slot_offset(const struct segment_shape *s, uint32_t slot)
{
	return s->data_offset + (uint64_t)slot * s->slot_bytes;
}

static inline uint32_t segment_chunk_of_slot(const struct segment_shape *s, uint32_t slot)
{
	return (uint32_t)((uint64_t)slot * s->slot_bytes / CHUNK_BYTES);
}

/* What the header says. */
struct segment_header {
	uint8_t pool[POOL_UUID_BYTES];
	uint64_t image;
	segment_no_t number;
	uint64_t epoch; /* in which it was born; the stored object's epoch is decided when it is packed */
	uint64_t salt;  /* random: binds records to this life of the file */
	uint32_t slot_bytes, slots, records_max;
	uint32_t state;
	uint32_t record_count; /* sealed and stored only */
	uint32_t slot_count;   /* sealed and stored only: slots in use */
	uint64_t created_ns;   /* wall clock */
	uint8_t prev_digest
		[DIGEST_BYTES];       /* sealed and stored only: digest of segment number-1 (zeros for the first) */
	uint8_t digest[DIGEST_BYTES]; /* sealed and stored only: see segment_digest() */
};

void segment_header_encode(const struct segment_header *h, uint8_t out[SEGMENT_HEADER_BYTES]);
/* -EBADMSG: no magic, wrong crc, or numbers that do not fit together (the shape is recomputed and compared).
 * -EPROTONOSUPPORT: a newer version. */
int segment_header_decode(const uint8_t in[SEGMENT_HEADER_BYTES], struct segment_header *h, struct error *err);

/* The chain: BLAKE2b-256 of prev_digest, then image and number (u64 LE), then the needed records (records_mark_needed)
 * encoded with salt 0 and numbered from 0. Both hosts and verify compute the same. 0 or -ENOMEM. */
int segment_digest(uint64_t image, segment_no_t number, const uint8_t prev_digest[DIGEST_BYTES],
                   const struct record *records, size_t count, uint8_t out[DIGEST_BYTES]);
/* The same of a segment that is sealed whole, since its image keeps history: all its records are needed. */
int segment_digest_whole(uint64_t image, segment_no_t number, const uint8_t prev_digest[DIGEST_BYTES],
                         const struct record *records, size_t count, uint8_t out[DIGEST_BYTES]);
/* Whether `digest` is that of these records in one of both ways: 0, -EBADMSG, -ENOMEM. `*whole` (may be NULL): in the second. */
int segment_digest_fits(uint64_t image, segment_no_t number, const uint8_t prev_digest[DIGEST_BYTES],
                        const struct record *records, size_t count, const uint8_t digest[DIGEST_BYTES], bool *whole);
/* The same of needed records that are encoded already (`len` bytes of index, as in a stored object). */
void segment_digest_index(uint64_t image, segment_no_t number, const uint8_t prev_digest[DIGEST_BYTES],
                          const uint8_t *index, size_t len, uint8_t out[DIGEST_BYTES]);

struct segment_file {
	struct disk *disk;
	char *path;
	int fd;
	struct segment_shape shape;
	struct segment_header header; /* changes while it is sealed and marked as stored */
	uint64_t created_ns;          /* of the header; constant */
	int direct_fd;                /* of segment_file_write_direct(); -1: not open */
	bool no_direct;               /* the file system does not take such writes */
};

/* Makes a spare: a file of `file_bytes` with allocated blocks; when `written`, filled with zeros and synced, so that later
 * overwriting needs no journal. -ENOSPC and what the file system says; nothing is left behind on failure. */
int segment_file_make_spare(struct disk *disk, const char *path, uint64_t file_bytes, bool written, struct error *err);

/* Turns the spare at `spare` (of at least the right size, fully allocated) into an open segment at `path`: writes a new
 * header (state open, h->salt chosen at random here, shape from slot_bytes and `segment_bytes`), syncs it, renames, syncs
 * the directory `dir`. Returns 0 with *f to be closed by segment_file_close(). On failure the spare may be
 * gone, and `path` does not exist. */
int segment_file_create(struct disk *disk, const char *spare, const char *dir, const char *path,
                        const struct segment_header *h, uint32_t segment_bytes, struct segment_file **f,
                        struct error *err);

/* The same for the cache of a stored object: state stored, all records given, every slot absent (a new sparse file); nothing is
 * synced, since the store has it all. `table` (may be NULL) is written beside: see segment_file_set_table(). */
int segment_file_create_stored(struct disk *disk, const char *path, const struct segment_header *h,
                               uint32_t segment_bytes, const struct record *records, size_t count,
                               struct segment_file **f, struct error *err);

/* Opens an existing file and checks its header (that its image and number are `image` and `number`, and its pool `pool`).
 * -EBADMSG, -EPROTONOSUPPORT, -ENOENT ... */
int segment_file_open(struct disk *disk, const char *path, const uint8_t pool[POOL_UUID_BYTES], uint64_t image,
                      segment_no_t number, struct segment_file **f, struct error *err);

/* Closes the descriptor, frees; the file stays. NULL is ignored. */
void segment_file_close(struct segment_file *f);

/* Writes records[0..count) as `number` and on into the index. State open only. 0 or -errno. */
int segment_file_put_records(struct segment_file *f, uint32_t number, const struct record *records, size_t count);

/* Writes whole slots [slot, slot + bytes/slot_bytes) from `iov`. 0 or -errno. */
int segment_file_write_slots(struct segment_file *f, uint32_t slot, const struct iovec *iov, int iovcnt);

/* The same past the page cache, where the file system lets us: for many slots that nobody will soon read. `buf` begins at a page.
 * One caller at a time. */
int segment_file_write_direct(struct segment_file *f, uint32_t slot, const void *buf, size_t len);
/* No more of these will come. */
void segment_file_end_direct(struct segment_file *f);

/* Writes `count` records that are encoded already as `number` and on. */
int segment_file_put_index(struct segment_file *f, uint32_t number, const uint8_t *encoded, size_t count);

/* Reads `len` bytes beginning `skip` bytes into `slot` (may run over following slots). -EIO when the file is short. */
int segment_file_read(struct segment_file *f, uint32_t slot, uint32_t skip, void *buf, size_t len);

int segment_file_sync(struct segment_file *f);

/* Reads the records of the index. State open: up to the first that fails its checksum. Sealed/stored: exactly record_count,
 * or -EBADMSG. `*records` is malloc'ed and the caller's. When `check_data` (state open), a record with a slot whose bytes
 * fail their checksum also ends the list. */
int segment_file_read_records(struct segment_file *f, bool check_data, struct record **records, size_t *count,
                              struct error *err);

/* Reads the first `count` records, whatever the state; those that were put there, which may go on with others behind. -EBADMSG when
 * one is damaged. Any thread, also while the segment is being sealed. */
int segment_file_read_index(struct segment_file *f, size_t count, struct record **records, struct error *err);

/* open -> sealed: the slots and records before were synced by the caller; writes the new header (count, slot count, digests), which
 * another sync makes durable. Until then a power cut may leave it open, with all that it holds. */
int segment_file_seal(struct segment_file *f, uint32_t record_count, uint32_t slot_count,
                      const uint8_t prev_digest[DIGEST_BYTES], const uint8_t digest[DIGEST_BYTES], struct error *err);

/* sealed -> stored: rewrites the header in the file, not that in memory; not synced: it is a hint, the store knows the truth. */
int segment_file_mark_stored(struct segment_file *f, struct error *err);

/* The box table of the stored object: `table` of shape.chunks entries (offset u32 from the chunks' start + SEAL_BOX_BYTES),
 * already encoded, with a crc32c of it all in front (u32) and `chunks_offset` (u64, from the start of the object). Reading
 * returns -ENOENT when none was written, -EBADMSG when damaged: the caller then fetches it again. */
#define SEGMENT_TABLE_ENTRY (4 + SEAL_BOX_BYTES)
int segment_file_set_table(struct segment_file *f, uint64_t chunks_offset, const uint8_t *table, size_t len);
int segment_file_get_table(struct segment_file *f, uint64_t *chunks_offset, uint8_t *table, size_t len);

/* Punches the slots of chunks [first, first+count) out of the file. */
int segment_file_punch(struct segment_file *f, uint32_t first, uint32_t count);

/* Sets bit i of `present` (at least shape.chunks bits, cleared before) for every chunk of which any byte is allocated in
 * the file (SEEK_DATA): those may be cached; their bytes are to be verified on first use. */
int segment_file_present(struct segment_file *f, uint8_t *present);

#endif
