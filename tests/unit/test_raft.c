/* test_raft: claims about the core that a message stream does not show: memory, what must never be believed, what the layer
 * above may ask and must not do, and messages from somebody who means harm. `test_raft CASE` runs one. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "raft/core.h"
#include "raft/membership.h"

/* ---- a node by itself ---- */

static struct raft_config config_plain(void)
{
    struct raft_config config;
    raft_config_default(&config);
    config.pre_vote = config.check_quorum = config.vote_commit_hint = config.coalesce = false;
    return config;
}

/* Voters 1..voter_count, a log of `count` empty entries of term 1 behind index 10, all durable and, but for the last
 * `unapplied`, applied. */
static struct raft *make(struct raft_pool *pool, const struct raft_config *config, peer_id id, uint32_t voter_count,
                         uint32_t count, uint32_t unapplied)
{
    struct raft_entry *entries = calloc(count + 1, sizeof(*entries));
    struct raft_initial initial = {.id = id, .seed = 7, .hard = {.term = 1, .commit = 10 + count}};
    struct raft *raft = NULL;
    for (peer_id voter = 1; voter <= voter_count; voter++)
        assert_int_equal(raft_conf_add(&initial.conf, voter, RAFT_VOTER), ERR_OK);
    for (uint32_t i = 0; i < count; i++)
        entries[i] = (struct raft_entry){.term = 1, .index = 11 + i};
    initial.truncated = initial.base = (struct raft_position){.index = 10, .term = 1};
    initial.applied = 10 + count - unapplied;
    initial.entries = entries;
    initial.entry_count = count;
    assert_int_equal(raft_new(config, &initial, pool, &raft), ERR_OK);
    free(entries);
    return raft;
}

/* Does all at once what a ready asks for; messages go nowhere. */
static void drain(struct raft *raft)
{
    struct raft_ready ready;
    while (raft_ready(raft, &ready)) {
        for (uint32_t i = 0; i < ready.after_count; i++) {
            if (ready.after[i].to == raft_id(raft))
                raft_step_own(raft, &ready.after[i]);
        }
        if (ready.append)
            raft_appended(raft, &ready.token);
        if (ready.committed_count)
            raft_applied(raft, ready.committed[ready.committed_count - 1].index);
    }
}

static enum err answer(struct raft *raft, peer_id from, uint8_t kind, raft_index index)
{
    struct raft_message message = {.kind = kind, .from = from, .to = raft->id, .term = raft->term, .index = index};
    message.round = raft_round(raft);
    return raft_step(raft, &message);
}

static void make_leader(struct raft *raft)
{
    assert_int_equal(raft_campaign(raft), ERR_OK);
    drain(raft);
    for (uint32_t i = 0; i < raft->peer_count; i++) {
        if (raft->peers[i].id != raft->id)
            answer(raft, raft->peers[i].id, RAFT_VOTE_RESP, 0);
    }
    drain(raft);
    for (uint32_t i = 0; i < raft->peer_count; i++) {
        if (raft->peers[i].id != raft->id)
            answer(raft, raft->peers[i].id, RAFT_APP_RESP, raft_last_index(raft));
    }
    drain(raft);
    assert_true(raft_is_leader_ready(raft));
}

static enum err send_append(struct raft *raft, peer_id from, raft_term term, struct raft_position previous,
                            raft_index commit, const struct raft_entry *entries, uint32_t count)
{
    struct raft_message message = {.kind = RAFT_APP,
                                   .from = from,
                                   .to = raft->id,
                                   .term = term,
                                   .index = previous.index,
                                   .log_term = previous.term};
    message.commit = commit;
    message.entries = entries;
    message.entry_count = count;
    return raft_step(raft, &message);
}

/* ---- memory ---- */

static void pool_gives_freed_blocks_out_again(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(1 << 20);
    size_t sizes[] = {1, 16, 17, 100, 1024, 1025, 5000, 65536};
    for (int round = 0; round < 3; round++) {
        void *blocks[8];
        for (int i = 0; i < 8; i++) {
            blocks[i] = raft_pool_take(pool, sizes[i]);
            assert_int_equal((uintptr_t)blocks[i] % 16, 0);
            memset(blocks[i], 0xa5, sizes[i]);
        }
        for (int i = 0; i < 8; i++)
            raft_pool_give(pool, blocks[i]);
        assert_int_equal(raft_pool_system_count(pool), 8);
        assert_int_equal(raft_pool_used_size(pool), 0);
    }
    void *large = raft_pool_take(pool, 1 << 20); /* these are never kept */
    raft_pool_give(pool, large);
    large = raft_pool_take(pool, 1 << 20);
    raft_pool_give(pool, large);
    assert_int_equal(raft_pool_system_count(pool), 10);
    raft_pool_free(pool);
}

static void pool_keeps_no_more_than_it_may(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(100);
    void *a = raft_pool_take(pool, 64), *b = raft_pool_take(pool, 64);
    raft_pool_give(pool, a);
    raft_pool_give(pool, b);
    a = raft_pool_take(pool, 64);
    b = raft_pool_take(pool, 64);
    assert_int_equal(raft_pool_system_count(pool), 3);
    raft_pool_give(pool, a);
    raft_pool_give(pool, b);
    raft_pool_free(pool);
}

static void an_idle_group_takes_at_most_one_kilobyte(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(1 << 20);
    struct raft_config config = config_plain();
    struct raft *leader = make(pool, &config, 1, 3, 5, 0), *follower = make(pool, &config, 2, 3, 5, 0);
    size_t before = raft_pool_used_size(pool);
    make_leader(leader);
    raft_index index;
    raft_term term;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(raft_propose(leader, bytes_of_string("some data"), &index, &term), ERR_OK);
        drain(leader);
        answer(leader, 2, RAFT_APP_RESP, index);
        answer(leader, 3, RAFT_APP_RESP, index);
        drain(leader);
    }
    raft_cache_evict(leader, 0);
    raft_cache_evict(follower, 0);
    drain(leader);
    assert_true(raft_memory_size(leader) <= 1024);
    assert_true(raft_memory_size(follower) <= 1024);
    assert_int_equal(raft_memory_size(leader) + raft_memory_size(follower), raft_pool_used_size(pool));
    assert_true(raft_pool_used_size(pool) <= before);
    raft_free(leader);
    raft_free(follower);
    raft_pool_free(pool);
}

static void steady_state_asks_the_system_for_nothing(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(16 << 20);
    struct raft_config config = config_plain();
    config.coalesce = true;
    config.cache_size_max = 64 * 1024;
    struct raft *leader = make(pool, &config, 1, 3, 0, 0);
    make_leader(leader);
    uint64_t count = 0;
    for (int round = 0; round < 300; round++) {
        raft_index index = 0;
        raft_term term;
        for (int i = 0; i < 20; i++)
            assert_int_equal(raft_propose(leader, bytes_of("0123456789abcdef", 16), &index, &term), ERR_OK);
        drain(leader);
        answer(leader, 2, RAFT_APP_RESP, index);
        answer(leader, 3, RAFT_APP_RESP, index);
        drain(leader);
        assert_int_equal(raft_applied_index(leader), index);
        if (round == 150)
            count = raft_pool_system_count(pool);
    }
    assert_int_equal(raft_pool_system_count(pool), count);
    raft_free(leader);
    raft_pool_free(pool);
}

