/* SPDX-License-Identifier: GPL-3.0-only */
/* test_cluster_init.c: the directory of a new cluster: what is in it, that it can be used by gateways and nodes, by libcrypto, by systemd
 * and by a real etcd; and that nothing is ever overwritten.
 */
#include "cli/cluster_init.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/cluster_certificates.h"
#include "cli/cluster_units.h"
#include "lib/agreement_calls.h"
#include "lib/remove_tree.h"
#include "store/cluster_file.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <sodium.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct fixture {
	char dir[64], out[96];
};

static struct fixture fixture;

static int setup(void **state)
{
	struct fixture *f = &fixture;

	*f = (struct fixture){ .dir = "/tmp/garner-init-XXXXXX" };
	if (sodium_init() < 0 || !mkdtemp(f->dir))
		return -1;
	snprintf(f->out, sizeof f->out, "%.60s/new", f->dir);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	return remove_tree(((struct fixture *)*state)->dir);
}

static struct cluster_plan plan_of(const struct fixture *f, const char *nodes)
{
	return (struct cluster_plan){ .nodes = nodes,
		                      .out = f->out,
		                      .data = CLUSTER_DATA_DIR,
		                      .garnerd = "/bin/true",
		                      .etcd_port = CLUSTER_ETCD_PORT };
}

static void make(const struct cluster_plan *plan, struct cluster_map *map)
{
	struct error err = { 0 };

	if (cluster_init(plan, map, &err))
		fail_msg("%s", error_text(&err));
}

/* The text of a file below the directory; the caller frees. */
static char *text_of(const struct fixture *f, const char *name, mode_t mode)
{
	char path[256], *text = calloc(1, 65536);
	struct stat st;
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", f->out, name);
	if (stat(path, &st))
		fail_msg("%s is missing", path);
	assert_int_equal(st.st_mode & 0777, mode);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_true(fread(text, 1, 65535, file) > 0);
	fclose(file);
	return text;
}

static void assert_there(const struct fixture *f, const char *name, mode_t mode)
{
	free(text_of(f, name, mode));
}

static void assert_missing(const struct fixture *f, const char *name)
{
	char path[256];

	snprintf(path, sizeof path, "%s/%s", f->out, name);
	assert_int_equal(access(path, F_OK), -1);
}

static void assert_same(const struct fixture *f, const char *first, const char *second, mode_t mode)
{
	char *a = text_of(f, first, mode), *b = text_of(f, second, mode);

	assert_string_equal(a, b);
	free(a);
	free(b);
}

/* ---- what is there ---- */

