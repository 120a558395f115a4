/* SPDX-License-Identifier: GPL-3.0-only */
/* test_coordinate.c: the coordinator's rules, one by one: what goes out for what comes in. test_cluster_sim.c tries them all together. */
#include "node/coordinate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#define STEPS 512

/* An operation of node 1, with all steps that it made. */
struct rig {
	struct coordinate c;
	struct coordinate_step step[STEPS];
	bool is_answered[STEPS]; /* the step has had its answer */
	unsigned count;
	const struct coordinate_step *answer;
	bool is_finished;
};

static struct object_version version(uint64_t counter)
{
	return (struct object_version){ .counter = counter, .tie = counter };
}

static struct object_meta meta(uint64_t counter, unsigned flags)
{
	return (struct object_meta){ .version = version(counter), .flags = flags, .length = counter };
}

static void drain(struct rig *r)
{
	struct coordinate_step step;

	while (coordinate_next(&r->c, &step)) {
		assert_in_range(r->count, 0, STEPS - 1);
		assert_false(r->is_finished);
		r->step[r->count] = step;
		if (step.kind == STEP_ANSWER) {
			assert_null(r->answer);
			r->answer = &r->step[r->count];
		}
		r->is_finished = r->is_finished || step.kind == STEP_FINISHED;
		r->count++;
	}
}

static struct rig *begin_at(enum coordinate_kind kind, const struct placement *p, uint64_t counter)
{
	struct rig *r = calloc(1, sizeof *r);
	struct object_meta ours = meta(counter, 0);

	assert_non_null(r);
	coordinate_init(&r->c, kind, p, 1, counter ? &ours : NULL);
	drain(r);
	return r;
}

/* Nodes 1 to `replicas`. */
static struct rig *begin(enum coordinate_kind kind, unsigned replicas, unsigned quorum, uint64_t counter)
{
	struct placement p = { .sets = 1, .count = replicas, .set[0] = { .count = replicas, .quorum = quorum } };

	for (unsigned i = 0; i < replicas; i++)
		p.node[i] = p.set[0].node[i] = i + 1;
	return begin_at(kind, &p, counter);
}

/* The oldest step of that kind to that node that has no answer yet, or NULL. */
static const struct coordinate_step *open_step(struct rig *r, enum coordinate_step_kind kind, unsigned node)
{
	bool is_agreement = kind == STEP_CLAIM || kind == STEP_RELEASE;

	for (unsigned i = 0; i < r->count; i++)
		if (r->step[i].kind == kind && !r->is_answered[i] && (is_agreement || r->step[i].node == node))
			return &r->step[i];
	return NULL;
}

static const struct coordinate_step *need_step(struct rig *r, enum coordinate_step_kind kind, unsigned node)
{
	const struct coordinate_step *step = open_step(r, kind, node);

	if (!step)
		fail_msg("no open step of kind %d to node %u", kind, node);
	return step;
}

static void reply(struct rig *r, enum coordinate_step_kind kind, unsigned node, struct coordinate_reply reply)
{
	const struct coordinate_step *step = need_step(r, kind, node);

	r->is_answered[step - r->step] = true;
	coordinate_replied(&r->c, step->id, &reply);
	drain(r);
}

static void sees(struct rig *r, unsigned node, uint64_t counter, unsigned flags)
{
	enum coordinate_status status = counter ? REPLICA_META : REPLICA_ABSENT;

	reply(r, STEP_ASK, node,
	      (struct coordinate_reply){ .status = status, .vote = true, .meta = meta(counter, flags) });
}

static void put_says(struct rig *r, unsigned node, enum coordinate_status status, uint64_t there, unsigned flags)
{
	reply(r, STEP_PUT, node,
	      (struct coordinate_reply){ .status = status, .vote = true, .meta = meta(there, flags) });
}

static void accepts(struct rig *r, unsigned node)
{
	put_says(r, node, REPLICA_ACCEPTED, 0, 0);
}

static void fails(struct rig *r, enum coordinate_step_kind kind, unsigned node)
{
	reply(r, kind, node, (struct coordinate_reply){ .status = REPLICA_FAILED });
}

static void agrees(struct rig *r, enum coordinate_step_kind kind, enum coordinate_agreed agreed, uint64_t counter)
{
	const struct coordinate_step *step = need_step(r, kind, 0);

	r->is_answered[step - r->step] = true;
	coordinate_agreed(&r->c, step->id, agreed, version(counter));
	drain(r);
}

static void body_comes(struct rig *r)
{
	coordinate_body_received(&r->c);
	drain(r);
}

static unsigned count_steps(const struct rig *r, enum coordinate_step_kind kind)
{
	unsigned count = 0;

	for (unsigned i = 0; i < r->count; i++)
		count += r->step[i].kind == kind;
	return count;
}

static void assert_answer(const struct rig *r, enum coordinate_result result, uint64_t counter)
{
	assert_non_null(r->answer);
	assert_int_equal(r->answer->result, result);
	if (counter)
		assert_int_equal(r->answer->meta.version.counter, counter);
}

