/* SPDX-License-Identifier: GPL-3.0-only */
/* fuzz_cluster_map.c: any text is a cluster map that passes its checks, is written to the same bytes again and gives every name a
 * placement, or is refused with one line that says why. As no fuzzer guesses a checksum, the text is also tried with the right one
 * put in the place of its last line.
 */
#include "base/crc32c.h"
#include "store/placement.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_placement(const struct cluster_map *map, const char *name)
{
	struct placement p;
	unsigned replicas, quorum;

	cluster_map_pool(map, "fast", &replicas, &quorum);
	placement_of(map, name, &p);
	if (p.sets < 1 || p.sets > 2 || (p.sets == 2 && !cluster_map_moving(map)) || p.count > 2 * CLUSTER_REPLICAS_MAX)
		abort();
	for (size_t s = 0; s < p.sets; s++) {
		if (p.set[s].count != replicas || p.set[s].quorum != quorum || 2 * quorum <= replicas)
			abort();
		for (size_t i = 0; i < replicas; i++)
			if (!cluster_map_node(map, p.set[s].node[i]) || !placement_has(&p, p.set[s].node[i]))
				abort();
	}
}

static void check(const char *text, size_t len)
{
	static struct cluster_map map;
	static char again[CLUSTER_TEXT_MAX + 1];
	struct error err = { 0 };
	int rc = cluster_map_parse(text, len, &map, &err);

	if (rc < 0) {
		if (rc != -EBADMSG || err.code != rc || !*error_text(&err) || strpbrk(err.text, "\r\n") ||
		    map.node_count)
			abort();
		return;
	}
	if (cluster_map_check(&map, NULL) != 0 || cluster_map_next_node(&map) < 2)
		abort();
	if (cluster_map_format(&map, again, sizeof again) != (int)len || memcmp(again, text, len) != 0)
		abort();
	check_placement(&map, "fast/images/0000000000000001/head");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 32);
	size_t len = size;

	if (!text)
		abort();
	if (size)
		memcpy(text, data, size);
	check(text, size);
	while (len && text[len - 1] == '\n')
		len--;
	while (len && text[len - 1] != '\n')
		len--;
	check(text, len + (size_t)sprintf(text + len, "checksum %08x\n", (unsigned)crc32c(0, text, len)));
	free(text);
	return 0;
}
