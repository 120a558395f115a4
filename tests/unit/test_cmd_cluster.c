/* SPDX-License-Identifier: GPL-3.0-only */
/* test_cmd_cluster.c: garner cluster against nodes in this process: what it asks them, what it prints, and when all is well. */
#include "cli/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lib/node_cluster.h"
#include "lib/remove_tree.h"

#include <jansson.h>
#include <stdbool.h>

struct fixture {
	struct node_cluster cluster;
	/* guarded by the cluster's mutex */
	char told[1000]; /* "1 POST /v1/admin/repair\n" ... */
	char status[NODES][1200];
	const char *answer; /* to what is told */
	int answer_status;
	/* what the command printed */
	char out[20000], err[4000];
};

static struct fixture fixture;

static void say_status(struct fixture *f, unsigned node, const char *state, unsigned map, const char *peer_up,
                       const char *drive, unsigned hints)
{
	char *text = f->status[node - 1];

	pthread_mutex_lock(&f->cluster.mutex);
	snprintf(text, sizeof f->status[0],
	         "{\"node\":%u,\"cluster\":\"" CLUSTER_ID "\",\"map\":%u,\"state\":\"%s\",\"uptime_s\":7,"
	         "\"peers\":[{\"node\":8,\"up\":true,\"rtt_us\":1,\"hints\":0},{\"node\":9,\"up\":%s,\"rtt_us\":1,"
	         "\"hints\":0}],"
	         "\"drives\":[{\"path\":\"/"
	         "d\",\"state\":\"%s\",\"bytes\":5,\"objects\":42,\"free\":1048576,\"capacity\":2097152}],"
	         "\"hints\":%u,\"quarantined\":0,\"scrub\":{\"passes\":1,\"last\":0,\"errors\":0},"
	         "\"healing\":{\"running\":false,\"missing\":0,\"pulled\":3},\"requests\":{}}",
	         node, map, state, peer_up, drive, hints);
	pthread_mutex_unlock(&f->cluster.mutex);
}

static bool more(struct fake_node *n, const struct http_server_request *r, const char *path,
                 const struct evkeyvalq *query, struct http_server_answer *a)
{
	struct fixture *f = &fixture;
	size_t used = strlen(f->told);

	(void)query;
	if (strcmp(path, "/v1/status") == 0) {
		a->status = 200;
		node_body(n, a, f->status[n->id - 1], strlen(f->status[n->id - 1]));
		return true;
	}
	if (strncmp(path, "/v1/admin/", 10) != 0)
		return false;
	snprintf(f->told + used, sizeof f->told - used, "%u %s %s\n", n->id, node_method(r), r->target);
	a->status = f->answer_status;
	node_body(n, a, f->answer, strlen(f->answer));
	return true;
}