/* Fails whatever is still open: it must come to its end then. */
static void end(struct rig *r)
{
	for (unsigned i = 0; i < r->count; i++) {
		struct coordinate_reply failed = { .status = REPLICA_FAILED };

		if (r->is_answered[i])
			continue;
		if (r->step[i].kind == STEP_ASK || r->step[i].kind == STEP_PUT)
			coordinate_replied(&r->c, r->step[i].id, &failed);
		else if (r->step[i].kind == STEP_CLAIM || r->step[i].kind == STEP_RELEASE)
			coordinate_agreed(&r->c, r->step[i].id, AGREED_FAILED, OBJECT_VERSION_NONE);
		drain(r);
	}
	assert_true(r->is_finished);
	assert_true(r->answer || r->c.is_client_gone);
	free(r);
}

/* ---- puts ---- */

static void a_put_goes_to_all_at_once_and_is_done_when_a_quorum_accepted(void **state)
{
	struct rig *r = begin(COORDINATE_PUT, 3, 2, 10);

	(void)state;
	assert_int_equal(count_steps(r, STEP_PUT), 3);
	assert_int_equal(need_step(r, STEP_PUT, 2)->body, BODY_OURS);
	assert_int_equal(need_step(r, STEP_PUT, 2)->rule, PUT_FRESH);
	accepts(r, 3);
	assert_null(r->answer);
	accepts(r, 1);
	assert_answer(r, RESULT_DONE, 10);
	assert_int_equal(r->answer->ack_count, 2);
	assert_true(r->answer->ack[0] == 3 && r->answer->ack[1] == 1);
	assert_false(r->is_finished);
	accepts(r, 2);
	assert_true(r->is_finished);
	assert_int_equal(count_steps(r, STEP_HINT), 0);
	end(r);
}

static void who_fails_after_the_answer_gets_a_hint(void **state)
{
	struct rig *r = begin(COORDINATE_PUT, 3, 2, 10);

	(void)state;
	accepts(r, 1);
	accepts(r, 2);
	assert_answer(r, RESULT_DONE, 10);
	fails(r, STEP_PUT, 3);
	assert_int_equal(count_steps(r, STEP_HINT), 1);
	assert_int_equal(need_step(r, STEP_HINT, 3)->meta.version.counter, 10);
	end(r);
}

static void who_fails_before_the_answer_gets_a_hint_if_it_is_done(void **state)
{
	struct rig *r = begin(COORDINATE_PUT, 3, 2, 10);

	(void)state;
	put_says(r, 3, REPLICA_FULL, 0, 0);
	assert_int_equal(count_steps(r, STEP_HINT), 0);
	accepts(r, 1);
	accepts(r, 2);
	assert_non_null(open_step(r, STEP_HINT, 3));
	end(r);
}

static void a_recovering_node_does_not_count(void **state)
{
	struct rig *r = begin(COORDINATE_PUT, 3, 2, 10);

	(void)state;
	accepts(r, 1);
	reply(r, STEP_PUT, 2, (struct coordinate_reply){ .status = REPLICA_ACCEPTED, .vote = false });
	assert_null(r->answer);
	accepts(r, 3);
	assert_answer(r, RESULT_DONE, 10);
	end(r);
}

static void a_put_that_is_older_learns_of_the_newest(void **state)
{
	struct rig *r = begin(COORDINATE_PUT, 3, 2, 10);

	(void)state;
	put_says(r, 1, REPLICA_STALE, 11, 0);
	assert_null(r->answer);
	put_says(r, 2, REPLICA_STALE, 15, OBJECT_TOMBSTONE);
	assert_answer(r, RESULT_NEWER, 15);
	end(r);
}

static void a_put_that_a_quorum_took_is_done_though_one_has_newer(void **state)
{
	struct rig *r = begin(COORDINATE_PUT, 3, 2, 10);

	(void)state;
	put_says(r, 1, REPLICA_STALE, 11, 0);
	accepts(r, 2);
	accepts(r, 3);
	assert_answer(r, RESULT_DONE, 10);
	assert_int_equal(count_steps(r, STEP_HINT), 0);
	end(r);
}

static void without_a_quorum_a_put_is_unavailable_or_full(void **state)
{
	struct rig *r = begin(COORDINATE_PUT, 3, 2, 10);

	(void)state;
	accepts(r, 1);
	fails(r, STEP_PUT, 2);
	fails(r, STEP_PUT, 3);
	assert_answer(r, RESULT_UNAVAILABLE, 0);
	assert_int_equal(count_steps(r, STEP_HINT), 0);
	end(r);
	r = begin(COORDINATE_PUT, 3, 2, 10);
	put_says(r, 1, REPLICA_FULL, 0, 0);
	fails(r, STEP_PUT, 3);
	assert_answer(r, RESULT_FULL, 0);
	end(r);
}