/* The pool keeps nothing, so that a use after free is one for the sanitizer as well. */
static void payloads_outlive_truncation_until_their_append_is_acknowledged(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    struct raft *raft = make(pool, &config, 1, 3, 0, 0);
    struct raft_entry old = {.term = 2, .index = 11, .data = bytes_of_string("old")};
    struct raft_entry new = {.term = 3, .index = 11, .data = bytes_of_string("new")};
    struct raft_ready ready;
    assert_int_equal(send_append(raft, 2, 2, (struct raft_position){.index = 10, .term = 1}, 10, &old, 1), ERR_OK);
    assert_true(raft_ready(raft, &ready));
    assert_int_equal(ready.entry_count, 1);
    struct raft_entry handed = ready.entries[0];
    struct raft_token token = ready.token;
    assert_int_equal(send_append(raft, 3, 3, (struct raft_position){.index = 10, .term = 1}, 10, &new, 1), ERR_OK);
    assert_true(raft_ready(raft, &ready));
    assert_int_equal(ready.overwritten_from, 11);
    struct raft_entry handed_new = ready.entries[0];
    struct raft_token token_new = ready.token;
    raft_cache_evict(raft, 0);
    assert_true(!raft_has_ready(raft) && !raft_ready(raft, &ready));
    assert_memory_equal(handed.data.data, "old", 3); /* the log worker has not written it yet */
    size_t with_both = raft_pool_used_size(pool);
    raft_appended(raft, &token);
    assert_true(raft_pool_used_size(pool) < with_both);
    assert_memory_equal(handed_new.data.data, "new", 3);
    raft_appended(raft, &token_new);
    assert_memory_equal(handed_new.data.data, "new", 3); /* still in the log */
    raft_free(raft);
    raft_pool_free(pool);
}

static void payloads_of_messages_outlive_eviction(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    struct raft *raft = make(pool, &config, 1, 3, 0, 0);
    struct raft_ready ready, next;
    raft_index index;
    raft_term term;
    make_leader(raft);
    assert_int_equal(raft_propose(raft, bytes_of_string("payload"), &index, &term), ERR_OK);
    assert_true(raft_ready(raft, &ready));
    assert_int_equal(ready.message_count, 2);
    for (uint32_t i = 0; i < ready.after_count; i++)
        raft_step_own(raft, &ready.after[i]);
    raft_appended(raft, &ready.token);
    answer(raft, 2, RAFT_APP_RESP, index);
    /* 3 has lost it and gets it once more: that message is in the same ready that hands the entry out to be applied. */
    raft_report_unreachable(raft, 3);
    answer(raft, 3, RAFT_HEARTBEAT_RESP, 0);
    assert_true(raft_ready(raft, &next));
    assert_int_equal(next.committed_count, 1);
    const struct raft_message *again = NULL;
    for (uint32_t i = 0; i < next.message_count; i++) {
        if (next.messages[i].entry_count > 0)
            again = &next.messages[i];
    }
    assert_non_null(again);
    raft_applied(raft, index);
    raft_cache_evict(raft, 0);
    size_t held = raft_pool_used_size(pool);
    assert_memory_equal(again->entries[0].data.data, "payload", 7);
    assert_false(raft_ready(raft, &ready));
    assert_true(raft_pool_used_size(pool) < held);
    assert_null(raftlog_entry(&raft->log, index));
    raft_free(raft);
    raft_pool_free(pool);
}

/* ---- what must never be believed ---- */

/* An entry is overwritten and comes back: the acknowledgement of its first write must not count, although index and
 * term both fit. The disk will next write what overwrote it. */
static void a_late_append_ack_of_an_entry_that_came_back_does_not_count(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    struct raft *raft = make(pool, &config, 1, 3, 0, 0);
    struct raft_position before = {.index = 10, .term = 1};
    struct raft_entry a = {.term = 2, .index = 11}, b = {.term = 3, .index = 11};
    struct raft_entry again[] = {{.term = 2, .index = 11}, {.term = 4, .index = 12}};
    struct raft_ready ready;
    struct raft_token tokens[3];
    assert_int_equal(send_append(raft, 2, 2, before, 10, &a, 1), ERR_OK);
    assert_true(raft_ready(raft, &ready));
    tokens[0] = ready.token;
    assert_int_equal(send_append(raft, 3, 3, before, 10, &b, 1), ERR_OK);
    assert_true(raft_ready(raft, &ready));
    tokens[1] = ready.token;
    assert_int_equal(send_append(raft, 2, 4, before, 12, again, 2), ERR_OK);
    assert_true(raft_ready(raft, &ready));
    tokens[2] = ready.token;
    assert_int_equal(ready.committed_count, 0);
    raft_appended(raft, &tokens[0]);
    assert_false(raft_ready(raft, &ready));
    raft_appended(raft, &tokens[1]);
    assert_false(raft_ready(raft, &ready));
    raft_appended(raft, &tokens[2]);
    assert_true(raft_ready(raft, &ready));
    assert_int_equal(ready.committed_count, 2);
    raft_free(raft);
    raft_pool_free(pool);
}

/* The term of the entry decides as well: under one term, what is acknowledged may have been overwritten by its leader.
 */
static void an_append_ack_counts_only_for_the_entry_that_was_written(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    struct raft *raft = make(pool, &config, 1, 3, 0, 0);
    struct raft_position before = {.index = 10, .term = 1};
    struct raft_entry a = {.term = 2, .index = 11};
    struct raft_ready ready;
    assert_int_equal(send_append(raft, 2, 3, before, 10, &a, 1), ERR_OK);
    assert_true(raft_ready(raft, &ready));
    struct raft_token token = ready.token;
    token.last.term = 1;
    raft_appended(raft, &token);
    assert_int_equal(raft->log.unstable, 11);
    raft_free(raft);
    raft_pool_free(pool);
}

static bool votes_for(struct raft *raft, peer_id from, raft_term term)
{
    struct raft_message message = {
        .kind = RAFT_VOTE, .from = from, .to = raft->id, .term = term, .index = 1000, .log_term = term};
    struct raft_ready ready;
    bool granted = false;
    assert_int_equal(raft_step(raft, &message), ERR_OK);
    while (raft_ready(raft, &ready)) {
        for (uint32_t i = 0; i < ready.after_count; i++)
            granted |= ready.after[i].kind == RAFT_VOTE_RESP && !ready.after[i].reject && ready.after[i].to == from;
        if (ready.append)
            raft_appended(raft, &ready.token);
    }
    return granted;
}

static void who_follows_a_leader_votes_for_nobody_else_in_its_term(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    struct raft *raft = make(pool, &config, 1, 3, 0, 0);
    assert_int_equal(send_append(raft, 2, 5, (struct raft_position){.index = 10, .term = 1}, 10, NULL, 0), ERR_OK);
    assert_false(votes_for(raft, 3, 5));
    assert_true(votes_for(raft, 3, 6));
    assert_false(votes_for(raft, 2, 6));
    raft_free(raft);
    raft_pool_free(pool);
}

static void a_pre_candidate_is_bound_by_its_vote(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    config.pre_vote = true;
    struct raft *raft = make(pool, &config, 1, 3, 0, 0);
    assert_true(votes_for(raft, 2, 5));
    assert_int_equal(raft_campaign(raft), ERR_OK);
    assert_int_equal(raft_role(raft), RAFT_PRE_CANDIDATE);
    assert_false(votes_for(raft, 3, 5));
    assert_true(votes_for(raft, 2, 5));
    raft_free(raft);
    raft_pool_free(pool);
}

static void a_campaign_at_once_asks_for_real_votes_and_keeps_promises(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    config.pre_vote = true;
    struct raft *raft = make(pool, &config, 1, 3, 0, 0);
    assert_int_equal(raft_campaign_at_once(raft), ERR_OK);
    assert_int_equal(raft_role(raft), RAFT_CANDIDATE);
    assert_false(votes_for(raft, 2, 1)); /* of its own term: it has voted for itself */
    raft_free(raft);
    config.vote_refuse_ticks = 5; /* somebody may have a lease */
    raft = make(pool, &config, 1, 3, 0, 0);
    assert_int_equal(raft_campaign_at_once(raft), ERR_NOT_READY);
    raft_free(raft);
    raft_pool_free(pool);
}

