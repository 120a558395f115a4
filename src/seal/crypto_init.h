/* SPDX-License-Identifier: GPL-3.0-only */
/* crypto_init.h: libsodium, made ready once, for the files of this folder. */
#ifndef GARNER_SEAL_CRYPTO_INIT_H
#define GARNER_SEAL_CRYPTO_INIT_H

/* Makes libsodium ready on the first call; ends the program when that cannot be done, since nothing that it returned
 * could be trusted. Any thread. */
void crypto_init(void);

#endif
