/* raft_world: groups of the core alone in random worlds: a network that loses, repeats and reorders, disks that are slow
 * and forget what was not written when the process dies, appliers that lag, members that come and go, snapshots.
 *
 * Promised in every world, after every event:
 *   one leader per term, elected by a quorum of each half; what a leader commits is on the disks of a quorum of each
 *   half; one change of members at a time, and nobody campaigns who has not applied the last one; what was applied at an index anywhere is what everybody applies there; a read returns an index
 *   that is not behind what anybody had applied when it was asked; a lease read neither; payloads are readable as long as
 *   the interface says (ASan sees to it: the pool keeps no spare blocks); raft_check. And at the end, when all is well
 *   again: everybody catches up, a new proposal commits, and every read has had an answer.
 *
 * A broken promise prints its line and aborts. */
#include "raft_world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "raft/core.h"
#include "raft_entries.h"

enum {
    NODE_COUNT = 6,
    TRUTH_MAX = 8192,
    NET_MAX = 512,
    QUEUE_MAX = 256,
    ROUND_MAX = 64,
    STEP_COUNT = 2500,
    TERM_MAX = 65536
};

static uint64_t current_seed;
static int current_step;
static void fail_at(int line, const char *what)
{
    fprintf(stderr, "line %d: %s\n", line, what);
    abort();
}
/* Whatever ends the process says which world it was. */
static void on_abort(int number)
{
    fprintf(stderr, "RAFT_SEEDS=%llu..%llu, step %d\n", (unsigned long long)current_seed,
            (unsigned long long)current_seed, current_step);
    signal(number, SIG_DFL);
    raise(number);
}

#define MUST(condition) ((condition) ? (void)0 : fail_at(__LINE__, #condition))

struct sm { /* the state machine: a hash of all that was applied */
    raft_index index;
    raft_term term;
    uint64_t hash;
    struct raft_conf conf;
};

struct append { /* handed to the disk; payloads are still the core's */
    bool has_snapshot;
    struct raft_hard_state hard;
    struct raft_snapshot snapshot;
    struct raft_entry *entries;
    uint32_t count;
    struct raft_token token;
    struct raft_message after[64];
    uint32_t after_count;
};

struct apply {
    struct raft_entry *entries;
    uint32_t count;
};

struct node {
    struct raft *raft; /* NULL: down */
    peer_id id;
    struct raft_hard_state hard;
    struct raft_position before;
    struct raft_entry *log; /* on disk, owned */
    uint32_t log_count;
    struct sm sm;
    struct append appends[QUEUE_MAX];
    uint32_t append_head, append_count;
    struct apply applies[QUEUE_MAX];
    uint32_t apply_head, apply_count;
    struct raft_fetch fetches[QUEUE_MAX];
    uint32_t fetch_count;
    uint64_t round_time[ROUND_MAX];
    uint64_t reads_asked, reads_answered;
    raft_term led_term;     /* newest that it leads */
    raft_index seen_commit; /* while it leads that */
};

struct packet {
    struct raft_message message;
    struct raft_entry *entries; /* owned copies */
    struct raft_snapshot snapshot;
    uint64_t snapshot_hash;
    uint64_t due;
};

struct world {
    struct rng rng;
    struct raft_config config;
    struct raft_pool *pool;
    struct node nodes[NODE_COUNT];
    struct packet *net[NET_MAX];
    uint32_t net_count;
    uint64_t now; /* ticks */
    struct {
        raft_term term;
        uint64_t hash;
        uint64_t chain; /* state after it */
    } truth[TRUTH_MAX];
    raft_index truth_last;
    peer_id leaders[TERM_MAX]; /* by term */
    uint8_t votes[TERM_MAX][NODE_COUNT + 1];
    uint64_t read_floor[65536];
    uint64_t read_round[65536]; /* of a leader, when it was asked */
    raft_term read_term[65536]; /* in which it leads; 0: it does not */
    uint64_t read_count;
    bool cut[NODE_COUNT][NODE_COUNT];
    bool calm, no_conf, no_crash;
    uint32_t loss, repeat; /* per mille */
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    a ^= b + 0x9e3779b97f4a7c15u + (a << 6) + (a >> 2);
    return a * 0xff51afd7ed558ccdu;
}

static uint64_t hash_of(const struct raft_entry *entry)
{
    uint64_t hash = mix(entry->kind, entry->data.size);
    for (size_t i = 0; i < entry->data.size; i++)
        hash = mix(hash, entry->data.data[i]);
    return hash;
}