/* Voter or learner: what its log has is committed, and no silence of the others ends that. */
static void who_is_forced_leads_alone(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    config.pre_vote = config.check_quorum = true;
    for (int learner = 0; learner < 2; learner++) {
        struct raft *raft = make(pool, &config, learner ? 4 : 1, 3, 0, 0);
        if (learner) {
            raft_free(raft);
            struct raft_initial initial = {.id = 4, .hard = {.term = 1, .commit = 10}, .applied = 10};
            initial.truncated = initial.base = (struct raft_position){.index = 10, .term = 1};
            raft_conf_add(&initial.conf, 1, RAFT_VOTER);
            raft_conf_add(&initial.conf, 4, RAFT_LEARNER);
            assert_int_equal(raft_new(&config, &initial, pool, &raft), ERR_OK);
        }
        struct raft_entry tail = {.term = 5, .index = 11};
        assert_int_equal(send_append(raft, 1 + (peer_id)!learner, 5, (struct raft_position){10, 1}, 10, &tail, 1), ERR_OK);
        drain(raft);
        assert_int_equal(raft_commit_index(raft), 10);
        raft_force(raft, true);
        assert_int_equal(raft_campaign_at_once(raft), ERR_OK);
        drain(raft);
        assert_true(raft_is_leader_ready(raft));
        assert_int_equal(raft_commit_index(raft), 12); /* what was there, and the first of its term */
        raft_tick(raft, 100);
        drain(raft);
        assert_true(raft_is_leader(raft));
        assert_true(raft_is_lone(raft));
        raft_check(raft);
        raft_force(raft, false);
        raft_tick(raft, 100);
        assert_false(raft_is_leader(raft)); /* as anybody without a quorum */
        raft_free(raft);
    }
    raft_pool_free(pool);
}

static void who_is_no_member_cannot_be_forced(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    struct raft *raft = make(pool, &config, 9, 3, 0, 0);
    raft_force(raft, true);
    assert_false(raft_is_forced(raft));
    assert_int_equal(raft_campaign_at_once(raft), ERR_NOT_READY);
    raft_free(raft);
    raft_pool_free(pool);
}

static void a_learner_never_campaigns(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    config.vote_commit_hint = true; /* what it sends at a timeout is no campaign */
    struct raft_initial initial = {.id = 1, .hard = {.term = 1}, .applied = 10};
    initial.truncated = initial.base = (struct raft_position){.index = 10, .term = 1};
    struct raft *raft;
    raft_conf_add(&initial.conf, 1, RAFT_LEARNER);
    raft_conf_add(&initial.conf, 2, RAFT_VOTER);
    assert_int_equal(raft_new(&config, &initial, pool, &raft), ERR_OK);
    struct raft_message now = {.kind = RAFT_TIMEOUT_NOW, .from = 2, .to = 1, .term = 1};
    assert_int_equal(raft_campaign(raft), ERR_NOT_READY);
    assert_int_equal(raft_step(raft, &now), ERR_OK);
    raft_tick(raft, 100);
    assert_int_equal(raft_role(raft), RAFT_FOLLOWER);
    assert_int_equal(raft_term_now(raft), 1);
    raft_free(raft);
    raft_pool_free(pool);
}

static void who_campaigns_when_told_wants_to_after_a_timeout_and_votes_meanwhile(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(1 << 20);
    struct raft_config config = config_plain();
    config.campaign_when_told = true;
    struct raft *raft = make(pool, &config, 1, 3, 0, 0);
    struct raft_message heartbeat = {.kind = RAFT_HEARTBEAT, .from = 2, .to = 1, .term = 2};
    assert_int_equal(raft_step(raft, &heartbeat), ERR_OK);
    raft_tick(raft, config.election_ticks - 1);
    assert_false(raft_wants_campaign(raft));
    assert_int_equal(raft_leader(raft), 2);
    raft_tick(raft, config.election_ticks);
    assert_true(raft_wants_campaign(raft));
    assert_int_equal(raft_leader(raft), 0); /* whoever asks should not be sent there */
    raft_tick(raft, 10 * config.election_ticks);
    assert_int_equal(raft_role(raft), RAFT_FOLLOWER);
    assert_int_equal(raft_term_now(raft), 2);

    struct raft_message vote = {.kind = RAFT_VOTE, .from = 3, .to = 1, .term = 3, .index = 10, .log_term = 1};
    assert_int_equal(raft_step(raft, &vote), ERR_OK);
    drain(raft);
    assert_int_equal(raft->vote, 3);
    assert_false(raft_wants_campaign(raft)); /* somebody is about to win */

    raft_tick(raft, 2 * config.election_ticks);
    assert_int_equal(raft_campaign(raft), ERR_OK);
    assert_int_equal(raft_role(raft), RAFT_CANDIDATE);
    assert_false(raft_wants_campaign(raft));
    raft_tick(raft, 2 * config.election_ticks);
    assert_true(raft_wants_campaign(raft)); /* nobody answered */
    raft_free(raft);
    raft_pool_free(pool);
}

static void a_newcomer_takes_a_snapshot_and_nothing_else(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    struct raft_initial initial = {.id = 4};
    struct raft *raft;
    struct raft_ready ready;
    assert_int_equal(raft_new(&config, &initial, pool, &raft), ERR_OK);
    struct raft_entry entry = {.term = 1, .index = 1};
    assert_int_equal(send_append(raft, 2, 1, (struct raft_position){0}, 1, &entry, 1), ERR_OK);
    assert_true(raft_ready(raft, &ready));
    assert_int_equal(ready.entry_count, 0);
    assert_true(ready.after[0].reject);
    raft_appended(raft, &ready.token);
    struct raft_snapshot snapshot = {.index = 20, .term = 1};
    raft_conf_add(&snapshot.conf, 2, RAFT_VOTER);
    raft_conf_add(&snapshot.conf, 4, RAFT_LEARNER);
    struct raft_message message = {.kind = RAFT_SNAPSHOT, .from = 2, .to = 4, .term = 1, .snapshot = &snapshot};
    assert_int_equal(raft_step(raft, &message), ERR_OK);
    assert_int_equal(raft_pending_snapshot(raft), 20);
    assert_int_equal(raft_campaign(raft), ERR_NOT_READY);
    assert_true(raft_ready(raft, &ready));
    assert_int_equal(ready.snapshot->index, 20);
    assert_int_equal(ready.committed_count, 0);
    raft_appended(raft, &ready.token);
    assert_int_equal(raft_pending_snapshot(raft), 0);
    assert_int_equal(raft_applied_index(raft), 20);
    assert_false(raft_ready(raft, &ready));
    raft_check(raft);
    raft_free(raft);
    raft_pool_free(pool);
}

static struct raft *make_joint(struct raft_pool *pool, const struct raft_config *config, uint8_t own_roles)
{
    struct raft_initial initial = {.id = 1, .hard = {.term = 1}, .applied = 10};
    struct raft *raft;
    initial.truncated = initial.base = (struct raft_position){.index = 10, .term = 1};
    raft_conf_add(&initial.conf, 1, own_roles);
    raft_conf_add(&initial.conf, 2, RAFT_VOTER);
    raft_conf_add(&initial.conf, 3, RAFT_OUTGOING);
    assert_int_equal(raft_new(config, &initial, pool, &raft), ERR_OK);
    return raft;
}

