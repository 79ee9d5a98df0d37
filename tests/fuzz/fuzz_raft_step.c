/* fuzz_raft_step: a few raft cores, driven by bytes: what honest peers say is delivered, lost, repeated or altered, and
 * forged messages come as well, any field with any value. In between everything that the layer above may do, in any
 * legal order, also dying and starting again from what was written.
 *
 * Forged messages can break what a group promises; they must not break a core: no CHECK, no memory fault, no leak, no
 * memory that grows beyond what came in, raft_check after every call, and this much:
 *   a hard state never goes back; what is appended follows what is there; what is handed out for applying comes in
 *   order, once, and is durable; a core starts again from whatever it has written; a read has at most one answer.
 *
 * Input: the configuration, then operations until it is used up. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "raft/core.h"
#include "raft/membership.h"
#include "tests/sim/raft_entries.h"

enum {
    NODES_MAX = 5,
    NET_MAX = 64,
    QUEUE_MAX = 64,
    OPERATIONS_MAX = 1500,
    ENTRIES_FORGED_MAX = 5,
    POOL_SIZE_MAX = 4 * 1024 * 1024,
    FIRST = 10, /* founders begin behind this index */
};

struct append { /* handed to the disk; payloads are still the core's */
    bool hard_changed, has_snapshot;
    struct raft_hard_state hard;
    struct raft_snapshot snapshot;
    struct raft_entry *entries;
    uint32_t count;
    struct raft_token token;
    struct raft_message *after; /* owned */
    uint32_t after_count;
};

struct apply {
    struct raft_entry *entries;
    uint32_t count;
};

struct node {
    struct raft *raft;
    peer_id id;
    struct raft_hard_state hard; /* from here on: what is durable */
    struct raft_position before;
    struct raft_entry *log; /* owned */
    uint32_t log_count;
    raft_index applied;
    struct raft_conf conf;
    struct append appends[QUEUE_MAX];
    uint32_t append_head, append_count;
    struct apply applies[QUEUE_MAX];
    uint32_t apply_head, apply_count;
    struct raft_fetch fetches[QUEUE_MAX];
    uint32_t fetch_count;
    uint64_t reads_asked, reads_answered;
};

struct packet {
    struct raft_message message;
    struct raft_entry *entries; /* owned copies */
    struct raft_snapshot snapshot;
};

struct world {
    struct raft_config config;
    struct raft_pool *pool;
    struct node nodes[NODES_MAX];
    uint32_t node_count;
    struct packet *net[NET_MAX];
    uint32_t net_count;
    uint64_t boots;
    struct fuzz_input input;
};

static uint8_t draw(struct world *world, uint8_t limit)
{
    return fuzz_u8(&world->input) % limit;
}

static raft_index durable_last(const struct node *node)
{
    return node->before.index + node->log_count;
}

/* ---- the network */

static void free_packet(struct packet *packet)
{
    raft_entries_free(packet->entries, packet->message.entry_count);
    free(packet);
}

static void post(struct world *world, struct node *from, const struct raft_message *message)
{
    bool is_snapshot = message->kind == RAFT_SNAPSHOT;
    if (message->to == 0 || message->to > world->node_count || world->net_count == NET_MAX) {
        if (is_snapshot)
            raft_report_snapshot(from->raft, message->to, false);
        return;
    }
    struct packet *packet = calloc(1, sizeof *packet);
    CHECK(packet);
    packet->message = *message;
    packet->entries = raft_entries_copy(message->entries, message->entry_count);
    if (is_snapshot) { /* the state machine's own, which may be newer */
        CHECK(message->snapshot->index <= from->applied);
        uint32_t place = (uint32_t)(from->applied - from->before.index);
        packet->snapshot = (struct raft_snapshot){
            .index = from->applied, .term = place ? from->log[place - 1].term : from->before.term, .conf = from->conf};
    }
    world->net[world->net_count++] = packet;
}

