/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_create.c: garner create: makes an empty image, the same as truncate -s, but never touches one that exists. */
#include "cli/command.h"
#include "cli/target.h"

#include "base/size.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int create_image(const char *path, uint64_t size, struct error *err)
{
	int rc = target_want_place(path, err), fd;

	if (rc < 0)
		return rc;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	if (ftruncate(fd, (off_t)size) < 0 || fsync(fd) < 0)
		rc = -errno;
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	if (rc < 0) {
		error_set(err, rc, "%s: %s", path, strerror(-rc));
		unlink(path); /* it was ours, and empty; if this fails, an empty image stays, which harms nothing */
	}
	return rc;
}

int cmd_create(const struct command *c, int argc, char **argv)
{
	const struct command_option options[] = { { 0 } };
	const char *arguments[2];
	struct error err = { 0 };
	uint64_t size;
	int rc = command_parse(c, argc, argv, options, 2, 2, arguments);

	if (rc != 0)
		return command_parse_exit(rc);
	if (size_parse(arguments[1], &size, &err) < 0)
		return command_usage(c, "%s", error_text(&err));
	return create_image(arguments[0], size, &err) < 0 ? command_failed(c, &err) : EXIT_DONE;
}