static void a_joint_election_needs_both_halves(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    for (peer_id first = 2; first <= 3; first++) {
        struct raft *raft = make_joint(pool, &config, RAFT_VOTER | RAFT_OUTGOING);
        assert_int_equal(raft_campaign(raft), ERR_OK);
        drain(raft);
        answer(raft, first, RAFT_VOTE_RESP, 0);
        assert_int_equal(raft_role(raft), RAFT_CANDIDATE);
        answer(raft, 5 - first, RAFT_VOTE_RESP, 0);
        assert_int_equal(raft_role(raft), RAFT_LEADER);
        raft_free(raft);
    }
    raft_pool_free(pool);
}

static void leases_are_suspended_while_the_configuration_changes(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    config.lease_reads = config.check_quorum = true;
    struct raft *raft;
    for (int i = 0; i < 2; i++) {
        raft = make_joint(pool, &config, (uint8_t)(i ? RAFT_VOTER : RAFT_VOTER | RAFT_OUTGOING));
        make_leader(raft);
        assert_false(raft_lease_allowed(raft));
        raft_free(raft);
    }
    raft = make(pool, &config, 1, 3, 0, 0);
    make_leader(raft);
    assert_true(raft_lease_allowed(raft));
    struct raft_conf_change change = {.entry_kind = RAFT_ENTRY_CONF_CHANGE, .count = 1};
    raft_index index;
    raft_term term;
    change.changes[0].kind = RAFT_CHANGE_ADD_LEARNER;
    change.changes[0].id = 4;
    assert_int_equal(raft_propose_conf(raft, &change, &index, &term), ERR_OK);
    assert_false(raft_lease_allowed(raft));
    drain(raft);
    answer(raft, 2, RAFT_APP_RESP, index);
    drain(raft);
    assert_true(raft_lease_allowed(raft));
    raft_free(raft);
    raft_pool_free(pool);
}

/* Its store has nothing of the group, so nobody answers for it; only the layer above says so. */
static void a_member_that_is_not_there_gets_a_snapshot_and_counts_for_nothing(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    config.check_quorum = true;
    struct raft *raft = make(pool, &config, 1, 3, 3, 0);
    struct raft_ready ready;
    make_leader(raft);
    while (raft_ready(raft, &ready))
        raft_applied(raft, ready.committed_count ? ready.committed[ready.committed_count - 1].index : 0);
    struct raft_message absent = {.kind = RAFT_ABSENT, .from = 3, .to = 1, .term = raft_term_now(raft)};
    struct raft_message late = absent, foreign = absent;
    late.term--;
    foreign.from = 9;
    raft_report_unreachable(raft, 3);
    raft_peer(raft, 3)->match = 0; /* as if it had never answered */
    raft_peer(raft, 3)->recent_active = false;
    assert_int_equal(raft_step(raft, &late), ERR_INVALID);
    assert_int_equal(raft_step(raft, &foreign), ERR_INVALID);
    assert_int_equal(raft_peer(raft, 3)->state, RAFT_PROBE);
    assert_int_equal(raft_step(raft, &absent), ERR_OK);
    assert_int_equal(raft_peer(raft, 3)->state, RAFT_SNAPSHOTTING);
    assert_false(raft_peer(raft, 3)->recent_active); /* no word of its own */
    assert_true(raft_ready(raft, &ready));
    assert_int_equal(ready.message_count, 1);
    assert_int_equal(ready.messages[0].kind, RAFT_SNAPSHOT);
    assert_int_equal(raft_step(raft, &absent), ERR_OK); /* it is on its way */
    assert_false(raft_ready(raft, &ready));
    raft_report_snapshot(raft, 3, false);
    raft_peer(raft, 3)->match = 5; /* it has spoken since: the word is an old one */
    assert_int_equal(raft_step(raft, &absent), ERR_OK);
    assert_int_equal(raft_peer(raft, 3)->state, RAFT_PROBE);
    raft_free(raft);
    raft_pool_free(pool);
}

/* The apply worker is still busy with a change that the snapshot already includes. */
static void a_change_older_than_the_snapshot_is_not_applied(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    struct raft *raft = make(pool, &config, 1, 3, 0, 0);
    struct raft_conf_change change = {.entry_kind = RAFT_ENTRY_CONF_CHANGE_V2, .count = 1};
    uint8_t data[64];
    change.changes[0].kind = RAFT_CHANGE_REMOVE;
    change.changes[0].id = 3;
    membership_encode(&change, data);
    struct raft_entry entry = {.term = 2, .index = 11, .kind = RAFT_ENTRY_CONF_CHANGE_V2};
    entry.data = bytes_of(data, membership_encoded_size(&change));
    struct raft_ready ready;
    assert_int_equal(send_append(raft, 2, 2, (struct raft_position){.index = 10, .term = 1}, 11, &entry, 1), ERR_OK);
    assert_true(raft_ready(raft, &ready));
    raft_appended(raft, &ready.token);
    assert_true(raft_ready(raft, &ready));
    assert_int_equal(ready.committed_count, 1);
    struct raft_entry applying = ready.committed[0];
    struct raft_snapshot snapshot = {.index = 20, .term = 2};
    raft_conf_add(&snapshot.conf, 1, RAFT_VOTER);
    raft_conf_add(&snapshot.conf, 3, RAFT_VOTER); /* 3 has come back, 2 is gone */
    struct raft_message message = {.kind = RAFT_SNAPSHOT, .from = 2, .to = 1, .term = 2, .snapshot = &snapshot};
    assert_int_equal(raft_step(raft, &message), ERR_OK);
    assert_true(raft_ready(raft, &ready));
    assert_non_null(ready.snapshot);
    struct raft_conf conf;
    assert_int_equal(raft_apply_conf(raft, &applying, &conf), ERR_INVALID);
    raft_applied(raft, 11);
    raft_appended(raft, &ready.token);
    raft_get_conf(raft, &conf);
    assert_int_equal(conf.count, 2);
    assert_non_null(raft_conf_member(&conf, 3));
    assert_int_equal(raft_applied_index(raft), 20);
    raft_check(raft);
    raft_free(raft);
    raft_pool_free(pool);
}

static void uncommitted_size_comes_back_to_zero(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    config.uncommitted_size_max = 100;
    struct raft *raft = make(pool, &config, 1, 3, 0, 0);
    struct raft_status status;
    raft_index index;
    raft_term term;
    make_leader(raft);
    for (int i = 0; i < 1000; i++) {
        while (raft_propose(raft, bytes_of_string("thirty bytes of very good data"), &index, &term) == ERR_OK)
            continue;
        drain(raft);
        answer(raft, 3, RAFT_APP_RESP, index);
        drain(raft);
        raft_get_status(raft, &status);
        assert_int_equal(status.uncommitted_size, 0);
    }
    raft_free(raft);
    raft_pool_free(pool);
}

static void initial_states_that_contradict_themselves_are_refused(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    struct raft_entry entry = {.term = 1, .index = 11};
    struct raft_initial good = {
        .id = 1, .hard = {.term = 1, .commit = 11}, .applied = 10, .entries = &entry, .entry_count = 1};
    struct raft *raft;
    good.truncated = good.base = (struct raft_position){.index = 10, .term = 1};
    raft_conf_add(&good.conf, 1, RAFT_VOTER);
    struct raft_initial bad[7];
    for (int i = 0; i < 7; i++)
        bad[i] = good;
    bad[0].applied = 12;
    bad[1].hard.commit = 12;
    bad[2].truncated.index = 11;
    bad[3].base.index = bad[3].truncated.index = 11;
    bad[4].id = 0;
    bad[5].conf.members[0].roles = RAFT_LEARNER;
    bad[6].entry_count = 0;
    for (int i = 0; i < 7; i++)
        assert_int_not_equal(raft_new(&config, &bad[i], pool, &raft), ERR_OK);
    entry.term = 0;
    assert_int_equal(raft_new(&config, &good, pool, &raft), ERR_CORRUPT);
    entry.term = 1;
    config.election_ticks = config.heartbeat_ticks;
    assert_int_equal(raft_new(&config, &good, pool, &raft), ERR_INVALID);
    raft_pool_free(pool);
}

