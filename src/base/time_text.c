/* SPDX-License-Identifier: GPL-3.0-only */
/* time_text.c: see time_text.h. */
#include "base/time_text.h"

#include "base/size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NS_PER_S UINT64_C(1000000000)

/* Reads `digits` digits; -1 when something else is there. */
static int number(const char **p, unsigned digits)
{
	int value = 0;

	for (; digits; digits--, (*p)++) {
		if (**p < '0' || **p > '9')
			return -1;
		value = value * 10 + (**p - '0');
	}
	return value;
}

static bool skip(const char **p, char c)
{
	bool there = **p == c;

	*p += there;
	return there;
}

static bool read_date(const char **p, struct tm *tm)
{
	int year = number(p, 4);
	int month = year >= 1970 && skip(p, '-') ? number(p, 2) : -1;
	int day = month >= 1 && skip(p, '-') ? number(p, 2) : -1;

	*tm = (struct tm){ .tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_isdst = -1 };
	return day >= 1 && month <= 12 && day <= 31;
}

static bool read_clock(const char **p, struct tm *tm, uint64_t *fraction_ns)
{
	uint64_t unit = NS_PER_S / 10;

	tm->tm_hour = number(p, 2);
	tm->tm_min = tm->tm_hour >= 0 && skip(p, ':') ? number(p, 2) : -1;
	if (tm->tm_hour > 23 || tm->tm_min < 0 || tm->tm_min > 59)
		return false;
	if (!skip(p, ':'))
		return true;
	tm->tm_sec = number(p, 2);
	if (tm->tm_sec < 0 || tm->tm_sec > 60)
		return false;
	if (!skip(p, '.'))
		return true;
	const char *digits = *p;
	for (; **p >= '0' && **p <= '9'; (*p)++, unit /= 10)
		*fraction_ns += (uint64_t)(**p - '0') * unit;
	return *p > digits;
}

/* "Z", "+01:00", "+0100", or nothing: local time. */
static bool read_zone(const char *p, bool *local, long *seconds)
{
	long sign;
	int hours, minutes;

	*seconds = 0;
	*local = !*p;
	if (!*p || !strcmp(p, "Z"))
		return true;
	sign = *p == '-' ? -1 : 1;
	if (*p != '+' && *p != '-')
		return false;
	p++;
	hours = number(&p, 2);
	skip(&p, ':');
	minutes = hours < 0 ? -1 : number(&p, 2);
	*seconds = sign * (hours * 3600L + minutes * 60L);
	return minutes >= 0 && minutes <= 59 && hours <= 23 && !*p;
}

/* Whether it is a time; the day must be one of the month. */
static bool read_point(const char *p, uint64_t *ns)
{
	struct tm tm, same;
	uint64_t fraction = 0;
	bool local;
	long zone;
	time_t t;

	if (!read_date(&p, &tm))
		return false;
	if ((*p == 'T' || *p == ' ') && p[1] >= '0' && p[1] <= '9') {
		p++;
		if (!read_clock(&p, &tm, &fraction))
			return false;
	}
	skip(&p, ' ');
	if (!read_zone(p, &local, &zone))
		return false;
	same = tm;
	t = local ? mktime(&same) : timegm(&same);
	if (t == (time_t)-1 || same.tm_mon != tm.tm_mon || (int64_t)t < zone)
		return false;
	*ns = (uint64_t)(t - zone) * NS_PER_S + fraction;
	return true;
}

int time_parse(const char *text, uint64_t now_ns, uint64_t *ns, struct error *err)
{
	uint64_t ms;

	if (text[0] == '-') {
		int rc = duration_parse(text + 1, &ms, err);
		if (rc)
			return rc;
		if (ms > now_ns / 1000000)
			return error_set(err, -EINVAL, "'%s' is before 1970", text);
		*ns = now_ns - ms * 1000000;
		return 0;
	}
	if (read_point(text, ns))
		return 0;
	return error_set(
		err, -EINVAL,
		"'%s' is no time: write it like \"2026-11-21 23:10:05\", 2026-11-21T23:10:05Z, or -10m for ten "
		"minutes ago",
		text);
}

const char *time_format(uint64_t ns, char out[TIME_TEXT_MAX])
{
	uint64_t ms = (ns + 999999) / 1000000;
	time_t seconds = (time_t)(ms / 1000);
	char day[24], zone[8];
	struct tm tm;

	if (!localtime_r(&seconds, &tm) || !strftime(day, sizeof day, "%Y-%m-%d %H:%M:%S", &tm) ||
	    !strftime(zone, sizeof zone, "%z", &tm))
		snprintf(out, TIME_TEXT_MAX, "unknown");
	else
		snprintf(out, TIME_TEXT_MAX, "%s.%03u %s", day, (unsigned)(ms % 1000), zone);
	return out;
}