static bool chance(struct world *world, uint32_t percent)
{
    return rng_chance(&world->rng, percent, 100);
}

/* ---- network ---- */

static void free_packet(struct packet *packet)
{
    raft_entries_free(packet->entries, packet->message.entry_count);
    free(packet);
}

static void post(struct world *world, const struct node *from, const struct raft_message *message)
{
    uint32_t copies = 1;
    if (!world->calm && rng_chance(&world->rng, world->loss, 1000))
        copies = 0;
    if (!world->calm && rng_chance(&world->rng, world->repeat, 1000))
        copies++;
    if (message->kind == RAFT_SNAPSHOT && (copies == 0 || world->net_count == NET_MAX))
        raft_report_snapshot(from->raft, message->to, false); /* who sends one must say how it ended */
    for (; copies > 0 && world->net_count < NET_MAX; copies--) {
        struct packet *packet = calloc(1, sizeof(*packet));
        packet->message = *message;
        packet->entries = raft_entries_copy(message->entries, message->entry_count);
        packet->due = world->now + (chance(world, 10) && !world->calm ? rng_below(&world->rng, 20) : 0);
        if (message->kind == RAFT_SNAPSHOT) { /* the state machine's own, which may be newer */
            MUST(message->snapshot->index <= from->sm.index);
            packet->snapshot =
                (struct raft_snapshot){.index = from->sm.index, .term = from->sm.term, .conf = from->sm.conf};
            packet->snapshot_hash = from->sm.hash;
        }
        world->net[world->net_count++] = packet;
    }
}

/* ---- life and death of a node ---- */

static void boot(struct world *world, struct node *node)
{
    struct raft_initial initial = {
        .id = node->id, .seed = rng_next(&world->rng), .hard = node->hard, .conf = node->sm.conf};
    /* Of what is applied, some entries may be kept in memory at the start, all, or none. */
    raft_index base = rng_between(&world->rng, node->before.index, node->sm.index);
    initial.applied = node->sm.index;
    initial.truncated = node->before;
    initial.base = node->before;
    if (base > node->before.index)
        initial.base = (struct raft_position){.index = base, .term = node->log[base - node->before.index - 1].term};
    initial.entries = node->log + (base - node->before.index);
    initial.entry_count = node->log_count - (uint32_t)(base - node->before.index);
    enum err code = raft_new(&world->config, &initial, world->pool, &node->raft);
    MUST(code == ERR_OK);
    memset(node->round_time, 0, sizeof(node->round_time));
}

/* All that a disk has to keep of the commit index: it goes along with a term, a vote, or a change of members. */
static bool takes_commit_along(const struct node *node, const struct append *append)
{
    bool takes = append->hard.term != node->hard.term || append->hard.vote != node->hard.vote;
    for (uint32_t i = 0; i < append->count; i++)
        takes |= append->entries[i].kind != RAFT_ENTRY_NORMAL;
    return takes;
}

static void write_append(struct world *world, struct node *node, struct append *append)
{
    MUST(append->hard.term > node->hard.term ||
         (append->hard.term == node->hard.term && (node->hard.vote == 0 || node->hard.vote == append->hard.vote)));
    MUST(append->hard.commit >= node->hard.commit);
    raft_index commit = takes_commit_along(node, append) ? append->hard.commit : node->hard.commit;
    node->hard = append->hard;
    node->hard.commit = commit;
    if (append->has_snapshot) {
        raft_entries_free(node->log, node->log_count);
        node->log = NULL;
        node->log_count = 0;
        node->before = (struct raft_position){.index = append->snapshot.index, .term = append->snapshot.term};
        MUST(append->snapshot.index <= world->truth_last && append->snapshot.index > node->sm.index);
        node->sm =
            (struct sm){.index = append->snapshot.index, .term = append->snapshot.term, .conf = append->snapshot.conf};
        node->sm.hash = world->truth[node->sm.index].chain;
    }
    if (append->count == 0)
        return;
    MUST(append->entries[0].index > node->sm.index && append->entries[0].index > node->before.index);
    uint32_t keep = (uint32_t)(append->entries[0].index - node->before.index - 1);
    MUST(keep <= node->log_count);
    node->log = raft_entries_replace(node->log, node->log_count, keep, append->entries, append->count);
    node->log_count = keep + append->count;
}

