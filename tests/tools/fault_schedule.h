/* SPDX-License-Identifier: GPL-3.0-only */
/* fault_schedule.h: which request of the fault proxy meets which fault, and how quickly bytes may pass.
 *
 * The fate of the n-th request is a function of the seed, n, the rules, and how many faults went before (when those are
 * limited), so a run with the same seed and the same requests is the same run. Knows no sockets, no clock and no HTTP.
 * Not thread-safe: the owner locks.
 */
#ifndef GARNER_TESTS_FAULT_SCHEDULE_H
#define GARNER_TESTS_FAULT_SCHEDULE_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

enum fault_kind {
	FAULT_NONE,
	FAULT_RESET_BEFORE, /* connection reset before the request is passed on */
	FAULT_RESET_AFTER,  /* request passed on, answer dropped, connection reset: the lost answer */
	FAULT_STALL,        /* nothing passes on the connection for `argument` ms; without one, for ever */
	FAULT_TRUNCATE,     /* answer cut after `argument` percent of its body, then closed in order */
	FAULT_500,          /* answered without the server; `argument`: Retry-After in seconds */
	FAULT_503,
	FAULT_429,
	FAULT_DUPLICATE, /* sent twice, the second time `argument` ms later on a connection of its own */
	FAULT_CORRUPT,   /* one bit of the answer's body flipped */
	FAULT_SLOW,      /* answer passes at `argument` bytes per second */
	FAULT_KINDS,
};

/* The name that people write, such as "reset-before". Never NULL for a kind below FAULT_KINDS. */
const char *fault_kind_name(enum fault_kind kind);

struct fault_rule {
	double probability; /* 0 to 1; all rules together at most 1 */
	uint64_t argument;
	bool has_argument;
};

struct fault_schedule {
	uint64_t seed;
	uint64_t faults_max; /* no faults after so many; UINT64_MAX: no limit */
	uint64_t requests;   /* asked about so far */
	uint64_t faults;     /* of these, how many were met by a fault */
	uint64_t counts[FAULT_KINDS];
	struct fault_rule rules[FAULT_KINDS];
};

struct fault_verdict {
	enum fault_kind kind;
	uint64_t argument;
	bool has_argument;
	uint64_t random; /* for choices within the fault, such as which byte is corrupted */
};

/* A schedule without rules. */
void fault_schedule_init(struct fault_schedule *s, uint64_t seed, uint64_t faults_max);

/* Sets the rule written "KIND=PROBABILITY[,ARGUMENT]" in place of an older one of its kind; probability 0 ends it. Returns
 * 0, or -EINVAL with a text in `err` and the schedule as it was: unknown kind, a probability that is none or makes the sum
 * exceed 1, an argument that is missing, out of range, or of no use to the kind. */
int fault_schedule_add(struct fault_schedule *s, const char *text, struct error *err);

/* Ends all rules. Requests go on being counted. */
void fault_schedule_off(struct fault_schedule *s);

/* The fate of the next request. */
struct fault_verdict fault_schedule_next(struct fault_schedule *s);

/* Reads digits into `*value`. Returns 0, or -EINVAL when they are not all digits, or are more than `max`. */
int fault_number_parse(const char *text, uint64_t max, uint64_t *value);

/* Reads "12" or "0.25" milliseconds, at most a minute, into nanoseconds. Returns 0, or -EINVAL with a text in `err`. */
int fault_delay_parse(const char *text, uint64_t *delay_ns, struct error *err);

/* ---- token bucket ------------------------------------------------------------------------------------------------ */

#define TOKEN_RATE_MAX UINT64_C(1000000000000) /* bytes per second */

/* Lets `rate` bytes per second pass, and after a pause a burst of some milliseconds' worth, not more. */
struct token_bucket {
	uint64_t rate;    /* bytes per second; 0: no limit */
	uint64_t tokens;  /* bytes that may pass */
	uint64_t carry;   /* billionths of a byte on top */
	uint64_t last_ns; /* when that was so */
};

/* Sets the rate (at most TOKEN_RATE_MAX) and empties the bucket. */
void token_bucket_set(struct token_bucket *b, uint64_t rate, uint64_t now_ns);

/* What is best taken at a time: some milliseconds' worth, and never 0. Never more than a bucket can hold. */
uint64_t token_bucket_quantum(const struct token_bucket *b);

/* How many bytes may pass now; UINT64_MAX without a limit. A clock that steps back gives nothing. */
uint64_t token_bucket_available(struct token_bucket *b, uint64_t now_ns);

/* Takes `bytes`, at most what was available. */
void token_bucket_take(struct token_bucket *b, uint64_t bytes);

/* How long until `bytes` (at most a quantum) may pass, in nanoseconds; 0 when they may now. */
uint64_t token_bucket_wait_ns(struct token_bucket *b, uint64_t bytes, uint64_t now_ns);

#endif
