/* SPDX-License-Identifier: GPL-3.0-only */
/* report.h: what a daemon or command tells its operator: one line, to standard error or to syslog.
 *
 * Never a secret, never a line per retry. Knows nothing of what is reported.
 */
#ifndef GARNER_BASE_REPORT_H
#define GARNER_BASE_REPORT_H

enum report_level { REPORT_ERROR, REPORT_WARNING, REPORT_NOTICE, REPORT_DEBUG };

/* Sets the name put before each line, and the least urgent level that is shown (REPORT_NOTICE at start). Call before
 * threads start. `program` must stay valid. */
void report_init(const char *program, enum report_level level);

/* From now on lines go to syslog(3) instead of standard error. */
void report_to_syslog(void);

/* Writes one line. Any thread; blocks as writing to standard error does. errno is preserved. */
void report(enum report_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define report_error(...) report(REPORT_ERROR, __VA_ARGS__)
#define report_warning(...) report(REPORT_WARNING, __VA_ARGS__)
#define report_notice(...) report(REPORT_NOTICE, __VA_ARGS__)
#define report_debug(...) report(REPORT_DEBUG, __VA_ARGS__)

#endif