static void crash(struct world *world, struct node *node)
{
    /* Writes reach the disk in order; how many of those under way did, nobody knows. */
    uint32_t kept = (uint32_t)rng_below(&world->rng, node->append_count + 1);
    for (uint32_t i = 0; i < node->append_count; i++) {
        struct append *append = &node->appends[(node->append_head + i) % QUEUE_MAX];
        if (i < kept && !append->has_snapshot)
            write_append(world, node, append);
        else
            kept = 0;
        free(append->entries);
    }
    for (uint32_t i = 0; i < node->apply_count; i++)
        free(node->applies[(node->apply_head + i) % QUEUE_MAX].entries);
    node->append_count = node->apply_count = node->fetch_count = 0;
    node->reads_answered = node->reads_asked; /* nobody is left to hear */
    raft_free(node->raft);
    node->raft = NULL;
}

/* ---- completions ---- */

static bool disk_has(const struct node *node, struct raft_position position)
{
    if (position.index <= node->before.index)
        return true;
    uint64_t place = position.index - node->before.index - 1;
    return place < node->log_count && node->log[place].term == position.term;
}

/* Have more than half of the voters, of each half of the configuration, what `has` asks for? */
static bool is_quorum(const struct world *world, const struct node *node, struct raft_position position,
                      bool (*has)(const struct world *, const struct node *, peer_id, struct raft_position))
{
    struct raft_conf conf;
    raft_get_conf(node->raft, &conf);
    static const uint8_t halves[] = {RAFT_VOTER, RAFT_OUTGOING};
    for (int half = 0; half < 2; half++) {
        uint32_t count = 0, yes = 0;
        for (uint32_t i = 0; i < conf.count; i++) {
            count += (conf.members[i].roles & halves[half]) != 0;
            yes += (conf.members[i].roles & halves[half]) && has(world, node, conf.members[i].id, position);
        }
        if (count > 0 && yes < count / 2 + 1)
            return false;
    }
    return true;
}

static bool has_entry(const struct world *world, const struct node *leader, peer_id id, struct raft_position position)
{
    (void)leader;
    return disk_has(&world->nodes[id - 1], position);
}

static bool has_voted(const struct world *world, const struct node *leader, peer_id id, struct raft_position position)
{
    return world->votes[position.term][id] == leader->id;
}

static void check_leader(struct world *world, struct node *node)
{
    raft_term term = raft_term_now(node->raft);
    if (!raft_is_leader(node->raft) || term >= TERM_MAX)
        return;
    raft_index commit = raft_commit_index(node->raft);
    MUST(world->leaders[term] == 0 || world->leaders[term] == node->id);
    world->leaders[term] = node->id;
    if (node->led_term < term)
        MUST(is_quorum(world, node, (struct raft_position){.term = term}, has_voted));
    else if (commit > node->seen_commit)
        MUST(is_quorum(world, node, (struct raft_position){.index = commit, .term = raft_term_at(node->raft, commit)},
                       has_entry));
    node->led_term = term;
    node->seen_commit = commit;
}

static void check_changes(const struct world *world, const struct node *node)
{
    const struct raft *raft = node->raft;
    uint32_t open_count = 0;
    for (raft_index index = raft->log.base.index + 1; index <= raftlog_last(&raft->log); index++) {
        if (raftlog_entry(&raft->log, index)->kind == RAFT_ENTRY_NORMAL)
            continue;
        open_count += index > world->truth_last;
        if (index > raft->log.applied && index <= raft->log.commit)
            MUST(raft->role != RAFT_CANDIDATE && raft->role != RAFT_PRE_CANDIDATE);
    }
    MUST(open_count <= 1);
}

static void check_node(struct world *world, struct node *node)
{
    raft_check(node->raft);
    check_leader(world, node);
    check_changes(world, node);
}