static struct packet *take_packet(struct world *world)
{
    uint32_t place = draw(world, (uint8_t)world->net_count);
    struct packet *packet = world->net[place];
    world->net_count--;
    memmove(&world->net[place], &world->net[place + 1], (world->net_count - place) * sizeof packet);
    packet->message.entries = packet->entries;
    packet->message.snapshot = packet->message.kind == RAFT_SNAPSHOT ? &packet->snapshot : NULL;
    return packet;
}

static void step(struct node *node, const struct raft_message *message)
{
    enum err code = raft_step(node->raft, message);
    CHECK(code == ERR_OK || code == ERR_INVALID || code == ERR_CORRUPT || code == ERR_NOT_FOUND);
    raft_check(node->raft);
}

static void deliver(struct world *world, struct packet *packet)
{
    struct node *from = &world->nodes[packet->message.from - 1];
    step(&world->nodes[packet->message.to - 1], &packet->message);
    if (packet->message.kind == RAFT_SNAPSHOT)
        raft_report_snapshot(from->raft, packet->message.to, draw(world, 4) > 0);
}

/* ---- life and death */

static void boot(struct world *world, struct node *node)
{
    struct raft_initial initial = {.id = node->id, .seed = ++world->boots, .hard = node->hard, .conf = node->conf};
    uint64_t kept = node->applied - node->before.index;
    uint32_t gone = kept ? (uint32_t)(fuzz_u8(&world->input) % (kept + 1)) : 0; /* applied, and left out of memory */
    initial.applied = node->applied;
    initial.truncated = node->before;
    initial.base = node->before;
    if (gone > 0)
        initial.base = (struct raft_position){.index = node->before.index + gone, .term = node->log[gone - 1].term};
    initial.entries = node->log + gone;
    initial.entry_count = node->log_count - gone;
    CHECK(raft_new(&world->config, &initial, world->pool, &node->raft) == ERR_OK);
    raft_check(node->raft);
}

static void write_append(struct node *node, const struct append *append)
{
    if (append->hard_changed) {
        CHECK(append->hard.term > node->hard.term ||
              (append->hard.term == node->hard.term && (node->hard.vote == 0 || node->hard.vote == append->hard.vote)));
        CHECK(append->hard.commit >= node->hard.commit);
        node->hard = append->hard;
    }
    if (append->has_snapshot) {
        CHECK(append->snapshot.index > node->applied);
        raft_entries_free(node->log, node->log_count);
        node->log = NULL;
        node->log_count = 0;
        node->before = (struct raft_position){.index = append->snapshot.index, .term = append->snapshot.term};
        node->applied = append->snapshot.index;
        node->conf = append->snapshot.conf;
    }
    if (append->count == 0)
        return;
    CHECK(append->entries[0].index > node->applied && append->entries[0].index > node->before.index);
    uint32_t keep = (uint32_t)(append->entries[0].index - node->before.index - 1);
    CHECK(keep <= node->log_count);
    node->log = raft_entries_replace(node->log, node->log_count, keep, append->entries, append->count);
    node->log_count = keep + append->count;
}

/* `kept` of the writes under way reached the disk. */
static void crash(struct node *node, uint32_t kept)
{
    for (uint32_t i = 0; i < node->append_count; i++) {
        struct append *append = &node->appends[(node->append_head + i) % QUEUE_MAX];
        if (i < kept && !append->has_snapshot)
            write_append(node, append);
        else
            kept = 0;
        free(append->entries);
        free(append->after);
    }
    for (uint32_t i = 0; i < node->apply_count; i++)
        free(node->applies[(node->apply_head + i) % QUEUE_MAX].entries);
    node->append_count = node->apply_count = node->fetch_count = 0;
    node->reads_answered = node->reads_asked = 0;
    raft_free(node->raft);
    node->raft = NULL;
}

/* ---- completions */

static void do_append(struct world *world, struct node *node);

