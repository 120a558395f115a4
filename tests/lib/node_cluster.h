/* SPDX-License-Identifier: GPL-3.0-only */
/* node_cluster.h: a cluster of storage nodes as a gateway sees it: several HTTP servers in front of one table of objects, each of which
 * checks signatures, signs its answers, and misbehaves as a test says.
 *
 * There are no replicas in it: what the nodes agree on is the table. For tests only.
 */
#ifndef GARNER_TESTS_NODE_CLUSTER_H
#define GARNER_TESTS_NODE_CLUSTER_H

#include "base/blake2bp.h"
#include "lib/http_server.h"
#include "store/cluster_map.h"
#include "store/node_auth.h"
#include "store/node_head.h"
#include "store/placement.h"

#include <event2/keyvalq_struct.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdarg.h>
#include <sys/queue.h>
#include <sys/stat.h>

#define NODES 3
#define NODE_OBJECTS 64
#define CLUSTER_ID "0123456789abcdef0123456789abcdef"

enum node_play {
	NODE_GOOD,
	NODE_SILENT,     /* it takes requests and says nothing */
	NODE_DROPS,      /* it closes connections */
	NODE_LOSES,      /* it does what it is asked, and closes connections */
	NODE_UNPROVEN,   /* its answers have no proof */
	NODE_WRONG_MAC,  /* or a wrong one */
	NODE_DAMAGES,    /* its bodies are not what it signed */
	NODE_OTHER_KEY,  /* it has another cluster's key */
	NODE_NO_TRUST,   /* whoever asks is told that it is not known */
	NODE_SAYS_STATUS /* it answers with cluster->status */
};

struct cluster_object {
	char name[OBJECT_NAME_MAX + 1];
	uint8_t *bytes; /* NULL: it is removed */
	size_t length;
	struct object_version version;
};

struct fake_node {
	struct http_server http;
	struct node_cluster *cluster;
	unsigned id;
	struct node_session session;
	_Atomic int play;
	_Atomic unsigned plays; /* so many requests, then it is good */
	atomic_uint asked;      /* requests about objects and lists */
	atomic_uint asked_map, asked_health, challenges;
	uint8_t nonces[4096][NODE_NONCE_BYTES];
	size_t nonce_count;
	/* of the answer under way */
	char text[8][200];
	size_t texts;
	uint8_t *body;
};

struct node_cluster {
	struct fake_node node[NODES];
	char dir[64], file[96], url[400];
	struct node_key key;
	pthread_mutex_t mutex; /* guards what follows */
	struct cluster_map map;
	struct cluster_object object[NODE_OBJECTS];
	size_t count;
	int status;            /* of NODE_SAYS_STATUS */
	const char *reason;    /* with it, or NULL */
	const char *acks;      /* in answers to puts */
	const char *list_text; /* instead of a listing */
	char create[20], read[20], range[60];
	struct object_version version; /* of the newest put or removal */
	/* May be NULL. Answers other requests, with node_body() and a status; false: it is none of its. */
	bool (*more)(struct fake_node *n, const struct http_server_request *r, const char *path,
	             const struct evkeyvalq *query, struct http_server_answer *a);
};

/* ---- answering ---- */

static inline const char *node_text(struct fake_node *n, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline const char *node_text(struct fake_node *n, const char *format, ...)
{
	char *text = n->text[n->texts++];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof n->text[0], format, arguments);
	va_end(arguments);
	return text;
}

static inline void node_header(struct http_server_answer *a, const char *name, const char *value)
{
	for (size_t i = 0; i < sizeof a->name / sizeof a->name[0]; i++)
		if (!a->name[i]) {
			a->name[i] = name;
			a->value[i] = value;
			return;
		}
	abort();
}

static inline void node_body(struct fake_node *n, struct http_server_answer *a, const void *bytes, size_t length)
{
	free(n->body);
	n->body = malloc(length + 1);
	if (length)
		memcpy(n->body, bytes, length);
	a->body = n->body;
	a->body_length = length;
}

