/* SPDX-License-Identifier: GPL-3.0-only */
/* swift_login_private.h: what the two ways to log in to Swift share. */
#ifndef GARNER_STORE_SWIFT_LOGIN_PRIVATE_H
#define GARNER_STORE_SWIFT_LOGIN_PRIVATE_H

#include "store/swift_login.h"

#include <stdbool.h>

/* Who logs in, for one log-in. The secret is wiped afterwards. */
struct swift_identity {
	const char *name; /* user, or id of an application credential */
	const char *secret;
};

/* Whether these options, whose auth URL is set, are Keystone's. */
bool swift_login_is_keystone(const struct swift_login_options *options);

/* Whether `url`, not counting slashes at its end, ends in `tail`. */
bool swift_login_ends_in(const char *url, const char *tail);

/* Logs in with Keystone version 3. As the fetch of renewal.h. */
int swift_keystone_fetch(const struct swift_login_options *options, const struct swift_identity *identity,
                         struct swift_session *session, uint64_t *lifetime_ns, struct error *err);

/* What a log-in that was answered with `status`, no success, failed of. Returns the code, and the text in `err`. */
int swift_login_explain(long status, const struct swift_login_options *options, const char *name, struct error *err);

/* Checks what came back, and puts it into `session`. `url` and `token` may be NULL: then they did not come. 0, -EPROTO,
 * or -EINVAL when the storage URL may not be used. */
int swift_session_set(struct swift_session *session, const char *url, const char *token,
                      const struct swift_login_options *options, struct error *err);

#endif