/* ---- what the layer above asks and answers ---- */

static raft_index propose(struct raft *raft, const char *data)
{
    raft_index index;
    raft_term term;
    assert_int_equal(raft_propose(raft, bytes_of_string(data), &index, &term), ERR_OK);
    return index;
}

/* Follower 2 has everything, 3 nothing behind the base; entries up to 13 have left memory. Leaves a question to the disk
 * for 3 in *ret_fetch. */
static struct raft *make_leader_that_fetches(struct raft_pool *pool, const struct raft_config *config,
                                             struct raft_fetch *ret_fetch)
{
    struct raft *raft = make(pool, config, 1, 3, 3, 0); /* 11, 12, 13 */
    struct raft_ready ready;
    make_leader(raft);
    raft_report_unreachable(raft, 3);
    raft_peer(raft, 3)->match = 10; /* as if it had come back with less: probed from 11 on */
    raft_peer(raft, 3)->next = 12;
    raft_cache_evict(raft, 0);
    answer(raft, 3, RAFT_HEARTBEAT_RESP, 0);
    assert_true(raft_ready(raft, &ready));
    assert_int_equal(ready.fetch_count, 1);
    *ret_fetch = ready.fetches[0];
    assert_int_equal(ret_fetch->from, 12);
    assert_int_equal(ret_fetch->count_max, 3); /* 12 .. 14, the first of our term */
    return raft;
}

static uint32_t entries_sent_to(struct raft *raft, peer_id to)
{
    struct raft_ready ready;
    uint32_t count = 0;
    while (raft_ready(raft, &ready)) {
        for (uint32_t i = 0; i < ready.message_count; i++)
            count += ready.messages[i].to == to ? ready.messages[i].entry_count : 0;
    }
    return count;
}

static void what_the_disk_hands_over_is_checked_before_it_is_sent(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    struct raft_entry good[] = {{.term = 1, .index = 12, .data = bytes_of_string("x")},
                                {.term = 1, .index = 13},
                                {.term = 2, .index = 14},
                                {.term = 2, .index = 15}};
    for (int fault = 0; fault < 6; fault++) {
        struct raft_fetch fetch;
        struct raft *raft = make_leader_that_fetches(pool, &config, &fetch);
        struct raft_entry entries[4];
        memcpy(entries, good, sizeof(entries));
        entries[1].index += fault == 1;
        entries[1].term += fault == 2 ? 5 : 0;
        entries[0].term = fault == 3 ? 0 : 1;
        uint32_t count = fault == 0 ? 0 : fault == 4 ? 3 : 4; /* 5: one more than was asked for */
        raft_fetched(raft, &fetch, ERR_OK, 1, entries, count);
        assert_int_equal(entries_sent_to(raft, 3), fault >= 4 ? 3 : 0);
        assert_int_equal(raft_peer(raft, 3)->paused, true);
        raft_check(raft);
        raft_free(raft);
    }
    raft_pool_free(pool);
}

/* At most one question per follower is open: the disk is not asked twice because it is slow. */
static void an_answer_to_an_older_question_leaves_the_newer_one_open(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    struct raft_entry entries[] = {{.term = 1, .index = 12}, {.term = 1, .index = 13}};
    struct raft_fetch older;
    struct raft *raft = make_leader_that_fetches(pool, &config, &older);
    struct raft_ready ready;
    struct raft_message refusal = {.kind = RAFT_APP_RESP, .from = 3, .to = 1, .term = raft->term, .reject = true};
    refusal.index = 11; /* of what was sent before: it has even less */
    refusal.reject_hint = 10;
    refusal.log_term = 1;
    assert_int_equal(raft_step(raft, &refusal), ERR_OK);
    assert_true(raft_ready(raft, &ready));
    assert_int_equal(ready.fetch_count, 1);
    assert_int_equal(ready.fetches[0].from, 11);
    struct raft_fetch newer = ready.fetches[0];
    raft_fetched(raft, &older, ERR_OK, 1, entries, 2);
    assert_false(raft_ready(raft, &ready));
    entries[0].index = 11;
    entries[1].index = 12;
    raft_fetched(raft, &newer, ERR_OK, 1, entries, 2);
    assert_int_equal(entries_sent_to(raft, 3), 2);
    raft_check(raft);
    raft_free(raft);
    raft_pool_free(pool);
}

static void retention_may_cut_what_every_member_has(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    struct raft *raft = make(pool, &config, 1, 3, 3, 1);
    assert_int_equal(raft_replicated_index(raft), 12); /* who does not lead knows of itself only: what is applied */
    assert_int_equal(raft_leader(raft), 0);
    drain(raft);
    make_leader(raft);
    assert_int_equal(raft_leader(raft), 1);
    raft_index index = propose(raft, "x");
    drain(raft);
    answer(raft, 2, RAFT_APP_RESP, index);
    drain(raft);
    assert_int_equal(raft_replicated_index(raft), index - 1);
    answer(raft, 3, RAFT_APP_RESP, index);
    assert_int_equal(raft_replicated_index(raft), index);
    raft_truncate(raft, index - 1, raft_term_at(raft, index - 1));
    assert_int_equal(raft_truncated(raft).index, index - 1);
    raft_truncate(raft, index - 2, 1); /* late: nothing comes back */
    assert_int_equal(raft_truncated(raft).index, index - 1);
    assert_int_equal(raft_term_at(raft, index - 2), 0);
    raft_check(raft);
    raft_free(raft);
    raft_pool_free(pool);
}

static void a_majority_is_that_of_the_voters_after_a_change(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    struct raft *raft = make(pool, &config, 1, 3, 3, 1);
    assert_int_equal(raft_majority_index(raft), 12); /* who does not lead knows of itself only: what is applied */
    drain(raft);
    make_leader(raft);
    raft_index before = propose(raft, "x"), index;
    raft_term term;
    drain(raft);
    answer(raft, 2, RAFT_APP_RESP, before);
    answer(raft, 3, RAFT_APP_RESP, before - 1);
    drain(raft);
    assert_int_equal(raft_majority_index(raft), before);
    struct raft_conf_change change = {.entry_kind = RAFT_ENTRY_CONF_CHANGE_V2, .count = 1};
    change.changes[0].kind = RAFT_CHANGE_REMOVE;
    change.changes[0].id = 2;
    assert_int_equal(raft_propose_conf(raft, &change, &index, &term), ERR_OK);
    struct raft_ready ready;
    assert_true(raft_ready(raft, &ready));
    for (uint32_t i = 0; i < ready.after_count; i++)
        if (ready.after[i].to == raft_id(raft))
            raft_step_own(raft, &ready.after[i]);
    raft_appended(raft, &ready.token);
    answer(raft, 2, RAFT_APP_RESP, index);
    assert_int_equal(raft_majority_index(raft), before - 1); /* nobody knows who counts when it is applied */
    assert_true(raft_ready(raft, &ready));
    assert_int_equal(ready.committed_count, 1);
    struct raft_conf conf;
    assert_int_equal(raft_apply_conf(raft, &ready.committed[0], &conf), ERR_OK);
    raft_applied(raft, index);
    assert_int_equal(raft_majority_index(raft), before - 1);
    answer(raft, 3, RAFT_APP_RESP, index);
    assert_int_equal(raft_majority_index(raft), index);
    raft_check(raft);
    raft_free(raft);
    raft_pool_free(pool);
}

