/* SPDX-License-Identifier: GPL-3.0-only */
/* test_node_gateway.c: the gateway's store against the server of storage nodes itself, with the files that `garner cluster init` writes:
 * that both sides sign, encrypt and number things alike. The objects are in a small table; how nodes agree is tested elsewhere.
 */
#include "base/blake2bp.h"
#include "store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/cluster_init.h"
#include "cli/cluster_units.h"
#include "lib/remove_tree.h"
#include "node/server.h"
#include "node/tls.h"
#include "store/cluster_call.h"
#include "store/cluster_file.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OBJECTS 8

struct object {
	char name[OBJECT_NAME_MAX + 1];
	struct evbuffer *body;
	char version[OBJECT_VERSION_TEXT], digest[NODE_DIGEST_TEXT];
};

struct fixture {
	char dir[64], out[96], file[128], url[300];
	struct cluster_map map;
	struct cluster_file node;
	struct tls *tls;
	struct loop *loop;
	struct server *server;
	struct server_options options;
	struct store *store;
	struct object object[OBJECTS]; /* the loop's */
};

static struct fixture fixture;

/* ---- the node ---- */

static struct object *find(struct fixture *f, const char *name)
{
	for (size_t i = 0; i < OBJECTS; i++)
		if (f->object[i].body && strcmp(f->object[i].name, name) == 0)
			return &f->object[i];
	return NULL;
}

static void on_head(void *arg, struct server_request *r)
{
	(void)arg;
	server_request_set_context(r, evbuffer_new());
}

static void on_body(void *arg, struct server_request *r, struct piece *piece)
{
	(void)arg;
	evbuffer_add(server_request_context(r), piece_bytes(piece), piece_length(piece));
	piece_put(piece);
}

static void on_abort(void *arg, struct server_request *r)
{
	(void)arg;
	evbuffer_free(server_request_context(r));
}

static void put_object(struct fixture *f, struct server_request *r, const char *name, struct evbuffer *body)
{
	const struct message_head *h = server_request_head(r);
	struct object *o = find(f, name);
	char digest[NODE_DIGEST_TEXT];
	uint8_t bytes[32];

	blake2bp(evbuffer_pullup(body, -1), evbuffer_get_length(body), bytes, sizeof bytes);
	node_digest_text(bytes, digest);
	if (strcmp(digest, message_header(h, "X-Garner-Digest")) != 0) {
		server_answer_text(r, 400, "the body is not what it should be");
		return;
	}
	for (size_t i = 0; i < OBJECTS && !o; i++)
		o = f->object[i].body ? NULL : &f->object[i];
	assert_non_null(o);
	if (!o->body)
		o->body = evbuffer_new();
	evbuffer_drain(o->body, evbuffer_get_length(o->body));
	evbuffer_add_buffer(o->body, body);
	snprintf(o->name, sizeof o->name, "%s", name);
	snprintf(o->version, sizeof o->version, "%s", message_header(h, "X-Garner-Version"));
	snprintf(o->digest, sizeof o->digest, "%s", digest);
	server_answer_header(r, "X-Garner-Acks", "n1=123");
	server_answer(r, 201, NULL);
}

static void get_object(struct server_request *r, const struct object *o)
{
	const struct message_head *h = server_request_head(r);
	size_t length = evbuffer_get_length(o->body), first = 0, last = length - 1;
	const uint8_t *bytes = evbuffer_pullup(o->body, -1);
	struct evbuffer *part;

	server_answer_header(r, "X-Garner-Version", o->version);
	if (h->has_range && h->range_first >= length) {
		server_answer(r, 416, NULL);
		return;
	}
	if (h->has_range) {
		first = h->range_first;
		last = h->range_last < last ? h->range_last : last;
		server_answer_headerf(r, "Content-Range", "bytes %zu-%zu/%zu", first, last, length);
	} else {
		server_answer_header(r, "X-Garner-Digest", o->digest);
	}
	if (strcmp(h->method, "HEAD") == 0) {
		server_answer_head(r, 200, length);
		return;
	}
	part = evbuffer_new();
	evbuffer_add(part, bytes + first, length ? last - first + 1 : 0);
	server_answer(r, h->has_range ? 206 : 200, part);
	evbuffer_free(part);
}

