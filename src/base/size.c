/* SPDX-License-Identifier: GPL-3.0-only */
/* size.c: sizes and durations as people write them, without floating point: what is read is exact or refused. */
#include "base/size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define FRACTION_DIGITS_MAX 18 /* so that fraction * unit fits in 128 bits */

__extension__ typedef unsigned __int128 wide;

/* A decimal number: whole + fraction / scale. */
struct decimal {
	uint64_t whole;
	uint64_t fraction;
	uint64_t scale; /* a power of ten; 1 without a fraction */
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Reads the number at the start of `text` and returns where it ends, or NULL with the cause in `why`. */
static const char *read_decimal(const char *text, struct decimal *d, const char **why)
{
	const char *p = text;
	unsigned digits = 0, zeros = 0;

	*d = (struct decimal){ .scale = 1 };
	*why = !*text ? "is empty" : *text == '-' ? "is negative" : "is not a number";
	if (!is_digit(*p))
		return NULL;
	for (; is_digit(*p); p++)
		if (__builtin_mul_overflow(d->whole, 10u, &d->whole) ||
		    __builtin_add_overflow(d->whole, (uint64_t)(*p - '0'), &d->whole)) {
			*why = "is too large";
			return NULL;
		}
	if (*p != '.')
		return p;
	if (!is_digit(*++p))
		return NULL;
	for (; is_digit(*p); p++) {
		if (*p == '0') { /* zeros count only when a digit follows them */
			zeros++;
			continue;
		}
		digits += zeros + 1;
		if (digits > FRACTION_DIGITS_MAX) {
			*why = "has too many digits after the point";
			return NULL;
		}
		for (; zeros > 0; zeros--, d->scale *= 10)
			d->fraction *= 10;
		d->fraction = d->fraction * 10 + (uint64_t)(*p - '0');
		d->scale *= 10;
	}
	return p;
}

/* d * unit, which must be whole and fit in 63 bits. Returns NULL, or why not. */
static const char *multiply(const struct decimal *d, uint64_t unit, uint64_t *result)
{
	wide part = (wide)d->fraction * unit;
	wide all = (wide)d->whole * unit + part / d->scale;

	if (part % d->scale != 0)
		return "has a fraction finer than the smallest unit";
	if (all > INT64_MAX)
		return "is too large";
	*result = (uint64_t)all;
	return NULL;
}

/* The unit that `suffix` names, or 0. */
static uint64_t size_unit(const char *suffix)
{
	static const char letters[] = "kmgtpe";

	if (!*suffix)
		return 1;
	for (unsigned i = 0; letters[i]; i++) {
		if ((*suffix | 0x20) != letters[i])
			continue;
		const char *rest = suffix + 1;
		return !*rest || !strcasecmp(rest, "b") || !strcasecmp(rest, "ib") ? UINT64_C(1) << 10 * (i + 1) : 0;
	}
	return 0;
}

static uint64_t duration_unit(const char *suffix)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} units[] = { { "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 } };

	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
		if (!strcmp(suffix, units[i].name))
			return units[i].ms;
	return 0;
}

static int parse(const char *text, uint64_t (*unit_of)(const char *suffix), const char *what, const char *examples,
                 uint64_t *result, struct error *err)
{
	struct decimal d;
	const char *why;
	const char *suffix = read_decimal(text, &d, &why);

	if (suffix) {
		uint64_t unit = unit_of(suffix);
		why = unit ? multiply(&d, unit, result) : "ends in an unknown unit";
	}
	if (!suffix || why)
		return error_set(err, -EINVAL, "the %s '%s' %s (write it like %s)", what, text, why, examples);
	return 0;
}

int size_parse(const char *text, uint64_t *bytes, struct error *err)
{
	return parse(text, size_unit, "size", "10G, 1.5T or 512", bytes, err);
}

int duration_parse(const char *text, uint64_t *ms, struct error *err)
{
	return parse(text, duration_unit, "duration", "500ms, 5s, 2m, 1h or 7d", ms, err);
}

const char *size_format(uint64_t bytes, char out[SIZE_TEXT_MAX])
{
	static const char *const names[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	uint64_t whole = bytes, tenths = 0;
	unsigned i = 0;

	while (whole >= 1024) {
		i++;
		uint64_t unit = UINT64_C(1) << 10 * i;
		tenths = ((bytes & (unit - 1)) * 10 + unit / 2) >> 10 * i;
		whole = (bytes >> 10 * i) + tenths / 10; /* 1023.96 rounds up to 1024, which is 1 of the next */
		tenths %= 10;
	}
	if (tenths)
		(void)snprintf(out, SIZE_TEXT_MAX, "%" PRIu64 ".%" PRIu64 " %s", whole, tenths, names[i]);
	else
		(void)snprintf(out, SIZE_TEXT_MAX, "%" PRIu64 " %s", whole, names[i]);
	return out;
}