static inline void node_say_version(struct fake_node *n, struct http_server_answer *a, struct object_version v)
{
	char text[OBJECT_VERSION_TEXT];

	object_version_format(v, text);
	node_header(a, "X-Garner-Version", node_text(n, "%s", text));
}

/* Signs the answer to the request of that nonce. */
static inline void node_sign(struct fake_node *n, const uint8_t nonce[NODE_NONCE_BYTES], struct http_server_answer *a)
{
	struct node_header headers[8];
	struct node_auth_answer answer = { .status = a->status, .headers = headers, .length = a->body_length };
	char text[NODE_ANSWER_TEXT], hex[65];
	uint8_t digest[32];

	if (a->body_length) {
		blake2bp(a->body, a->body_length, digest, sizeof digest);
		node_digest_text(digest, hex);
		node_header(a, "X-Garner-Body", node_text(n, "%s", hex));
	}
	for (; answer.count < 8 && a->name[answer.count]; answer.count++)
		headers[answer.count] = (struct node_header){ a->name[answer.count], a->value[answer.count] };
	if (node_answer_sign(&n->cluster->key, nonce, &answer, text))
		abort();
	if (n->play == NODE_WRONG_MAC)
		text[strlen("mac=") + 5] ^= 1;
	if (n->play != NODE_UNPROVEN)
		node_header(a, "X-Garner-Answer", node_text(n, "%s", text));
	if (n->play == NODE_DAMAGES && a->body_length)
		n->body[a->body_length / 2] ^= 1;
}

/* ---- objects ---- */

static inline struct cluster_object *node_find(struct node_cluster *c, const char *name)
{
	for (size_t i = 0; i < c->count; i++)
		if (strcmp(c->object[i].name, name) == 0)
			return &c->object[i];
	return NULL;
}

/* For the test itself, too. `bytes` NULL: it is removed. */
static inline void node_keep(struct node_cluster *c, const char *name, struct object_version version, const void *bytes,
                             size_t length)
{
	struct cluster_object *o = node_find(c, name);
	size_t i = 0;

	if (!o) {
		assert(c->count < NODE_OBJECTS);
		while (i < c->count && strcmp(c->object[i].name, name) < 0)
			i++;
		memmove(&c->object[i + 1], &c->object[i], (c->count - i) * sizeof c->object[0]);
		c->count++;
		o = &c->object[i];
		memset(o, 0, sizeof *o);
		snprintf(o->name, sizeof o->name, "%s", name);
	}
	free(o->bytes);
	o->bytes = bytes ? malloc(length + 1) : NULL;
	if (bytes && length)
		memcpy(o->bytes, bytes, length);
	o->length = length;
	o->version = version;
}

static inline void node_write(struct fake_node *n, const struct http_server_request *r, const char *name,
                              struct http_server_answer *a)
{
	struct node_cluster *c = n->cluster;
	struct cluster_object *o = node_find(c, name);
	struct object_version v;
	int order;

	snprintf(c->create, sizeof c->create, "%s", http_server_header(r, "X-Garner-Create"));
	if (object_version_parse(http_server_header(r, "X-Garner-Version"), &v)) {
		a->status = 400;
		return;
	}
	c->version = v;
	order = o ? object_version_compare(v, o->version) : 1;
	if (c->create[0] && o && o->bytes && order != 0) {
		a->status = 412;
	} else if (order < 0) {
		a->status = 409;
		node_header(a, "X-Garner-Reason", "newer");
		node_say_version(n, a, o->version);
	} else {
		if (order > 0)
			node_keep(c, name, v, r->method == EVHTTP_REQ_PUT ? (const void *)r->body : NULL,
			          r->body_length);
		if (order > 0 && r->method == EVHTTP_REQ_PUT && !r->body_length)
			node_keep(c, name, v, "", 0);
		a->status = r->method == EVHTTP_REQ_PUT ? 201 : 204;
		if (c->acks)
			node_header(a, "X-Garner-Acks", c->acks);
	}
}