static void a_newer_map_ends_it_at_once(void **state)
{
	struct rig *r = begin(COORDINATE_PUT, 3, 2, 10);

	(void)state;
	accepts(r, 1);
	put_says(r, 2, REPLICA_MAP, 0, 0);
	assert_answer(r, RESULT_MAP, 0);
	accepts(r, 3);
	end(r);
	r = begin(COORDINATE_LOOK, 3, 2, 0);
	reply(r, STEP_ASK, 2, (struct coordinate_reply){ .status = REPLICA_MAP });
	assert_answer(r, RESULT_MAP, 0);
	end(r);
}

static void while_the_map_moves_both_sets_need_a_quorum(void **state)
{
	struct placement p = { .sets = 2, .count = 4, .node = { 1, 2, 3, 4 } };
	struct rig *r;

	(void)state;
	p.set[0] = (struct placement_set){ .count = 3, .node = { 1, 2, 3 }, .quorum = 2 };
	p.set[1] = (struct placement_set){ .count = 3, .node = { 2, 3, 4 }, .quorum = 2 };
	r = begin_at(COORDINATE_PUT, &p, 10);
	assert_int_equal(count_steps(r, STEP_PUT), 4);
	accepts(r, 1);
	accepts(r, 2);
	assert_null(r->answer);
	accepts(r, 4);
	assert_answer(r, RESULT_DONE, 10);
	end(r);
	r = begin_at(COORDINATE_LOOK, &p, 0);
	sees(r, 3, 5, 0);
	sees(r, 4, 5, 0);
	assert_null(r->answer);
	sees(r, 2, 5, 0);
	assert_answer(r, RESULT_DONE, 5);
	end(r);
	r = begin_at(COORDINATE_PUT, &p, 10);
	fails(r, STEP_PUT, 3);
	fails(r, STEP_PUT, 4);
	assert_answer(r, RESULT_UNAVAILABLE, 0);
	end(r);
}

static void what_is_given_up_begins_nothing_more(void **state)
{
	struct rig *r = begin(COORDINATE_CLAIM, 3, 2, 10);
	unsigned before;

	(void)state;
	coordinate_give_up(&r->c, false);
	drain(r);
	assert_answer(r, RESULT_UNAVAILABLE, 0);
	before = r->count;
	sees(r, 1, 0, 0);
	sees(r, 2, 0, 0);
	body_comes(r);
	assert_int_equal(r->count, before);
	end(r);
	r = begin(COORDINATE_PUT, 3, 2, 10);
	coordinate_give_up(&r->c, true);
	drain(r);
	assert_null(r->answer);
	end(r);
}

static void an_answer_that_comes_twice_counts_once(void **state)
{
	struct coordinate_reply yes = { .status = REPLICA_ACCEPTED, .vote = true };
	struct rig *r = begin(COORDINATE_PUT, 3, 2, 10);
	unsigned id = need_step(r, STEP_PUT, 1)->id;

	(void)state;
	coordinate_replied(&r->c, id, &yes);
	coordinate_replied(&r->c, id, &yes);
	coordinate_replied(&r->c, 77777, &yes);
	drain(r);
	assert_null(r->answer);
	end(r);
}

/* ---- reads ---- */

static void a_read_asks_a_quorum_and_says_who_has_the_body(void **state)
{
	struct rig *r = begin(COORDINATE_LOOK, 3, 2, 0);

	(void)state;
	sees(r, 3, 7, OBJECT_CLAIMED);
	assert_null(r->answer);
	sees(r, 1, 7, OBJECT_CONFIRMED);
	assert_answer(r, RESULT_DONE, 7);
	assert_int_equal(r->answer->meta.flags, OBJECT_CLAIMED);
	assert_int_equal(r->answer->holder_count, 2);
	assert_true(r->answer->holder[0] == 1 && r->answer->holder[1] == 3);
	assert_int_equal(count_steps(r, STEP_PUT), 0);
	end(r);
}

static void what_fewer_than_a_quorum_have_is_copied_before_it_is_told(void **state)
{
	struct rig *r = begin(COORDINATE_LOOK, 3, 2, 0);
	const struct coordinate_step *copy;

	(void)state;
	sees(r, 3, 7, 0);
	sees(r, 2, 4, 0);
	assert_null(r->answer);
	copy = need_step(r, STEP_PUT, 2);
	assert_int_equal(copy->body, BODY_COPY);
	assert_int_equal(copy->rule, PUT_COPY);
	assert_int_equal(copy->source, 3);
	assert_int_equal(copy->meta.version.counter, 7);
	assert_int_equal(count_steps(r, STEP_PUT), 1);
	accepts(r, 2);
	assert_answer(r, RESULT_DONE, 7);
	end(r);
}