static void do_apply(struct world *world, struct node *node)
{
    if (node->apply_count == 0)
        return;
    struct apply *apply = &node->applies[node->apply_head];
    for (uint32_t i = 0; i < apply->count; i++) {
        const struct raft_entry *entry = &apply->entries[i];
        raft_index index = entry->index;
        MUST(index == node->sm.index + 1 && index < TRUTH_MAX);
        uint64_t hash = hash_of(entry);
        if (index > world->truth_last) {
            world->truth_last = index;
            world->truth[index].term = entry->term;
            world->truth[index].hash = hash;
            world->truth[index].chain = mix(node->sm.hash, mix(hash, entry->term));
        }
        MUST(world->truth[index].term == entry->term && world->truth[index].hash == hash);
        MUST(index <= node->before.index + node->log_count); /* durable here */
        node->sm.index = index;
        node->sm.term = entry->term;
        node->sm.hash = mix(node->sm.hash, mix(hash, entry->term));
        MUST(node->sm.hash == world->truth[index].chain);
        if (entry->kind != RAFT_ENTRY_NORMAL) {
            raft_apply_conf(node->raft, entry, &node->sm.conf);
            check_leader(world, node);
        }
    }
    raft_index last = apply->entries[apply->count - 1].index;
    free(apply->entries);
    node->apply_head = (node->apply_head + 1) % QUEUE_MAX;
    node->apply_count--;
    raft_applied(node->raft, last);
}

/* It leaves, or counts for oneself: from now on it is durable. */
static void note_vote(struct world *world, const struct raft_message *message)
{
    if (message->kind != RAFT_VOTE_RESP || message->reject || message->term >= TERM_MAX)
        return;
    uint8_t *vote = &world->votes[message->term][message->from];
    MUST(*vote == 0 || *vote == message->to);
    *vote = (uint8_t)message->to;
}

static void do_append(struct world *world, struct node *node)
{
    if (node->append_count == 0)
        return;
    struct append *append = &node->appends[node->append_head];
    while (append->has_snapshot && node->apply_count > 0)
        do_apply(world, node);
    write_append(world, node, append);
    for (uint32_t i = 0; i < append->after_count; i++) {
        note_vote(world, &append->after[i]);
        if (append->after[i].to == node->id)
            raft_step_own(node->raft, &append->after[i]);
        else
            post(world, node, &append->after[i]);
    }
    raft_appended(node->raft, &append->token);
    check_leader(world, node);
    free(append->entries);
    node->append_head = (node->append_head + 1) % QUEUE_MAX;
    node->append_count--;
}

static void do_fetch(struct world *world, struct node *node)
{
    if (node->fetch_count == 0)
        return;
    struct raft_fetch fetch = node->fetches[--node->fetch_count];
    enum err code = chance(world, 5) && !world->calm ? ERR_IO : ERR_OK;
    raft_index last = node->before.index + node->log_count;
    if (fetch.from <= node->before.index || fetch.from > last)
        code = ERR_NOT_FOUND;
    if (code != ERR_OK) {
        raft_fetched(node->raft, &fetch, code, 0, NULL, 0);
        return;
    }
    uint32_t place = (uint32_t)(fetch.from - node->before.index - 1);
    uint32_t count = node->log_count - place < fetch.count_max ? node->log_count - place : fetch.count_max;
    raft_fetched(node->raft, &fetch, ERR_OK, place ? node->log[place - 1].term : node->before.term, node->log + place,
                 (uint32_t)rng_between(&world->rng, 1, count));
}

/* ---- a ready ---- */

static void hand_to_disk(struct node *node, const struct raft_ready *ready)
{
    struct append *append = &node->appends[(node->append_head + node->append_count++) % QUEUE_MAX];
    *append = (struct append){.hard = ready->hard, .token = ready->token};
    append->has_snapshot = ready->snapshot != NULL;
    if (ready->snapshot)
        append->snapshot = *ready->snapshot;
    append->count = ready->entry_count;
    append->entries = malloc((ready->entry_count + 1) * sizeof(*append->entries));
    if (ready->entry_count)
        memcpy(append->entries, ready->entries, ready->entry_count * sizeof(*append->entries));
    MUST(ready->after_count <= 64);
    append->after_count = ready->after_count;
    if (ready->after_count)
        memcpy(append->after, ready->after, ready->after_count * sizeof(append->after[0]));
}

static void hand_to_apply(struct node *node, const struct raft_ready *ready)
{
    struct apply *apply = &node->applies[(node->apply_head + node->apply_count++) % QUEUE_MAX];
    apply->count = ready->committed_count;
    apply->entries = malloc(ready->committed_count * sizeof(*apply->entries));
    memcpy(apply->entries, ready->committed, ready->committed_count * sizeof(*apply->entries));
}

/* Who leads asks a quorum again after the read came: answers to an older round prove nothing. (Where members change, a
 * read may have been answered while its leader was the only one.) */
