/* SPDX-License-Identifier: GPL-3.0-only */
/* test_cluster_map.c: what is a cluster map, how it is written, and each reason for which a text or a map is refused. */
#include "base/crc32c.h"
#include "store/cluster_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LINES 10

/* The lines of a good map; its checksum is added when it is put together. */
static const char *const good[LINES] = {
	"garner-cluster 1\n",
	"id 0123456789abcdef0123456789abcdef\n",
	"version 3\n",
	"replicas 3\n",
	"quorum 2\n",
	"agreement etcd https://h1:2379,http://[::1]:2379\n",
	"node 1 h1:7070 weight=100 rack=a state=up\n"
	"node 2 h2:7070 weight=100 rack=b state=joining\n"
	"node 3 10.0.0.3:7070 weight=50 state=leaving\n"
	"node 4 [fd00::4]:7071 weight=100000 rack=A.b_c-9 state=up\n"
	"node 5 h1:7071 weight=1 rack=a state=up\n",
	"last-node 9\n",
	"pool fast replicas=2 quorum=2\n",
	"pool 0.slow replicas=1 quorum=1\n",
};

/* Puts the good lines together with line `i` replaced (none if LINES), and the right checksum. Returns the length. */
static size_t with(char *text, size_t i, const char *line)
{
	size_t len = 0;

	for (size_t k = 0; k < LINES; k++)
		len += (size_t)sprintf(text + len, "%s", k == i ? line : good[k]);
	return len + (size_t)sprintf(text + len, "checksum %08x\n", (unsigned)crc32c(0, text, len));
}

static void parse_good(struct cluster_map *map)
{
	static char text[2 * CLUSTER_TEXT_MAX];
	struct error err = { 0 };

	if (cluster_map_parse(text, with(text, LINES, NULL), map, &err) < 0)
		fail_msg("%s", error_text(&err));
}

static void a_map_is_read(void **state)
{
	static struct cluster_map map;
	char address[CLUSTER_ADDRESS_TEXT];
	unsigned replicas, quorum;

	(void)state;
	parse_good(&map);
	assert_string_equal(map.id, "0123456789abcdef0123456789abcdef");
	assert_int_equal(map.version, 3);
	assert_string_equal(map.agreement, "https://h1:2379,http://[::1]:2379");
	assert_int_equal(map.node_count, 5);
	assert_int_equal(map.node[1].state, NODE_JOINING);
	assert_string_equal(map.node[1].rack, "b");
	assert_string_equal(map.node[2].rack, "");
	assert_int_equal(map.node[2].state, NODE_LEAVING);
	assert_string_equal(map.node[3].host, "fd00::4");
	assert_string_equal(cluster_node_address(&map.node[3], address), "[fd00::4]:7071");
	assert_string_equal(cluster_node_address(&map.node[2], address), "10.0.0.3:7070");
	assert_ptr_equal(cluster_map_node(&map, 4), &map.node[3]);
	assert_null(cluster_map_node(&map, 6));
	assert_int_equal(cluster_map_next_node(&map), 10);
	assert_true(cluster_map_moving(&map));
	cluster_map_pool(&map, "fast", &replicas, &quorum);
	assert_true(replicas == 2 && quorum == 2);
	cluster_map_pool(&map, "any", &replicas, &quorum);
	assert_true(replicas == 3 && quorum == 2);
}

static void a_map_is_written_as_it_was_read(void **state)
{
	static char text[2 * CLUSTER_TEXT_MAX], again[2 * CLUSTER_TEXT_MAX];
	static struct cluster_map map;
	size_t len = with(text, LINES, NULL);

	(void)state;
	parse_good(&map);
	assert_int_equal(cluster_map_format(&map, again, sizeof again), len);
	assert_string_equal(text, again);
	assert_int_equal(cluster_map_format(&map, again, len + 1), len);
	for (size_t room = 0; room <= len; room++)
		assert_int_equal(cluster_map_format(&map, again, room), -ENOSPC);
}