static void a_tombstone_is_copied_too(void **state)
{
	struct rig *r = begin(COORDINATE_LOOK, 3, 2, 0);

	(void)state;
	sees(r, 3, 7, OBJECT_TOMBSTONE);
	sees(r, 2, 4, 0);
	assert_int_equal(need_step(r, STEP_PUT, 2)->body, BODY_NONE);
	assert_int_equal(need_step(r, STEP_PUT, 2)->meta.flags, OBJECT_TOMBSTONE);
	put_says(r, 2, REPLICA_STALE, 8, 0); /* it has a newer one: so it has this as well */
	assert_answer(r, RESULT_ABSENT, 7);
	end(r);
}

static void a_late_answer_may_spare_the_copy(void **state)
{
	struct rig *r = begin(COORDINATE_LOOK, 3, 2, 0);

	(void)state;
	sees(r, 3, 7, 0);
	sees(r, 2, 0, 0);
	sees(r, 1, 7, 0);
	assert_answer(r, RESULT_DONE, 7);
	end(r);
}

static void if_a_copy_fails_another_is_made(void **state)
{
	struct rig *r = begin(COORDINATE_LOOK, 3, 2, 0);

	(void)state;
	sees(r, 3, 7, 0);
	sees(r, 2, 0, 0);
	fails(r, STEP_PUT, 2);
	assert_null(r->answer);
	sees(r, 1, 0, 0);
	accepts(r, 1);
	assert_answer(r, RESULT_DONE, 7);
	end(r);
}

static void a_source_that_has_it_no_more_begins_a_new_round(void **state)
{
	struct rig *r = begin(COORDINATE_LOOK, 3, 2, 0);

	(void)state;
	for (unsigned round = 1; round <= COORDINATE_ROUNDS; round++) {
		assert_int_equal(count_steps(r, STEP_ASK), 3 * round);
		sees(r, 3, 7 + round, 0);
		sees(r, 2, 0, 0);
		fails(r, STEP_ASK, 1);
		put_says(r, 2, REPLICA_SOURCE_GONE, 0, 0);
	}
	assert_answer(r, RESULT_UNAVAILABLE, 0);
	end(r);
}

static void nothing_anywhere_is_absent_and_no_quorum_is_unavailable(void **state)
{
	struct rig *r = begin(COORDINATE_LOOK, 3, 2, 0);

	(void)state;
	sees(r, 1, 0, 0);
	sees(r, 2, 0, 0);
	assert_answer(r, RESULT_ABSENT, 0);
	end(r);
	r = begin(COORDINATE_LOOK, 3, 2, 0);
	sees(r, 1, 7, 0);
	fails(r, STEP_ASK, 2);
	reply(r, STEP_ASK, 3, (struct coordinate_reply){ .status = REPLICA_META, .vote = false, .meta = meta(7, 0) });
	assert_answer(r, RESULT_UNAVAILABLE, 0);
	end(r);
}

static void what_a_recovering_node_has_is_used(void **state)
{
	struct rig *r = begin(COORDINATE_LOOK, 3, 2, 0);

	(void)state;
	reply(r, STEP_ASK, 3, (struct coordinate_reply){ .status = REPLICA_META, .vote = false, .meta = meta(7, 0) });
	sees(r, 1, 4, 0);
	sees(r, 2, 4, 0);
	assert_int_equal(need_step(r, STEP_PUT, 1)->source, 3);
	accepts(r, 1);
	assert_null(r->answer);
	accepts(r, 2);
	assert_answer(r, RESULT_DONE, 7);
	end(r);
}

static void damaged(struct rig *r, unsigned node, uint64_t counter)
{
	reply(r, STEP_ASK, node,
	      (struct coordinate_reply){ .status = REPLICA_DAMAGED, .vote = true, .meta = meta(counter, 0) });
}

static void a_damaged_copy_still_says_that_there_is_one(void **state)
{
	struct rig *r = begin(COORDINATE_LOOK, 3, 2, 0);

	(void)state;
	damaged(r, 1, 7);
	sees(r, 2, 0, 0);
	assert_null(r->answer); /* node 3 may have it */
	sees(r, 3, 7, 0);
	assert_int_equal(need_step(r, STEP_PUT, 1)->source, 3);
	accepts(r, 1);
	assert_answer(r, RESULT_DONE, 7);
	end(r);
	r = begin(COORDINATE_LOOK, 3, 2, 0);
	damaged(r, 1, 7);
	sees(r, 2, 0, 0);
	fails(r, STEP_ASK, 3);
	assert_answer(r, RESULT_UNAVAILABLE, 0);
	end(r);
	r = begin(COORDINATE_LOOK, 3, 2, 0);
	damaged(r, 1, 7);
	damaged(r, 2, 7);
	sees(r, 3, 0, 0);
	assert_answer(r, RESULT_DAMAGED, 0);
	end(r);
}