static void do_apply(struct world *world, struct node *node)
{
    if (node->apply_count == 0)
        return;
    struct apply *apply = &node->applies[node->apply_head];
    raft_index last = apply->entries[apply->count - 1].index;
    while (world->config.apply_unstable && durable_last(node) < last && node->append_count > 0)
        do_append(world, node);
    for (uint32_t i = 0; i < apply->count; i++) {
        const struct raft_entry *entry = &apply->entries[i];
        CHECK(entry->index == node->applied + 1 && entry->index <= durable_last(node));
        const struct raft_entry *row = &node->log[entry->index - node->before.index - 1];
        CHECK(row->term == entry->term && bytes_equal(row->data, entry->data));
        node->applied++;
        if (entry->kind != RAFT_ENTRY_NORMAL)
            (void)raft_apply_conf(node->raft, entry, &node->conf);
    }
    free(apply->entries);
    node->apply_head = (node->apply_head + 1) % QUEUE_MAX;
    node->apply_count--;
    raft_applied(node->raft, last);
}

static void do_append(struct world *world, struct node *node)
{
    if (node->append_count == 0)
        return;
    struct append *append = &node->appends[node->append_head];
    while (append->has_snapshot && node->apply_count > 0)
        do_apply(world, node);
    write_append(node, append);
    for (uint32_t i = 0; i < append->after_count; i++) {
        if (append->after[i].to == node->id)
            (void)raft_step_own(node->raft, &append->after[i]);
        else
            post(world, node, &append->after[i]);
        raft_check(node->raft);
    }
    raft_appended(node->raft, &append->token);
    free(append->entries);
    free(append->after);
    node->append_head = (node->append_head + 1) % QUEUE_MAX;
    node->append_count--;
}

static void do_fetch(struct world *world, struct node *node)
{
    if (node->fetch_count == 0)
        return;
    struct raft_fetch fetch = node->fetches[--node->fetch_count];
    static const enum err codes[] = {ERR_OK, ERR_OK, ERR_OK, ERR_IO, ERR_CORRUPT, ERR_NOT_FOUND};
    enum err code = codes[draw(world, 6)];
    if (fetch.from <= node->before.index || fetch.from > durable_last(node))
        code = ERR_NOT_FOUND;
    if (code != ERR_OK) {
        raft_fetched(node->raft, &fetch, code, 0, NULL, 0);
        return;
    }
    uint32_t place = (uint32_t)(fetch.from - node->before.index - 1);
    uint32_t count = node->log_count - place < fetch.count_max ? node->log_count - place : fetch.count_max;
    CHECK(count > 0);
    raft_fetched(node->raft, &fetch, ERR_OK, place ? node->log[place - 1].term : node->before.term, node->log + place,
                 1 + draw(world, 8) % count);
}

static void hand_to_disk(struct node *node, const struct raft_ready *ready)
{
    struct append *append = &node->appends[(node->append_head + node->append_count++) % QUEUE_MAX];
    *append = (struct append){.hard_changed = ready->hard_changed,
                              .hard = ready->hard,
                              .token = ready->token,
                              .count = ready->entry_count,
                              .after_count = ready->after_count};
    append->has_snapshot = ready->snapshot != NULL;
    if (ready->snapshot)
        append->snapshot = *ready->snapshot;
    append->entries = malloc((ready->entry_count + 1) * sizeof *append->entries);
    append->after = malloc((ready->after_count + 1) * sizeof *append->after);
    CHECK(append->entries && append->after);
    if (ready->entry_count)
        memcpy(append->entries, ready->entries, ready->entry_count * sizeof *append->entries);
    if (ready->after_count)
        memcpy(append->after, ready->after, ready->after_count * sizeof *append->after);
}

static void do_ready(struct world *world, struct node *node)
{
    struct raft_ready ready;
    if (node->append_count == QUEUE_MAX || node->apply_count == QUEUE_MAX || !raft_ready(node->raft, &ready))
        return;
    for (uint32_t i = 0; i < ready.message_count; i++)
        post(world, node, &ready.messages[i]);
    if (ready.append)
        hand_to_disk(node, &ready);
    if (ready.committed_count) {
        struct apply *apply = &node->applies[(node->apply_head + node->apply_count++) % QUEUE_MAX];
        apply->count = ready.committed_count;
        apply->entries = malloc(ready.committed_count * sizeof *apply->entries);
        CHECK(apply->entries);
        memcpy(apply->entries, ready.committed, ready.committed_count * sizeof *apply->entries);
    }
    for (uint32_t i = 0; i < ready.fetch_count && node->fetch_count < QUEUE_MAX; i++)
        node->fetches[node->fetch_count++] = ready.fetches[i];
    node->reads_answered += ready.read_count;
    CHECK(node->reads_answered <= node->reads_asked);
}

