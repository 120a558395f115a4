/* SPDX-License-Identifier: GPL-3.0-only */
/* fault_schedule.c: the seeded schedule of faults and the token bucket. Pure: no sockets, no clock, no HTTP. */
#include "tools/fault_schedule.h"

#include "lib/random.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS UINT64_C(1000000000)
#define DELAY_MAX_MS 60000.0
#define SUM_SLACK 1e-9 /* 0.1 ten times over is not quite 1 */
#define QUANTUM_MIN 64
#define QUANTUM_MAX 65536
#define QUANTA_PER_S 200
#define BURSTS_PER_S 50

__extension__ typedef unsigned __int128 wide;

enum argument_use { ARGUMENT_NONE, ARGUMENT_OPTIONAL, ARGUMENT_NEEDED };

static const struct {
	const char *name;
	enum argument_use use;
	uint64_t min, max;
	const char *meaning;
} kinds[FAULT_KINDS] = {
	[FAULT_NONE] = { "none", ARGUMENT_NONE, 0, 0, "" },
	[FAULT_RESET_BEFORE] = { "reset-before", ARGUMENT_NONE, 0, 0, "" },
	[FAULT_RESET_AFTER] = { "reset-after", ARGUMENT_NONE, 0, 0, "" },
	[FAULT_STALL] = { "stall", ARGUMENT_OPTIONAL, 1, 86400000, "milliseconds" },
	[FAULT_TRUNCATE] = { "truncate", ARGUMENT_OPTIONAL, 0, 100, "percent of the body" },
	[FAULT_500] = { "500", ARGUMENT_OPTIONAL, 0, 86400, "seconds for Retry-After" },
	[FAULT_503] = { "503", ARGUMENT_OPTIONAL, 0, 86400, "seconds for Retry-After" },
	[FAULT_429] = { "429", ARGUMENT_OPTIONAL, 0, 86400, "seconds for Retry-After" },
	[FAULT_DUPLICATE] = { "duplicate", ARGUMENT_OPTIONAL, 0, 60000, "milliseconds" },
	[FAULT_CORRUPT] = { "corrupt", ARGUMENT_NONE, 0, 0, "" },
	[FAULT_SLOW] = { "slow", ARGUMENT_NEEDED, 1, TOKEN_RATE_MAX, "bytes per second" },
};

const char *fault_kind_name(enum fault_kind kind)
{
	return kinds[kind].name;
}

int fault_number_parse(const char *text, uint64_t max, uint64_t *value)
{
	uint64_t v = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++)
		if (*text < '0' || *text > '9' || __builtin_mul_overflow(v, 10u, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*text - '0'), &v) || v > max)
			return -EINVAL;
	*value = v;
	return 0;
}

/* A plain decimal number ("1", "0.05", ".5") of at most `len` characters at `text`: no sign, exponent, "inf" or "0x". */
static int parse_decimal(const char *text, size_t len, double *value)
{
	char copy[32], *end;

	if (len == 0 || len >= sizeof copy)
		return -EINVAL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (strspn(copy, "0123456789.") != len)
		return -EINVAL;
	*value = strtod(copy, &end);
	return end == copy + len ? 0 : -EINVAL;
}

int fault_delay_parse(const char *text, uint64_t *delay_ns, struct error *err)
{
	double ms;

	if (parse_decimal(text, strlen(text), &ms) < 0 || ms > DELAY_MAX_MS)
		return error_set(err, -EINVAL, "'%s' is not a delay in milliseconds (0 to 60000, such as 12 or 0.25)",
		                 text);
	*delay_ns = (uint64_t)(ms * 1e6 + 0.5);
	return 0;
}

void fault_schedule_init(struct fault_schedule *s, uint64_t seed, uint64_t faults_max)
{
	*s = (struct fault_schedule){ .seed = seed, .faults_max = faults_max };
}

void fault_schedule_off(struct fault_schedule *s)
{
	memset(s->rules, 0, sizeof s->rules);
}

/* The kind whose name is the `len` characters at `name`, or FAULT_NONE. */
static enum fault_kind find_kind(const char *name, size_t len)
{
	for (enum fault_kind k = FAULT_NONE + 1; k < FAULT_KINDS; k++)
		if (strlen(kinds[k].name) == len && memcmp(kinds[k].name, name, len) == 0)
			return k;
	return FAULT_NONE;
}

static int parse_argument(enum fault_kind kind, const char *text, struct fault_rule *rule, struct error *err)
{
	const char *name = kinds[kind].name;

	if (!text && kinds[kind].use == ARGUMENT_NEEDED)
		return error_set(err, -EINVAL, "%s needs an argument: %s=PROBABILITY,%s", name, name,
		                 kinds[kind].meaning);
	if (!text)
		return 0;
	if (kinds[kind].use == ARGUMENT_NONE)
		return error_set(err, -EINVAL, "%s takes no argument", name);
	if (fault_number_parse(text, kinds[kind].max, &rule->argument) < 0 || rule->argument < kinds[kind].min)
		return error_set(err, -EINVAL, "'%s' is no argument for %s (%s, from %" PRIu64 " to %" PRIu64 ")", text,
		                 name, kinds[kind].meaning, kinds[kind].min, kinds[kind].max);
	rule->has_argument = true;
	return 0;
}

