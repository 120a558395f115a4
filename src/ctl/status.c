/* SPDX-License-Identifier: GPL-3.0-only */
/* status.c: engine and image state as text and as JSON. */
#include "ctl/status.h"

#include "base/clock.h"
#include "base/size.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

/* The length of the UTF-8 character at `p` (of at most `left` bytes), or 0 when the bytes are not one: overlong forms,
 * surrogates and what lies past U+10FFFF included. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
	static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n;
	uint32_t c;

	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf) {
		n = 2;
		c = p[0] & 0x1f;
	} else if ((p[0] & 0xf0) == 0xe0) {
		n = 3;
		c = p[0] & 0x0f;
	} else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
		n = 4;
		c = p[0] & 0x07;
	} else {
		return 0;
	}
	if (left < n)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	return n;
}

static void json_character(FILE *out, const unsigned char *p, size_t n)
{
	if (n == 0)
		fputs("\\ufffd", out);
	else if (n > 1)
		fwrite(p, 1, n, out);
	else if (*p == '"' || *p == '\\')
		fprintf(out, "\\%c", *p);
	else if (*p < 0x20 || *p == 0x7f)
		fprintf(out, "\\u%04x", *p);
	else
		putc(*p, out);
}

static void json_bytes(FILE *out, const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *)text;

	putc('"', out);
	for (size_t i = 0; i < len;) {
		size_t n = utf8_length(p + i, len - i);

		json_character(out, p + i, n);
		i += n ? n : 1;
	}
	putc('"', out);
}

void status_json_string(FILE *out, const char *text)
{
	json_bytes(out, text, strlen(text));
}

/* Members of one flat object. The first brace or comma is written by the member that follows it. */
static void json_name(FILE *out, const char **separator, const char *name)
{
	fputs(*separator, out);
	*separator = ",";
	status_json_string(out, name);
	putc(':', out);
}

/* `size` is that of the field: the text in it is believed only up to there. */
static void json_text(FILE *out, const char **separator, const char *name, const char *text, size_t size)
{
	json_name(out, separator, name);
	json_bytes(out, text, strnlen(text, size));
}

static void json_number(FILE *out, const char **separator, const char *name, uint64_t n)
{
	json_name(out, separator, name);
	fprintf(out, "%" PRIu64, n);
}

static void json_bool(FILE *out, const char **separator, const char *name, bool b)
{
	json_name(out, separator, name);
	fputs(b ? "true" : "false", out);
}

/* Milliseconds are all that a lag is known to. Written with integers, so that no locale puts a comma there. */
static void json_seconds(FILE *out, const char **separator, const char *name, double s)
{
	uint64_t ms = isfinite(s) && s > 0 && s < 1e12 ? (uint64_t)(s * 1000 + 0.5) : 0;

	json_name(out, separator, name);
	fprintf(out, "%" PRIu64 ".%03u", ms / 1000, (unsigned)(ms % 1000));
}

static void uuid_format(const uint8_t uuid[16], char text[37])
{
	char *p = text;

	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		p += sprintf(p, "%02x", uuid[i]);
	}
}

void status_engine_json(FILE *out, const struct engine_status *s)
{
	const char *sep = "{";
	char uuid[37];
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "cache_size", s->cache_size },
		{ "cache_used", s->cache_used },
		{ "dirty_limit", s->dirty_limit },
		{ "lag_bytes", s->lag_bytes },
		{ "images_open", s->images_open },
		{ "reads", s->reads },
		{ "writes", s->writes },
		{ "flushes", s->flushes },
		{ "read_bytes", s->read_bytes },
		{ "write_bytes", s->write_bytes },
		{ "cache_hits", s->cache_hits },
		{ "cache_misses", s->cache_misses },
		{ "store_puts", s->store_puts },
		{ "store_gets", s->store_gets },
		{ "store_lists", s->store_lists },
		{ "store_heads", s->store_heads },
		{ "store_removes", s->store_removes },
		{ "store_put_bytes", s->store_put_bytes },
		{ "store_get_bytes", s->store_get_bytes },
		{ "retries", s->retries },
		{ "hedges", s->hedges },
		{ "moved_bytes", s->moved_bytes },
		{ "map_bytes", s->map_bytes },
	};

	uuid_format(s->pool_uuid, uuid);
	json_text(out, &sep, "store", s->store_url, sizeof s->store_url);
	json_text(out, &sep, "pool", uuid, sizeof uuid);
	json_bool(out, &sep, "sealed", s->sealed);
	json_bool(out, &sep, "store_ok", s->store_ok);
	json_text(out, &sep, "store_error", s->store_error, sizeof s->store_error);
	json_text(out, &sep, "cache_dir", s->cache_dir, sizeof s->cache_dir);
	json_seconds(out, &sep, "lag_seconds", s->lag_seconds);
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
		json_number(out, &sep, numbers[i].name, numbers[i].value);
	putc('}', out);
}

