/* SPDX-License-Identifier: GPL-3.0-only */
/* status.h: the state of an engine and of its images, as aligned text for people and as JSON for programs.
 *
 * Only formats: asks nobody for anything. JSON is one line for each object, without a newline at its end, and always valid:
 * bytes that are not UTF-8 become U+FFFD. Names of JSON members are part of the interface; new ones may be added.
 */
#ifndef GARNER_CTL_STATUS_H
#define GARNER_CTL_STATUS_H

#include "image/image.h"

#include <stdio.h>

/* Each writes to `out`, a stream of the caller (open_memstream, stdout); its error state says whether all was written. */
void status_engine_text(FILE *out, const struct engine_status *s);
void status_engine_json(FILE *out, const struct engine_status *s);

void status_image_text(FILE *out, const struct image_status *s);
void status_image_json(FILE *out, const struct image_status *s);

/* One line, no newline: "before-upgrade  2026-02-03 04:05:06 +0000  10 GiB  1.2 GiB used  protected". */
void status_snapshot_line(FILE *out, const struct snapshot_info *s);
void status_snapshot_json(FILE *out, const struct snapshot_info *s);

/* One line, no newline: "00000000000000a1  10 GiB  1.2 GiB used  0 B to send  ok". */
void status_image_line(FILE *out, const struct image_status *s);

/* `text` as a JSON string, quotes included. */
void status_json_string(FILE *out, const char *text);

#endif