/* Everything honest that is under way gets on, so that short inputs reach elected leaders and full pipelines. */
static void settle(struct world *world, uint32_t rounds)
{
    for (; rounds > 0; rounds--) {
        for (uint32_t i = 0; i < world->node_count; i++) {
            struct node *node = &world->nodes[i];
            do_ready(world, node);
            do_append(world, node);
            do_apply(world, node);
            do_fetch(world, node);
            raft_check(node->raft);
        }
        for (uint32_t count = world->net_count; count > 0; count--) {
            struct packet *packet = world->net[0];
            world->net_count--;
            memmove(&world->net[0], &world->net[1], world->net_count * sizeof packet);
            packet->message.entries = packet->entries;
            packet->message.snapshot = packet->message.kind == RAFT_SNAPSHOT ? &packet->snapshot : NULL;
            deliver(world, packet);
            free_packet(packet);
        }
    }
}

/* ---- forgery */

/* Numbers near those that matter to `node`, or any. */
static uint64_t draw_number(struct world *world, const struct node *node)
{
    struct fuzz_input *input = &world->input;
    uint8_t what = fuzz_u8(input);
    uint64_t delta = (uint64_t)(what >> 4) - 7;
    switch (what % 16) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX - (what >> 4);
    case 2:
        return RAFT_NUMBER_MAX - 7 + (what >> 4);
    case 3:
        return fuzz_number(input, 8);
    case 4:
    case 5:
    case 6:
        return raft_term_now(node->raft) + delta;
    case 7:
    case 8:
    case 9:
        return raft_last_index(node->raft) + delta;
    case 10:
    case 11:
        return raft_commit_index(node->raft) + delta;
    case 12:
        return raft_applied_index(node->raft) + delta;
    case 13:
        return raft_truncated(node->raft).index + delta;
    case 14:
        return raft_round(node->raft) + delta;
    default:
        return what >> 4;
    }
}

static void draw_conf(struct world *world, struct raft_conf *conf)
{
    bool sound = draw(world, 4) > 0;
    *conf = (struct raft_conf){.auto_leave = draw(world, 4) == 0};
    for (uint8_t count = draw(world, 7); count > 0; count--) {
        struct raft_member member = {.id = draw(world, 8), .roles = draw(world, 16)};
        if (sound)
            (void)raft_conf_add(conf, member.id, member.roles);
        else
            conf->members[conf->count++] = member;
    }
}

static void draw_change(struct world *world, struct raft_conf_change *change)
{
    *change = (struct raft_conf_change){.transition = draw(world, 4), .count = draw(world, 4)};
    change->entry_kind = draw(world, 2) ? RAFT_ENTRY_CONF_CHANGE_V2 : RAFT_ENTRY_CONF_CHANGE;
    for (uint32_t i = 0; i < change->count; i++) {
        change->changes[i].kind = draw(world, 5);
        change->changes[i].id = draw(world, 8);
    }
}

static void draw_entry(struct world *world, const struct node *node, struct raft_entry *entry, uint8_t room[256])
{
    entry->term = draw_number(world, node);
    entry->kind = draw(world, 16) < 12 ? RAFT_ENTRY_NORMAL : draw(world, 4);
    if (entry->kind != RAFT_ENTRY_NORMAL && draw(world, 4) > 0) {
        struct raft_conf_change change;
        draw_change(world, &change);
        entry->kind = change.entry_kind;
        membership_encode(&change, room);
        entry->data = bytes_of(room, membership_encoded_size(&change));
        return;
    }
    entry->data = fuzz_take(&world->input, draw(world, 64));
}