static void about_object(struct fixture *f, struct server_request *r, const char *name, struct evbuffer *body)
{
	const char *method = server_request_head(r)->method;
	struct object *o = find(f, name);

	if (strcmp(method, "PUT") == 0) {
		put_object(f, r, name, body);
	} else if (!o) {
		server_answer(r, 404, NULL);
	} else if (strcmp(method, "DELETE") == 0) {
		evbuffer_free(o->body);
		o->body = NULL;
		server_answer(r, 204, NULL);
	} else {
		get_object(r, o);
	}
}

static void list(struct fixture *f, struct server_request *r, struct evbuffer *out)
{
	const char *comma = "";

	evbuffer_drain(out, evbuffer_get_length(out));
	evbuffer_add_printf(out, "{\"objects\":[");
	for (size_t i = 0; i < OBJECTS; i++)
		if (f->object[i].body) {
			evbuffer_add_printf(out, "%s{\"key\":\"%s\",\"size\":%zu,\"version\":\"%s\"}", comma,
			                    strchr(f->object[i].name, '/') + 1, evbuffer_get_length(f->object[i].body),
			                    f->object[i].version);
			comma = ",";
		}
	evbuffer_add_printf(out, "],\"more\":false}");
	server_answer(r, 200, out);
}

static void on_end(void *arg, struct server_request *r)
{
	struct fixture *f = arg;
	const char *path = server_request_head(r)->path;
	struct evbuffer *body = server_request_context(r);
	char text[CLUSTER_TEXT_MAX];

	if (strncmp(path, "/v1/object/", 11) == 0) {
		about_object(f, r, path + 11, body);
	} else if (strncmp(path, "/v1/list/", 9) == 0) {
		list(f, r, body);
	} else if (strcmp(path, "/v1/map") == 0 || strcmp(path, "/v1/admin/scrub") == 0) {
		cluster_map_format(&f->map, text, sizeof text);
		server_answer_text(r, 200, "%.*s", (int)strlen(text) - 1, text);
	} else {
		server_answer_text(r, 404, "not here");
	}
	evbuffer_free(body);
}

/* ---- both ---- */

static void start_server(void *arg)
{
	struct fixture *f = arg;

	assert_int_equal(server_new(f->loop, &f->options, &f->server, NULL), 0);
}

static void stop_server(void *arg)
{
	server_free(((struct fixture *)arg)->server);
}

/* The map with the port that the server has got. */
static void write_map(struct fixture *f, const char *path)
{
	char text[CLUSTER_TEXT_MAX];
	FILE *file = fopen(path, "w");
	int length = cluster_map_format(&f->map, text, sizeof text);

	assert_true(file && length > 0);
	assert_int_equal(fwrite(text, 1, (size_t)length, file), length);
	assert_int_equal(fclose(file), 0);
}

static int start(struct fixture *f, bool plain)
{
	struct cluster_plan plan = {
		.nodes = "127.0.0.1:1", .out = f->out, .plain = plain, .data = CLUSTER_DATA_DIR, .garnerd = "/bin/true"
	};
	struct store_options options = { .deadline_ms = 20000 };
	struct error err = { 0 };
	char path[128];

	*f = (struct fixture){ .dir = "/tmp/garner-gateway-XXXXXX" };
	if (sodium_init() < 0 || !mkdtemp(f->dir))
		return -1;
	snprintf(f->out, sizeof f->out, "%.60s/new", f->dir);
	if (cluster_init(&plan, &f->map, &err))
		fail_msg("%s", error_text(&err));
	snprintf(path, sizeof path, "%.90s/node-1/cluster", f->out);
	if (cluster_file_load(path, CLUSTER_NODE_PEM, &f->node, &err) ||
	    (f->node.tls && tls_load(f->node.ca, f->node.pem, &f->tls, &err)) || loop_new("node", &f->loop, &err))
		fail_msg("%s", error_text(&err));
	f->options = (struct server_options){ .host = "127.0.0.1",
		                              .tls = f->tls,
		                              .key = f->node.key,
		                              .handler = { on_head, on_body, on_end, on_abort, f } };
	loop_run(f->loop, start_server, f);
	f->map.node[0].port = (uint16_t)server_port(f->server);
	snprintf(f->file, sizeof f->file, "%.90s/cluster", f->out);
	write_map(f, f->file);
	snprintf(f->url, sizeof f->url, "node:///pool?cluster=%s", f->file);
	if (store_open(f->url, &options, &f->store, &err))
		fail_msg("%s", error_text(&err));
	return 0;
}

