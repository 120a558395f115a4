/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_key.c: garner key: wraps a pool's master key anew, for another key file or passphrase. Touches no data. */
#include "cli/command.h"
#include "cli/target.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static int rewrap(const char *word, const struct target_key *old, const struct target_key *new, struct error *err)
{
	struct secret *secret = NULL;
	struct pool *pool = NULL;
	int rc = target_open_pool(word, old, &pool, err);

	if (rc < 0)
		return rc;
	if (!pool->sealed)
		rc = error_set(err, -EINVAL, "the pool at %s is plain: it has no key, and cannot get one any more",
		               pool->store->url);
	else if (new->key_file || new->passphrase_file)
		rc = pool_secret(new->key_file, new->passphrase_file, &secret, err);
	else
		rc = secret_from_terminal("New passphrase: ", true, &secret, err);
	if (rc == 0)
		rc = pool_rewrap(pool, secret, err);
	if (rc == 0)
		printf("%s: opens with the new %s from now on\n", pool->store->url,
		       new->key_file ? "key file" : "passphrase");
	secret_free(secret);
	pool_close(pool);
	return rc;
}

int cmd_key(const struct command *c, int argc, char **argv)
{
	struct target_key old = { 0 }, new = { 0 };
	const struct command_option options[] = {
		{ "key-file", &old.key_file, NULL },
		{ "passphrase-file", &old.passphrase_file, NULL },
		{ "passwd-file", &old.passwd_file, NULL },
		{ "new-key-file", &new.key_file, NULL },
		{ "new-passphrase-file", &new.passphrase_file, NULL },
		{ 0 },
	};
	struct error err = { 0 };
	const char *store;
	int rc = command_parse(c, argc, argv, options, 1, 1, &store);

	if (rc != 0)
		return command_parse_exit(rc);
	if (old.key_file && old.passphrase_file)
		return command_usage(c, "--key-file and --passphrase-file exclude each other");
	if (new.key_file &&new.passphrase_file)
		return command_usage(c, "--new-key-file and --new-passphrase-file exclude each other");
	if (!new.key_file && !new.passphrase_file && !isatty(STDIN_FILENO))
		return command_usage(c, "say what shall open the pool: --new-key-file or --new-passphrase-file");
	return rewrap(store, &old, &new, &err) < 0 ? command_failed(c, &err) : EXIT_DONE;
}