static void check_read_round(const struct world *world, const struct node *node, const struct raft_read_result *read)
{
    bool same = raft_is_leader(node->raft) && world->read_term[read->context] == raft_term_now(node->raft);
    if (read->code == ERR_OK && same && world->no_conf)
        MUST(raft_confirmed_round(node->raft) > world->read_round[read->context]);
}

static void do_ready(struct world *world, struct node *node)
{
    struct raft_ready ready;
    if (node->append_count > QUEUE_MAX - 2 || node->apply_count > QUEUE_MAX - 2)
        return;
    if (!raft_ready(node->raft, &ready))
        return;
    if (ready.round)
        node->round_time[ready.round % ROUND_MAX] = world->now;
    for (uint32_t i = 0; i < ready.message_count; i++)
        post(world, node, &ready.messages[i]);
    if (ready.append)
        hand_to_disk(node, &ready);
    if (ready.committed_count)
        hand_to_apply(node, &ready);
    for (uint32_t i = 0; i < ready.fetch_count && node->fetch_count < QUEUE_MAX; i++)
        node->fetches[node->fetch_count++] = ready.fetches[i];
    for (uint32_t i = 0; i < ready.read_count; i++) {
        node->reads_answered++;
        check_read_round(world, node, &ready.reads[i]);
        MUST(ready.reads[i].code != ERR_OK || ready.reads[i].index >= world->read_floor[ready.reads[i].context]);
    }
    check_leader(world, node);
}

/* ---- what users and operators do ---- */

static raft_index highest_applied(const struct world *world)
{
    return world->truth_last;
}

static void do_propose(struct world *world, struct node *node)
{
    uint8_t data[300];
    size_t size = rng_below(&world->rng, chance(world, 10) ? sizeof(data) : 20);
    raft_index index;
    raft_term term;
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)rng_next(&world->rng);
    if (raft_last_index(node->raft) < TRUTH_MAX - 64)
        raft_propose(node->raft, bytes_of(data, size), &index, &term);
}

static void do_conf(struct world *world, struct node *node)
{
    struct raft_conf_change change = {.entry_kind = RAFT_ENTRY_CONF_CHANGE_V2};
    struct raft_conf conf, result;
    raft_index index;
    raft_term term;
    raft_get_conf(node->raft, &conf);
    if (raft_conf_is_joint(&conf) && !conf.auto_leave) {
        raft_propose_conf(node->raft, &change, &index, &term);
        return;
    }
    change.count = (uint8_t)rng_between(&world->rng, 1, 3);
    change.transition = (uint8_t)rng_below(&world->rng, 3);
    for (uint32_t i = 0; i < change.count; i++) {
        change.changes[i].kind = (uint8_t)rng_below(&world->rng, 4);
        change.changes[i].id = rng_between(&world->rng, 1, NODE_COUNT);
    }
    if (raft_conf_apply(&conf, &change, &result) != ERR_OK)
        return;
    enum err code = raft_propose_conf(node->raft, &change, &index, &term);
    MUST(code == ERR_OK || code == ERR_NOT_READY || code == ERR_NOT_LEADER || code == ERR_BUSY);
}

static void do_read(struct world *world, struct node *node)
{
    if (world->read_count >= 65536)
        return;
    world->read_floor[world->read_count] = highest_applied(world);
    world->read_round[world->read_count] = raft_round(node->raft);
    world->read_term[world->read_count] = raft_is_leader(node->raft) ? raft_term_now(node->raft) : 0;
    if (raft_read(node->raft, world->read_count) == ERR_OK) {
        world->read_count++;
        node->reads_asked++;
    }
}

/* A read on the leader's word alone. */
static void do_lease_read(struct world *world, struct node *node)
{
    uint64_t round = raft_confirmed_round(node->raft);
    if (!world->config.lease_reads || !raft_lease_allowed(node->raft))
        return;
    bool valid = raft_is_lone(node->raft);
    if (round > 0 && raft_round(node->raft) - round < ROUND_MAX)
        valid |= world->now < node->round_time[round % ROUND_MAX] + world->config.election_ticks;
    if (valid)
        MUST(raft_commit_index(node->raft) >= highest_applied(world));
}

static void do_truncate(struct world *world, struct node *node)
{
    if (node->sm.index <= node->before.index || raft_pending_snapshot(node->raft))
        return;
    raft_index index = rng_between(&world->rng, node->before.index + 1, node->sm.index);
    raft_index applied = raft_applied_index(node->raft);
    index = index < applied ? index : applied;
    if (index <= node->before.index)
        return;
    uint32_t gone = (uint32_t)(index - node->before.index);
    node->before = (struct raft_position){.index = index, .term = node->log[gone - 1].term};
    raft_entries_drop(node->log, node->log_count, gone);
    node->log_count -= gone;
    raft_truncate(node->raft, index, node->before.term);
}