static void the_longest_map_has_room(void **state)
{
	static struct cluster_map map, back;
	static char text[CLUSTER_TEXT_MAX + 1];
	struct error err = { 0 };
	int len;

	(void)state;
	parse_good(&map);
	memset(map.agreement, 'h', CLUSTER_AGREEMENT_MAX);
	memcpy(map.agreement, "https://", 8);
	map.version = CLUSTER_VERSION_MAX;
	map.node_count = CLUSTER_NODES_MAX;
	map.last_node = CLUSTER_NODE_ID_MAX;
	for (unsigned i = 0; i < CLUSTER_NODES_MAX; i++) {
		struct cluster_node *n = &map.node[i];

		*n = (struct cluster_node){
			.id = 65500 + i, .port = 65535, .weight = CLUSTER_WEIGHT_MAX, .state = NODE_UP
		};
		memset(n->host, 'a' + (int)i, CLUSTER_HOST_MAX);
		memset(n->rack, 'r', CLUSTER_RACK_MAX);
	}
	map.pool_count = CLUSTER_POOLS_MAX;
	for (int i = 0; i < CLUSTER_POOLS_MAX; i++) {
		memset(map.pool[i].name, 'p', OBJECT_POOL_MAX);
		map.pool[i].name[OBJECT_POOL_MAX] = '\0';
		map.pool[i].name[3] = (char)('a' + i % 8);
		map.pool[i].name[4] = (char)('a' + i / 8);
		map.pool[i].replicas = map.pool[i].quorum = 5;
	}
	assert_int_equal(cluster_map_check(&map, &err), 0);
	len = cluster_map_format(&map, text, sizeof text);
	assert_in_range(len, 1, CLUSTER_TEXT_MAX);
	assert_int_equal(cluster_map_parse(text, (size_t)len, &back, &err), 0);
	assert_memory_equal(&map, &back, sizeof map);
}