static void draw_message(struct world *world, const struct node *node, struct raft_message *message)
{
    *message = (struct raft_message){.kind = draw(world, 15), .from = draw(world, 8), .to = node->id};
    message->term = draw_number(world, node);
    message->index = draw_number(world, node);
    message->log_term = draw_number(world, node);
    message->commit = draw_number(world, node);
    uint8_t flags = fuzz_u8(&world->input);
    message->reject = flags & 1;
    message->force = flags & 2;
    if (flags & 4)
        message->to = draw_number(world, node);
    if (flags & 8)
        message->commit_term = draw_number(world, node);
    if (flags & 16)
        message->reject_hint = draw_number(world, node);
    if (flags & 32)
        message->round = draw_number(world, node);
    if (flags & 64)
        message->context = draw_number(world, node);
}

static void alter(struct world *world, const struct node *node, struct raft_message *message)
{
    uint64_t number = draw_number(world, node);
    switch (draw(world, 13)) {
    case 0:
        message->kind = (uint8_t)number;
        break;
    case 1:
        message->from = number;
        break;
    case 2:
        message->term = number;
        break;
    case 3:
        message->index = number;
        break;
    case 4:
        message->log_term = number;
        break;
    case 5:
        message->commit = number;
        break;
    case 6:
        message->commit_term = number;
        break;
    case 7:
        message->reject_hint = number;
        break;
    case 8:
        message->round = number;
        break;
    case 9:
        message->context = number;
        break;
    case 10:
        message->reject = !message->reject;
        break;
    case 11:
        message->force = !message->force;
        break;
    default:
        message->to = number;
    }
}

static void forge(struct world *world, struct node *node)
{
    struct raft_message message;
    struct raft_snapshot snapshot;
    struct raft_entry entries[ENTRIES_FORGED_MAX] = {0};
    uint8_t rooms[ENTRIES_FORGED_MAX][256];
    draw_message(world, node, &message);
    message.entry_count = draw(world, ENTRIES_FORGED_MAX + 1);
    bool gap = draw(world, 16) == 15;
    for (uint32_t i = 0; i < message.entry_count; i++) {
        draw_entry(world, node, &entries[i], rooms[i]);
        entries[i].index = gap ? draw_number(world, node) : message.index + 1 + i;
    }
    message.entries = message.entry_count || draw(world, 2) ? entries : NULL;
    if (message.kind == RAFT_SNAPSHOT || draw(world, 16) == 15) {
        snapshot = (struct raft_snapshot){.index = draw_number(world, node), .term = draw_number(world, node)};
        draw_conf(world, &snapshot.conf);
        message.snapshot = draw(world, 16) == 15 ? NULL : &snapshot;
    }
    step(node, &message);
}

/* ---- operations */

static void do_truncate(struct world *world, struct node *node)
{
    raft_index applied = raft_applied_index(node->raft);
    if (applied <= node->before.index || raft_pending_snapshot(node->raft))
        return;
    uint32_t gone = 1 + draw(world, 32) % (uint32_t)(applied - node->before.index);
    node->before = (struct raft_position){.index = node->before.index + gone, .term = node->log[gone - 1].term};
    raft_entries_drop(node->log, node->log_count, gone);
    node->log_count -= gone;
    raft_truncate(node->raft, node->before.index, node->before.term);
}

static void ask(struct world *world, struct node *node)
{
    struct raft_status status;
    raft_get_status(node->raft, &status);
    CHECK(status.last >= status.hard.commit && status.hard.commit >= status.applied);
    (void)raft_next_deadline(node->raft);
    (void)raft_may_sleep(node->raft);
    (void)raft_lease_allowed(node->raft);
    (void)raft_replicated_index(node->raft);
    (void)raft_term_at(node->raft, draw_number(world, node));
    CHECK(raft_memory_size(node->raft) <= raft_pool_used_size(world->pool));
}

static void propose(struct world *world, struct node *node)
{
    raft_index index;
    raft_term term;
    if (raft_propose(node->raft, fuzz_take(&world->input, draw(world, 48)), &index, &term) == ERR_OK)
        CHECK(index == raft_last_index(node->raft) && term == raft_term_now(node->raft));
}

static void propose_conf(struct world *world, struct node *node)
{
    struct raft_conf_change change;
    raft_index index;
    raft_term term;
    draw_change(world, &change);
    (void)raft_propose_conf(node->raft, &change, &index, &term);
}