static void do_deliver(struct world *world)
{
    if (world->net_count == 0)
        return;
    uint32_t place = world->calm ? 0 : (uint32_t)rng_below(&world->rng, world->net_count);
    struct packet *packet = world->net[place];
    if (packet->due > world->now)
        return;
    world->net_count--;
    memmove(&world->net[place], &world->net[place + 1], (world->net_count - place) * sizeof(packet));
    struct raft_message *message = &packet->message;
    struct node *to = &world->nodes[message->to - 1], *from = &world->nodes[message->from - 1];
    bool cut = world->cut[message->from - 1][message->to - 1];
    message->entries = packet->entries;
    message->snapshot = message->kind == RAFT_SNAPSHOT ? &packet->snapshot : NULL;
    bool snapshot_ok = false;
    if (to->raft && !cut) {
        enum err code = raft_step(to->raft, message);
        MUST(code == ERR_OK || code == ERR_NOT_FOUND);
        snapshot_ok = true;
        check_node(world, to);
    }
    if (message->kind == RAFT_SNAPSHOT && from->raft)
        raft_report_snapshot(from->raft, message->to, snapshot_ok && !chance(world, 20));
    free_packet(packet);
}

static void do_cut(struct world *world)
{
    uint64_t how = rng_below(&world->rng, 4);
    uint64_t one = rng_below(&world->rng, NODE_COUNT);
    for (uint32_t i = 0; i < NODE_COUNT; i++) {
        for (uint32_t j = 0; j < NODE_COUNT; j++) {
            world->cut[i][j] = how == 1   ? (i == one) != (j == one)
                               : how == 2 ? i == one
                                          : how == 3 && (i < 3) != (j < 3);
        }
    }
}

static struct node *leader_of(struct world *world)
{
    struct node *best = NULL;
    for (uint32_t i = 0; i < NODE_COUNT; i++) {
        struct node *node = &world->nodes[i];
        if (node->raft && raft_is_leader(node->raft) &&
            (!best || raft_term_now(node->raft) > raft_term_now(best->raft)))
            best = node;
    }
    return best;
}

/* Also one that was deposed and does not know it yet: it is the one to ask. */
static struct node *any_leader(struct world *world, struct node *or_else)
{
    uint64_t first = rng_below(&world->rng, NODE_COUNT);
    for (uint32_t i = 0; i < NODE_COUNT; i++) {
        struct node *node = &world->nodes[(first + i) % NODE_COUNT];
        if (node->raft && raft_is_leader(node->raft))
            return node;
    }
    return or_else;
}

static void disturb(struct world *world, struct node *node)
{
    struct node *leader = leader_of(world);
    peer_id other = rng_between(&world->rng, 1, NODE_COUNT);
    switch (rng_below(&world->rng, 12)) {
    case 0:
        if (!world->no_crash)
            crash(world, node);
        break;
    case 1:
        do_cut(world);
        break;
    case 2:
    case 3:
        if (leader && !world->no_conf)
            do_conf(world, leader);
        break;
    case 4:
        if (leader)
            raft_transfer(leader->raft, other);
        break;
    case 5:
        raft_report_unreachable(node->raft, other);
        break;
    case 6:
    case 7:
        do_truncate(world, node);
        break;
    case 8:
        raft_cache_evict(node->raft, (uint32_t)rng_below(&world->rng, 5));
        break;
    case 9:
        raft_campaign(node->raft);
        break;
    case 10:
        raft_leader_lost(node->raft);
        break;
    default:
        raft_forget_leader(node->raft);
    }
}

static void tick(struct world *world)
{
    world->now++;
    for (uint32_t i = 0; i < NODE_COUNT; i++) {
        struct node *node = &world->nodes[i];
        if (node->raft)
            raft_tick(node->raft, 1);
        else if (chance(world, 20) || world->calm)
            boot(world, node);
    }
}