static inline void node_read(struct fake_node *n, const struct http_server_request *r, const char *name,
                             struct http_server_answer *a)
{
	struct node_cluster *c = n->cluster;
	const struct cluster_object *o = node_find(c, name);
	size_t first = 0, last;

	snprintf(c->read, sizeof c->read, "%s", http_server_header(r, "X-Garner-Read"));
	snprintf(c->range, sizeof c->range, "%s", http_server_header(r, "Range"));
	if (!o || !o->bytes) {
		a->status = 404;
		return;
	}
	node_say_version(n, a, o->version);
	a->status = 200;
	if (sscanf(c->range, "bytes=%zu-%zu", &first, &last) != 2) {
		node_body(n, a, o->bytes, o->length);
	} else if (first >= o->length) {
		a->status = 416;
	} else {
		last = last < o->length ? last : o->length - 1;
		a->status = 206;
		node_header(a, "Content-Range", node_text(n, "bytes %zu-%zu/%zu", first, last, o->length));
		node_body(n, a, o->bytes + first, last - first + 1);
	}
}

static inline void node_list(struct fake_node *n, const char *pool, const struct evkeyvalq *query,
                             struct http_server_answer *a)
{
	const char *prefix = evhttp_find_header(query, "prefix"), *after = evhttp_find_header(query, "after");
	size_t max = strtoul(evhttp_find_header(query, "max"), NULL, 10), listed = 0, used, i;
	struct node_cluster *c = n->cluster;
	static char text[65536];
	char version[OBJECT_VERSION_TEXT];

	used = (size_t)snprintf(text, sizeof text, "{\"objects\":[");
	for (i = 0; i < c->count; i++) {
		const struct cluster_object *o = &c->object[i];
		const char *key = o->name + strlen(pool) + 1;

		if (!o->bytes || strncmp(o->name, pool, strlen(pool)) != 0 || o->name[strlen(pool)] != '/' ||
		    (prefix && strncmp(key, prefix, strlen(prefix)) != 0) || (after && strcmp(key, after) <= 0))
			continue;
		if (listed == max)
			break;
		object_version_format(o->version, version);
		used += (size_t)snprintf(text + used, sizeof text - used,
		                         "%s{\"key\":\"%s\",\"size\":%zu,\"version\":\"%s\"}", listed++ ? "," : "", key,
		                         o->length, version);
	}
	snprintf(text + used, sizeof text - used, "],\"more\":%s}", i < c->count ? "true" : "false");
	a->status = 200;
	if (c->list_text)
		node_body(n, a, c->list_text, strlen(c->list_text));
	else
		node_body(n, a, text, strlen(text));
}

static inline void node_object(struct fake_node *n, const struct http_server_request *r, const char *path,
                               const struct evkeyvalq *query, struct http_server_answer *a)
{
	struct node_cluster *c = n->cluster;
	uint64_t map = strtoull(http_server_header(r, "X-Garner-Map"), NULL, 10);

	atomic_fetch_add(&n->asked, 1);
	if (n->play == NODE_SAYS_STATUS) {
		a->status = c->status;
		if (c->reason)
			node_header(a, "X-Garner-Reason", c->reason);
	} else if (map < c->map.version) {
		a->status = 409;
		node_header(a, "X-Garner-Reason", "map");
	} else if (strncmp(path, "/v1/list/", 9) == 0) {
		node_list(n, path + 9, query, a);
	} else if (strncmp(path, "/v1/object/", 11) != 0 || !object_name_valid(path + 11)) {
		a->status = 400;
	} else if (r->method == EVHTTP_REQ_PUT || r->method == EVHTTP_REQ_DELETE) {
		node_write(n, r, path + 11, a);
	} else {
		node_read(n, r, path + 11, a);
	}
	if (n->play != NODE_SAYS_STATUS && a->status != 409)
		node_header(a, "X-Garner-Map", node_text(n, "%llu", (unsigned long long)c->map.version));
}