static void a_damaged_version_that_no_quorum_can_have_is_passed_over(void **state)
{
	struct rig *r = begin(COORDINATE_LOOK, 3, 2, 0);

	(void)state;
	damaged(r, 1, 9);
	sees(r, 2, 7, 0);
	assert_null(r->answer);
	sees(r, 3, 0, 0);
	assert_null(open_step(r, STEP_PUT, 1)); /* it would refuse, and not have it */
	accepts(r, 3);
	assert_answer(r, RESULT_DONE, 7);
	end(r);
}

static void a_confirmation_marks_or_mends_this_nodes_copy(void **state)
{
	struct rig *r = begin(COORDINATE_CONFIRM, 3, 2, 0);

	(void)state;
	sees(r, 1, 7, 0);
	sees(r, 2, 7, 0);
	assert_answer(r, RESULT_DONE, 7);
	assert_int_equal(count_steps(r, STEP_CONFIRM), 1);
	end(r);
	r = begin(COORDINATE_CONFIRM, 3, 2, 0);
	sees(r, 1, 0, 0);
	sees(r, 2, 7, 0);
	sees(r, 3, 7, 0);
	assert_answer(r, RESULT_DONE, 7);
	assert_int_equal(count_steps(r, STEP_CONFIRM), 0);
	accepts(r, 1);
	assert_int_equal(count_steps(r, STEP_CONFIRM), 1);
	end(r);
}

/* ---- creations by quorum ---- */

static void a_creation_looks_before_it_puts(void **state)
{
	struct rig *r = begin(COORDINATE_CREATE, 3, 2, 10);

	(void)state;
	assert_int_equal(count_steps(r, STEP_PUT), 0);
	sees(r, 1, 0, 0);
	sees(r, 2, 4, OBJECT_TOMBSTONE);
	assert_int_equal(need_step(r, STEP_PUT, 3)->rule, PUT_ABSENT);
	accepts(r, 1);
	accepts(r, 3);
	assert_answer(r, RESULT_DONE, 10);
	assert_int_equal(count_steps(r, STEP_CONFIRM), 1);
	end(r);
}

static void an_owner_who_has_looked_puts_at_once(void **state)
{
	struct rig *r = begin(COORDINATE_CREATE_LOOKED, 3, 2, 10);

	(void)state;
	assert_int_equal(count_steps(r, STEP_ASK), 0);
	assert_int_equal(need_step(r, STEP_PUT, 3)->rule, PUT_ABSENT);
	accepts(r, 1);
	assert_null(r->answer);
	accepts(r, 3);
	assert_answer(r, RESULT_DONE, 10);
	end(r);
	/* What is there after all is looked at before anybody is told. */
	r = begin(COORDINATE_CREATE_LOOKED, 3, 2, 10);
	put_says(r, 1, REPLICA_EXISTS, 8, 0);
	put_says(r, 2, REPLICA_EXISTS, 8, 0);
	assert_null(r->answer);
	sees(r, 1, 8, 0);
	sees(r, 2, 8, 0);
	assert_answer(r, RESULT_EXISTS, 8);
	end(r);
}

static void a_creation_of_what_is_there_touches_nothing(void **state)
{
	struct rig *r = begin(COORDINATE_CREATE, 3, 2, 10);

	(void)state;
	sees(r, 1, 7, 0);
	sees(r, 2, 7, 0);
	assert_answer(r, RESULT_EXISTS, 7);
	assert_int_equal(count_steps(r, STEP_PUT), 0);
	end(r);
	r = begin(COORDINATE_CREATE, 3, 2, 10);
	sees(r, 1, 7, 0);
	sees(r, 2, 0, 0);
	assert_null(r->answer); /* only when a quorum has it */
	accepts(r, 2);
	assert_answer(r, RESULT_EXISTS, 7);
	end(r);
}

static void a_creation_below_a_tombstone_or_floor_takes_a_higher_version(void **state)
{
	struct rig *r = begin(COORDINATE_CREATE, 3, 2, 10);

	(void)state;
	sees(r, 1, 12, OBJECT_TOMBSTONE);
	sees(r, 2, 0, 0);
	assert_answer(r, RESULT_NEWER, 12);
	end(r);
	r = begin(COORDINATE_CREATE, 3, 2, 10);
	reply(r, STEP_ASK, 1,
	      (struct coordinate_reply){ .status = REPLICA_ABSENT, .vote = true, .floor = version(20) });
	sees(r, 2, 0, 0);
	assert_answer(r, RESULT_NEWER, 20);
	end(r);
}

static void what_may_have_been_created_seen_and_removed_is_gone(void **state)
{
	struct rig *r = begin(COORDINATE_CREATE, 3, 2, 10);

	(void)state;
	sees(r, 1, 0, 0);
	sees(r, 2, 0, 0);
	accepts(r, 3);
	put_says(r, 1, REPLICA_STALE, 12, OBJECT_TOMBSTONE);
	put_says(r, 2, REPLICA_STALE, 12, OBJECT_TOMBSTONE);
	assert_answer(r, RESULT_GONE, 12);
	end(r);
	/* After a second look, too. */
	r = begin(COORDINATE_CREATE, 3, 2, 10);
	sees(r, 1, 0, 0);
	sees(r, 2, 0, 0);
	accepts(r, 3);
	put_says(r, 1, REPLICA_EXISTS, 12, 0);
	put_says(r, 2, REPLICA_EXISTS, 12, 0);
	sees(r, 1, 13, OBJECT_TOMBSTONE);
	sees(r, 2, 13, OBJECT_TOMBSTONE);
	assert_answer(r, RESULT_GONE, 13);
	end(r);
}