static void a_new_cluster_has_all_its_files(void **state)
{
	struct fixture *f = *state;
	struct cluster_plan plan = plan_of(f, "h1:7070,h2:7070@b,h3:7070,h4:7070");
	struct cluster_map map;
	struct stat st;

	make(&plan, &map);
	assert_int_equal(stat(f->out, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_there(f, "cluster", 0644);
	assert_there(f, "cluster.key", 0600);
	assert_there(f, "ca.pem", 0644);
	assert_there(f, "ca.key", 0600);
	assert_there(f, "gateway.pem", 0600);
	for (int i = 1; i <= 4; i++) {
		char name[64];

		snprintf(name, sizeof name, "node-%d/cluster", i);
		assert_same(f, "cluster", name, 0644);
		snprintf(name, sizeof name, "node-%d/cluster.key", i);
		assert_same(f, "cluster.key", name, 0600);
		snprintf(name, sizeof name, "node-%d/ca.pem", i);
		assert_same(f, "ca.pem", name, 0644);
		snprintf(name, sizeof name, "node-%d/node.pem", i);
		assert_there(f, name, 0600);
		snprintf(name, sizeof name, "node-%d/garnerd.service", i);
		assert_there(f, name, 0644);
		snprintf(name, sizeof name, "node-%d/ca.key", i);
		assert_missing(f, name);
		snprintf(name, sizeof name, "node-%d/etcd.yaml", i);
		if (i <= 3)
			assert_there(f, name, 0644);
		else
			assert_missing(f, name);
	}
	assert_int_equal(map.replicas, 3);
	assert_int_equal(map.quorum, 2);
	assert_string_equal(map.agreement, "https://h1:2379,https://h2:2379,https://h3:2379");
	assert_string_equal(map.node[1].rack, "b");
}

static void gateways_and_nodes_can_read_it(void **state)
{
	struct fixture *f = *state;
	struct cluster_plan plan = plan_of(f, "[fd00::1]:7070,10.0.0.2:7071");
	struct cluster_file gateway, node;
	struct cluster_map map;
	struct error err = { 0 };
	char path[256];

	make(&plan, &map);
	snprintf(path, sizeof path, "%s/cluster", f->out);
	if (cluster_file_load(path, CLUSTER_GATEWAY_PEM, &gateway, &err))
		fail_msg("%s", err.text);
	snprintf(path, sizeof path, "%s/node-2/cluster", f->out);
	if (cluster_file_load(path, CLUSTER_NODE_PEM, &node, &err))
		fail_msg("%s", err.text);
	assert_memory_equal(&gateway.map, &node.map, sizeof node.map);
	assert_memory_equal(&gateway.key, &node.key, sizeof node.key);
	assert_true(gateway.tls && node.tls);
	assert_string_equal(gateway.map.node[0].host, "fd00::1");
	assert_string_equal(gateway.map.agreement, "https://[fd00::1]:2379");
	cluster_file_destroy(&gateway);
	cluster_file_destroy(&node);
	/* And none of it where a file is missing or open to others. */
	snprintf(path, sizeof path, "%s/gateway.pem", f->out);
	assert_int_equal(chmod(path, 0640), 0);
	snprintf(path, sizeof path, "%s/cluster", f->out);
	assert_int_equal(cluster_file_load(path, CLUSTER_GATEWAY_PEM, &gateway, &err), -EACCES);
	assert_non_null(strstr(err.text, "chmod 600"));
	assert_int_equal(cluster_file_load(path, CLUSTER_NODE_PEM, &gateway, &err), -ENOENT);
	assert_int_equal(cluster_file_load("/nowhere", CLUSTER_NODE_PEM, &gateway, &err), -ENOENT);
	assert_int_equal(cluster_file_load(f->out, CLUSTER_NODE_PEM, &gateway, &err), -EINVAL);
}

static void a_plain_cluster_has_no_certificates(void **state)
{
	struct fixture *f = *state;
	struct cluster_plan plan = plan_of(f, "127.0.0.1:7070");
	struct cluster_file file;
	struct cluster_map map;
	char path[256];

	plan.plain = true;
	make(&plan, &map);
	assert_string_equal(map.agreement, "local");
	assert_int_equal(map.replicas, 1);
	assert_missing(f, "ca.pem");
	assert_missing(f, "ca.key");
	assert_missing(f, "gateway.pem");
	assert_missing(f, "node-1/node.pem");
	assert_missing(f, "node-1/etcd.yaml");
	snprintf(path, sizeof path, "%s/cluster", f->out);
	assert_int_equal(cluster_file_load(path, CLUSTER_GATEWAY_PEM, &file, NULL), 0);
	assert_false(file.tls);
	assert_true(cluster_file_tls(&file).allow_plain);
	cluster_file_destroy(&file);
}

static void what_is_there_is_never_overwritten(void **state)
{
	struct fixture *f = *state;
	struct cluster_plan plan = plan_of(f, "h1:7070");
	struct cluster_map map;
	struct error err = { 0 };
	char *before;

	assert_int_equal(mkdir(f->out, 0755), 0); /* empty: taken */
	make(&plan, &map);
	before = text_of(f, "cluster.key", 0600);
	assert_int_equal(cluster_init(&plan, &map, &err), -EEXIST);
	assert_non_null(strstr(err.text, "not overwritten"));
	char *after = text_of(f, "cluster.key", 0600);
	assert_string_equal(before, after);
	free(before);
	free(after);
}

static void two_clusters_have_nothing_in_common(void **state)
{
	struct fixture *f = *state;
	struct cluster_plan plan = plan_of(f, "h1:7070");
	struct cluster_map first, second;
	char *key, *other;

	make(&plan, &first);
	key = text_of(f, "cluster.key", 0600);
	snprintf(f->out, sizeof f->out, "%.60s/second", f->dir);
	make(&plan, &second);
	other = text_of(f, "cluster.key", 0600);
	assert_string_not_equal(key, other);
	assert_string_not_equal(first.id, second.id);
	assert_int_equal(strspn(key, "0123456789abcdef"), 64);
	free(key);
	free(other);
}

static void what_is_no_cluster_is_refused_and_leaves_nothing(void **state)
{
	static const char *const bad[] = {
		"",
		"h1",
		"h1:",
		":7070",
		"h1:0",
		"h1:70000",
		"h1:7070,",
		",h1:7070",
		"h1:7070@",
		"h1:7070,h1:7070",
		"h1:70x",
		"[fd00::1:7070",
		"h 1:7070",
		"h1:7070@a b",
		("h1:7070,h2:7070,h3:7070,h4:7070,"
		 "h5:7070,h6:7070,h7:7070,h8:7070,h9:7070,"
		 "h10:7070,h11:7070,h12:7070,h13:7070,"
		 "h14:7070,h15:7070,h16:7070,h17:7070"),
	};
	struct fixture *f = *state;
	struct cluster_map map;
	struct error err;

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct cluster_plan plan = plan_of(f, bad[i]);
		int rc = cluster_init(&plan, &map, &err);

		if (rc != -EINVAL || err.code != -EINVAL)
			fail_msg("'%s' gives %d", bad[i], rc);
	}
	struct cluster_plan plan = plan_of(f, "h1:7070,h2:7070");
	plan.replicas = 3;
	assert_int_equal(cluster_init(&plan, &map, &err), -EINVAL);
	plan.replicas = 2;
	plan.quorum = 1;
	assert_int_equal(cluster_init(&plan, &map, &err), -EINVAL);
	plan = plan_of(f, "h1:7070");
	plan.out = "/nowhere/at/all";
	assert_int_equal(cluster_init(&plan, &map, &err), -ENOENT);
	assert_int_equal(rmdir(f->dir), 0); /* empty */
	assert_int_equal(mkdir(f->dir, 0700), 0);
}

/* ---- certificates ---- */

static X509 *read_certificate(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(x);
	return x;
}

static int verify(const char *ca, const char *pem, int purpose)
{
	X509 *authority = read_certificate(ca), *x = read_certificate(pem);
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *context = X509_STORE_CTX_new();
	int good;

	assert_int_equal(X509_STORE_add_cert(store, authority), 1);
	assert_int_equal(X509_STORE_CTX_init(context, store, x, NULL), 1);
	X509_STORE_CTX_set_flags(context, X509_V_FLAG_X509_STRICT);
	X509_STORE_CTX_set_purpose(context, purpose);
	good = X509_verify_cert(context);
	X509_STORE_CTX_free(context);
	X509_STORE_free(store);
	X509_free(authority);
	X509_free(x);
	return good;
}

static bool is_for(const char *pem, const char *host)
{
	X509 *x = read_certificate(pem);
	bool good = X509_check_ip_asc(x, host, 0) == 1 ||
	            X509_check_host(x, host, 0, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) == 1;

	X509_free(x);
	return good;
}

static void certificates_are_of_the_authority_and_for_the_host(void **state)
{
	struct authority *a = authority_new("garnerfs cluster test", NULL), *other = authority_new("other", NULL);
	char *ca = authority_certificate(a), *others = authority_certificate(other), *key = authority_key(a);
	char *name = authority_issue(a, "node 1", "h1.example.org", NULL);
	char *address = authority_issue(a, "node 2", "10.0.0.2", NULL),
	     *six = authority_issue(a, "node 3", "fd00::1", NULL);
	char *gateway = authority_issue(a, "gateway", NULL, NULL);

	(void)state;
	assert_int_equal(verify(ca, name, X509_PURPOSE_SSL_SERVER), 1);
	assert_int_equal(verify(ca, name, X509_PURPOSE_SSL_CLIENT), 1);
	assert_int_equal(verify(ca, gateway, X509_PURPOSE_SSL_CLIENT), 1);
	assert_int_equal(verify(ca, gateway, X509_PURPOSE_SSL_SERVER), 0);
	assert_int_equal(verify(others, name, X509_PURPOSE_SSL_SERVER), 0);
	assert_true(is_for(name, "h1.example.org"));
	assert_false(is_for(name, "h2.example.org"));
	assert_true(is_for(address, "10.0.0.2"));
	assert_true(is_for(six, "fd00::1"));
	assert_false(is_for(six, "fd00::2"));
	assert_null(authority_issue(a, "node", "a,DNS:b", NULL));
	assert_non_null(strstr(name, "PRIVATE KEY"));
	assert_null(strstr(ca, "PRIVATE KEY"));
	/* What was written can be read, and goes on. */
	struct authority *again = authority_read(ca, key, NULL);
	assert_non_null(again);
	char *later = authority_issue(again, "node 4", "h4", NULL);
	assert_int_equal(verify(ca, later, X509_PURPOSE_SSL_SERVER), 1);
	assert_null(authority_read(others, key, NULL));
	assert_null(authority_read("", key, NULL));
	char *all[] = { ca, others, key, name, address, six, gateway, later };
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		pem_free(all[i]);
	authority_free(a);
	authority_free(again);
	authority_free(other);
}

static void certificates_last_for_years_and_began_yesterday(void **state)
{
	struct authority *a = authority_new("garnerfs cluster test", NULL);
	char *ca = authority_certificate(a), *node = authority_issue(a, "node 1", "h1", NULL);
	X509 *x = read_certificate(node), *authority = read_certificate(ca);
	time_t now = time(NULL), soon = now + 4 * 365 * 86400l, late = now + 6 * 365 * 86400l;

	(void)state;
	assert_true(X509_cmp_time(X509_get0_notBefore(x), &now) < 0);
	assert_true(X509_cmp_time(X509_get0_notAfter(x), &soon) > 0);
	assert_true(X509_cmp_time(X509_get0_notAfter(x), &late) < 0);
	assert_true(X509_cmp_time(X509_get0_notAfter(authority), &late) > 0);
	X509_free(x);
	X509_free(authority);
	pem_free(ca);
	pem_free(node);
	authority_free(a);
}

static void a_node_that_joins_gets_its_own(void **state)
{
	struct fixture *f = *state;
	struct cluster_plan plan = plan_of(f, "h1:7070,h2:7070");
	struct cluster_map map;
	struct error err = { 0 };
	char path[256], *ca, *pem;

	make(&plan, &map);
	map.version = 2;
	map.node[map.node_count++] =
		(struct cluster_node){ .id = 3, .host = "h3", .port = 7070, .weight = 100, .state = NODE_JOINING };
	snprintf(path, sizeof path, "%s/cluster", f->out);
	if (cluster_add_node(path, &map, 3, &plan, &err))
		fail_msg("%s", error_text(&err));
	ca = text_of(f, "ca.pem", 0644);
	pem = text_of(f, "node-3/node.pem", 0600);
	assert_int_equal(verify(ca, pem, X509_PURPOSE_SSL_SERVER), 1);
	assert_true(is_for(pem, "h3"));
	free(pem);
	free(ca);
	assert_same(f, "cluster.key", "node-3/cluster.key", 0600);
	assert_missing(f, "node-3/etcd.yaml");
	char *text = text_of(f, "node-3/cluster", 0644);
	assert_non_null(strstr(text, "node 3 h3:7070"));
	free(text);
	assert_int_equal(cluster_add_node(path, &map, 3, &plan, &err), -EEXIST);
	assert_int_equal(cluster_add_node(path, &map, 9, &plan, &err), -EINVAL);
	map.node[2].id = 4;
	snprintf(path, sizeof path, "%s/ca.key", f->out);
	assert_int_equal(unlink(path), 0);
	snprintf(path, sizeof path, "%s/cluster", f->out);
	assert_int_equal(cluster_add_node(path, &map, 4, &plan, &err), -ENOENT);
	assert_non_null(strstr(err.text, "ca.key"));
	assert_missing(f, "node-4");
}

/* ---- services ---- */

static int run(char *const argv[], const char *out)
{
	posix_spawn_file_actions_t files;
	int status = -1;
	pid_t pid;

	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	posix_spawn_file_actions_adddup2(&files, 1, 2);
	if (posix_spawnp(&pid, argv[0], &files, NULL, argv, environ) == 0)
		assert_int_equal(waitpid(pid, &status, 0), pid);
	posix_spawn_file_actions_destroy(&files);
	return status;
}

static bool have(const char *program)
{
	char command[64];

	snprintf(command, sizeof command, "command -v %s >/dev/null", program);
	return system(command) == 0;
}

static void units_are_ones_of_systemd(void **state)
{
	struct fixture *f = *state;
	struct cluster_plan plan = plan_of(f, "h1:7070,h2:7070,h3:7070");
	char unit[256], out[128], *said = calloc(1, 65536);
	static const char *const names[] = { "garnerd", "etcd" };
	struct cluster_map map;
	FILE *file;

	plan.data = "/srv/a,/srv/b";
	make(&plan, &map);
	char *text = text_of(f, "node-1/garnerd.service", 0644);
	assert_non_null(strstr(text, "--data /srv/a,/srv/b --listen h1:7070 --cluster /etc/garnerfs/cluster"));
	assert_non_null(strstr(text, "ReadWritePaths=/srv/a /srv/b\n"));
	assert_non_null(strstr(text, "RequiresMountsFor=/srv/a /srv/b\n"));
	assert_non_null(strstr(text, "ProtectSystem=strict\n"));
	assert_non_null(strstr(text, "User=garnerfs\n"));
	free(text);
	for (size_t i = 0; i < 2 && have("systemd-analyze"); i++) {
		char *argv[] = { (char[]){ "systemd-analyze" }, (char[]){ "--man=no" }, (char[]){ "verify" }, unit,
			         NULL };

		snprintf(unit, sizeof unit, "%s/node-1/%s.service", f->out, names[i]);
		snprintf(out, sizeof out, "%s/said", f->dir);
		run(argv, out);
		file = fopen(out, "r");
		memset(said, 0, 65536);
		assert_true(file && fread(said, 1, 65535, file) < 65535);
		fclose(file);
		/* Of other units of this machine, or etcd that is not installed, it may say what it wants. */
		if (strstr(said, "Unknown") || strstr(said, "Failed to parse") || strstr(said, ".service:"))
			if (!strstr(said, "etcd is not executable"))
				fail_msg("%s", said);
	}
	free(said);
}

/* ---- a real etcd ---- */

static void replace_all(char *text, size_t room, const char *from, const char *to)
{
	char *at = text;

	while ((at = strstr(at, from))) {
		size_t tail = strlen(at + strlen(from)) + 1;

		assert_true((size_t)(at - text) + strlen(to) + tail <= room);
		memmove(at + strlen(to), at + strlen(from), tail);
		memcpy(at, to, strlen(to));
		at += strlen(to);
	}
}

/* Where this test's files are, instead of a host's. */
static void put_config(const struct fixture *f, const char *path)
{
	char *text = text_of(f, "node-1/etcd.yaml", 0644), *wide = calloc(1, 65536), dir[200];
	FILE *file;

	snprintf(wide, 65536, "%s", text);
	snprintf(dir, sizeof dir, "%s/node-1", f->out);
	replace_all(wide, 65536, CLUSTER_CONFIG_DIR, dir);
	snprintf(dir, sizeof dir, "%s/etcd", f->dir);
	replace_all(wide, 65536, CLUSTER_ETCD_DIR, dir);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(wide, file);
	assert_int_equal(fclose(file), 0);
	free(wide);
	free(text);
}

static unsigned free_ports(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };

	/* Two in a row. */
	for (int i = 0; i < 100; i++) {
		int first = socket(AF_INET, SOCK_STREAM, 0), second = socket(AF_INET, SOCK_STREAM, 0), rc;
		socklen_t len = sizeof address;
		unsigned port;

		address.sin_port = 0;
		assert_int_equal(bind(first, (struct sockaddr *)&address, len), 0);
		assert_int_equal(getsockname(first, (struct sockaddr *)&address, &len), 0);
		port = ntohs(address.sin_port);
		address.sin_port = htons((uint16_t)(port + 1));
		rc = port < 65535 ? bind(second, (struct sockaddr *)&address, len) : -1;
		close(first);
		close(second);
		if (!rc)
			return port;
	}
	fail_msg("no two ports in a row");
	return 0;
}