/* Cut from the log between the word that it goes to somebody and its departure. */
static void what_a_queued_message_carries_stays_until_it_is_sent(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(1 << 20);
    struct raft_config config = config_plain();
    struct raft *raft = make(pool, &config, 1, 3, 3, 0);
    make_leader(raft);
    raft_index index = propose(raft, "first payload");
    drain(raft);
    answer(raft, 2, RAFT_APP_RESP, index);
    drain(raft);
    assert_int_equal(raft_applied_index(raft), index);
    raft_report_unreachable(raft, 3);
    assert_int_equal(answer(raft, 3, RAFT_HEARTBEAT_RESP, 0), ERR_OK); /* it is told again, at the next ready */
    raft_truncate(raft, index, raft_term_at(raft, index));
    struct raft_ready ready;
    assert_true(raft_ready(raft, &ready));
    const struct raft_entry *sent = NULL;
    for (uint32_t i = 0; i < ready.message_count; i++)
        if (ready.messages[i].to == 3 && ready.messages[i].entry_count == 1)
            sent = ready.messages[i].entries;
    assert_non_null(sent);
    assert_int_equal(sent->index, index);
    raft_truncate(raft, index, raft_term_at(raft, index)); /* whatever looks for memory that is free */
    propose(raft, "other payload");
    assert_int_equal(sent->data.size, 13);
    assert_memory_equal(sent->data.data, "first payload", 13);
    drain(raft);
    raft_check(raft);
    raft_free(raft);
    raft_pool_free(pool);
}

static void a_read_that_waits_is_a_deadline(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    struct raft_initial initial = {.id = 1, .hard = {.term = 1}, .applied = 10};
    struct raft *raft;
    struct raft_ready ready;
    initial.truncated = initial.base = (struct raft_position){.index = 10, .term = 1};
    raft_conf_add(&initial.conf, 1, RAFT_LEARNER);
    raft_conf_add(&initial.conf, 2, RAFT_VOTER);
    assert_int_equal(raft_new(&config, &initial, pool, &raft), ERR_OK);
    assert_int_equal(raft_next_deadline(raft), UINT32_MAX); /* a learner waits for others */
    assert_int_equal(send_append(raft, 2, 1, initial.base, 10, NULL, 0), ERR_OK);
    assert_int_equal(raft_read(raft, 7), ERR_OK);
    uint32_t left = raft_next_deadline(raft);
    assert_true(left > 0 && left < UINT32_MAX);
    drain(raft);
    raft_tick(raft, left - 1);
    assert_false(raft_has_ready(raft));
    raft_tick(raft, 1);
    assert_true(raft_ready(raft, &ready));
    assert_int_equal(ready.read_count, 1);
    assert_int_equal(ready.reads[0].code, ERR_NOT_READY);
    assert_int_equal(ready.reads[0].context, 7);
    raft_free(raft);
    raft_pool_free(pool);
}

static void a_leader_that_slept_speaks_at_its_first_tick(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    config.check_quorum = true;
    struct raft *raft = make(pool, &config, 1, 3, 0, 0);
    struct raft_ready ready;
    assert_true(config.heartbeat_ticks > 1);
    make_leader(raft);
    raft_wake(raft, 1000, 0);
    raft_tick(raft, 1);
    assert_true(raft_ready(raft, &ready));
    assert_int_equal(ready.message_count, 2);
    assert_int_equal(ready.messages[0].kind, RAFT_HEARTBEAT);
    raft_tick(raft, config.election_ticks - 2);
    assert_true(raft_is_leader(raft)); /* it has one election timeout to hear from a quorum, and no more */
    raft_tick(raft, 1);
    assert_false(raft_is_leader(raft));
    raft_free(raft);
    raft_pool_free(pool);
}

/* A change that cannot be applied would be refused by every peer after it was replicated: better now. */
static void an_impossible_change_is_not_even_proposed(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    struct raft *raft = make(pool, &config, 1, 1, 0, 0);
    raft_index index;
    raft_term term;
    make_leader(raft);
    raft_index last = raft_last_index(raft);
    struct raft_conf_change good = {.entry_kind = RAFT_ENTRY_CONF_CHANGE_V2, .count = 1};
    good.changes[0].id = 2;
    struct raft_conf_change bad[7];
    for (int i = 0; i < 7; i++)
        bad[i] = good;
    bad[0].count = RAFT_CHANGE_COUNT_MAX + 1;
    bad[1].transition = RAFT_TRANSITION_EXPLICIT + 1;
    bad[2].changes[0].kind = RAFT_CHANGE_ADD_LEARNER + 1;
    bad[3].entry_kind = RAFT_ENTRY_NORMAL;
    bad[4].entry_kind = RAFT_ENTRY_CONF_CHANGE; /* the old form knows no transitions */
    bad[4].transition = RAFT_TRANSITION_EXPLICIT;
    bad[5].changes[0].kind = RAFT_CHANGE_REMOVE; /* the last voter */
    bad[5].changes[0].id = 1;
    bad[6].count = 0; /* there is nothing to leave */
    for (int i = 0; i < 7; i++)
        assert_int_equal(raft_propose_conf(raft, &bad[i], &index, &term), ERR_INVALID);
    assert_int_equal(raft_last_index(raft), last);
    assert_int_equal(raft_propose_conf(raft, &good, &index, &term), ERR_OK);
    drain(raft); /* committed, applied, but not by us: the layer above struck it out */
    assert_int_equal(raft_propose_conf(raft, &good, &index, &term), ERR_OK);
    config.disable_conf_change_check = true;
    assert_int_equal(raft_propose_conf(raft, &bad[5], &index, &term), ERR_OK);
    raft_check(raft);
    raft_free(raft);
    raft_pool_free(pool);
}

/* Whatever the layer above thinks: an append that contradicts what is committed is told from one that just does not fit. */
static void the_log_tells_a_mismatch_from_a_contradiction(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    struct raft *raft = make(pool, &config, 1, 3, 3, 0); /* 11, 12, 13 of term 1, all committed */
    struct raft_entry entry = {.term = 2, .index = 13};
    raft_index last = 0, cut = 0;
    assert_int_equal(
        raftlog_maybe_append(&raft->log, (struct raft_position){.index = 12, .term = 2}, &entry, 1, 13, &last, &cut),
        RAFTLOG_MISMATCH);
    assert_int_equal(
        raftlog_maybe_append(&raft->log, (struct raft_position){.index = 12, .term = 1}, &entry, 1, 13, &last, &cut),
        RAFTLOG_CONTRADICTION);
    assert_int_equal(raft_last_index(raft), 13);
    raft_check(raft);
    raft_free(raft);
    raft_pool_free(pool);
}

static void a_heartbeat_that_knows_more_than_we_ever_had_stops_us(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    struct raft *raft = make(pool, &config, 1, 3, 3, 0);
    struct raft_message heartbeat = {.kind = RAFT_HEARTBEAT, .from = 2, .to = 1, .term = 2, .commit = 14};
    assert_int_equal(raft_step(raft, &heartbeat), ERR_CORRUPT); /* the leader says so because we said that we had it */
    assert_int_equal(raft_term_now(raft), 1);
    heartbeat.commit = 13;
    assert_int_equal(raft_step(raft, &heartbeat), ERR_OK);
    assert_int_equal(raft_leader(raft), 2);
    raft_free(raft);
    raft_pool_free(pool);
}