static void each_refusal_names_the_line_and_the_reason(void **state)
{
	static const struct {
		size_t replaced;
		const char *line, *says;
	} table[] = {
		{ 0, "garner-cluster 2\n", "line 1: a cluster map of format 2" },
		{ 0, "garner 1\n", "line 1: \"garner\" where \"garner-cluster\" should be" },
		{ 0, "garner-cluster\n", "line 1: garner-cluster is missing" },
		{ 0, "", "line 1: \"id\" where" },
		{ 1, "id 0123456789abcdef0123456789abcde\n", "line 2: the cluster's id" },
		{ 1, "id 0123456789ABCDEF0123456789abcdef\n", "line 2: the cluster's id" },
		{ 1, "id 0123456789abcdef0123456789abcdef x\n", "line 2: \"x\" is too much" },
		{ 2, "version 0\n", "line 3: version is less than 1" },
		{ 2, "version 03\n", "line 3: version \"03\" is not a number" },
		{ 2, "version 9223372036854775808\n", "line 3: version is more than" },
		{ 2, "version 99999999999999999999999\n", "line 3: version is more than" },
		{ 2, "version +1\n", "line 3: version has \"+1\"" },
		{ 2, "version  1\n", "line 3: version is missing (there are two spaces)" },
		{ 2, "version 1 \n", "line 3: \"\" is too much" },
		{ 2, "version\t1\n", "line 3: has a byte that is no printable character at column 8" },
		{ 3, "replicas 6\n", "line 4: replicas is more than 5" },
		{ 3, "replicas 0\n", "line 4: replicas is less than 1" },
		{ 3, "replicas 1\n", "line 5: other pools: a quorum of 2 cannot be had of 1" },
		{ 3, "replicas 4\n", "line 5: other pools: a quorum of 2 is not more than half of 4" },
		{ 3, "replicas 5\nquorum 3\n", "line 6: \"quorum\" where \"agreement\"" },
		{ 4, "quorum 1\n", "line 5: other pools: a quorum of 1 is not more than half of 3" },
		{ 5, "agreement local\n", "agreement local is for a single node, and there are 5" },
		{ 5, "agreement raft x\n", "line 6: agreement \"raft\" is neither" },
		{ 5, "agreement etcd\n", "line 6: the URL of etcd is missing" },
		{ 5, "agreement etcd local\n", "line 6: \"local\" is not the URL" },
		{ 5, "agreement etcd h1:2379\n", "line 6: the agreement's \"h1:2379\" is not a URL" },
		{ 5, "agreement etcd http://\n", "line 6: the agreement's \"http://\"" },
		{ 5, "agreement etcd http://u@h\n", "line 6: the agreement's \"http://u@h\"" },
		{ 5, "agreement etcd http://h/path\n", "line 6: the agreement's" },
		{ 5, "agreement etcd http://h,\n", "line 6: the agreement's \"\"" },
		{ 5, "agreement local x\n", "line 6: \"x\" is too much" },
		{ 6, "node 0 h1:7070 weight=1 state=up\n", "line 7: node 0: its number" },
		{ 6, "node 65536 h1:7070 weight=1 state=up\n", "line 7: the node's number is more than" },
		{ 6, "node 1 h1 weight=1 state=up\n", "line 7: node 1: its address \"h1\" has no port" },
		{ 6, "node 1 h1:0 weight=1 state=up\n", "line 7: node 1: its port is not" },
		{ 6, "node 1 h1:65536 weight=1 state=up\n", "line 7: the port is more than" },
		{ 6, "node 1 :7070 weight=1 state=up\n", "line 7: node 1: its host" },
		{ 6, "node 1 -h:7070 weight=1 state=up\n", "line 7: node 1: its host" },
		{ 6, "node 1 h/h:7070 weight=1 state=up\n", "line 7: node 1: its host" },
		{ 6, "node 1 fd00::1:7070 weight=1 state=up\n", "line 7: node 1: an IPv6 address needs brackets" },
		{ 6, "node 1 [h]:7070 weight=1 state=up\n", "line 7: node 1: \"[h]:7070\" is not an IPv6 address" },
		{ 6, "node 1 [fd00::12345]:7070 weight=1 state=up\n", "line 7: node 1: its host" },
		{ 6, "node 1 [fd00::1:7070 weight=1 state=up\n", "line 7: node 1: \"[fd00::1:7070\" is not" },
		{ 6, "node 1 h1:7070 weight=0 state=up\n", "line 7: node 1: a weight of 0" },
		{ 6, "node 1 h1:7070 weight=100001 state=up\n", "line 7: weight is more than" },
		{ 6, "node 1 h1:7070 weight= state=up\n", "line 7: weight \"\" is not a number" },
		{ 6, "node 1 h1:7070 state=up\n", "line 7: \"state=up\" where \"weight=\" should be" },
		{ 6, "node 1 h1:7070 weight=1 rack= state=up\n", "line 7: node 1: its rack's name" },
		{ 6, "node 1 h1:7070 weight=1 rack=a/b state=up\n", "line 7: node 1: its rack's name" },
		{ 6, "node 1 h1:7070 weight=1 rack=abcdefghijklmnopqrstuvwxyz0123456 state=up\n",
		  "line 7: node 1: its rack" },
		{ 6, "node 1 h1:7070 weight=1\n", "line 7: state is missing" },
		{ 6, "node 1 h1:7070 weight=1 state=down\n", "line 7: node 1: its state \"down\"" },
		{ 6, "node 1 h1:7070 weight=1 state=up now\n", "line 7: \"now\" is too much" },
		{ 6, "node 1 h1:7070 weight=1 state=up rack=a\n", "line 7: \"rack=a\" is too much" },
		{ 6, "node 1 h1:1 weight=1 state=up\nnode 1 h2:1 weight=1 state=up\n",
		  "line 8: node 1 is there twice" },
		{ 6, "node 1 h1:1 weight=1 state=up\nnode 2 h1:1 weight=1 state=up\n",
		  "line 8: node 2: its address h1:1 is that of node 1" },
		{ 6, "", "line 7: \"last-node\" where \"node\" should be" },
		{ 6, "node 1 h1:1 weight=1 state=up\nnode 2 h2:1 weight=1 state=up\n",
		  "other pools: 3 replicas need as many nodes, and without those joining there are 2" },
		{ 6,
		  "node 1 a:1 weight=1 state=up\nnode 2 b:1 weight=1 state=up\nnode 3 c:1 weight=1 state=joining\n"
		  "node 4 d:1 weight=1 state=joining\n",
		  "without those joining there are 2" },
		{ 6,
		  "node 1 a:1 weight=1 state=up\nnode 2 b:1 weight=1 state=up\nnode 3 c:1 weight=1 state=leaving\n"
		  "node 4 d:1 weight=1 state=leaving\n",
		  "without those leaving there are 2" },
		{ 7, "last-node 5\n", "line 12: the last node 5 is not above" },
		{ 7, "last-node 65536\n", "line 12: last-node is more than" },
		{ 7, "last-node 9\nlast-node 10\n", "line 13: \"last-node\" where \"checksum\"" },
		{ 8, "pool Fast replicas=2 quorum=2\n", "line 13: a pool's name" },
		{ 8, "pool -fast replicas=2 quorum=2\n", "line 13: a pool's name" },
		{ 8, "pool fast\n", "line 13: replicas is missing" },
		{ 8, "pool fast replicas=2\n", "line 13: quorum is missing" },
		{ 8, "pool fast replicas=2 quorum=1\n",
		  "line 13: pool fast: a quorum of 1 is not more than half of 2" },
		{ 8, "pool fast replicas=2 quorum=3\n", "line 13: pool fast: a quorum of 3 cannot be had" },
		{ 8, "pool fast replicas=0 quorum=0\n", "line 13: pool fast: 0 replicas" },
		{ 8, "pool fast replicas=5 quorum=3\n", "pool fast: 5 replicas need as many nodes" },
		{ 8, "pool 0.slow replicas=2 quorum=2\n", "line 14: pool 0.slow is there twice" },
		{ 8, "pool aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa replicas=1 quorum=1\n",
		  "line 13: a pool's name has more than 64" },
		{ 9, "\n", "line 14: checksum is missing" },
		{ 9, "pools x\n", "line 14: \"pools\" where \"checksum\"" },
	};
	static char text[2 * CLUSTER_TEXT_MAX];
	static struct cluster_map map;

	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		struct error err = { 0 };
		int rc = cluster_map_parse(text, with(text, table[i].replaced, table[i].line), &map, &err);

		if (rc != -EBADMSG || !strstr(error_text(&err), table[i].says))
			fail_msg("%zu: \"%s\": %d, %s", i, table[i].line, rc, error_text(&err));
		assert_int_equal(map.node_count, 0);
	}
}