static void do_something(struct world *world)
{
    struct node *node = &world->nodes[rng_below(&world->rng, NODE_COUNT)];
    uint64_t what = rng_below(&world->rng, world->calm ? 88 : 100);
    if (what < 40)
        do_deliver(world);
    if (!node->raft)
        return;
    if (what >= 40 && what < 60)
        do_ready(world, node);
    else if (what >= 60 && what < 75)
        do_append(world, node);
    else if (what >= 75 && what < 85)
        do_apply(world, node);
    else if (what >= 85 && what < 88)
        do_fetch(world, node);
    else if (what >= 88 && what < 93)
        do_propose(world, leader_of(world) ? leader_of(world) : node);
    else if (what >= 93 && what < 95)
        do_read(world, chance(world, 50) ? any_leader(world, node) : node);
    else if (what >= 95 && what < 97)
        do_lease_read(world, chance(world, 50) ? any_leader(world, node) : node);
    else if (what >= 97 && !world->calm && chance(world, 50))
        disturb(world, node);
    if (node->raft)
        check_node(world, node);
}

/* ---- worlds ---- */

static void draw_config(struct world *world)
{
    struct rng *rng = &world->rng;
    raft_config_default(&world->config);
    struct raft_config *config = &world->config;
    config->heartbeat_ticks = (uint32_t)rng_between(rng, 1, 3);
    config->election_ticks = config->heartbeat_ticks * 4 + (uint32_t)rng_below(rng, 6);
    config->pre_vote = rng_chance(rng, 3, 4);
    config->check_quorum = rng_chance(rng, 3, 4);
    config->lease_reads = config->check_quorum && rng_chance(rng, 2, 3);
    config->vote_refuse_ticks = config->lease_reads ? config->election_ticks : 0;
    config->step_down_on_removal = rng_chance(rng, 1, 2);
    config->coalesce = rng_chance(rng, 1, 2);
    config->lazy_commit = rng_chance(rng, 1, 3);
    config->append_size_max = rng_chance(rng, 1, 3) ? 1 : 500;
    config->inflight_count_max = (uint32_t)rng_between(rng, 1, 8);
    config->inflight_size_max = rng_chance(rng, 1, 3) ? 200 : 0;
    config->uncommitted_size_max = rng_chance(rng, 1, 3) ? 300 : 0;
    config->committed_size_max = rng_chance(rng, 1, 2) ? rng_between(rng, 1, 500) : 0;
    config->cache_size_max = rng_chance(rng, 1, 2) ? rng_between(rng, 1, 1000) : 0;
    config->read_count_max = 8;
    world->loss = (uint32_t)rng_below(rng, 3) * 50;
    world->repeat = (uint32_t)rng_below(rng, 3) * 30;
    world->no_conf = rng_chance(rng, 1, 3);
    world->no_crash = rng_chance(rng, 1, 4);
}

static struct world *make_world(uint64_t seed)
{
    struct world *world = calloc(1, sizeof(*world));
    rng_init(&world->rng, seed, "cluster");
    draw_config(world);
    world->pool = raft_pool_new(0);
    world->truth_last = 10;
    for (uint32_t i = 0; i < NODE_COUNT; i++) {
        struct node *node = &world->nodes[i];
        node->id = i + 1;
        /* The founders begin behind index 10; whoever joins later has nothing, and gets a snapshot. */
        if (i < 3) {
            node->before = (struct raft_position){.index = world->truth_last, .term = 1};
            node->hard = (struct raft_hard_state){.term = 1, .commit = world->truth_last};
            node->sm.index = world->truth_last;
            node->sm.term = 1;
        }
        for (peer_id id = 1; i < 3 && id <= 3; id++)
            raft_conf_add(&node->sm.conf, id, RAFT_VOTER);
        boot(world, node);
    }
    return world;
}

static void end_world(struct world *world)
{
    for (uint32_t i = 0; i < NODE_COUNT; i++) {
        if (world->nodes[i].raft)
            crash(world, &world->nodes[i]);
        raft_entries_free(world->nodes[i].log, world->nodes[i].log_count);
    }
    for (uint32_t i = 0; i < world->net_count; i++)
        free_packet(world->net[i]);
    raft_pool_free(world->pool);
    free(world);
}

/* Members of the newest configuration; the others are switched off: nothing can be promised about them. */
static const struct raft_conf *newest_conf(const struct world *world)
{
    const struct node *best = &world->nodes[0];
    for (uint32_t i = 1; i < NODE_COUNT; i++) {
        if (world->nodes[i].sm.index > best->sm.index)
            best = &world->nodes[i];
    }
    return &best->sm.conf;
}