void status_image_json(FILE *out, const struct image_status *s)
{
	const char *sep = "{";
	char id[17];

	snprintf(id, sizeof id, "%016" PRIx64, s->id);
	json_text(out, &sep, "id", id, sizeof id); /* a string: JSON readers round numbers past 2^53 */
	json_text(out, &sep, "state", s->state, sizeof s->state);
	json_text(out, &sep, "detail", s->detail, sizeof s->detail);
	json_text(out, &sep, "owner", s->owner, sizeof s->owner);
	json_bool(out, &sep, "writable_here", s->writable_here);
	json_name(out, &sep, "sync");
	status_json_string(out, s->sync ? s->sync : "");
	json_number(out, &sep, "epoch", s->epoch);
	json_number(out, &sep, "size", s->size);
	json_number(out, &sep, "allocated_bytes", s->allocated_bytes);
	json_number(out, &sep, "segment", s->segment);
	json_number(out, &sep, "stored_segment", s->stored_segment);
	json_number(out, &sep, "lag_bytes", s->lag_bytes);
	json_seconds(out, &sep, "lag_seconds", s->lag_seconds);
	json_number(out, &sep, "last_flush_us", s->last_flush.us);
	json_number(out, &sep, "last_flush_stored_us", s->last_flush.stored_us);
	json_text(out, &sep, "last_flush_acks", s->last_flush.acks, sizeof s->last_flush.acks);
	putc('}', out);
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

/* Text of foreign origin (a host name, a store's answer) on one line of a terminal: control bytes become '?'. */
static void put_clean(FILE *out, const char *text, size_t size)
{
	for (size_t i = 0; i < size && text[i]; i++)
		putc((unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i], out);
}

static void row(FILE *out, const char *label)
{
	fprintf(out, "%-12s  ", label);
}

static void row_text(FILE *out, const char *label, const char *text, size_t size)
{
	row(out, label);
	put_clean(out, text, size);
	putc('\n', out);
}

static void put_lag(FILE *out, uint64_t bytes, double seconds)
{
	char size[SIZE_TEXT_MAX];

	if (bytes == 0)
		fputs("0 B (all is in the store)", out);
	else
		fprintf(out, "%s, the oldest written %.1f s ago", size_format(bytes, size), seconds);
}

static void put_percent(FILE *out, uint64_t part, uint64_t whole)
{
	if (whole)
		fprintf(out, " (%.0f%%)", 100.0 * (double)part / (double)whole);
}

static void engine_traffic_text(FILE *out, const struct engine_status *s)
{
	char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];

	row(out, "reads");
	fprintf(out, "%" PRIu64 ", %s; %" PRIu64 " from the cache", s->reads, size_format(s->read_bytes, a),
	        s->cache_hits);
	put_percent(out, s->cache_hits, s->cache_hits + s->cache_misses);
	putc('\n', out);
	row(out, "writes");
	fprintf(out, "%" PRIu64 ", %s; %" PRIu64 " flushes\n", s->writes, size_format(s->write_bytes, a), s->flushes);
	row(out, "requests");
	fprintf(out,
	        "%" PRIu64 " put (%s), %" PRIu64 " get (%s), %" PRIu64 " head, %" PRIu64 " list, %" PRIu64
	        " remove, %" PRIu64 " repeated, %" PRIu64 " asked twice\n",
	        s->store_puts, size_format(s->store_put_bytes, a), s->store_gets, size_format(s->store_get_bytes, b),
	        s->store_heads, s->store_lists, s->store_removes, s->retries, s->hedges);
}

