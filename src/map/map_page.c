/* SPDX-License-Identifier: GPL-3.0-only */
/* map_page.c: pages from slabs of a megabyte, and a list of those that are free. */
#include "map/map_page.h"

#include "map/grain_map.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#define SLAB_BYTES ((size_t)1 << 20)

#if defined(__SANITIZE_ADDRESS__)
#define CHECKED 1 /* each page from malloc(): the sanitizer sees who uses it too late */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CHECKED 1
#endif
#endif

#ifdef CHECKED

void *map_page_new(void)
{
	return malloc(MAP_NODE_BYTES);
}

void map_page_free(void *page)
{
	free(page);
}

#else

struct free_page {
	struct free_page *next;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards what follows: a leaf */
static struct free_page *pages;

/* The mutex is held. */
static void add_slab(void)
{
	uint8_t *slab = mmap(NULL, SLAB_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (slab == MAP_FAILED)
		return;
	for (size_t at = 0; at < SLAB_BYTES; at += MAP_NODE_BYTES) {
		struct free_page *page = (struct free_page *)(void *)(slab + at);
		page->next = pages;
		pages = page;
	}
}

void *map_page_new(void)
{
	struct free_page *page;

	pthread_mutex_lock(&mutex);
	if (!pages)
		add_slab();
	page = pages;
	if (page)
		pages = page->next;
	pthread_mutex_unlock(&mutex);
	return page;
}

void map_page_free(void *page)
{
	struct free_page *p = page;

	if (!p)
		return;
	pthread_mutex_lock(&mutex);
	p->next = pages;
	pages = p;
	pthread_mutex_unlock(&mutex);
}

#endif