static void a_creators_leftover_is_put_over_when_it_is_older(void **state)
{
	struct rig *r = begin(COORDINATE_CREATE, 3, 2, 10);

	(void)state;
	sees(r, 1, 0, 0);
	sees(r, 2, 0, 0);
	put_says(r, 3, REPLICA_EXISTS, 8, 0);
	accepts(r, 1);
	accepts(r, 2);
	assert_answer(r, RESULT_DONE, 10);
	assert_int_equal(need_step(r, STEP_PUT, 3)->rule, PUT_FRESH);
	fails(r, STEP_PUT, 3);
	assert_non_null(open_step(r, STEP_HINT, 3));
	end(r);
}

static void of_two_creators_one_is_refused(void **state)
{
	struct rig *r = begin(COORDINATE_CREATE, 3, 2, 10);

	(void)state;
	sees(r, 1, 0, 0);
	sees(r, 2, 0, 0);
	sees(r, 3, 0, 0);
	put_says(r, 1, REPLICA_EXISTS, 11, 0);
	accepts(r, 2);
	put_says(r, 3, REPLICA_EXISTS, 11, 0);
	/* Whether a quorum has the other one is looked at first. */
	assert_false(r->answer);
	sees(r, 1, 11, 0);
	sees(r, 3, 11, 0);
	assert_answer(r, RESULT_EXISTS, 11);
	end(r);
}

/* ---- creations by claim ---- */

/* A claim of version 10 that has looked and found nothing. */
static struct rig *begin_claim(void)
{
	struct rig *r = begin(COORDINATE_CLAIM, 3, 2, 10);

	sees(r, 1, 0, 0);
	sees(r, 2, 0, 0);
	sees(r, 3, 0, 0);
	assert_int_equal(count_steps(r, STEP_CLAIM), 0); /* the body is not here */
	body_comes(r);
	return r;
}

static void a_claim_that_is_won_is_put(void **state)
{
	struct rig *r = begin_claim();

	(void)state;
	assert_int_equal(count_steps(r, STEP_PUT), 0);
	agrees(r, STEP_CLAIM, AGREED_DONE, 0);
	assert_int_equal(need_step(r, STEP_PUT, 1)->meta.flags, OBJECT_CLAIMED);
	accepts(r, 1);
	accepts(r, 2);
	assert_answer(r, RESULT_DONE, 10);
	end(r);
}

static void a_claim_of_ours_from_an_earlier_try_is_won(void **state)
{
	struct rig *r = begin_claim();

	(void)state;
	agrees(r, STEP_CLAIM, AGREED_EXISTS, 10);
	assert_int_equal(need_step(r, STEP_PUT, 1)->body, BODY_OURS);
	accepts(r, 1);
	accepts(r, 2);
	assert_answer(r, RESULT_DONE, 10);
	end(r);
	r = begin(COORDINATE_CLAIM, 3, 2, 10);
	sees(r, 1, 10, OBJECT_CLAIMED);
	sees(r, 2, 10, OBJECT_CLAIMED);
	assert_answer(r, RESULT_DONE, 10);
	end(r);
}

static void anothers_claim_is_helped_and_exists(void **state)
{
	struct rig *r = begin_claim();

	(void)state;
	agrees(r, STEP_CLAIM, AGREED_EXISTS, 9);
	assert_int_equal(need_step(r, STEP_PUT, 1)->body, BODY_CLAIM);
	assert_int_equal(need_step(r, STEP_PUT, 1)->meta.version.counter, 9);
	accepts(r, 1);
	assert_null(r->answer);
	accepts(r, 3);
	assert_answer(r, RESULT_EXISTS, 9);
	fails(r, STEP_PUT, 2);
	assert_int_equal(need_step(r, STEP_HINT, 2)->meta.version.counter, 9);
	end(r);
}