static int setup(void **state)
{
	struct fixture *f = &fixture;

	memset(f, 0, sizeof *f);
	node_cluster_start(&f->cluster);
	f->cluster.more = more;
	f->answer = "{\"ok\":true,\"text\":\"it is done\"}";
	f->answer_status = 200;
	for (unsigned i = 1; i <= NODES; i++)
		say_status(f, i, "ok", 1, "true", "ok", 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	node_cluster_stop(&f->cluster);
	remove_tree(f->cluster.dir);
	return 0;
}

/* ---- running it ---- */

static int catch_output(int fd, FILE **file)
{
	int saved;

	*file = tmpfile();
	assert_non_null(*file);
	fflush(NULL);
	saved = dup(fd);
	assert_true(saved >= 0 && dup2(fileno(*file), fd) == fd);
	return saved;
}

static void give_back(int fd, int saved, FILE *file, char *text, size_t room)
{
	size_t n;

	fflush(NULL);
	dup2(saved, fd);
	close(saved);
	rewind(file);
	n = fread(text, 1, room - 1, file);
	text[n] = '\0';
	fclose(file);
}

/* Runs `garner cluster WORDS...`; --cluster is added unless `words` holds it, or the verb is init. */
static int run(struct fixture *f, const char *const *words)
{
	static const struct command c = { "cluster", "", "", "", cmd_cluster };
	char name[] = "cluster", option[] = "--cluster", *argv[20] = { name };
	int argc = 1, rc, saved[2];
	FILE *file[2];

	for (; words[argc - 1]; argc++)
		argv[argc] = (char *)(uintptr_t)words[argc - 1];
	if (strcmp(words[0], "init") != 0) {
		argv[argc++] = option;
		argv[argc++] = f->cluster.file;
	}
	f->told[0] = '\0';
	saved[0] = catch_output(1, &file[0]);
	saved[1] = catch_output(2, &file[1]);
	rc = cmd_cluster(&c, argc, argv);
	give_back(2, saved[1], file[1], f->err, sizeof f->err);
	give_back(1, saved[0], file[0], f->out, sizeof f->out);
	return rc;
}

#define RUN(f, ...) run(f, (const char *const[]){ __VA_ARGS__, NULL })

/* ---- status ---- */

static void all_is_well_when_every_node_is(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(RUN(f, "status"), EXIT_DONE);
	assert_non_null(strstr(f->out, "all is well\n"));
	assert_non_null(strstr(f->out, CLUSTER_ID));
	assert_non_null(strstr(f->out, "2/2"));
	assert_string_equal(f->err, "");
	/* A line for the cluster, one with names, one for each node, one for the sum. */
	unsigned lines = 0;
	for (const char *p = f->out; *p; p++)
		lines += *p == '\n';
	assert_int_equal(lines, 3 + NODES);
}

static void assert_not_well(struct fixture *f, const char *why)
{
	assert_int_equal(RUN(f, "status"), EXIT_FAILED);
	assert_non_null(strstr(f->out, "not all is well"));
	if (!strstr(f->out, why))
		fail_msg("'%s' does not say '%s'", f->out, why);
	assert_int_equal(RUN(f, "status", "--json"), EXIT_FAILED);
	say_status(f, 2, "ok", 1, "true", "ok", 0);
}

static void whatever_is_not_well_is_said(void **state)
{
	struct fixture *f = *state;

	say_status(f, 2, "recovering", 1, "true", "ok", 0);
	assert_not_well(f, "its state is not ok");
	say_status(f, 2, "ok", 0, "true", "ok", 0);
	assert_not_well(f, "newest map");
	say_status(f, 2, "ok", 1, "false", "ok", 0);
	assert_not_well(f, "other nodes");
	say_status(f, 2, "ok", 1, "true", "failed", 0);
	assert_not_well(f, "a drive is not ok");
	say_status(f, 2, "ok", 1, "true", "ok", 3);
	assert_not_well(f, "writes wait");
	strcpy(f->status[1], "{}");
	assert_not_well(f, "another cluster");
	strcpy(f->status[1], "[");
	assert_not_well(f, "cannot be read");
	/* What a node says does not steer a terminal. */
	say_status(f, 2, "ok\\u001b[31m", 1, "true", "ok", 0);
	assert_not_well(f, "ok?[31m");
	assert_null(strchr(f->out, 0x1b));
	assert_int_equal(RUN(f, "status"), EXIT_DONE);
}

static void a_node_that_does_not_answer_is_shown(void **state)
{
	struct fixture *f = *state;

	f->cluster.node[2].play = NODE_DROPS;
	assert_not_well(f, "no answer");
	f->cluster.node[2].play = NODE_WRONG_MAC;
	assert_not_well(f, "no answer");
	for (unsigned i = 0; i < NODES; i++)
		f->cluster.node[i].play = NODE_DROPS;
	assert_not_well(f, "no answer");
}

static void json_holds_what_the_nodes_said(void **state)
{
	struct fixture *f = *state;
	json_t *all, *nodes;

	f->cluster.node[1].play = NODE_DROPS;
	assert_int_equal(RUN(f, "status", "--json"), EXIT_FAILED);
	all = json_loads(f->out, 0, NULL);
	assert_non_null(all);
	assert_true(json_is_false(json_object_get(all, "ok")));
	assert_string_equal(json_string_value(json_object_get(all, "cluster")), CLUSTER_ID);
	nodes = json_object_get(all, "nodes");
	assert_int_equal(json_array_size(nodes), NODES);
	assert_true(json_is_true(json_object_get(json_array_get(nodes, 0), "ok")));
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(json_array_get(nodes, 0), "status"), "uptime_s")),
		7);
	assert_true(json_is_false(json_object_get(json_array_get(nodes, 1), "answered")));
	assert_non_null(json_object_get(json_array_get(nodes, 1), "problem"));
	json_decref(all);
}