void status_engine_text(FILE *out, const struct engine_status *s)
{
	char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX], uuid[37];

	uuid_format(s->pool_uuid, uuid);
	row_text(out, "store", s->store_url, sizeof s->store_url);
	row(out, "pool");
	fprintf(out, "%s, %s\n", uuid, s->sealed ? "sealed" : "plain");
	row(out, "state");
	if (s->store_ok) {
		fputs("ok", out);
	} else {
		fputs("store away: ", out);
		put_clean(out, s->store_error, sizeof s->store_error);
	}
	putc('\n', out);
	row(out, "to send");
	put_lag(out, s->lag_bytes, s->lag_seconds);
	fprintf(out, "; limit %s\n", size_format(s->dirty_limit, a));
	row_text(out, "cache", s->cache_dir, sizeof s->cache_dir);
	row(out, "cache used");
	fprintf(out, "%s of %s", size_format(s->cache_used, a), size_format(s->cache_size, b));
	put_percent(out, s->cache_used, s->cache_size);
	putc('\n', out);
	engine_traffic_text(out, s);
	row(out, "map memory");
	fprintf(out, "%s\n", size_format(s->map_bytes, a));
	row(out, "images open");
	fprintf(out, "%u\n", s->images_open);
}

static void put_flush(FILE *out, const struct image_last_flush *f)
{
	char when[CLOCK_TEXT_MAX];

	if (!f->wall_ns) {
		fputs("none yet", out);
		return;
	}
	fprintf(out, "%.2f ms, %s: ", (double)f->us / 1000, clock_wall_format(f->wall_ns, when));
	if (!f->remote) {
		fputs("on the local disk", out);
		return;
	}
	fprintf(out, "in the store after %.2f ms", (double)f->stored_us / 1000);
	if (f->acks[0]) {
		fputs(" (", out);
		put_clean(out, f->acks, sizeof f->acks);
		putc(')', out);
	}
	fprintf(out, ", still the owner after %.2f ms", (double)f->us / 1000);
}

void status_image_text(FILE *out, const struct image_status *s)
{
	char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];

	row(out, "id");
	fprintf(out, "%016" PRIx64 "\n", s->id);
	row(out, "state");
	put_clean(out, s->state, sizeof s->state);
	if (s->detail[0]) {
		fputs(": ", out);
		put_clean(out, s->detail, sizeof s->detail);
	}
	putc('\n', out);
	row(out, "owner");
	put_clean(out, s->owner[0] ? s->owner : "nobody", sizeof s->owner);
	fprintf(out, "%s, epoch %" PRIu64 "\n", s->writable_here ? " (open for writing here)" : "", s->epoch);
	row(out, "size");
	fprintf(out, "%s, %s in use\n", size_format(s->size, a), size_format(s->allocated_bytes, b));
	row(out, "segments");
	fprintf(out, "%" PRIu64 " open, %" PRIu64 " and before in the store\n", s->segment, s->stored_segment);
	row(out, "to send");
	put_lag(out, s->lag_bytes, s->lag_seconds);
	putc('\n', out);
	row(out, "sync");
	fprintf(out, "%s%s\n", s->sync ? s->sync : "unknown",
	        s->sync && strcmp(s->sync, "none") == 0 ? " (flushes promise nothing)" : "");
	row(out, "last flush");
	put_flush(out, &s->last_flush);
	putc('\n', out);
}

void status_image_line(FILE *out, const struct image_status *s)
{
	char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX], c[SIZE_TEXT_MAX];

	fprintf(out, "%016" PRIx64 "  %9s  %9s used  %9s to send  ", s->id, size_format(s->size, a),
	        size_format(s->allocated_bytes, b), size_format(s->lag_bytes, c));
	put_clean(out, s->state, sizeof s->state);
}

void status_snapshot_line(FILE *out, const struct snapshot_info *s)
{
	char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX], when[CLOCK_TEXT_MAX];

	fprintf(out, "%-24s  %s  %9s  %9s used%s", s->name, clock_wall_format(s->time_ns, when),
	        size_format(s->size, a), size_format(s->allocated_bytes, b), s->is_protected ? "  protected" : "");
}

void status_snapshot_json(FILE *out, const struct snapshot_info *s)
{
	fprintf(out,
	        "{\"name\":\"%s\",\"id\":\"%016" PRIx64 "\",\"origin\":\"%016" PRIx64 "\",\"time_ns\":%" PRIu64
	        ",\"size\":%" PRIu64 ",\"allocated\":%" PRIu64 ",\"mtime_ns\":%" PRIu64 ",\"protected\":%s}",
	        s->name, s->id, s->origin, s->time_ns, s->size, s->allocated_bytes, s->mtime_ns,
	        s->is_protected ? "true" : "false");
}