static int setup_tls(void **state)
{
	*state = &fixture;
	return start(&fixture, false);
}

static int setup_plain(void **state)
{
	*state = &fixture;
	return start(&fixture, true);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	store_close(f->store);
	loop_run(f->loop, stop_server, f);
	loop_free(f->loop);
	tls_free(f->tls);
	cluster_file_destroy(&f->node);
	for (size_t i = 0; i < OBJECTS; i++)
		if (f->object[i].body)
			evbuffer_free(f->object[i].body);
	remove_tree(f->dir);
	return 0;
}

/* ---- */

static int collect(void *arg, const struct store_entry *entry)
{
	char *all = arg;

	snprintf(all + strlen(all), 300, "%s=%zu ", entry->key, (size_t)entry->size);
	return 0;
}

static void objects_go_there_and_back(void **state)
{
	struct fixture *f = *state;
	char buf[100], all[400] = "", acks[STORE_ACKS_TEXT];
	uint64_t size;
	size_t length;

	assert_int_equal(store_put_wait(f->store, "a/b", "hello world", 11, 0, NULL), 0);
	store_get_acks(f->store, acks, sizeof acks);
	assert_non_null(strstr(acks, ", n1 123 us"));
	assert_int_equal(store_put_wait(f->store, "once", "x", 1, STORE_PUT_ONCE, NULL), 0);
	assert_int_equal(store_get_wait(f->store, "a/b", 0, buf, sizeof buf, &length, NULL), 0);
	assert_int_equal(length, 11);
	assert_memory_equal(buf, "hello world", 11);
	assert_int_equal(store_get_wait(f->store, "a/b", 6, buf, 3, &length, NULL), 0);
	assert_int_equal(length, 3);
	assert_memory_equal(buf, "wor", 3);
	assert_int_equal(store_get_wait(f->store, "a/b", 11, buf, sizeof buf, &length, NULL), 0);
	assert_int_equal(length, 0);
	assert_int_equal(store_head_wait(f->store, "a/b", &size, NULL), 0);
	assert_int_equal(size, 11);
	assert_int_equal(store_head_wait(f->store, "nowhere", &size, NULL), -ENOENT);
	assert_int_equal(store_list_each(f->store, "", NULL, collect, all, NULL), 0);
	assert_string_equal(all, "a/b=11 once=1 ");
	assert_int_equal(store_remove_wait(f->store, "a/b", NULL), 0);
	assert_int_equal(store_remove_wait(f->store, "a/b", NULL), 0);
	assert_int_equal(store_head_wait(f->store, "a/b", &size, NULL), -ENOENT);
}

static void a_segment_goes_there_and_back(void **state)
{
	struct fixture *f = *state;
	size_t size = 8 << 20, length;
	uint8_t *body = malloc(size), *back = malloc(size + 1);

	randombytes_buf(body, size);
	assert_int_equal(store_put_wait(f->store, "segment", body, size, STORE_UPLOAD | STORE_PUT_CREATE_ONLY, NULL),
	                 0);
	assert_int_equal(store_get_wait(f->store, "segment", 0, back, size + 1, &length, NULL), 0);
	assert_int_equal(length, size);
	assert_memory_equal(body, back, size);
	assert_int_equal(store_get_wait(f->store, "segment", size / 2, back, 70000, &length, NULL), 0);
	assert_int_equal(length, 70000);
	assert_memory_equal(body + size / 2, back, 70000);
	free(body);
	free(back);
}