static void show(const char *path)
{
	char line[1000];
	FILE *file = fopen(path, "r");

	while (file && fgets(line, sizeof line, file))
		print_error("%s", line);
	if (file)
		fclose(file);
}

static void a_real_etcd_runs_with_it_and_lets_in_who_has_a_certificate(void **state)
{
	struct fixture *f = *state;
	struct cluster_plan plan = plan_of(f, "127.0.0.1:7070,127.0.0.1:7071");
	char config[128], log[128], ca[200], pem[200];
	struct cluster_map map;
	struct agreement *a;
	pid_t pid;

	if (!have("etcd"))
		skip();
	plan.etcd_port = free_ports();
	make(&plan, &map);
	snprintf(config, sizeof config, "%s/etcd.yaml", f->dir);
	snprintf(log, sizeof log, "%s/etcd.log", f->dir);
	put_config(f, config);
	char *argv[] = { (char[]){ "etcd" }, (char[]){ "--config-file" }, config, NULL };
	posix_spawn_file_actions_t files;
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	posix_spawn_file_actions_adddup2(&files, 1, 2);
	assert_int_equal(posix_spawnp(&pid, "etcd", &files, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&files);

	snprintf(ca, sizeof ca, "%s/node-2/ca.pem", f->out);
	snprintf(pem, sizeof pem, "%s/node-2/node.pem", f->out);
	struct agreement_etcd_options options = { .endpoints = map.agreement,
		                                  .cluster_id = map.id,
		                                  .tls = { .ca_file = ca, .client_cert = pem },
		                                  .deadline_ms = 30000 };
	assert_int_equal(agreement_open_etcd(&options, &a, NULL), 0);
	int won = claim_only(a, "pool/key", 5, "x"), held = claim_only(a, "pool/key", 6, "x");
	agreement_close(a);
	/* Without a certificate. */
	options.tls.client_cert = NULL;
	options.deadline_ms = 1500;
	assert_int_equal(agreement_open_etcd(&options, &a, NULL), 0);
	int stranger = claim_only(a, "pool/other", 5, "x");
	agreement_close(a);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	if (won)
		show(log);
	assert_int_equal(won, 0);
	assert_int_equal(held, -EEXIST);
	assert_true(stranger != 0 && stranger != -EEXIST);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_new_cluster_has_all_its_files),
		TEST(gateways_and_nodes_can_read_it),
		TEST(a_plain_cluster_has_no_certificates),
		TEST(what_is_there_is_never_overwritten),
		TEST(two_clusters_have_nothing_in_common),
		TEST(what_is_no_cluster_is_refused_and_leaves_nothing),
		TEST(certificates_are_of_the_authority_and_for_the_host),
		TEST(certificates_last_for_years_and_began_yesterday),
		TEST(a_node_that_joins_gets_its_own),
		TEST(units_are_ones_of_systemd),
		TEST(a_real_etcd_runs_with_it_and_lets_in_who_has_a_certificate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