static inline void node_route(struct fake_node *n, const struct http_server_request *r, struct http_server_answer *a)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(r->real);
	const char *path = evhttp_uri_get_path(uri);
	char text[CLUSTER_TEXT_MAX];
	struct evkeyvalq query;

	evhttp_parse_query_str(evhttp_uri_get_query(uri) ? evhttp_uri_get_query(uri) : "", &query);
	if (strcmp(path, "/v1/map") == 0) {
		int length = cluster_map_format(&n->cluster->map, text, sizeof text);

		assert(length > 0);
		atomic_fetch_add(&n->asked_map, 1);
		a->status = 200;
		node_body(n, a, text, (size_t)length);
	} else if (strcmp(path, "/v1/health") == 0) {
		atomic_fetch_add(&n->asked_health, 1);
		a->status = 200;
		node_body(n, a, "ok\n", 3);
	} else if (!n->cluster->more || !n->cluster->more(n, r, path, &query, a)) {
		node_object(n, r, path, &query, a);
	}
	evhttp_clear_headers(&query);
}

/* ---- who asks ---- */

static inline const char *node_method(const struct http_server_request *r)
{
	switch (r->method) {
	case EVHTTP_REQ_PUT:
		return "PUT";
	case EVHTTP_REQ_DELETE:
		return "DELETE";
	case EVHTTP_REQ_HEAD:
		return "HEAD";
	case EVHTTP_REQ_POST:
		return "POST";
	default:
		return "GET";
	}
}

static inline bool node_body_is_as_signed(const struct http_server_request *r)
{
	const char *text = http_server_header(r, "X-Garner-Digest");
	uint8_t said[32], is[32];

	if (!r->body_length && !*text)
		return true;
	blake2bp(r->body, r->body_length, is, sizeof is);
	return node_digest_parse(text, said) == 0 && memcmp(said, is, sizeof is) == 0;
}

/* Whether the request is to be carried out; else it is answered. */
static inline bool node_knows(struct fake_node *n, const struct http_server_request *r,
                              struct node_credentials *credentials, struct http_server_answer *a)
{
	struct node_header headers[64];
	struct node_auth_request request = { .method = node_method(r), .target = r->target, .headers = headers };
	struct node_key key = n->cluster->key;
	const struct evkeyval *h;
	char text[NODE_CHALLENGE_TEXT];

	a->status = 401;
	request.length = r->body_length;
	TAILQ_FOREACH(h, evhttp_request_get_input_headers(r->real), next)
		headers[request.count++] = (struct node_header){ h->key, h->value };
	if (n->play == NODE_OTHER_KEY)
		key.bytes[0] ^= 1;
	if (node_auth_parse(http_server_header(r, "Authorization"), credentials) ||
	    node_auth_verify(&key, &request, credentials) || n->play == NODE_NO_TRUST)
		return false;
	if (!node_auth_current(&n->session, credentials, node_head_now_ms())) {
		atomic_fetch_add(&n->challenges, 1);
		node_challenge_make(&n->cluster->key, &n->session, node_head_now_ms(), credentials->nonce, text);
		node_header(a, "X-Garner-Challenge", node_text(n, "%s", text));
		return false;
	}
	for (size_t i = 0; i < n->nonce_count; i++)
		if (memcmp(n->nonces[i], credentials->nonce, NODE_NONCE_BYTES) == 0) {
			node_header(a, "X-Garner-Reason", "replayed");
			node_sign(n, credentials->nonce, a);
			return false;
		}
	if (n->nonce_count < sizeof n->nonces / sizeof n->nonces[0])
		memcpy(n->nonces[n->nonce_count++], credentials->nonce, NODE_NONCE_BYTES);
	a->status = 0;
	return true;
}