static bool is_settled(struct world *world, raft_index index)
{
    const struct raft_conf *conf = newest_conf(world);
    for (uint32_t i = 0; i < NODE_COUNT; i++) {
        const struct node *node = &world->nodes[i];
        if (raft_conf_member(conf, node->id) && (!node->raft || node->sm.index < index))
            return false;
        if (node->reads_asked != node->reads_answered)
            return false;
    }
    return true;
}

static void run_calm(struct world *world, int tick_count)
{
    for (int i = 0; i < tick_count; i++) {
        tick(world);
        for (int j = 0; j < 120; j++)
            do_something(world);
        for (uint32_t n = 0; n < NODE_COUNT; n++) {
            struct node *node = &world->nodes[n];
            const struct raft_conf *conf = newest_conf(world);
            /* Who was removed and does not know it would disturb the others for ever; who does know may have to tell
             * them. */
            for (uint32_t m = 0; m < NODE_COUNT; m++)
                world->cut[n][m] = !raft_conf_member(conf, node->id) && raft_conf_member(&node->sm.conf, node->id);
            if (node->raft && raft_is_leader(node->raft) && !raft_conf_member(&node->sm.conf, node->id))
                raft_transfer(node->raft, rng_between(&world->rng, 1, NODE_COUNT)); /* it would lead for ever */
            if (node->raft) {
                do_ready(world, node);
                do_append(world, node);
                do_apply(world, node);
                do_fetch(world, node);
            }
        }
    }
}

static void show_world(const struct world *world)
{
    fprintf(stderr, "applied anywhere: %llu; packets: %u\n", (unsigned long long)world->truth_last, world->net_count);
    for (uint32_t i = 0; i < NODE_COUNT; i++) {
        const struct node *node = &world->nodes[i];
        struct raft_status status;
        if (!node->raft)
            continue;
        raft_get_status(node->raft, &status);
        fprintf(stderr,
                "%u: role %d term %llu leader %llu applied %llu commit %llu last %llu truncated %llu reads %llu/%llu "
                "queues %u %u conf",
                i + 1, status.role, (unsigned long long)status.hard.term, (unsigned long long)status.leader,
                (unsigned long long)status.applied, (unsigned long long)status.hard.commit,
                (unsigned long long)status.last, (unsigned long long)status.truncated.index,
                (unsigned long long)node->reads_answered, (unsigned long long)node->reads_asked, node->append_count,
                node->apply_count);
        for (uint32_t j = 0; j < status.conf.count; j++)
            fprintf(stderr, " %llu:%x", (unsigned long long)status.conf.members[j].id, status.conf.members[j].roles);
        fprintf(stderr, "%s\n", status.conf.auto_leave ? " auto" : "");
        for (uint32_t j = 0; j < status.peer_count; j++)
            fprintf(stderr, "   %llu: state %d match %llu next %llu%s%s\n", (unsigned long long)status.peers[j].id,
                    status.peers[j].state, (unsigned long long)status.peers[j].match,
                    (unsigned long long)status.peers[j].next, status.peers[j].paused ? " paused" : "",
                    status.peers[j].fetching ? " fetching" : "");
    }
}

static void settle(struct world *world)
{
    memset(world->cut, 0, sizeof(world->cut));
    world->calm = true;
    int patience = 60;
    for (; patience > 0; patience--) {
        run_calm(world, 20);
        if (leader_of(world) && is_settled(world, world->truth_last))
            break;
    }
    if (patience == 0)
        show_world(world);
    MUST(patience > 0);
    struct node *leader = leader_of(world);
    raft_index index = 0;
    raft_term term;
    for (patience = 60; patience > 0; patience--) {
        leader = leader_of(world);
        if (leader && raft_propose(leader->raft, bytes_of_string("the last"), &index, &term) == ERR_OK) {
            run_calm(world, 20);
            if (world->truth_last >= index && is_settled(world, index))
                break;
        } else {
            run_calm(world, 20);
        }
    }
    if (patience == 0)
        show_world(world);
    MUST(patience > 0);
}

void raft_world_run(uint64_t seed)
{
    struct world *world = make_world(seed);
    current_seed = seed;
    signal(SIGABRT, on_abort);
    for (current_step = 0; current_step < STEP_COUNT; current_step++) {
        if (chance(world, 20))
            tick(world);
        for (int i = 0; i < 6; i++)
            do_something(world);
    }
    settle(world);
    end_world(world);
}