/* ---- what nodes are told ---- */

static void one_node_or_all_are_repaired_and_scrubbed(void **state)
{
	struct fixture *f = *state;
	char address[40];

	assert_int_equal(RUN(f, "repair"), EXIT_DONE);
	assert_string_equal(f->told, "1 POST /v1/admin/repair\n2 POST /v1/admin/repair\n3 POST /v1/admin/repair\n");
	assert_non_null(strstr(f->out, "it is done"));
	assert_int_equal(RUN(f, "scrub", "2"), EXIT_DONE);
	assert_string_equal(f->told, "2 POST /v1/admin/scrub\n");
	snprintf(address, sizeof address, "127.0.0.1:%u", f->cluster.node[2].http.port);
	assert_int_equal(RUN(f, "scrub", address), EXIT_DONE);
	assert_string_equal(f->told, "3 POST /v1/admin/scrub\n");
	assert_int_equal(RUN(f, "scrub", "4"), EXIT_FAILED);
	assert_non_null(strstr(f->err, "no node '4'"));
	assert_string_equal(f->told, "");
	/* One that cannot be told does not keep the others from it. */
	f->cluster.node[0].play = NODE_DROPS;
	assert_int_equal(RUN(f, "repair"), EXIT_FAILED);
	assert_string_equal(f->told, "2 POST /v1/admin/repair\n3 POST /v1/admin/repair\n");
}

static void drain_and_remove_are_told_to_another_node(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(RUN(f, "drain", "1"), EXIT_DONE);
	assert_string_equal(f->told, "2 POST /v1/admin/drain?node=1\n");
	assert_null(strstr(f->out, "etcd"));
	assert_int_equal(RUN(f, "remove", "3"), EXIT_DONE);
	assert_string_equal(f->told, "1 POST /v1/admin/remove?node=3\n");
	assert_non_null(strstr(f->out, "etcd"));
	f->cluster.node[0].play = NODE_DROPS;
	assert_int_equal(RUN(f, "remove", "3", "--force"), EXIT_DONE);
	assert_string_equal(f->told, "2 POST /v1/admin/remove?node=3&force=1\n");
}

static void a_refusal_is_told_with_its_reason(void **state)
{
	struct fixture *f = *state;

	f->answer_status = 409;
	f->answer = "node 1 still holds 5 objects\n";
	assert_int_equal(RUN(f, "remove", "1"), EXIT_FAILED);
	assert_non_null(strstr(f->err, "node 1 still holds 5 objects"));
	f->answer_status = 200;
	f->answer = "{\"ok\":false,\"text\":\"not now\"}";
	assert_int_equal(RUN(f, "remove", "1"), EXIT_FAILED);
	assert_non_null(strstr(f->err, "not now"));
	f->answer = "nonsense";
	assert_int_equal(RUN(f, "remove", "1"), EXIT_FAILED);
}

static void the_newest_map_is_printed(void **state)
{
	struct fixture *f = *state;
	char text[CLUSTER_TEXT_MAX];

	f->cluster.map.version = 9;
	assert_true(cluster_map_format(&f->cluster.map, text, sizeof text) > 0);
	assert_int_equal(RUN(f, "map"), EXIT_DONE);
	assert_string_equal(f->out, text);
	for (unsigned i = 0; i < NODES; i++)
		f->cluster.node[i].play = NODE_DROPS;
	assert_int_equal(RUN(f, "map"), EXIT_FAILED);
}