static inline void node_asked(void *arg, const struct http_server_request *r, struct http_server_answer *a)
{
	struct fake_node *n = arg;
	struct node_credentials credentials;
	int play;

	pthread_mutex_lock(&n->cluster->mutex);
	n->texts = 0;
	play = n->play;
	if (play == NODE_SILENT) {
		a->hold = true;
	} else if (play == NODE_DROPS) {
		a->drop = true;
	} else if (node_knows(n, r, &credentials, a)) {
		if (node_body_is_as_signed(r))
			node_route(n, r, a);
		else
			a->status = 400;
		a->drop = play == NODE_LOSES;
		node_sign(n, credentials.nonce, a);
		if (play != NODE_GOOD && n->plays && --n->plays == 0)
			n->play = NODE_GOOD;
	}
	pthread_mutex_unlock(&n->cluster->mutex);
}

/* ---- the cluster ---- */

static inline void write_whole_file(const char *path, const char *text, size_t length, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	if (fd < 0 || write(fd, text, length) != (ssize_t)length)
		abort();
	close(fd);
}

static inline void node_cluster_write_file(struct node_cluster *c)
{
	char text[CLUSTER_TEXT_MAX];
	int length = cluster_map_format(&c->map, text, sizeof text);

	assert(length > 0);
	write_whole_file(c->file, text, (size_t)length, 0644);
}

static inline void node_cluster_start(struct node_cluster *c)
{
	char path[128], hex[66];

	memset(c, 0, sizeof *c);
	snprintf(c->dir, sizeof c->dir, "/tmp/garner-cluster-XXXXXX");
	if (sodium_init() < 0 || !mkdtemp(c->dir))
		abort();
	pthread_mutex_init(&c->mutex, NULL);
	randombytes_buf(c->key.bytes, sizeof c->key.bytes);
	c->map = (struct cluster_map){ .id = CLUSTER_ID,
		                       .version = 1,
		                       .replicas = NODES,
		                       .quorum = NODES / 2 + 1,
		                       .agreement = "https://127.0.0.1:2379",
		                       .node_count = NODES };
	for (unsigned i = 0; i < NODES; i++) {
		c->node[i].cluster = c;
		c->node[i].id = i + 1;
		node_session_begin(&c->node[i].session, node_head_now_ms());
		http_server_start(&c->node[i].http, node_asked, &c->node[i]);
		c->map.node[i] = (struct cluster_node){
			.id = i + 1, .host = "127.0.0.1", .port = (uint16_t)c->node[i].http.port, .weight = 100
		};
	}
	snprintf(c->file, sizeof c->file, "%s/cluster", c->dir);
	node_cluster_write_file(c);
	snprintf(path, sizeof path, "%s/cluster.key", c->dir);
	sodium_bin2hex(hex, sizeof hex, c->key.bytes, sizeof c->key.bytes);
	write_whole_file(path, hex, 64, 0600);
	snprintf(c->url, sizeof c->url, "node://127.0.0.1:%u/pool?cluster=%s", c->node[0].http.port, c->file);
}

static inline void node_cluster_stop(struct node_cluster *c)
{
	for (unsigned i = 0; i < NODES; i++) {
		http_server_stop(&c->node[i].http);
		free(c->node[i].body);
	}
	for (size_t i = 0; i < c->count; i++)
		free(c->object[i].bytes);
	pthread_mutex_destroy(&c->mutex);
}

/* The node that a key's requests go to first. */
static inline struct fake_node *node_first_of(struct node_cluster *c, const char *key)
{
	char name[OBJECT_NAME_MAX + 1];
	struct placement p;

	snprintf(name, sizeof name, "pool/%s", key);
	placement_of(&c->map, name, &p);
	return &c->node[p.node[0] - 1];
}

#endif