/* A long tail is overwritten while much of it is still with the log worker, then a snapshot replaces everything. */
static void what_is_retired_is_held_however_much_and_freed_with_the_group(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config = config_plain();
    struct raft *raft = make(pool, &config, 1, 3, 0, 0);
    struct raft_entry entries[100];
    struct raft_ready ready;
    for (raft_term term = 2; term < 5; term++) {
        for (uint32_t i = 0; i < 100; i++)
            entries[i] = (struct raft_entry){.term = term, .index = 11 + i, .data = bytes_of_string("payload")};
        assert_int_equal(send_append(raft, 2, term, (struct raft_position){.index = 10, .term = 1}, 10, entries, 100),
                         ERR_OK);
        assert_true(raft_ready(raft, &ready));
        assert_int_equal(ready.entry_count, 100);
    }
    assert_false(raft_ready(raft, &ready));
    assert_int_equal(raft->log.retired_count, 200);
    size_t size = raft_memory_size(raft);
    assert_true(size > 100 * 16);
    assert_int_equal(send_append(raft, 2, 5, (struct raft_position){.index = 10, .term = 1}, 10, entries, 0), ERR_OK);
    raft_free(raft); /* nobody writes any more: the process goes down */
    assert_int_equal(raft_pool_used_size(pool), 0);
    raft_pool_free(pool);
}

/* One forged message must not leave a state on disk that no start accepts. */
static void the_last_term_and_index_there_are_can_be_started_from(void **state)
{
    (void)state;
    struct raft_config config = config_plain();
    struct raft_pool *pool = raft_pool_new(0);
    struct raft *raft = make(pool, &config, 1, 3, 2, 0);
    struct raft_message heartbeat = {.kind = RAFT_HEARTBEAT, .from = 2, .to = 1, .term = RAFT_NUMBER_MAX};
    assert_int_equal(raft_step(raft, &heartbeat), ERR_OK);
    drain(raft);
    for (int i = 0; i < 10; i++) {
        raft_tick(raft, 3 * config.election_ticks);
        drain(raft);
    }
    assert_int_equal(raft_campaign(raft), ERR_NOT_READY);
    assert_int_equal(raft_term_now(raft), RAFT_NUMBER_MAX);
    raft_free(raft);

    struct raft_snapshot snapshot = {.index = RAFT_NUMBER_MAX - 1, .term = 2};
    for (peer_id id = 1; id <= 3; id++)
        assert_int_equal(raft_conf_add(&snapshot.conf, id, RAFT_VOTER), ERR_OK);
    raft = make(pool, &config, 1, 3, 2, 0);
    struct raft_message install = {.kind = RAFT_SNAPSHOT, .from = 2, .to = 1, .term = 2, .snapshot = &snapshot};
    assert_int_equal(raft_step(raft, &install), ERR_OK);
    drain(raft);
    make_leader(raft);
    raft_index index;
    raft_term term;
    struct raft_entry entries[8];
    for (uint32_t i = 0; i < 8; i++) {
        if (i > 0)
            assert_int_equal(raft_propose(raft, bytes_of("x", 1), &index, &term), ERR_OK);
        entries[i] = (struct raft_entry){.term = raft_term_now(raft), .index = RAFT_NUMBER_MAX + i};
    }
    drain(raft);
    raft_check(raft);
    struct raft_initial initial = {.id = 1,
                                   .hard = {.term = raft_term_now(raft), .commit = snapshot.index},
                                   .conf = snapshot.conf,
                                   .applied = snapshot.index,
                                   .entries = entries,
                                   .entry_count = (uint32_t)(raft_last_index(raft) - snapshot.index)};
    assert_in_range(initial.entry_count, 2, 8);
    initial.truncated = initial.base = (struct raft_position){.index = snapshot.index, .term = snapshot.term};
    raft_free(raft);
    assert_int_equal(raft_new(&config, &initial, pool, &raft), ERR_OK);
    raft_check(raft);
    raft_free(raft);
    raft_pool_free(pool);
}

static void messages_have_names_for_logs(void **state)
{
    (void)state;
    for (uint8_t kind = RAFT_APP; kind <= RAFT_ABSENT; kind++)
        assert_string_not_equal(raft_message_kind_name(kind), "unknown");
    assert_string_equal(raft_message_kind_name(0), "unknown");
    assert_string_equal(raft_message_kind_name(255), "unknown");
}

/* ---- somebody who means harm ---- */

static uint64_t nasty_number(struct rng *rng, uint64_t near)
{
    switch (rng_below(rng, 8)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX - rng_below(rng, 3);
    case 2:
        return rng_next(rng) >> rng_below(rng, 64);
    default: {
        uint64_t off = rng_below(rng, 7);
        return near + off < 3 ? 0 : near + off - 3;
    }
    }
}

struct nasty {
    struct raft_message message;
    struct raft_entry entries[4];
    struct raft_snapshot snapshot;
    uint8_t data[64];
};

static void draw_nasty(struct rng *rng, const struct raft *raft, struct nasty *nasty)
{
    struct raft_message *m = &nasty->message;
    raft_index last = raft_last_index(raft);
    *nasty =
        (struct nasty){.message = {.kind = (uint8_t)rng_below(rng, 16), .from = rng_below(rng, 6), .to = raft->id}};
    m->to = rng_chance(rng, 1, 50) ? rng_below(rng, 5) : raft->id;
    m->term = rng_chance(rng, 1, 30) ? nasty_number(rng, raft->term) : raft->term + rng_chance(rng, 1, 20);
    m->reject = rng_chance(rng, 1, 3);
    m->force = rng_chance(rng, 1, 10);
    m->index = nasty_number(rng, rng_chance(rng, 1, 2) ? last : raft->log.commit);
    m->log_term = rng_chance(rng, 1, 2) ? raft_term_at(raft, m->index) : nasty_number(rng, raft->term);
    m->commit = nasty_number(rng, raft->log.commit);
    m->commit_term = nasty_number(rng, raft->term);
    m->reject_hint = nasty_number(rng, last);
    m->round = nasty_number(rng, raft->round);
    m->context = nasty_number(rng, raft->read_number);
    for (size_t i = 0; i < sizeof(nasty->data); i++)
        nasty->data[i] = (uint8_t)rng_below(rng, 6);
    m->entry_count = rng_chance(rng, 1, 2) ? (uint32_t)rng_below(rng, 5) : 0;
    m->entries = rng_chance(rng, 1, 40) ? NULL : nasty->entries;
    for (uint32_t i = 0; i < m->entry_count && i < 4; i++) {
        bool sane = !rng_chance(rng, 1, 20);
        nasty->entries[i] = (struct raft_entry){.index = sane ? m->index + 1 + i : nasty_number(rng, last),
                                                .term = sane ? m->term : nasty_number(rng, raft->term)};
        nasty->entries[i].kind = (uint8_t)(rng_chance(rng, 1, 10) ? rng_below(rng, 4) : 0);
        nasty->entries[i].data = bytes_of(nasty->data, rng_below(rng, sizeof(nasty->data)));
    }
    if (rng_chance(rng, 1, 2)) {
        m->snapshot = &nasty->snapshot;
        nasty->snapshot.index = nasty_number(rng, last);
        nasty->snapshot.term = nasty_number(rng, raft->term);
        nasty->snapshot.conf.count = (uint32_t)rng_below(rng, 5);
        if (rng_chance(rng, 1, 20))
            nasty->snapshot.conf.count = (uint32_t)rng_next(rng);
        for (uint32_t i = 0; i < 4; i++) {
            nasty->snapshot.conf.members[i].id = rng_chance(rng, 1, 10) ? rng_below(rng, 6) : i + 1;
            nasty->snapshot.conf.members[i].roles = (uint8_t)(rng_chance(rng, 1, 5) ? rng_below(rng, 32) : RAFT_VOTER);
        }
        nasty->snapshot.conf.auto_leave = rng_chance(rng, 1, 10);
    }
}

