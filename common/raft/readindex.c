#include "base/bug.h"
#include "base/check.h"
#include "raft/core.h"

/* Reads that need no log entry. The leader notes its commit index, then makes sure that it still leads: a quorum must
 * answer a round that was sent after the read came in. All reads of one raft_ready share one round.
 *
 * A new leader's commit index may be behind what its predecessor told clients, so reads wait until an entry of its own
 * term is committed (Ongaro 2014: 6.4, step 1). Rounds are numbers of ours, not the callers' contexts: an answer to an
 * older read with an equal context cannot confirm a newer one. */

static struct read_slot *slot(const struct read_queue *queue, uint32_t place)
{
    return &queue->slots[(queue->head + place) & (queue->capacity - 1)];
}

static void push(struct raft *raft, struct read_slot read)
{
    struct read_queue *queue = &raft->reads;
    if (queue->count == queue->capacity) {
        uint32_t capacity = queue->capacity ? queue->capacity * 2 : 4;
        struct read_slot *slots = raft_pool_take(raft->pool, capacity * sizeof(*slots));
        for (uint32_t i = 0; i < queue->count; i++)
            slots[i] = *slot(queue, i);
        raft_pool_give(raft->pool, queue->slots);
        *queue = (struct read_queue){.slots = slots, .count = queue->count, .capacity = capacity};
    }
    *slot(queue, queue->count++) = read;
}

static struct read_slot pop(struct raft *raft)
{
    struct read_queue *queue = &raft->reads;
    struct read_slot read = *slot(queue, 0);
    queue->head = (queue->head + 1) & (queue->capacity - 1);
    if (--queue->count == 0) {
        raft_pool_give(raft->pool, queue->slots);
        *queue = (struct read_queue){0};
    }
    return read;
}

static void remove_at(struct raft *raft, uint32_t place)
{
    for (; place > 0; place--)
        *slot(&raft->reads, place) = *slot(&raft->reads, place - 1);
    (void)pop(raft);
}

static void answer(struct raft *raft, const struct read_slot *read, enum err code)
{
    if (read->from == raft->id) {
        outbox_read(raft, (struct raft_read_result){
                              .context = read->context, .index = code == ERR_OK ? read->index : 0, .code = code});
    } else if (raft->role == RAFT_LEADER) {
        outbox_send(raft, (struct raft_message){.kind = RAFT_READ_INDEX_RESP,
                                                .to = read->from,
                                                .context = read->context,
                                                .index = code == ERR_OK ? read->index : 0,
                                                .reject = code != ERR_OK});
    }
}

/* ---- the leader's side ---- */

static uint64_t round_of(const struct raft *raft, const struct progress *peer)
{
    return peer->id == raft->id ? raft->round : peer->acked_round;
}

static void release_confirmed(struct raft *raft)
{
    bool lone = raft_is_lone(raft);
    while (raft->reads.count > 0 && slot(&raft->reads, 0)->index != 0 &&
           (lone || slot(&raft->reads, 0)->round <= raft->confirmed_round)) {
        struct read_slot read = pop(raft);
        answer(raft, &read, ERR_OK);
    }
}

void readindex_confirm(struct raft *raft)
{
    uint64_t round = raft_quorum_value(raft, round_of);
    if (round > raft->confirmed_round)
        raft->confirmed_round = round;
    release_confirmed(raft);
}

void readindex_on_round(struct raft *raft, struct progress *peer, uint64_t round)
{
    if (round <= peer->acked_round || round > raft->round)
        return;
    peer->acked_round = round;
    if (round > raft->confirmed_round)
        readindex_confirm(raft);
}

static void start(struct raft *raft, struct read_slot *read)
{
    read->index = raft->log.commit;
    read->round = BUG(readindex_no_quorum) ? 0 : raft->round + !BUG(readindex_older_round); /* the next to be sent */
    raft->round_wanted = true;
}

void readindex_on_commit(struct raft *raft)
{
    if (raft->reads.count == 0 || !raft_is_leader_ready(raft))
        return;
    for (uint32_t i = 0; i < raft->reads.count; i++) {
        if (slot(&raft->reads, i)->index == 0)
            start(raft, slot(&raft->reads, i));
    }
    release_confirmed(raft); /* alone, there is nobody to ask */
}

static void take(struct raft *raft, struct read_slot read)
{
    bool ready = raft_is_leader_ready(raft);
    if (ready && raft_is_lone(raft)) {
        read.index = raft->log.commit;
        answer(raft, &read, ERR_OK);
        return;
    }
    if (ready)
        start(raft, &read);
    push(raft, read);
}

void readindex_on_request(struct raft *raft, const struct raft_message *message)
{
    struct read_slot read = {.context = message->context, .from = message->from};
    read.deadline_tick = raft->tick_count + 2 * (uint64_t)raft->config->election_ticks;
    if (raft->role != RAFT_LEADER)
        return; /* the asker finds out by itself: it hears of another leader, or nothing in time */
    if (raft->reads.count >= raft->config->read_count_max)
        answer(raft, &read, ERR_BUSY);
    else
        take(raft, read);
}

/* ---- the follower's side, and the way in ---- */

enum err raft_read(struct raft *raft, uint64_t context)
{
    struct read_slot read = {.context = context, .from = raft->id};
    read.deadline_tick = raft->tick_count + 2 * (uint64_t)raft->config->election_ticks;
    if (raft->leader == 0)
        return ERR_NOT_LEADER;
    if (raft->reads.count >= raft->config->read_count_max)
        return ERR_BUSY;
    if (raft->role == RAFT_LEADER) {
        take(raft, read);
        return ERR_OK;
    }
    read.round = ++raft->read_number;
    push(raft, read);
    outbox_send(raft, (struct raft_message){.kind = RAFT_READ_INDEX, .to = raft->leader, .context = read.round});
    return ERR_OK;
}

void readindex_on_response(struct raft *raft, const struct raft_message *message)
{
    if (raft->role != RAFT_FOLLOWER || message->from != raft->leader)
        return;
    for (uint32_t i = 0; i < raft->reads.count; i++) {
        struct read_slot read = *slot(&raft->reads, i);
        if (read.round != message->context)
            continue;
        read.index = message->index;
        remove_at(raft, i);
        answer(raft, &read, message->reject ? ERR_BUSY : ERR_OK);
        return;
    }
}

/* ---- every read ends ---- */

void readindex_tick(struct raft *raft)
{
    while (raft->reads.count > 0 && slot(&raft->reads, 0)->deadline_tick <= raft->tick_count) {
        struct read_slot read = pop(raft);
        answer(raft, &read, ERR_NOT_READY);
    }
}

void readindex_drop_all(struct raft *raft, enum err code)
{
    while (raft->reads.count > 0) {
        struct read_slot read = pop(raft);
        if (read.from == raft->id)
            answer(raft, &read, code);
    }
    raft->round_wanted = false;
}