int fault_schedule_add(struct fault_schedule *s, const char *text, struct error *err)
{
	const char *equals = strchr(text, '=');
	enum fault_kind kind = equals ? find_kind(text, (size_t)(equals - text)) : FAULT_NONE;
	struct fault_rule rule = { 0 };
	double sum = 0;
	int rc;

	if (kind == FAULT_NONE)
		return error_set(err, -EINVAL,
		                 "'%s' is not KIND=PROBABILITY[,ARGUMENT] with a kind of reset-before, reset-after, "
		                 "stall, truncate, 500, 503, 429, duplicate, corrupt, slow",
		                 text);
	const char *number = equals + 1;
	const char *comma = strchr(number, ',');
	size_t len = comma ? (size_t)(comma - number) : strlen(number);

	if (parse_decimal(number, len, &rule.probability) < 0 || rule.probability > 1)
		return error_set(err, -EINVAL, "in '%s' the probability is not a number from 0 to 1, such as 0.05",
		                 text);
	rc = parse_argument(kind, comma ? comma + 1 : NULL, &rule, err);
	if (rc < 0)
		return rc;
	for (enum fault_kind k = FAULT_NONE + 1; k < FAULT_KINDS; k++)
		sum += k == kind ? rule.probability : s->rules[k].probability;
	if (sum > 1 + SUM_SLACK)
		return error_set(err, -EINVAL, "with '%s' the probabilities add up to %g: make it 1 or less", text,
		                 sum);
	s->rules[kind] = rule;
	return 0;
}

struct fault_verdict fault_schedule_next(struct fault_schedule *s)
{
	/* Seed and number go through the generator one after the other, so that neighbouring seeds have nothing in common. */
	struct random r = { .state = s->seed };
	struct fault_verdict v = { .kind = FAULT_NONE };
	double sum = 0, drawn;

	r.state = random_next(&r) + s->requests++;
	drawn = (double)(random_next(&r) >> 11) * 0x1p-53;
	v.random = random_next(&r);
	if (s->faults >= s->faults_max)
		return v;
	for (enum fault_kind k = FAULT_NONE + 1; k < FAULT_KINDS; k++) {
		sum += s->rules[k].probability;
		if (drawn >= sum)
			continue;
		v.kind = k;
		v.argument = s->rules[k].argument;
		v.has_argument = s->rules[k].has_argument;
		s->faults++;
		s->counts[k]++;
		break;
	}
	return v;
}

/* ---- token bucket ------------------------------------------------------------------------------------------------ */

uint64_t token_bucket_quantum(const struct token_bucket *b)
{
	uint64_t quantum = b->rate / QUANTA_PER_S;

	return quantum < QUANTUM_MIN ? QUANTUM_MIN : quantum > QUANTUM_MAX ? QUANTUM_MAX : quantum;
}

static uint64_t capacity(const struct token_bucket *b)
{
	uint64_t burst = b->rate / BURSTS_PER_S, two = 2 * token_bucket_quantum(b);

	return burst > two ? burst : two;
}

void token_bucket_set(struct token_bucket *b, uint64_t rate, uint64_t now_ns)
{
	*b = (struct token_bucket){ .rate = rate, .last_ns = now_ns };
}

uint64_t token_bucket_available(struct token_bucket *b, uint64_t now_ns)
{
	if (b->rate == 0)
		return UINT64_MAX;
	if (now_ns > b->last_ns) {
		wide grown = (wide)b->rate * (now_ns - b->last_ns) + b->carry;
		wide tokens = b->tokens + grown / SECOND_NS;
		bool full = tokens >= capacity(b);

		b->tokens = full ? capacity(b) : (uint64_t)tokens;
		b->carry = full ? 0 : (uint64_t)(grown % SECOND_NS);
		b->last_ns = now_ns;
	}
	return b->tokens;
}

void token_bucket_take(struct token_bucket *b, uint64_t bytes)
{
	if (b->rate)
		b->tokens -= bytes < b->tokens ? bytes : b->tokens;
}

uint64_t token_bucket_wait_ns(struct token_bucket *b, uint64_t bytes, uint64_t now_ns)
{
	uint64_t available = token_bucket_available(b, now_ns);

	if (available >= bytes)
		return 0;
	wide missing = (wide)(bytes - available) * SECOND_NS - b->carry;
	return (uint64_t)((missing + b->rate - 1) / b->rate);
}
