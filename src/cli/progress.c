/* SPDX-License-Identifier: GPL-3.0-only */
/* progress.c: how far long work has come. */
#include "cli/progress.h"

#include "base/clock.h"
#include "base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BAR_MIN 10u
#define BAR_MAX 40u
#define TERMINAL_STEP_NS UINT64_C(200000000)
#define PLAIN_STEP_NS UINT64_C(10000000000)
#define WIDTH_DEFAULT 80u

static void format_time_left(uint64_t left, double rate, char *out, size_t size)
{
	double seconds = (double)left / rate;
	uint64_t s;

	if (seconds > 359999) { /* 99:59:59 */
		snprintf(out, size, ", days left");
		return;
	}
	s = (uint64_t)(seconds + 0.5);
	if (s >= 3600)
		snprintf(out, size, ", %" PRIu64 ":%02u:%02u left", s / 3600, (unsigned)(s / 60 % 60),
		         (unsigned)(s % 60));
	else
		snprintf(out, size, ", %u:%02u left", (unsigned)(s / 60), (unsigned)(s % 60));
}

static const char *format_count(const struct progress_view *view, uint64_t count, char out[SIZE_TEXT_MAX])
{
	if (!view->unit)
		return size_format(count, out);
	snprintf(out, SIZE_TEXT_MAX, "%" PRIu64, count);
	return out;
}

/* "[=====>    ] " of `width` columns, the blank included. */
static void format_bar(unsigned percent, unsigned width, char *out)
{
	unsigned inside = width - 3;
	unsigned full = inside * percent / 100;

	*out++ = '[';
	for (unsigned i = 0; i < inside; i++)
		*out++ = i < full ? '=' : i == full ? '>' : ' ';
	*out++ = ']';
	*out++ = ' ';
	*out = '\0';
}

const char *progress_format(const struct progress_view *view, unsigned width, char out[PROGRESS_LINE_MAX])
{
	char done[SIZE_TEXT_MAX], total[SIZE_TEXT_MAX], rate[SIZE_TEXT_MAX];
	char numbers[128], speed[SIZE_TEXT_MAX + 8] = "", left[32] = "", bar[BAR_MAX + 1] = "";
	/* A total may turn out to have been too low: what is done is never more than all of it. */
	uint64_t at = view->total && view->done > view->total ? view->total : view->done;
	unsigned percent = view->total ? (unsigned)((double)at / (double)view->total * 100) : 0;
	size_t taken;

	if (view->unit ? view->rate > 0 : view->rate >= 1) {
		if (!view->unit)
			snprintf(speed, sizeof speed, ", %s/s", size_format((uint64_t)view->rate, rate));
		if (view->total)
			format_time_left(view->total - at, view->rate, left, sizeof left);
	}
	const char *blank = view->unit ? " " : "", *unit = view->unit ? view->unit : "";

	if (view->total)
		snprintf(numbers, sizeof numbers, "%u%%, %s of %s%s%s%s%s", percent, format_count(view, at, done),
		         format_count(view, view->total, total), blank, unit, speed, left);
	else
		snprintf(numbers, sizeof numbers, "%s%s%s%s", format_count(view, at, done), blank, unit, speed);
	taken = strnlen(view->label, 64) + 2 + strlen(numbers);
	if (view->total && width >= taken + BAR_MIN)
		format_bar(percent, width - taken < BAR_MAX ? (unsigned)(width - taken) : BAR_MAX, bar);
	snprintf(out, PROGRESS_LINE_MAX, "%.64s: %s%s", view->label, bar, numbers);
	if (width && strlen(out) > width)
		out[width] = '\0';
	return out;
}

static unsigned terminal_width(void)
{
	struct winsize w;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) < 0 || w.ws_col < 20)
		return WIDTH_DEFAULT;
	return w.ws_col < PROGRESS_LINE_MAX ? w.ws_col : PROGRESS_LINE_MAX - 1;
}

void progress_start(struct progress *p, const char *label, const char *unit, uint64_t total)
{
	*p = (struct progress){ .view = { .label = label, .unit = unit, .total = total },
		                .terminal = isatty(STDERR_FILENO) == 1 };
	p->started_ns = p->last_ns = clock_monotonic_ns();
}

/* A running mean over the last steps, so that a change of speed shows within seconds and a hiccup does not. */
static void take_rate(struct progress *p, uint64_t now)
{
	double seconds = (double)(now - p->last_ns) / 1e9;
	double rate = p->view.done > p->last_done ? (double)(p->view.done - p->last_done) / seconds : 0;
	double weight = p->terminal && p->shown ? 0.1 : 1;

	p->view.rate += (rate - p->view.rate) * weight;
	p->last_done = p->view.done;
	p->last_ns = now;
}

void progress_update(struct progress *p, uint64_t done)
{
	char line[PROGRESS_LINE_MAX];
	uint64_t now = clock_monotonic_ns();

	p->view.done = done;
	if (now - p->last_ns < (p->terminal ? TERMINAL_STEP_NS : PLAIN_STEP_NS))
		return;
	take_rate(p, now);
	if (p->terminal)
		fprintf(stderr, "\r%s\033[K", progress_format(&p->view, terminal_width() - 1, line));
	else
		fprintf(stderr, "%s\n", progress_format(&p->view, 0, line));
	fflush(stderr);
	p->shown = true;
}

void progress_end(struct progress *p)
{
	if (p->terminal && p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}