/* Does what a ready asks for, reading all that is handed out. */
static void obey(struct rng *rng, struct raft *raft)
{
    struct raft_ready ready;
    uint64_t sum = 0;
    while (raft_ready(raft, &ready)) {
        for (uint32_t i = 0; i < ready.message_count; i++) {
            for (uint32_t j = 0; j < ready.messages[i].entry_count; j++) {
                struct bytes data = ready.messages[i].entries[j].data;
                sum += data.size ? data.data[data.size - 1] : 0;
            }
        }
        struct raft_token token = ready.token;
        for (uint32_t i = 0; i < ready.after_count; i++) {
            if (ready.after[i].to == raft->id)
                raft_step_own(raft, &ready.after[i]);
        }
        for (uint32_t i = 0; i < ready.fetch_count; i++)
            raft_fetched(raft, &ready.fetches[i], rng_chance(rng, 1, 2) ? ERR_NOT_FOUND : ERR_IO, 0, NULL, 0);
        if (ready.append)
            raft_appended(raft, &token);
        for (uint32_t i = 0; i < ready.committed_count; i++) {
            struct raft_conf conf;
            struct bytes data = ready.committed[i].data;
            sum += data.size ? data.data[data.size - 1] : 0;
            if (ready.committed[i].kind != RAFT_ENTRY_NORMAL && rng_chance(rng, 1, 4))
                raft_apply_conf(raft, &ready.committed[i], &conf);
        }
        if (ready.committed_count)
            raft_applied(raft, ready.committed[ready.committed_count - 1].index);
    }
    assert_true(sum != UINT64_MAX);
}

static void no_message_breaks_a_node(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 8, "nasty");
    uint32_t taken = 0, leaders = 0;
    for (int life = 0; life < 300; life++) {
        struct raft_pool *pool = raft_pool_new(0);
        struct raft_config config = config_plain();
        config.pre_vote = rng_chance(&rng, 1, 2);
        config.check_quorum = rng_chance(&rng, 1, 2);
        config.lease_reads = rng_chance(&rng, 1, 3);
        config.vote_commit_hint = rng_chance(&rng, 1, 2);
        config.coalesce = rng_chance(&rng, 1, 2);
        config.cache_size_max = 500;
        config.committed_size_max = rng_chance(&rng, 1, 2) ? 100 : 0;
        config.inflight_count_max = 3;
        config.read_count_max = 5;
        struct raft *raft = make(pool, &config, 1, 3, 5, (uint32_t)rng_below(&rng, 5));
        for (int i = 0; i < 1000; i++) {
            struct nasty nasty;
            draw_nasty(&rng, raft, &nasty);
            struct raft_hard_state before = raft_hard_state(raft);
            enum err code = raft_step(raft, &nasty.message);
            taken += code == ERR_OK;
            assert_true(code == ERR_OK || code == ERR_INVALID || code == ERR_NOT_FOUND || code == ERR_CORRUPT);
            assert_true(raft_term_now(raft) >= before.term && raft_commit_index(raft) >= before.commit);
            assert_true(raft_term_now(raft) > before.term || before.vote == 0 ||
                        raft_hard_state(raft).vote == before.vote);
            raft_check(raft);
            leaders += raft_is_leader(raft);
            switch (rng_below(&rng, 12)) {
            case 0:
                raft_tick(raft, (uint32_t)rng_below(&rng, 15));
                break;
            case 1:
                raft_read(raft, 1);
                break;
            case 2: {
                raft_index index;
                raft_term term;
                raft_propose(raft, bytes_of_string("proposal"), &index, &term);
                break;
            }
            case 3:
                raft_cache_evict(raft, (uint32_t)rng_below(&rng, 4));
                break;
            case 4:
                raft_transfer(raft, rng_below(&rng, 5));
                break;
            case 5:
                raft_report_snapshot(raft, rng_below(&rng, 5), rng_chance(&rng, 1, 2));
                break;
            case 6:
                raft_campaign(raft);
                break;
            case 7:
            case 8:
                obey(&rng, raft);
                break;
            default:
                break;
            }
            raft_check(raft);
        }
        raft_free(raft);
        raft_pool_free(pool);
    }
    assert_true(taken > 30000 && leaders > 1000); /* else they were too nasty to get anywhere */
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_gives_freed_blocks_out_again),
        cmocka_unit_test(pool_keeps_no_more_than_it_may),
        cmocka_unit_test(an_idle_group_takes_at_most_one_kilobyte),
        cmocka_unit_test(steady_state_asks_the_system_for_nothing),
        cmocka_unit_test(payloads_outlive_truncation_until_their_append_is_acknowledged),
        cmocka_unit_test(payloads_of_messages_outlive_eviction),
        cmocka_unit_test(a_late_append_ack_of_an_entry_that_came_back_does_not_count),
        cmocka_unit_test(an_append_ack_counts_only_for_the_entry_that_was_written),
        cmocka_unit_test(who_follows_a_leader_votes_for_nobody_else_in_its_term),
        cmocka_unit_test(a_pre_candidate_is_bound_by_its_vote),
        cmocka_unit_test(a_campaign_at_once_asks_for_real_votes_and_keeps_promises),
        cmocka_unit_test(who_is_forced_leads_alone),
        cmocka_unit_test(who_is_no_member_cannot_be_forced),
        cmocka_unit_test(a_learner_never_campaigns),
        cmocka_unit_test(who_campaigns_when_told_wants_to_after_a_timeout_and_votes_meanwhile),
        cmocka_unit_test(a_newcomer_takes_a_snapshot_and_nothing_else),
        cmocka_unit_test(a_member_that_is_not_there_gets_a_snapshot_and_counts_for_nothing),
        cmocka_unit_test(a_joint_election_needs_both_halves),
        cmocka_unit_test(leases_are_suspended_while_the_configuration_changes),
        cmocka_unit_test(a_change_older_than_the_snapshot_is_not_applied),
        cmocka_unit_test(uncommitted_size_comes_back_to_zero),
        cmocka_unit_test(initial_states_that_contradict_themselves_are_refused),
        cmocka_unit_test(what_the_disk_hands_over_is_checked_before_it_is_sent),
        cmocka_unit_test(an_answer_to_an_older_question_leaves_the_newer_one_open),
        cmocka_unit_test(retention_may_cut_what_every_member_has),
        cmocka_unit_test(a_majority_is_that_of_the_voters_after_a_change),
        cmocka_unit_test(what_a_queued_message_carries_stays_until_it_is_sent),
        cmocka_unit_test(a_read_that_waits_is_a_deadline),
        cmocka_unit_test(a_leader_that_slept_speaks_at_its_first_tick),
        cmocka_unit_test(an_impossible_change_is_not_even_proposed),
        cmocka_unit_test(the_log_tells_a_mismatch_from_a_contradiction),
        cmocka_unit_test(a_heartbeat_that_knows_more_than_we_ever_had_stops_us),
        cmocka_unit_test(what_is_retired_is_held_however_much_and_freed_with_the_group),
        cmocka_unit_test(the_last_term_and_index_there_are_can_be_started_from),
        cmocka_unit_test(messages_have_names_for_logs),
        cmocka_unit_test(no_message_breaks_a_node),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
