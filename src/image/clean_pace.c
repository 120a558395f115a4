/* SPDX-License-Identifier: GPL-3.0-only */
/* clean_pace.c: how fast cleaning moves what is needed, beside guests that write. */
#include "image/clean_pace.h"

/* Guests that have not written for so long are idle. */
#define IDLE_NS 200000000u
/* Of what guests write: while uploads keep up, and while they do not. */
#define SHARE_FREE 2.0
#define SHARE_BUSY 0.25
/* Bytes per second in any case, while uploads keep up. */
#define GENTLE_RATE (8.0 * (1 << 20))
/* What was not made use of is not saved up for longer than it takes to move this. */
#define ALLOWANCE_MAX (16.0 * (1 << 20))

double clean_pressure(uint64_t garbage, uint64_t allowed)
{
	if (garbage <= allowed)
		return 0;
	return garbage - allowed >= allowed ? 1 : (double)(garbage - allowed) / (double)allowed;
}

void clean_pace_begin(struct clean_pace *p, const struct clean_pace *plan, const struct clean_load *load)
{
	*p = *plan;
	p->began_ns = p->last_ns = load->now_ns;
	p->guests_wrote = load->guests_wrote;
}

/* 1: nothing waits for its upload; 0: guests are about to be slowed, or are. */
static double headroom(const struct clean_load *load)
{
	uint64_t half = load->limit / 2;

	return load->unsent < half ? 1 - (double)load->unsent / (double)half : 0;
}

bool clean_pace_may(struct clean_pace *p, const struct clean_load *load)
{
	double guests = (double)(load->guests_wrote - p->guests_wrote), room = headroom(load);

	if (load->guests_wrote != p->guests_wrote)
		p->wrote_ns = load->now_ns;
	p->allowance += guests * (SHARE_FREE * room + SHARE_BUSY * p->pressure) +
	                (double)(load->now_ns - p->last_ns) / 1e9 * GENTLE_RATE * room;
	if (p->allowance > ALLOWANCE_MAX)
		p->allowance = ALLOWANCE_MAX;
	p->guests_wrote = load->guests_wrote;
	p->last_ns = load->now_ns;
	if (room > 0 && (p->at_once || !p->wrote_ns || load->now_ns - p->wrote_ns > IDLE_NS))
		return true;
	double due = (double)(load->now_ns - p->began_ns) / (double)p->round_ns * (double)p->total;
	return p->allowance > 0 && (double)p->moved <= due;
}

void clean_pace_moved(struct clean_pace *p, uint64_t bytes)
{
	p->moved += bytes;
	p->allowance -= (double)bytes;
}