static void a_text_that_is_cut_anywhere_is_refused(void **state)
{
	static char text[2 * CLUSTER_TEXT_MAX];
	static struct cluster_map map;
	size_t len = with(text, LINES, NULL);

	(void)state;
	for (size_t n = 0; n < len; n++)
		assert_int_equal(cluster_map_parse(text, n, &map, NULL), -EBADMSG);
}

static void a_bit_that_flips_anywhere_is_noticed(void **state)
{
	static char text[2 * CLUSTER_TEXT_MAX];
	static struct cluster_map map;
	size_t len = with(text, LINES, NULL);

	(void)state;
	for (size_t bit = 0; bit < 8 * len; bit++) {
		text[bit / 8] ^= (char)(1 << bit % 8);
		assert_int_equal(cluster_map_parse(text, len, &map, NULL), -EBADMSG);
		text[bit / 8] ^= (char)(1 << bit % 8);
	}
	assert_int_equal(cluster_map_parse(text, len, &map, NULL), 0);
}

static void what_is_around_a_map_is_refused(void **state)
{
	static char text[2 * CLUSTER_TEXT_MAX], line[CLUSTER_TEXT_MAX];
	static struct cluster_map map;
	struct error err = { 0 };
	size_t len = with(text, LINES, NULL);

	(void)state;
	strcpy(text + len, "\n");
	assert_int_equal(cluster_map_parse(text, len + 1, &map, &err), -EBADMSG);
	assert_non_null(strstr(error_text(&err), "line 16: there is something after the checksum"));
	text[len - 2] ^= 1;
	assert_int_equal(cluster_map_parse(text, len, &map, &err), -EBADMSG);
	assert_non_null(strstr(error_text(&err), "line 15: the checksum"));
	memset(text, '\n', sizeof text);
	assert_int_equal(cluster_map_parse(text, CLUSTER_TEXT_MAX + 1, &map, &err), -EBADMSG);
	assert_non_null(strstr(error_text(&err), "too many"));
	memset(line, 'x', sizeof line - 1);
	line[1100] = '\n';
	line[1101] = '\0';
	assert_int_equal(cluster_map_parse(text, with(text, 2, line), &map, &err), -EBADMSG);
	assert_non_null(strstr(error_text(&err), "line 3: is longer"));
}

