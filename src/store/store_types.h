/* SPDX-License-Identifier: GPL-3.0-only */
/* store_types.h: the kinds of store there are, for store.c alone. */
#ifndef GARNER_STORE_STORE_TYPES_H
#define GARNER_STORE_STORE_TYPES_H

#include "store/store.h"

extern const struct store_type store_file_type;
extern const struct store_type store_s3_type;
extern const struct store_type store_swift_type;
extern const struct store_type store_node_type;

#endif