static void a_node_that_joins_is_told_and_gets_its_files(void **state)
{
	struct fixture *f = *state;
	char path[128];

	f->cluster.map.version = 2;
	f->cluster.map.node[3] = (struct cluster_node){
		.id = 4, .host = "h4", .port = 7070, .weight = 50, .rack = "b", .state = NODE_JOINING
	};
	f->cluster.map.node_count = 4;
	assert_int_equal(RUN(f, "join", "h4:7070", "--rack", "b", "--weight", "50"), EXIT_DONE);
	assert_non_null(strstr(f->told, "POST /v1/admin/join?host=h4&port=7070&rack=b&weight=50\n"));
	snprintf(path, sizeof path, "%s/node-4/cluster.key", f->cluster.dir);
	assert_int_equal(access(path, R_OK), 0);
	assert_non_null(strstr(f->out, "node-4"));
	assert_int_equal(RUN(f, "join", "h4:7070@c", "--rack", "b"), EXIT_FAILED);
	assert_int_equal(RUN(f, "join", "h4"), EXIT_FAILED);
	assert_int_equal(RUN(f, "join", "h4:1@a&b"), EXIT_FAILED);
	assert_string_equal(f->told, "");
}

static void init_says_what_to_do_next(void **state)
{
	struct fixture *f = *state;
	char out[128], path[160];

	snprintf(out, sizeof out, "%s/new", f->cluster.dir);
	assert_int_equal(RUN(f, "init", "--nodes", "h1:7070,h2:7070,h3:7070@b", "--out", out, "--replicas", "2"),
	                 EXIT_DONE);
	snprintf(path, sizeof path, "scp %s/node-3/* root@h3:", out);
	assert_non_null(strstr(f->out, path));
	assert_non_null(strstr(f->out, "garner cluster status"));
	assert_non_null(strstr(f->out, "2 replicas, quorum 2"));
	assert_int_equal(RUN(f, "init", "--nodes", "h1:7070", "--out", out), EXIT_FAILED);
	assert_non_null(strstr(f->err, "not overwritten"));
}

static void words_that_do_not_go_together_are_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(RUN(f, "status", "1"), EXIT_USAGE);
	assert_int_equal(RUN(f, "drain"), EXIT_USAGE);
	assert_int_equal(RUN(f, "explode"), EXIT_USAGE);
	assert_int_equal(RUN(f, "init", "--nodes", "h1:7070"), EXIT_USAGE);
	assert_int_equal(RUN(f, "init", "--nodes", "h1:7070", "--out", "/x", "--json"), EXIT_USAGE);
	assert_int_equal(RUN(f, "status", "--force"), EXIT_USAGE);
	assert_int_equal(RUN(f, "scrub", "--weight", "5"), EXIT_USAGE);
	assert_int_equal(RUN(f, "map", "--plain"), EXIT_USAGE);
	assert_int_equal(RUN(f, "init", "--nodes", "h1:7070", "--out", "/x", "--quorum", "two"), EXIT_FAILED);
	assert_int_equal(RUN(f, "init", "--nodes", "h1:7070", "--out", "/x", "--data", "x y"), EXIT_FAILED);
	assert_string_equal(f->told, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_is_well_when_every_node_is),
		TEST(whatever_is_not_well_is_said),
		TEST(a_node_that_does_not_answer_is_shown),
		TEST(json_holds_what_the_nodes_said),
		TEST(one_node_or_all_are_repaired_and_scrubbed),
		TEST(drain_and_remove_are_told_to_another_node),
		TEST(a_refusal_is_told_with_its_reason),
		TEST(the_newest_map_is_printed),
		TEST(a_node_that_joins_is_told_and_gets_its_files),
		TEST(init_says_what_to_do_next),
		TEST(words_that_do_not_go_together_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