static void more_nodes_or_pools_than_there_may_be_are_refused(void **state)
{
	static char text[4 * CLUSTER_TEXT_MAX], lines[CLUSTER_TEXT_MAX];
	static struct cluster_map map;
	struct error err = { 0 };
	size_t len = 0;

	(void)state;
	for (int i = 1; i <= CLUSTER_NODES_MAX + 1; i++)
		len += (size_t)sprintf(lines + len, "node %d h:%d weight=1 state=up\n", i, i);
	assert_int_equal(cluster_map_parse(text, with(text, 6, lines), &map, &err), -EBADMSG);
	assert_non_null(strstr(error_text(&err), "line 23: there are more than 16 nodes"));
	len = 0;
	for (int i = 1; i <= CLUSTER_POOLS_MAX + 1; i++)
		len += (size_t)sprintf(lines + len, "pool p%d replicas=1 quorum=1\n", i);
	assert_int_equal(cluster_map_parse(text, with(text, 8, lines), &map, &err), -EBADMSG);
	assert_non_null(strstr(error_text(&err), "line 77: there are more than 64 pools"));
}

static void a_map_made_by_hand_is_checked_as_one_that_was_read(void **state)
{
	static struct cluster_map map, bad;

	(void)state;
	parse_good(&map);
	assert_int_equal(cluster_map_check(&map, NULL), 0);
#define REFUSED(change)                                                   \
	do {                                                              \
		bad = map;                                                \
		change;                                                   \
		assert_int_equal(cluster_map_check(&bad, NULL), -EINVAL); \
	} while (0)
	REFUSED(bad.version = 0);
	REFUSED(bad.version = UINT64_MAX);
	REFUSED(bad.id[31] = '\0');
	REFUSED(bad.id[32] = '0');
	REFUSED(bad.replicas = 0);
	REFUSED(bad.quorum = 1);
	REFUSED(bad.agreement[0] = '\0');
	REFUSED(memset(bad.agreement, 'x', sizeof bad.agreement));
	REFUSED(strcpy(bad.agreement, "local"));
	REFUSED(bad.node_count = CLUSTER_NODES_MAX + 1);
	REFUSED(bad.node_count = 0);
	REFUSED(bad.pool_count = CLUSTER_POOLS_MAX + 1);
	REFUSED(bad.node[1].id = 1);
	REFUSED(bad.node[1].state = (enum cluster_node_state)3);
	REFUSED(memset(bad.node[1].host, 'h', sizeof bad.node[1].host));
	REFUSED(memset(bad.node[1].rack, 'r', sizeof bad.node[1].rack));
	REFUSED(memset(bad.pool[1].name, 'p', sizeof bad.pool[1].name));
	REFUSED(bad.last_node = CLUSTER_NODE_ID_MAX + 1);
#undef REFUSED
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_map_is_read),
		cmocka_unit_test(a_map_is_written_as_it_was_read),
		cmocka_unit_test(the_longest_map_has_room),
		cmocka_unit_test(each_refusal_names_the_line_and_the_reason),
		cmocka_unit_test(a_text_that_is_cut_anywhere_is_refused),
		cmocka_unit_test(a_bit_that_flips_anywhere_is_noticed),
		cmocka_unit_test(what_is_around_a_map_is_refused),
		cmocka_unit_test(more_nodes_or_pools_than_there_may_be_are_refused),
		cmocka_unit_test(a_map_made_by_hand_is_checked_as_one_that_was_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