static void network(struct world *world, struct node *node, uint8_t what)
{
    if (world->net_count == 0)
        return;
    struct packet *packet = take_packet(world);
    struct node *from = &world->nodes[packet->message.from - 1], *to = &world->nodes[packet->message.to - 1];
    switch (what) {
    case 0:
        deliver(world, packet);
        break;
    case 1: /* twice, and the second copy may go elsewhere */
        deliver(world, packet);
        step(draw(world, 2) ? to : node, &packet->message);
        break;
    case 2:
        alter(world, to, &packet->message);
        step(to, &packet->message);
        break;
    default:
        raft_report_unreachable(from->raft, to->id);
        if (packet->message.kind == RAFT_SNAPSHOT)
            raft_report_snapshot(from->raft, to->id, false);
    }
    free_packet(packet);
}

static void restart(struct world *world, struct node *node)
{
    crash(node, draw(world, QUEUE_MAX));
    boot(world, node);
}

static void operate(struct world *world)
{
    struct node *node = &world->nodes[draw(world, (uint8_t)world->node_count)];
    uint8_t what = draw(world, 28);
    switch (what) {
    case 0:
    case 1:
        settle(world, 1 + draw(world, 4));
        break;
    case 2:
    case 3:
        raft_tick(node->raft, 1 + draw(world, what == 2 ? 4 : 64));
        break;
    case 4:
        propose(world, node);
        break;
    case 5:
        propose_conf(world, node);
        break;
    case 6:
        (void)raft_transfer(node->raft, draw(world, 8));
        break;
    case 7:
        node->reads_asked += raft_read(node->raft, fuzz_u8(&world->input)) == ERR_OK;
        break;
    case 8:
        (void)raft_campaign(node->raft);
        break;
    case 9:
        (void)raft_forget_leader(node->raft);
        break;
    case 10:
        raft_leader_lost(node->raft);
        break;
    case 11:
    case 12:
        do_ready(world, node);
        break;
    case 13:
        do_append(world, node);
        break;
    case 14:
        do_apply(world, node);
        break;
    case 15:
        do_fetch(world, node);
        break;
    case 16:
    case 17:
    case 18:
    case 19:
        network(world, node, what - 16);
        break;
    case 20:
        raft_report_snapshot(node->raft, draw(world, 8), draw(world, 2));
        break;
    case 21:
        raft_cache_evict(node->raft, draw(world, 8));
        break;
    case 22:
        do_truncate(world, node);
        break;
    case 23:
        restart(world, node);
        break;
    case 24:
        ask(world, node);
        break;
    default:
        forge(world, node);
    }
    raft_check(node->raft);
    CHECK(raft_pool_used_size(world->pool) < POOL_SIZE_MAX);
}

/* ---- worlds */

static void draw_config(struct world *world)
{
    struct raft_config *config = &world->config;
    uint8_t flags = fuzz_u8(&world->input), sizes = fuzz_u8(&world->input), more = fuzz_u8(&world->input);
    raft_config_default(config);
    config->heartbeat_ticks = 1 + draw(world, 3);
    config->election_ticks = config->heartbeat_ticks + 1 + draw(world, 10);
    config->pre_vote = flags & 1;
    config->check_quorum = flags & 2;
    config->lease_reads = config->check_quorum && (flags & 4);
    config->step_down_on_removal = flags & 8;
    config->vote_commit_hint = flags & 16;
    config->lazy_commit = flags & 32;
    config->coalesce = flags & 64;
    config->apply_unstable = flags & 128;
    config->append_size_max = sizes & 1 ? 1 : 200;
    config->inflight_count_max = sizes & 2 ? 1 : 4;
    config->inflight_size_max = sizes & 4 ? 50 : 0;
    config->uncommitted_size_max = sizes & 8 ? 100 : 0;
    config->committed_size_max = sizes & 16 ? 30 : 0;
    config->cache_size_max = sizes & 32 ? 60 : 0;
    config->read_count_max = sizes & 64 ? 1 : 8;
    config->vote_refuse_ticks = sizes & 128 ? config->election_ticks : 0;
    world->node_count = more & 1 ? 5 : more & 2 ? 4 : 3;
}

