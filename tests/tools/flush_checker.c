/* SPDX-License-Identifier: GPL-3.0-only */
/* flush_checker.c: finds lost and reordered writes on a disk whose server is killed.
 *
 * Writer: numbered writes of 1 to 16 blocks at places that a seed decides, with O_DIRECT, and an fsync now and then; after
 * each answer it notes in a file elsewhere how far writes were answered and flushed. Checker: every block must hold
 * what it held after write number M, where M is the newest write found; M may not be less than what was flushed. Only write M
 * itself, if it was not answered, may be there in part.
 *
 *   flush_checker write  -f FILE -n NOTES [-s SEED] [-b BLOCKS] [-t SECONDS] [-c COUNT]
 *       goes on after the newest write that is in the notes. Exit code 0: time or count is over; 3: the disk failed.
 *   flush_checker verify -f FILE -n NOTES [-s SEED] [-b BLOCKS] [-a]
 *       -a: what was answered must be there too, flushed or not. Sets the notes to what it found. Exit code 0 or 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096u
#define RUN_MAX 16u
#define MAGIC 0x4e52414754455354u

struct job {
	const char *file, *notes;
	uint64_t seed, blocks, seconds, count;
	bool answered_too;
};

struct notes {
	uint64_t answered, flushed;
};

/* One write: which blocks. A pure function of seed and number. */
struct run {
	uint64_t first;
	unsigned length;
	bool flush_after;
};

static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static struct run run_of(const struct job *j, uint64_t number)
{
	uint64_t x = mix(j->seed * 0x9e3779b97f4a7c15u + number), y = mix(x + 1);
	struct run r = { .first = x % j->blocks, .length = 1, .flush_after = y % 7 == 0 };

	if (y >> 8 & 1)
		r.length = 1 + (unsigned)((y >> 16) % RUN_MAX);
	if (r.length > j->blocks - r.first)
		r.length = (unsigned)(j->blocks - r.first);
	return r;
}

/* The bytes of block `block` after write `number`; zeros for number 0. */
static void fill(const struct job *j, uint64_t number, uint64_t block, uint8_t *out)
{
	uint64_t words[BLOCK / 8] = { 0 };

	if (number) {
		uint64_t x = mix(number ^ mix(block ^ j->seed));
		words[0] = MAGIC;
		words[1] = number;
		words[2] = block;
		for (unsigned i = 3; i < BLOCK / 8; i++)
			words[i] = x += 0x9e3779b97f4a7c15u * (i | 1);
	}
	memcpy(out, words, BLOCK);
}

static int notes_load(const char *path, struct notes *n)
{
	FILE *f = fopen(path, "r");
	int got;

	*n = (struct notes){ 0 };
	if (!f)
		return errno == ENOENT ? 0 : -errno;
	got = fscanf(f, "%" SCNu64 " %" SCNu64, &n->answered, &n->flushed);
	fclose(f);
	return got == 2 ? 0 : -EBADMSG;
}

