/* SPDX-License-Identifier: GPL-3.0-only */
/* map_page.h: the memory of nodes' entries, a page each. Private to src/map.
 *
 * Tens of thousands of pages come and go beside the buffers of reads and uploads: in the same heap they leave holes of which nothing
 * large can be made, and a busy daemon grows to twice of what it uses. Pages that are free are used again, and not given back:
 * there are as many as the budget of the maps once wanted. Any thread.
 */
#ifndef GARNER_MAP_MAP_PAGE_H
#define GARNER_MAP_MAP_PAGE_H

/* MAP_NODE_BYTES bytes with anything in them, or NULL when memory is short. */
void *map_page_new(void);
/* NULL is ignored. */
void map_page_free(void *page);

#endif
