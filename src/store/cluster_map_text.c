/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_map_text.c: the text of a cluster map, read and written. */
#include "store/cluster_map_private.h"

#include "base/crc32c.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINE_MAX_BYTES (CLUSTER_AGREEMENT_MAX + 32)

/* ---- reading ---- */

struct reader {
	const char *text;
	size_t len, at; /* `at`: where the next line begins */
	unsigned line;  /* of `word`, from 1 */
	char buf[LINE_MAX_BYTES + 1];
	char *word; /* what is left of the line in `buf`; NULL when nothing is */
	struct error *err;
};

static int bad(struct reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int bad(struct reader *r, const char *format, ...)
{
	char text[ERROR_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return error_set(r->err, -EBADMSG, "line %u: %s", r->line, text);
}

/* The same for what a check of cluster_map_private.h has said. */
static int bad_part(struct reader *r, const struct error *why)
{
	return bad(r, "%s", error_text(why));
}

/* Brings the next line into `buf`, `expected` being what it should begin with. */
static int next_line(struct reader *r, const char *expected)
{
	const char *start = r->text + r->at, *end = memchr(start, '\n', r->len - r->at);
	size_t len;

	r->line++;
	if (r->at == r->len)
		return bad(r, "the text ends where \"%s\" should be", expected);
	if (!end)
		return bad(r, "is cut short");
	len = (size_t)(end - start);
	if (len > LINE_MAX_BYTES)
		return bad(r, "is longer than %d bytes", LINE_MAX_BYTES);
	for (size_t i = 0; i < len; i++)
		if (start[i] < ' ' || start[i] > '~')
			return bad(r, "has a byte that is no printable character at column %zu", i + 1);
	memcpy(r->buf, start, len);
	r->buf[len] = '\0';
	r->word = r->buf;
	r->at += len + 1;
	return 0;
}

/* Whether the line after this one begins with `word`. */
static bool next_begins(const struct reader *r, const char *word)
{
	size_t n = strlen(word);

	return r->len - r->at > n && memcmp(r->text + r->at, word, n) == 0 && r->text[r->at + n] == ' ';
}

/* The line's next word, which must not be empty; `what` it is. */
static int take(struct reader *r, const char *what, char **word)
{
	char *space;

	*word = r->word;
	if (!r->word || !*r->word || *r->word == ' ')
		return bad(r, "%s is missing%s", what, r->word && *r->word == ' ' ? " (there are two spaces)" : "");
	space = strchr(r->word, ' ');
	if (space)
		*space++ = '\0';
	r->word = space;
	return 0;
}

static int take_key(struct reader *r, const char *key)
{
	char *word;
	int rc = take(r, key, &word);

	if (rc == 0 && strcmp(word, key) != 0)
		rc = bad(r, "\"%.64s\" where \"%s\" should be", word, key);
	return rc;
}

static int no_more(struct reader *r)
{
	return r->word ? bad(r, "\"%.64s\" is too much", r->word) : 0;
}

/* A decimal number up to `max`, without sign or leading zeros. */
static int number(struct reader *r, const char *what, const char *text, uint64_t max, uint64_t *n)
{
	*n = 0;
	if (!*text || (text[0] == '0' && text[1]))
		return bad(r, "%s \"%.64s\" is not a number without leading zeros", what, text);
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return bad(r, "%s has \"%.64s\", which is no digit", what, text);
		if (__builtin_mul_overflow(*n, 10, n) || __builtin_add_overflow(*n, (uint64_t)(*text - '0'), n) ||
		    *n > max)
			return bad(r, "%s is more than %" PRIu64, what, max);
	}
	return 0;
}

static int take_number(struct reader *r, const char *what, uint64_t max, uint64_t *n)
{
	char *word;
	int rc = take(r, what, &word);

	return rc == 0 ? number(r, what, word, max, n) : rc;
}

/* "NAME=VALUE": the value. */
static int take_value(struct reader *r, const char *name, char **value)
{
	size_t n = strlen(name);
	int rc = take(r, name, value);

	if (rc < 0 || !*value)
		return rc;
	if (strncmp(*value, name, n) != 0 || (*value)[n] != '=')
		return bad(r, "\"%.64s\" where \"%s=\" should be", *value, name);
	*value += n + 1;
	return 0;
}

static int take_small(struct reader *r, const char *name, unsigned max, unsigned *n)
{
	uint64_t v = 0;
	char *value;
	int rc = take_value(r, name, &value);

	if (rc == 0)
		rc = number(r, name, value, max, &v);
	*n = (unsigned)v;
	return rc;
}

/* A line of a key and a number. */
static int number_line(struct reader *r, const char *key, uint64_t min, uint64_t max, uint64_t *n)
{
	int rc = next_line(r, key);

	if (rc == 0)
		rc = take_key(r, key);
	if (rc == 0)
		rc = take_number(r, key, max, n);
	if (rc == 0 && *n < min)
		rc = bad(r, "%s is less than %" PRIu64, key, min);
	return rc == 0 ? no_more(r) : rc;
}

static int read_id(struct reader *r, struct cluster_map *map)
{
	char *id;
	int rc = next_line(r, "id");

	if (rc == 0)
		rc = take_key(r, "id");
	if (rc == 0)
		rc = take(r, "the cluster's id", &id);
	if (rc < 0)
		return rc;
	if (strlen(id) != CLUSTER_ID_TEXT - 1 || id[strspn(id, "0123456789abcdef")])
		return bad(r, "the cluster's id is not %d hexadecimal digits", CLUSTER_ID_TEXT - 1);
	memcpy(map->id, id, CLUSTER_ID_TEXT);
	return no_more(r);
}

static int read_agreement(struct reader *r, struct cluster_map *map)
{
	struct error why = { 0 };
	char *kind, *urls;
	int rc = next_line(r, "agreement");

	if (rc == 0)
		rc = take_key(r, "agreement");
	if (rc == 0)
		rc = take(r, "the kind of agreement", &kind);
	if (rc < 0)
		return rc;
	if (strcmp(kind, "local") == 0) {
		strcpy(map->agreement, "local");
		return no_more(r);
	}
	if (strcmp(kind, "etcd") != 0)
		return bad(r, "agreement \"%.64s\" is neither \"local\" nor \"etcd\"", kind);
	rc = take(r, "the URL of etcd", &urls);
	if (rc < 0)
		return rc;
	if (strlen(urls) > CLUSTER_AGREEMENT_MAX)
		return bad(r, "the URLs of etcd have more than %d bytes", CLUSTER_AGREEMENT_MAX);
	if (strcmp(urls, "local") == 0)
		return bad(r, "\"local\" is not the URL of an etcd");
	strcpy(map->agreement, urls);
	if (cluster_check_agreement(map->agreement, &why) < 0)
		return bad_part(r, &why);
	return no_more(r);
}

static int read_head(struct reader *r, struct cluster_map *map)
{
	uint64_t format, replicas = 0, quorum = 0;
	struct error why = { 0 };
	int rc = number_line(r, "garner-cluster", 0, UINT64_MAX, &format);

	if (rc == 0 && format != 1)
		rc = bad(r, "a cluster map of format %" PRIu64 ", and this program knows format 1 only", format);
	if (rc == 0)
		rc = read_id(r, map);
	if (rc == 0)
		rc = number_line(r, "version", 1, CLUSTER_VERSION_MAX, &map->version);
	if (rc == 0)
		rc = number_line(r, "replicas", 1, CLUSTER_REPLICAS_MAX, &replicas);
	if (rc == 0)
		rc = number_line(r, "quorum", 1, CLUSTER_REPLICAS_MAX, &quorum);
	map->replicas = (unsigned)replicas;
	map->quorum = (unsigned)quorum;
	if (rc == 0 && cluster_check_quorum("other pools", map->replicas, map->quorum, &why) < 0)
		rc = bad_part(r, &why);
	return rc == 0 ? read_agreement(r, map) : rc;
}

/* "host:port" or "[IPv6 address]:port". */
static int read_address(struct reader *r, char *address, struct cluster_node *n)
{
	char *colon = strrchr(address, ':'), *host = address;
	uint64_t port = 0;
	size_t len;
	int rc;

	if (!colon)
		return bad(r, "node %u: its address \"%.64s\" has no port", n->id, address);
	rc = number(r, "the port", colon + 1, UINT16_MAX, &port);
	if (rc < 0)
		return rc;
	len = (size_t)(colon - address);
	if (*host == '[') {
		if (len < 2 || host[len - 1] != ']' || !memchr(host, ':', len))
			return bad(r, "node %u: \"%.64s\" is not an IPv6 address in brackets and a port", n->id,
			           address);
		host++;
		len -= 2;
	} else if (memchr(host, ':', len)) {
		return bad(r, "node %u: an IPv6 address needs brackets: [address]:port", n->id);
	}
	if (len > CLUSTER_HOST_MAX)
		return bad(r, "node %u: its host's name has more than %d bytes", n->id, CLUSTER_HOST_MAX);
	memcpy(n->host, host, len);
	n->host[len] = '\0';
	n->port = (uint16_t)port;
	return 0;
}

static int read_state(struct reader *r, struct cluster_node *n)
{
	char *value;
	int rc = take_value(r, "state", &value);

	if (rc < 0)
		return rc;
	for (enum cluster_node_state s = NODE_UP; s <= NODE_LEAVING; s++) {
		if (strcmp(value, cluster_node_state_name(s)) == 0) {
			n->state = s;
			return 0;
		}
	}
	return bad(r, "node %u: its state \"%.64s\" is not up, joining or leaving", n->id, value);
}

static int read_rack(struct reader *r, struct cluster_node *n)
{
	char *value;
	int rc;

	if (!r->word || strncmp(r->word, "rack=", 5) != 0)
		return 0;
	rc = take_value(r, "rack", &value);
	if (rc < 0)
		return rc;
	if (!*value || strlen(value) > CLUSTER_RACK_MAX)
		return bad(r, "node %u: its rack's name has not 1 to %d characters", n->id, CLUSTER_RACK_MAX);
	strcpy(n->rack, value);
	return 0;
}

static int read_node(struct reader *r, struct cluster_map *map)
{
	struct error why = { 0 };
	struct cluster_node *n;
	uint64_t id = 0;
	char *address;
	int rc = next_line(r, "node");

	if (rc < 0)
		return rc;
	if (map->node_count == CLUSTER_NODES_MAX)
		return bad(r, "there are more than %d nodes", CLUSTER_NODES_MAX);
	n = &map->node[map->node_count];
	rc = take_key(r, "node");
	if (rc == 0)
		rc = take_number(r, "the node's number", CLUSTER_NODE_ID_MAX, &id);
	n->id = (unsigned)id;
	if (rc == 0)
		rc = take(r, "the node's address", &address);
	if (rc == 0)
		rc = read_address(r, address, n);
	if (rc == 0)
		rc = take_small(r, "weight", CLUSTER_WEIGHT_MAX, &n->weight);
	if (rc == 0)
		rc = read_rack(r, n);
	if (rc == 0)
		rc = read_state(r, n);
	if (rc == 0)
		rc = no_more(r);
	if (rc == 0 && cluster_check_node(map, map->node_count, &why) < 0)
		rc = bad_part(r, &why);
	map->node_count++;
	return rc;
}

/* Absent when it would say nothing new. */
static int read_last_node(struct reader *r, struct cluster_map *map)
{
	unsigned highest = cluster_map_last_node(map);
	uint64_t last = highest;
	int rc = 0;

	if (next_begins(r, "last-node")) {
		rc = number_line(r, "last-node", 1, CLUSTER_NODE_ID_MAX, &last);
		if (rc == 0 && last <= highest)
			rc = bad(r, "the last node %" PRIu64 " is not above those that are there", last);
	}
	map->last_node = (unsigned)last;
	return rc;
}

static int read_pool(struct reader *r, struct cluster_map *map)
{
	struct error why = { 0 };
	struct cluster_pool *p;
	char *name;
	int rc = next_line(r, "pool");

	if (rc < 0)
		return rc;
	if (map->pool_count == CLUSTER_POOLS_MAX)
		return bad(r, "there are more than %d pools", CLUSTER_POOLS_MAX);
	p = &map->pool[map->pool_count];
	rc = take_key(r, "pool");
	if (rc == 0)
		rc = take(r, "the pool's name", &name);
	if (rc == 0 && strlen(name) > OBJECT_POOL_MAX)
		rc = bad(r, "a pool's name has more than %d characters", OBJECT_POOL_MAX);
	if (rc == 0)
		strcpy(p->name, name);
	if (rc == 0)
		rc = take_small(r, "replicas", CLUSTER_REPLICAS_MAX, &p->replicas);
	if (rc == 0)
		rc = take_small(r, "quorum", CLUSTER_REPLICAS_MAX, &p->quorum);
	if (rc == 0)
		rc = no_more(r);
	if (rc == 0 && cluster_check_pool(map, map->pool_count, &why) < 0)
		rc = bad_part(r, &why);
	map->pool_count++;
	return rc;
}

static int read_checksum(struct reader *r)
{
	uint32_t sum = crc32c(0, r->text, r->at);
	char expected[9], *word;
	int rc = next_line(r, "checksum");

	if (rc == 0)
		rc = take_key(r, "checksum");
	if (rc == 0)
		rc = take(r, "the checksum", &word);
	if (rc < 0)
		return rc;
	snprintf(expected, sizeof expected, "%08" PRIx32, sum);
	if (strcmp(word, expected) != 0)
		return bad(r, "the checksum \"%.64s\" is not that of the lines before, which is %s", word, expected);
	rc = no_more(r);
	if (rc == 0 && r->at != r->len) {
		r->line++;
		rc = bad(r, "there is something after the checksum");
	}
	return rc;
}

static int read_map(struct reader *r, struct cluster_map *map)
{
	struct error why = { 0 };
	int rc = read_head(r, map);

	while (rc == 0 && (!map->node_count || next_begins(r, "node")))
		rc = read_node(r, map);
	if (rc == 0)
		rc = read_last_node(r, map);
	while (rc == 0 && next_begins(r, "pool"))
		rc = read_pool(r, map);
	if (rc == 0)
		rc = read_checksum(r);
	if (rc == 0 && cluster_check_whole(map, &why) < 0)
		rc = error_set(r->err, -EBADMSG, "%s", error_text(&why));
	return rc;
}

int cluster_map_parse(const char *text, size_t len, struct cluster_map *map, struct error *err)
{
	struct reader r = { .text = text, .len = len, .err = err };
	int rc;

	memset(map, 0, sizeof *map);
	if (len > CLUSTER_TEXT_MAX)
		rc = error_set(err, -EBADMSG, "%zu bytes are too many for a cluster map, which has at most %d", len,
		               CLUSTER_TEXT_MAX);
	else
		rc = read_map(&r, map);
	if (rc < 0)
		memset(map, 0, sizeof *map);
	return rc;
}

/* ---- writing ---- */

struct writer {
	char *text;
	size_t room, len; /* `len` may be more than there is room for */
};

static void put(struct writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct writer *w, const char *format, ...)
{
	size_t left = w->len < w->room ? w->room - w->len : 0;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(left ? w->text + w->len : NULL, left, format, args);
	va_end(args);
	assert(n >= 0);
	w->len += (size_t)n;
}

int cluster_map_format(const struct cluster_map *map, char *text, size_t room)
{
	struct writer w = { .text = text, .room = room };
	bool is_local = strcmp(map->agreement, "local") == 0;
	char address[CLUSTER_ADDRESS_TEXT];
	unsigned highest = 0;

	put(&w, "garner-cluster 1\nid %s\nversion %" PRIu64 "\nreplicas %u\nquorum %u\n", map->id, map->version,
	    map->replicas, map->quorum);
	put(&w, "agreement %s%s\n", is_local ? "" : "etcd ", map->agreement);
	for (size_t i = 0; i < map->node_count; i++) {
		const struct cluster_node *n = &map->node[i];

		put(&w, "node %u %s weight=%u%s%s state=%s\n", n->id, cluster_node_address(n, address), n->weight,
		    n->rack[0] ? " rack=" : "", n->rack, cluster_node_state_name(n->state));
		highest = n->id > highest ? n->id : highest;
	}
	if (map->last_node > highest)
		put(&w, "last-node %u\n", map->last_node);
	for (size_t i = 0; i < map->pool_count; i++)
		put(&w, "pool %s replicas=%u quorum=%u\n", map->pool[i].name, map->pool[i].replicas,
		    map->pool[i].quorum);
	if (w.len >= room)
		return -ENOSPC;
	put(&w, "checksum %08" PRIx32 "\n", crc32c(0, text, w.len));
	return w.len < room ? (int)w.len : -ENOSPC;
}