static void a_dead_claim_is_released_when_its_tombstone_is_at_a_quorum(void **state)
{
	struct rig *r = begin_claim();

	(void)state;
	agrees(r, STEP_CLAIM, AGREED_EXISTS, 5);
	put_says(r, 1, REPLICA_STALE, 7, OBJECT_TOMBSTONE);
	fails(r, STEP_PUT, 2);
	assert_null(r->answer); /* node 3 may refuse as well */
	put_says(r, 3, REPLICA_STALE, 8, OBJECT_TOMBSTONE);
	assert_int_equal(count_steps(r, STEP_RELEASE), 0);
	sees(r, 1, 7, OBJECT_TOMBSTONE);
	sees(r, 3, 8, OBJECT_TOMBSTONE);
	assert_int_equal(count_steps(r, STEP_RELEASE), 0);
	accepts(r, 1); /* a copy of the tombstone */
	assert_int_equal(need_step(r, STEP_RELEASE, 0)->meta.version.counter, 5);
	assert_false(need_step(r, STEP_RELEASE, 0)->upto);
	agrees(r, STEP_RELEASE, AGREED_DONE, 0);
	agrees(r, STEP_CLAIM, AGREED_DONE, 0);
	accepts(r, 1);
	accepts(r, 3);
	assert_answer(r, RESULT_DONE, 10);
	end(r);
}

static void one_refusal_does_not_make_a_claim_dead(void **state)
{
	struct rig *r = begin_claim();

	(void)state;
	agrees(r, STEP_CLAIM, AGREED_EXISTS, 5);
	put_says(r, 1, REPLICA_STALE, 7, OBJECT_TOMBSTONE);
	fails(r, STEP_PUT, 2);
	fails(r, STEP_PUT, 3);
	assert_answer(r, RESULT_UNAVAILABLE, 0);
	assert_int_equal(count_steps(r, STEP_RELEASE), 0);
	end(r);
}

static void claims_that_die_again_and_again_end(void **state)
{
	struct rig *r = begin_claim();

	(void)state;
	for (unsigned round = 1; round < COORDINATE_ROUNDS; round++) {
		agrees(r, STEP_CLAIM, AGREED_EXISTS, 5);
		put_says(r, 1, REPLICA_STALE, 7, OBJECT_TOMBSTONE);
		put_says(r, 2, REPLICA_STALE, 7, OBJECT_TOMBSTONE);
		sees(r, 1, 7, OBJECT_TOMBSTONE);
		sees(r, 2, 7, OBJECT_TOMBSTONE);
		agrees(r, STEP_RELEASE, AGREED_DONE, 0);
	}
	agrees(r, STEP_CLAIM, AGREED_EXISTS, 5);
	put_says(r, 1, REPLICA_STALE, 7, OBJECT_TOMBSTONE);
	put_says(r, 2, REPLICA_STALE, 7, OBJECT_TOMBSTONE);
	assert_answer(r, RESULT_UNAVAILABLE, 0);
	end(r);
}

static void our_claim_refused_for_a_tombstone_is_gone_and_for_a_live_one_exists(void **state)
{
	struct rig *r = begin_claim();

	(void)state;
	agrees(r, STEP_CLAIM, AGREED_DONE, 0);
	put_says(r, 1, REPLICA_STALE, 12, OBJECT_TOMBSTONE);
	put_says(r, 2, REPLICA_STALE, 12, OBJECT_TOMBSTONE);
	assert_answer(r, RESULT_GONE, 12);
	end(r);
	r = begin_claim();
	agrees(r, STEP_CLAIM, AGREED_DONE, 0);
	put_says(r, 1, REPLICA_STALE, 12, 0);
	put_says(r, 2, REPLICA_STALE, 12, 0);
	sees(r, 1, 12, 0);
	sees(r, 2, 12, 0);
	assert_answer(r, RESULT_EXISTS, 12);
	end(r);
}

static void without_the_agreement_nothing_is_claimed(void **state)
{
	struct rig *r = begin_claim();

	(void)state;
	agrees(r, STEP_CLAIM, AGREED_FAILED, 0);
	assert_answer(r, RESULT_UNAVAILABLE, 0);
	assert_int_equal(count_steps(r, STEP_PUT), 0);
	end(r);
}

/* ---- removals ---- */

static void a_removal_puts_tombstones_and_releases_what_was_claimed(void **state)
{
	struct coordinate_reply claimed = { .status = REPLICA_ACCEPTED, .vote = true, .was_claimed = true };
	struct rig *r = begin(COORDINATE_REMOVE, 3, 2, 10);

	(void)state;
	assert_int_equal(need_step(r, STEP_PUT, 1)->body, BODY_NONE);
	assert_int_equal(need_step(r, STEP_PUT, 1)->meta.flags, OBJECT_TOMBSTONE);
	reply(r, STEP_PUT, 1, claimed);
	assert_int_equal(count_steps(r, STEP_RELEASE), 0); /* not before a quorum has the tombstone */
	accepts(r, 2);
	assert_null(r->answer);
	assert_true(need_step(r, STEP_RELEASE, 0)->upto);
	agrees(r, STEP_RELEASE, AGREED_DONE, 0);
	assert_answer(r, RESULT_DONE, 10);
	end(r);
	r = begin(COORDINATE_REMOVE, 3, 2, 10);
	accepts(r, 1);
	accepts(r, 2);
	assert_answer(r, RESULT_DONE, 10);
	assert_int_equal(count_steps(r, STEP_RELEASE), 0);
	end(r);
}

