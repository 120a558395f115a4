/* SPDX-License-Identifier: GPL-3.0-only */
/* report.c: one line for the operator, to standard error or to syslog. */
#include "base/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

/* Set before threads start, but for `syslog`, which a daemon turns on when it lets go of its terminal. */
static const char *program_name = "garner";
static enum report_level shown = REPORT_NOTICE;
static atomic_bool use_syslog;

static const struct {
	int priority;
	const char *prefix;
} levels[] = {
	[REPORT_ERROR] = { LOG_ERR, "" },
	[REPORT_WARNING] = { LOG_WARNING, "warning: " },
	[REPORT_NOTICE] = { LOG_NOTICE, "" },
	[REPORT_DEBUG] = { LOG_DEBUG, "debug: " },
};

void report_init(const char *program, enum report_level level)
{
	program_name = program;
	shown = level;
}

void report_to_syslog(void)
{
	openlog(program_name, LOG_PID, LOG_DAEMON);
	atomic_store(&use_syslog, true);
}

/* Names that come from stores and directories may hold anything: what would start a new line or steer a terminal is shown
 * as '?'. */
static void keep_to_one_line(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

/* In one write, so that the lines of several threads and programs do not mix. There is nowhere to report a failure. */
static void write_line(const char *line, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDERR_FILENO, line, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		line += n;
		len -= (size_t)n;
	}
}

void report(enum report_level level, const char *format, ...)
{
	char text[LINE_MAX_BYTES], line[LINE_MAX_BYTES + 256];
	int saved = errno;
	va_list args;

	if (level > shown)
		return;
	va_start(args, format);
	int len = vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (len < 0)
		return;
	if ((size_t)len >= sizeof text)
		memcpy(text + sizeof text - sizeof "...", "...", sizeof "...");
	keep_to_one_line(text);

	if (atomic_load(&use_syslog)) {
		syslog(levels[level].priority, "%s%s", levels[level].prefix, text);
	} else {
		len = snprintf(line, sizeof line - 1, "%.128s: %s%s", program_name, levels[level].prefix, text);
		line[len++] = '\n';
		write_line(line, (size_t)len);
	}
	errno = saved;
}