static int notes_save(int fd, const struct notes *n)
{
	char text[64];
	int len = snprintf(text, sizeof text, "%020" PRIu64 " %020" PRIu64 "\n", n->answered, n->flushed);

	return pwrite(fd, text, (size_t)len, 0) == len ? 0 : -EIO;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Writes until time or count is over, or the disk fails. */
static int write_runs(const struct job *j, int fd, int notes_fd, struct notes *n, uint8_t *buf)
{
	double end = now() + (double)j->seconds;
	uint64_t done = 0;

	while (now() < end && (j->count == 0 || done < j->count)) {
		struct run r = run_of(j, n->answered + 1);
		ssize_t want = (ssize_t)r.length * BLOCK;
		for (unsigned i = 0; i < r.length; i++)
			fill(j, n->answered + 1, r.first + i, buf + (size_t)i * BLOCK);
		if (pwrite(fd, buf, (size_t)want, (off_t)(r.first * BLOCK)) != want)
			return 3;
		n->answered++;
		done++;
		if (notes_save(notes_fd, n) < 0)
			return 1;
		if (!r.flush_after)
			continue;
		if (fsync(fd) < 0)
			return 3;
		n->flushed = n->answered;
		if (notes_save(notes_fd, n) < 0)
			return 1;
	}
	return 0;
}

static int do_write(const struct job *j)
{
	int fd = -1, notes_fd = -1, rc = 1;
	struct notes n;
	void *buf = NULL;
	uint64_t before;

	if (notes_load(j->notes, &n) < 0)
		goto out;
	before = n.answered;
	notes_fd = open(j->notes, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	fd = open(j->file, O_WRONLY | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
	if (fd < 0 || notes_fd < 0 || posix_memalign(&buf, BLOCK, (size_t)RUN_MAX * BLOCK) != 0)
		goto out;
	if (before == 0 && ftruncate(fd, (off_t)(j->blocks * BLOCK)) < 0)
		goto out;
	rc = write_runs(j, fd, notes_fd, &n, buf);
	printf("%s after write %" PRIu64 " (%" PRIu64 " in this run), flushed up to %" PRIu64 "\n",
	       rc == 3 ? strerror(errno) : "ended", n.answered, n.answered - before, n.flushed);
out:
	if (rc == 1)
		fprintf(stderr, "flush_checker: %s or %s: %s\n", j->file, j->notes, strerror(errno));
	free(buf);
	if (fd >= 0)
		close(fd); /* the disk may be gone: what counts was synced */
	if (notes_fd >= 0 && close(notes_fd) < 0)
		rc = 1;
	return rc;
}

/* The number that a block claims to be from; checked by the caller against every byte. */
static uint64_t claimed(const uint8_t *block)
{
	uint64_t magic, number;

	memcpy(&magic, block, sizeof magic);
	memcpy(&number, block + 8, sizeof number);
	return magic == MAGIC ? number : 0;
}

/* Whether the bytes are what write `number` put into `block`. */
static bool holds(const struct job *j, const uint8_t *bytes, uint64_t number, uint64_t block)
{
	uint8_t want[BLOCK];

	fill(j, number, block, want);
	return memcmp(bytes, want, BLOCK) == 0;
}

static int check(const struct job *j, const uint8_t *disk, const struct notes *n, uint64_t *found)
{
	uint64_t *last = calloc(j->blocks, sizeof *last), *before = calloc(j->blocks, sizeof *before);
	uint64_t newest = 0, wrong = 0;

	if (!last || !before) {
		free(last);
		free(before);
		return -ENOMEM;
	}
	for (uint64_t b = 0; b < j->blocks; b++)
		if (claimed(disk + b * BLOCK) > newest)
			newest = claimed(disk + b * BLOCK);
	if (newest > n->answered + 1) {
		printf("a block claims write %" PRIu64 ", which was never made\n", newest);
		wrong++;
	}
	for (uint64_t w = 1; w <= newest && wrong == 0; w++) {
		struct run r = run_of(j, w);
		for (unsigned i = 0; i < r.length; i++) {
			before[r.first + i] = last[r.first + i];
			last[r.first + i] = w;
		}
	}
	for (uint64_t b = 0; b < j->blocks && wrong < 10; b++) {
		const uint8_t *bytes = disk + b * BLOCK;
		bool torn = last[b] == newest && newest > n->answered && holds(j, bytes, before[b], b);
		if (holds(j, bytes, last[b], b) || torn)
			continue;
		printf("block %" PRIu64 ": holds write %" PRIu64 ", should hold %" PRIu64 " (newest found: %" PRIu64
		       ")\n",
		       b, claimed(bytes), last[b], newest);
		wrong++;
	}
	if (newest < n->flushed || (j->answered_too && newest < n->answered)) {
		printf("LOST: the newest write is %" PRIu64 "\n", newest);
		wrong++;
	}
	printf("found %" PRIu64 ", answered %" PRIu64 ", flushed %" PRIu64 ": %s\n", newest, n->answered, n->flushed,
	       wrong ? "WRONG" : "good");
	*found = newest;
	free(last);
	free(before);
	return wrong ? -EBADMSG : 0;
}

static int read_all(int fd, uint8_t *buf, size_t len)
{
	size_t at = 0;

	while (at < len) {
		ssize_t n = pread(fd, buf + at, len - at < 1 << 20 ? len - at : 1 << 20, (off_t)at);
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += (size_t)n;
	}
	return 0;
}

static int do_verify(const struct job *j)
{
	size_t len = j->blocks * BLOCK;
	int fd = -1, notes_fd = -1, rc;
	struct notes n;
	void *disk = NULL;
	uint64_t found;

	rc = notes_load(j->notes, &n);
	if (rc < 0)
		goto out;
	fd = open(j->file, O_RDONLY | O_DIRECT | O_CLOEXEC);
	notes_fd = open(j->notes, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || notes_fd < 0) {
		rc = -errno;
		goto out;
	}
	if (posix_memalign(&disk, BLOCK, len) != 0) {
		rc = -ENOMEM;
		goto out;
	}
	rc = read_all(fd, disk, len);
	if (rc == 0)
		rc = check(j, disk, &n, &found);
	if (rc == 0)
		rc = notes_save(notes_fd, &(struct notes){ found, found < n.flushed ? n.flushed : found });
out:
	if (rc < 0 && rc != -EBADMSG)
		fprintf(stderr, "flush_checker: %s or %s: %s\n", j->file, j->notes, strerror(-rc));
	free(disk);
	if (fd >= 0)
		close(fd);
	if (notes_fd >= 0)
		close(notes_fd);
	return rc < 0;
}

int main(int argc, char **argv)
{
	struct job j = { .seed = 1, .blocks = 16384, .seconds = 10 };
	const char *what = argc > 1 ? argv[1] : "";
	int opt;

	while (argc > 1 && (opt = getopt(argc - 1, argv + 1, "f:n:s:b:t:c:a")) != -1) {
		switch (opt) {
		case 'f':
			j.file = optarg;
			break;
		case 'n':
			j.notes = optarg;
			break;
		case 's':
			j.seed = strtoull(optarg, NULL, 10);
			break;
		case 'b':
			j.blocks = strtoull(optarg, NULL, 10);
			break;
		case 't':
			j.seconds = strtoull(optarg, NULL, 10);
			break;
		case 'c':
			j.count = strtoull(optarg, NULL, 10);
			break;
		case 'a':
			j.answered_too = true;
			break;
		default:
			j.file = NULL;
			what = "";
			break;
		}
	}
	if (j.file && j.notes && j.blocks && strcmp(what, "write") == 0)
		return do_write(&j);
	if (j.file && j.notes && j.blocks && strcmp(what, "verify") == 0)
		return do_verify(&j);
	fprintf(stderr, "usage: flush_checker write|verify -f FILE -n NOTES [-s SEED] [-b BLOCKS] [-t SECONDS] [-c "
	                "COUNT] [-a]\n");
	return 2;
}