static void restart(void *arg)
{
	struct fixture *f = arg;

	f->options.port = server_port(f->server);
	server_free(f->server);
	start_server(f);
}

static void a_node_that_was_restarted_is_asked_again(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(store_put_wait(f->store, "key", "1", 1, 0, NULL), 0);
	loop_run(f->loop, restart, f);
	assert_int_equal(store_put_wait(f->store, "key", "2", 1, 0, NULL), 0);
	loop_run(f->loop, restart, f);
	assert_int_equal(store_put_wait(f->store, "key", "3", 1, STORE_PUT_ONCE, NULL), 0);
	assert_int_equal(store_head_wait(f->store, "key", NULL, NULL), 0);
}

static void commands_reach_it_too(void **state)
{
	struct fixture *f = *state;
	struct cluster_client *client;
	struct cluster_answer answer;

	assert_int_equal(cluster_client_open(f->file, &client, NULL), 0);
	assert_int_equal(cluster_client_ask(client, HTTP_POST, "/v1/admin/scrub", 1, true, &answer), 0);
	assert_non_null(strstr(answer.body, "garner-cluster 1"));
	cluster_answer_destroy(&answer);
	assert_int_equal(cluster_client_ask(client, HTTP_POST, "/v1/admin/explode", 1, true, &answer), -ENOENT);
	assert_non_null(strstr(answer.err.text, "not here"));
	cluster_answer_destroy(&answer);
	cluster_client_close(client);
}

static void copy_file(const char *from_dir, const char *to_dir, const char *name)
{
	char from[160], to[160], text[8192];
	size_t n;
	FILE *in, *out;

	snprintf(from, sizeof from, "%s/%s", from_dir, name);
	snprintf(to, sizeof to, "%s/%s", to_dir, name);
	in = fopen(from, "r");
	out = fopen(to, "w");
	assert_true(in && out);
	n = fread(text, 1, sizeof text, in);
	assert_int_equal(fwrite(text, 1, n, out), n);
	fclose(in);
	fclose(out);
}

/* Who has the key but a certificate of another authority, or another key, gets nothing. */
static void a_stranger_is_kept_out(void **state)
{
	struct fixture *f = *state;
	struct store_options options = { .deadline_ms = 1000 };
	char other[96], url[300], path[128];
	struct cluster_plan plan = { .nodes = "127.0.0.1:1",
		                     .out = other,
		                     .data = CLUSTER_DATA_DIR,
		                     .garnerd = "/bin/true",
		                     .plain = !f->node.tls };
	struct cluster_map map;
	struct store *store;

	snprintf(other, sizeof other, "%.60s/other", f->dir);
	assert_int_equal(cluster_init(&plan, &map, NULL), 0);
	snprintf(path, sizeof path, "%.90s/cluster", other);
	write_map(f, path);
	snprintf(url, sizeof url, "node:///pool?cluster=%s", path);
	assert_int_not_equal(store_open(url, &options, &store, NULL), 0);
	if (f->node.tls) {
		/* The key alone. */
		copy_file(f->out, other, "cluster.key");
		assert_int_not_equal(store_open(url, &options, &store, NULL), 0);
		/* The authority, too, but no certificate of it. */
		copy_file(f->out, other, "ca.pem");
		assert_int_not_equal(store_open(url, &options, &store, NULL), 0);
		copy_file(f->out, other, "gateway.pem");
	} else {
		copy_file(f->out, other, "cluster.key");
	}
	assert_int_equal(store_open(url, &options, &store, NULL), 0);
	store_close(store);
}

#define BOTH(name)                                                  \
	{ #name " (tls)", name, setup_tls, teardown, NULL },        \
	{                                                           \
#name " (plain)", name, setup_plain, teardown, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(objects_go_there_and_back),
		BOTH(a_segment_goes_there_and_back),
		BOTH(a_node_that_was_restarted_is_asked_again),
		BOTH(commands_reach_it_too),
		BOTH(a_stranger_is_kept_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