static void found(struct world *world)
{
    uint32_t founders = 1 + draw(world, (uint8_t)world->node_count);
    for (uint32_t i = 0; i < world->node_count; i++) {
        struct node *node = &world->nodes[i];
        node->id = i + 1;
        if (i < founders) {
            node->before = (struct raft_position){.index = FIRST, .term = 1};
            node->hard = (struct raft_hard_state){.term = 1, .commit = FIRST};
            node->applied = FIRST;
        }
        for (peer_id id = 1; i < founders && id <= founders; id++)
            CHECK(raft_conf_add(&node->conf, id, RAFT_VOTER) == ERR_OK);
        boot(world, node);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world *world = calloc(1, sizeof *world);
    CHECK(world);
    world->input = (struct fuzz_input){.data = data, .size = size};
    world->pool = raft_pool_new(0);
    draw_config(world);
    found(world);
    for (int i = 0; i < OPERATIONS_MAX && world->input.size > 0; i++)
        operate(world);
    for (uint32_t i = 0; i < world->node_count; i++) {
        crash(&world->nodes[i], QUEUE_MAX);
        boot(world, &world->nodes[i]);
        crash(&world->nodes[i], 0);
        raft_entries_free(world->nodes[i].log, world->nodes[i].log_count);
    }
    for (uint32_t i = 0; i < world->net_count; i++)
        free_packet(world->net[i]);
    CHECK(raft_pool_used_size(world->pool) == 0);
    raft_pool_free(world->pool);
    free(world);
    return 0;
}

/* Configurations and what they do: {node, operation, ...}. */
void fuzz_seeds(fuzz_write_seed *write, void *context)
{
    enum { SETTLE = 0, TICK = 2, PROPOSE = 4, CONF = 5, TRANSFER = 6, READ = 7, CAMPAIGN = 8, EVICT = 21, CUT = 22 };
    enum { RESTART = 23, FORGE = 25 };
    static const uint8_t calm[] = {
        27, 0,       0,       1, 9,        2,      0,   0,      0,    0, CAMPAIGN, 0,      SETTLE,
        3,  0,       PROPOSE, 3, 'a',      'b',    'c', 0,      READ, 1, 1,        READ,   2,
        0,  SETTLE,  3,       0, TRANSFER, 2,      0,   SETTLE, 3,    1, PROPOSE,  1,      'd',
        2,  RESTART, 9,       0, 0,        SETTLE, 3,   0,      TICK, 3, 0,        SETTLE, 3};
    static const uint8_t members[] = {
        27,   33, 1,   0, 9, 2,       0, 0,      0,      0,      0,      0,       CAMPAIGN, 0,    SETTLE, 3,      0,
        CONF, 1,  1,   1, 0, 4,       0, SETTLE, 3,      0,      SETTLE, 3,       0,        CONF, 0,      2,      1,
        0,    5,  1,   2, 0, SETTLE,  3, 0,      SETTLE, 3,      0,      PROPOSE, 2,        'x',  'y',    0,      EVICT,
        0,    0,  CUT, 3, 4, RESTART, 1, 0,      0,      SETTLE, 3,      0,       TICK,     3,    0,      SETTLE, 3};
    static const uint8_t forged[] = {
        27,   0, 0,      1,   9,   2,     0,    0, 0,    1,    FORGE, 1,    2, 0x84,   0x77, 0x84, 0x77,   0, 2,
        0x84, 0, 3,      'a', 'b', 'c',   0x84, 0, 1,    'd',  0,     0,    1, SETTLE, 2,    1,    FORGE,  9, 3,
        0x94, 0, 0,      0,   0,   0,     0,    0, 0xe7, 0x94, 1,     0,    3, 1,      1,    2,    1,      3, 1,
        0,    0, SETTLE, 3,   2,   FORGE, 3,    1, 0xa4, 0x77, 0x74,  0x7a, 2, 0,      0,    0,    SETTLE, 3};
    write(context, "calm", calm, sizeof calm);
    write(context, "members", members, sizeof members);
    write(context, "forged", forged, sizeof forged);
}
