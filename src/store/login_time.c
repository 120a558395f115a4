/* SPDX-License-Identifier: GPL-3.0-only */
/* login_time.c: the points in time that log-in services write. */
#include "store/login_time.h"

#include <errno.h>
#include <stdbool.h>

#define TEN_YEARS_S INT64_C(315360000)
#define NS_PER_S UINT64_C(1000000000)

/* Reads `digits` digits and then `after` (unless that is 0) at `*p`. -1 when something else is there. */
static int number(const char **p, unsigned digits, char after)
{
	int value = 0;

	for (; digits; digits--, (*p)++) {
		if (**p < '0' || **p > '9')
			return -1;
		value = value * 10 + (**p - '0');
	}
	if (after && *(*p)++ != after)
		return -1;
	return value;
}

static int days_in(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

/* Days from 1970 to the first of January of `year`. */
static int64_t days_before(int year)
{
	int64_t past = year - 1;

	return past * 365 + past / 4 - past / 100 + past / 400 - 719162;
}

static int read_zone(const char *p, int *seconds)
{
	int sign = *p == '-' ? -1 : 1, hours, minutes;

	*seconds = 0;
	if (*p == '\0' || (*p == 'Z' && p[1] == '\0'))
		return 0;
	if (*p != '+' && *p != '-')
		return -EINVAL;
	p++;
	hours = number(&p, 2, ':');
	minutes = hours < 0 ? -1 : number(&p, 2, 0);
	if (minutes < 0 || hours > 23 || minutes > 59 || *p)
		return -EINVAL;
	*seconds = sign * (hours * 3600 + minutes * 60);
	return 0;
}

int login_time_parse(const char *text, int64_t *seconds)
{
	static const struct {
		unsigned digits;
		char after;
		int least, most;
	} fields[] = { { 4, '-', 1970, 9999 }, { 2, '-', 1, 12 }, { 2, 'T', 1, 31 },
		       { 2, ':', 0, 23 },      { 2, ':', 0, 59 }, { 2, 0, 0, 60 } };
	const char *p = text;
	int value[6], zone;
	int64_t days;

	for (unsigned i = 0; i < 6; i++) {
		value[i] = number(&p, fields[i].digits, fields[i].after);
		if (value[i] < fields[i].least || value[i] > fields[i].most)
			return -EINVAL;
	}
	if (value[2] > days_in(value[0], value[1]))
		return -EINVAL;
	if (*p == '.') {
		p++;
		if (number(&p, 1, 0) < 0)
			return -EINVAL;
		while (*p >= '0' && *p <= '9')
			p++;
	}
	if (read_zone(p, &zone) < 0)
		return -EINVAL;
	days = days_before(value[0]) + value[2] - 1;
	for (int month = 1; month < value[1]; month++)
		days += days_in(value[0], month);
	*seconds = days * 86400 + value[3] * INT64_C(3600) + value[4] * INT64_C(60) + value[5] - zone;
	return 0;
}

uint64_t login_time_between(int64_t from, int64_t to)
{
	if (to <= from)
		return 0;
	return (uint64_t)(to - from < TEN_YEARS_S ? to - from : TEN_YEARS_S) * NS_PER_S;
}