/* ---- any order ---- */

static struct coordinate_reply any_reply(uint64_t *seed)
{
	struct coordinate_reply reply = { 0 };

	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	reply.status = (enum coordinate_status)((*seed >> 33) % (REPLICA_FAILED + 1));
	reply.vote = (*seed >> 40) % 4 > 0;
	reply.was_claimed = *seed >> 45 & 1;
	reply.meta = meta(5 + (*seed >> 50) % 10, *seed >> 60 & (OBJECT_TOMBSTONE | OBJECT_CLAIMED));
	return reply;
}

/* Whatever comes back, sense or nonsense, an operation is answered once, ends, and takes no more steps than it may. */
static void every_operation_ends(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20000; seed++) {
		struct rig *r = begin((enum coordinate_kind)(seed % 6), 1 + seed % 5, (1 + seed % 5) / 2 + 1, 10);
		uint64_t random = seed * 0x9e3779b97f4a7c15u;

		body_comes(r);
		for (unsigned i = 0; i < r->count; i++) {
			struct coordinate_reply reply = any_reply(&random);

			if (r->step[i].kind == STEP_ASK || r->step[i].kind == STEP_PUT)
				coordinate_replied(&r->c, r->step[i].id, &reply);
			else if (r->step[i].kind == STEP_CLAIM || r->step[i].kind == STEP_RELEASE)
				coordinate_agreed(&r->c, r->step[i].id, (enum coordinate_agreed)(random >> 33) % 3,
				                  version(8 + (random >> 40) % 4));
			r->is_answered[i] = true;
			drain(r);
		}
		assert_in_range(r->c.sent_count, 1, COORDINATE_STEPS_MAX);
		end(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_put_goes_to_all_at_once_and_is_done_when_a_quorum_accepted),
		cmocka_unit_test(who_fails_after_the_answer_gets_a_hint),
		cmocka_unit_test(who_fails_before_the_answer_gets_a_hint_if_it_is_done),
		cmocka_unit_test(a_recovering_node_does_not_count),
		cmocka_unit_test(a_put_that_is_older_learns_of_the_newest),
		cmocka_unit_test(a_put_that_a_quorum_took_is_done_though_one_has_newer),
		cmocka_unit_test(without_a_quorum_a_put_is_unavailable_or_full),
		cmocka_unit_test(a_newer_map_ends_it_at_once),
		cmocka_unit_test(while_the_map_moves_both_sets_need_a_quorum),
		cmocka_unit_test(what_is_given_up_begins_nothing_more),
		cmocka_unit_test(an_answer_that_comes_twice_counts_once),
		cmocka_unit_test(a_read_asks_a_quorum_and_says_who_has_the_body),
		cmocka_unit_test(what_fewer_than_a_quorum_have_is_copied_before_it_is_told),
		cmocka_unit_test(a_tombstone_is_copied_too),
		cmocka_unit_test(a_late_answer_may_spare_the_copy),
		cmocka_unit_test(if_a_copy_fails_another_is_made),
		cmocka_unit_test(a_source_that_has_it_no_more_begins_a_new_round),
		cmocka_unit_test(nothing_anywhere_is_absent_and_no_quorum_is_unavailable),
		cmocka_unit_test(what_a_recovering_node_has_is_used),
		cmocka_unit_test(a_damaged_copy_still_says_that_there_is_one),
		cmocka_unit_test(a_damaged_version_that_no_quorum_can_have_is_passed_over),
		cmocka_unit_test(a_confirmation_marks_or_mends_this_nodes_copy),
		cmocka_unit_test(a_creation_looks_before_it_puts),
		cmocka_unit_test(an_owner_who_has_looked_puts_at_once),
		cmocka_unit_test(a_creation_of_what_is_there_touches_nothing),
		cmocka_unit_test(a_creation_below_a_tombstone_or_floor_takes_a_higher_version),
		cmocka_unit_test(what_may_have_been_created_seen_and_removed_is_gone),
		cmocka_unit_test(a_creators_leftover_is_put_over_when_it_is_older),
		cmocka_unit_test(of_two_creators_one_is_refused),
		cmocka_unit_test(a_claim_that_is_won_is_put),
		cmocka_unit_test(a_claim_of_ours_from_an_earlier_try_is_won),
		cmocka_unit_test(anothers_claim_is_helped_and_exists),
		cmocka_unit_test(a_dead_claim_is_released_when_its_tombstone_is_at_a_quorum),
		cmocka_unit_test(one_refusal_does_not_make_a_claim_dead),
		cmocka_unit_test(claims_that_die_again_and_again_end),
		cmocka_unit_test(our_claim_refused_for_a_tombstone_is_gone_and_for_a_live_one_exists),
		cmocka_unit_test(without_the_agreement_nothing_is_claimed),
		cmocka_unit_test(a_removal_puts_tombstones_and_releases_what_was_claimed),
		cmocka_unit_test(every_operation_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
