/* interaction_file: whole nodes, their disks, and the messages between them, one step at a time.
 *
 * A node is a core, a disk (hard state, entries, the position before them) and a state machine that remembers one
 * snapshot per applied entry. With async-storage-writes, what goes to the disk and to the state machine are messages in
 * queues of their own, and so are the completions; without, process-ready does all of it at once, and the core is told
 * that it may hand out what is not durable yet.
 *
 * Beyond the commands that etcd-io/raft's files use there are ours: read, evict, process-fetch, restart, tick,
 * leader-lost, wake, report-snapshot, rounds, sleepy, deadline, and options of add-nodes (uncommitted, inflight-bytes,
 * max-size, refuse, coalesce, lazy-commit, vote-hint, read-max). */
#include <stdlib.h>
#include <string.h>

#include "raft/core.h"
#include "scenario.h"
#include "show.h"

#define LLU(x) ((unsigned long long)(x))
enum { NODE_COUNT_MAX = 16, STABILIZE_ROUNDS_MAX = 1000 };

enum wire_kind { WIRE_MESSAGE, WIRE_STORAGE_APPEND, WIRE_STORAGE_APPLY, WIRE_APPEND_DONE, WIRE_APPLY_DONE };

struct wires {
    struct wire *items;
    uint32_t count;
};

/* Anything that travels: between nodes, or between a node and its threads. Owns all it points to. */
struct wire {
    enum wire_kind kind;
    peer_id from, to; /* of local ones: the node */
    struct raft_message message;
    struct raft_entry *entries;
    uint32_t entry_count;
    bool has_snapshot, hard_changed;
    struct raft_snapshot snapshot;
    struct raft_hard_state hard;
    struct raft_token token;
    struct wires responses;
};

struct node {
    struct raft *raft;
    struct raft_config config;
    bool async;
    struct {
        struct raft_hard_state hard;
        raft_index sure_commit;      /* as of the last write of a term, a vote or a change of members */
        struct raft_position before; /* the entry before the first */
        struct raft_entry *entries;
        uint32_t count;
    } disk;
    struct raft_snapshot
        installed; /* newest from elsewhere: the history, as in etcd-io/raft's driver, has our own only */
    struct raft_snapshot *history;
    uint32_t history_count;
    struct wires append_work, apply_work;
    struct raft_token early[64]; /* completions that came before those in front of them */
    uint32_t early_count;
    struct raft_fetch *fetches;
    uint32_t fetch_count;
};

struct world {
    struct raft_pool *pool;
    struct node *nodes[NODE_COUNT_MAX];
    uint32_t node_count;
    struct wires messages;
    bool quiet;
    const char *error; /* of the command */
};

/* ---- copies ---- */

static struct raft_entry copy_entry(const struct raft_entry *entry)
{
    struct raft_entry copy = *entry;
    if (entry->data.size > 0) {
        uint8_t *data = malloc(entry->data.size);
        memcpy(data, entry->data.data, entry->data.size);
        copy.data.data = data;
    }
    return copy;
}

static struct raft_entry *copy_entries(const struct raft_entry *entries, uint32_t count)
{
    struct raft_entry *copy = count ? malloc(count * sizeof(*copy)) : NULL;
    for (uint32_t i = 0; i < count; i++)
        copy[i] = copy_entry(&entries[i]);
    return copy;
}

static void free_entries(struct raft_entry *entries, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (entries[i].data.size > 0)
            free((void *)(uintptr_t)entries[i].data.data);
    }
    free(entries);
}

static void add_wire(struct wires *wires, struct wire wire)
{
    wires->items = realloc(wires->items, (wires->count + 1) * sizeof(wire));
    wires->items[wires->count++] = wire;
}

static void free_wires(struct wires *wires);

static void free_wire(struct wire *wire)
{
    free_entries(wire->entries, wire->entry_count);
    free_wires(&wire->responses);
}

static void free_wires(struct wires *wires)
{
    for (uint32_t i = 0; i < wires->count; i++)
        free_wire(&wires->items[i]);
    free(wires->items);
    *wires = (struct wires){0};
}

static struct wire take_wire(struct wires *wires, uint32_t place)
{
    struct wire wire = wires->items[place];
    wires->count--;
    memmove(&wires->items[place], &wires->items[place + 1], (wires->count - place) * sizeof(wire));
    return wire;
}

/* ---- text ---- */

static void show_target(const struct wire *wire, bool from, struct text *out)
{
    bool append = wire->kind == WIRE_STORAGE_APPEND || wire->kind == WIRE_APPEND_DONE;
    bool thread = from ? wire->kind == WIRE_APPEND_DONE || wire->kind == WIRE_APPLY_DONE
                       : wire->kind == WIRE_STORAGE_APPEND || wire->kind == WIRE_STORAGE_APPLY;
    if (thread)
        text_add(out, append ? "AppendThread" : "ApplyThread");
    else
        text_add(out, "%llx", LLU(from ? wire->from : wire->to));
}

static void show_wire_entries(const struct wire *wire, const char *indent, struct text *out)
{
    if (wire->entry_count == 1) {
        text_add(out, " Entries:[");
        show_entry(&wire->entries[0], out);
        text_add(out, "]");
    } else if (wire->entry_count > 1) {
        text_add(out, " Entries:[");
        for (uint32_t i = 0; i < wire->entry_count; i++) {
            text_add(out, "\n%s  ", indent);
            show_entry(&wire->entries[i], out);
        }
        text_add(out, "\n%s]", indent);
    }
}

static void show_wire(const struct wire *wire, const char *indent, bool with_responses, struct text *out)
{
    static const char *const local_names[] = {"", "MsgStorageAppend", "MsgStorageApply", "MsgStorageAppendResp",
                                              "MsgStorageApplyResp"};
    const struct raft_message *m = &wire->message;
    text_add(out, "%s", indent);
    show_target(wire, true, out);
    text_add(out, "->");
    show_target(wire, false, out);
    text_add(out, " %s Term:%llu Log:%llu/%llu",
             wire->kind == WIRE_MESSAGE ? show_message_kind(m->kind) : local_names[wire->kind], LLU(m->term),
             LLU(m->log_term), LLU(m->index));
    if (m->reject)
        text_add(out, " Rejected (Hint: %llu)", LLU(m->reject_hint));
    if (m->commit)
        text_add(out, " Commit:%llu", LLU(m->commit));
    if (wire->hard_changed && wire->hard.vote)
        text_add(out, " Vote:%llu", LLU(wire->hard.vote));
    show_wire_entries(wire, indent, out);
    if (wire->has_snapshot) {
        text_add(out, "\n%s  Snapshot: ", indent);
        show_snapshot(&wire->snapshot, out);
    }
    if (!with_responses || wire->responses.count == 0)
        return;
    char deeper[64] = "  ";
    strncat(deeper, indent, sizeof(deeper) - 3);
    text_add(out, " Responses:[");
    for (uint32_t i = 0; i < wire->responses.count; i++) {
        text_add(out, "\n");
        show_wire(&wire->responses.items[i], deeper, true, out);
    }
    text_add(out, "\n%s]", indent);
}

static void show_entries(const struct raft_entry *entries, uint32_t count, const char *heading, struct text *out)
{
    if (count > 0)
        text_add(out, "%s", heading);
    for (uint32_t i = 0; i < count; i++) {
        show_entry(&entries[i], out);
        text_add(out, "\n");
    }
}

static void show_reads(const struct raft_ready *ready, struct text *out)
{
    for (uint32_t i = 0; i < ready->read_count; i++) {
        const struct raft_read_result *read = &ready->reads[i];
        if (read->code == ERR_OK)
            text_add(out, "Read %llu at index %llu\n", LLU(read->context), LLU(read->index));
        else
            text_add(out, "Read %llu given up: %s\n", LLU(read->context), err_name(read->code));
    }
    for (uint32_t i = 0; i < ready->fetch_count; i++) {
        const struct raft_fetch *fetch = &ready->fetches[i];
        text_add(out, "Fetch for %llu: from %llu, at most %u\n", LLU(fetch->peer), LLU(fetch->from), fetch->count_max);
    }
}

static void show_ready(const struct raft_ready *ready, const struct wires *messages, struct text *out)
{
    struct text body = {0};
    if (ready->soft_changed)
        text_add(&body, "Lead:%llu State:%s\n", LLU(ready->leader), show_role(ready->role));
    if (ready->hard_changed) {
        text_add(&body, "HardState ");
        show_hard_state(&ready->hard, &body);
        text_add(&body, "\n");
    }
    show_reads(ready, &body);
    show_entries(ready->entries, ready->entry_count, "Entries:\n", &body);
    if (ready->snapshot) {
        text_add(&body, "Snapshot ");
        show_snapshot(ready->snapshot, &body);
        text_add(&body, "\n");
    }
    show_entries(ready->committed, ready->committed_count, "CommittedEntries:\n", &body);
    if (messages->count > 0)
        text_add(&body, "Messages:\n");
    for (uint32_t i = 0; i < messages->count; i++) {
        show_wire(&messages->items[i], "", true, &body);
        text_add(&body, "\n");
    }
    if (body.size > 0)
        text_add(out, "Ready MustSync=%s:\n%s", ready->must_sync ? "true" : "false", body.data);
    else
        text_add(out, "<empty Ready>");
    text_reset(&body);
}

/* Two blanks before every line. */
static void add_indented(struct text *out, struct text *inner)
{
    const char *at = text_string(inner);
    while (*at) {
        size_t size = strcspn(at, "\n");
        text_add(out, "  %.*s\n", (int)size, at);
        at += size + (at[size] == '\n');
    }
    text_reset(inner);
}

/* ---- disk and state machine ---- */

static void disk_append(struct node *node, const struct raft_entry *entries, uint32_t count)
{
    if (count == 0)
        return;
    uint32_t keep = (uint32_t)(entries[0].index - node->disk.before.index - 1);
    for (uint32_t i = keep; i < node->disk.count; i++) {
        if (node->disk.entries[i].data.size > 0)
            free((void *)(uintptr_t)node->disk.entries[i].data.data);
    }
    node->disk.entries = realloc(node->disk.entries, (keep + count) * sizeof(*entries));
    for (uint32_t i = 0; i < count; i++)
        node->disk.entries[keep + i] = copy_entry(&entries[i]);
    node->disk.count = keep + count;
}

static void disk_install(struct node *node, const struct raft_snapshot *snapshot)
{
    free_entries(node->disk.entries, node->disk.count);
    node->disk.entries = NULL;
    node->disk.count = 0;
    node->disk.before = (struct raft_position){.index = snapshot->index, .term = snapshot->term};
}

static void add_history(struct node *node, const struct raft_snapshot *snapshot)
{
    node->history = realloc(node->history, (node->history_count + 1) * sizeof(*snapshot));
    node->history[node->history_count++] = *snapshot;
}

static struct raft_snapshot *newest_history(struct node *node)
{
    return &node->history[node->history_count - 1];
}

static void apply_entries(struct node *node, const struct raft_entry *entries, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct raft_snapshot snapshot = *newest_history(node);
        snapshot.index = entries[i].index;
        snapshot.term = entries[i].term;
        if (entries[i].kind != RAFT_ENTRY_NORMAL)
            raft_apply_conf(node->raft, &entries[i], &snapshot.conf);
        add_history(node, &snapshot);
    }
}

static void show_disk(const struct node *node, struct text *out)
{
    if (node->disk.count == 0)
        text_add(out, "log is empty: first index=%llu, last index=%llu", LLU(node->disk.before.index + 1),
                 LLU(node->disk.before.index));
    show_entries(node->disk.entries, node->disk.count, "", out);
}

/* ---- a ready ---- */

static struct wire wire_of(struct node *node, const struct raft_message *message)
{
    struct wire wire = {.kind = WIRE_MESSAGE, .from = message->from, .to = message->to, .message = *message};
    wire.entries = copy_entries(message->entries, message->entry_count);
    wire.entry_count = message->entry_count;
    if (message->snapshot) { /* the core names the least that will do; the state machine has its newest */
        wire.has_snapshot = true;
        wire.snapshot = *newest_history(node);
    }
    return wire;
}

static struct wire storage_append(struct node *node, const struct raft_ready *ready)
{
    peer_id id = raft_id(node->raft);
    struct wire wire = {
        .kind = WIRE_STORAGE_APPEND, .from = id, .to = id, .token = ready->token, .hard_changed = ready->hard_changed};
    if (ready->hard_changed) {
        wire.hard = ready->hard;
        wire.message.term = ready->hard.term;
        wire.message.commit = ready->hard.commit;
    }
    wire.entries = copy_entries(ready->entries, ready->entry_count);
    wire.entry_count = ready->entry_count;
    wire.has_snapshot = ready->snapshot != NULL;
    if (ready->snapshot)
        wire.snapshot = *ready->snapshot;
    for (uint32_t i = 0; i < ready->after_count; i++)
        add_wire(&wire.responses, wire_of(node, &ready->after[i]));
    if (ready->token.last.index != 0 || ready->snapshot) {
        struct wire done = {.kind = WIRE_APPEND_DONE, .from = id, .to = id, .token = ready->token};
        done.message = (struct raft_message){
            .term = ready->token.term, .index = ready->token.last.index, .log_term = ready->token.last.term};
        done.has_snapshot = wire.has_snapshot;
        done.snapshot = wire.snapshot;
        add_wire(&wire.responses, done);
    }
    return wire;
}

static struct wire storage_apply(struct node *node, const struct raft_ready *ready)
{
    peer_id id = raft_id(node->raft);
    struct wire wire = {.kind = WIRE_STORAGE_APPLY, .from = id, .to = id, .entry_count = ready->committed_count};
    struct wire done = {.kind = WIRE_APPLY_DONE, .from = id, .to = id, .entry_count = ready->committed_count};
    wire.entries = copy_entries(ready->committed, ready->committed_count);
    done.entries = copy_entries(ready->committed, ready->committed_count);
    add_wire(&wire.responses, done);
    return wire;
}

static void persist(struct node *node, const struct raft_hard_state *hard, const struct raft_snapshot *snapshot,
                    const struct raft_entry *entries, uint32_t count)
{
    bool with = hard && (hard->term != node->disk.hard.term || hard->vote != node->disk.hard.vote);
    for (uint32_t i = 0; i < count; i++)
        with |= entries[i].kind != RAFT_ENTRY_NORMAL;
    if (hard)
        node->disk.hard = *hard;
    if (with)
        node->disk.sure_commit = node->disk.hard.commit;
    if (snapshot) {
        disk_install(node, snapshot);
        node->installed = *snapshot;
    }
    disk_append(node, entries, count);
}

/* The core wants completions in order; a scenario may deliver them (or leave them out) in any. */
static void append_done(struct node *node, const struct raft_token *token)
{
    if (node->early_count == sizeof(node->early) / sizeof(node->early[0]))
        abort(); /* a scenario of another scale */
    node->early[node->early_count++] = *token;
    for (uint32_t i = 0; i < node->early_count; i++) {
        if (node->early[i].sequence != node->raft->log.acked_sequence + 1)
            continue;
        struct raft_token next = node->early[i];
        node->early[i] = node->early[--node->early_count];
        raft_appended(node->raft, &next);
        i = UINT32_MAX; /* from the start */
    }
}

static void note_fetches(struct node *node, const struct raft_ready *ready)
{
    node->fetches = realloc(node->fetches, (node->fetch_count + ready->fetch_count + 1) * sizeof(*node->fetches));
    for (uint32_t i = 0; i < ready->fetch_count; i++)
        node->fetches[node->fetch_count++] = ready->fetches[i];
}

static void handle_sync(struct world *world, struct node *node, const struct raft_ready *ready, struct wires *messages)
{
    struct wires own = {0};
    raft_index applied = ready->committed_count ? ready->committed[ready->committed_count - 1].index : 0;
    struct raft_token token = ready->token;
    bool append = ready->append;
    persist(node, ready->hard_changed ? &ready->hard : NULL, ready->snapshot, ready->entries, ready->entry_count);
    apply_entries(node, ready->committed, ready->committed_count);
    for (uint32_t i = 0; i < ready->after_count; i++) {
        if (ready->after[i].to == raft_id(node->raft))
            add_wire(&own, wire_of(node, &ready->after[i]));
    }
    for (uint32_t i = 0; i < messages->count; i++)
        add_wire(&world->messages, messages->items[i]);
    for (uint32_t i = 0; i < own.count; i++)
        raft_step_own(node->raft, &own.items[i].message);
    if (append)
        raft_appended(node->raft, &token);
    if (applied)
        raft_applied(node->raft, applied);
    free_wires(&own);
}

static void handle_async(struct world *world, struct node *node, const struct wires *messages)
{
    for (uint32_t i = 0; i < messages->count; i++) {
        enum wire_kind kind = messages->items[i].kind;
        add_wire(kind == WIRE_STORAGE_APPEND  ? &node->append_work
                 : kind == WIRE_STORAGE_APPLY ? &node->apply_work
                                              : &world->messages,
                 messages->items[i]);
    }
}

static void process_ready(struct world *world, struct node *node, struct text *out)
{
    struct raft_ready ready;
    struct wires messages = {0};
    if (!raft_ready(node->raft, &ready)) {
        text_add(out, "<empty Ready>");
        return;
    }
    for (uint32_t i = 0; i < ready.message_count; i++)
        add_wire(&messages, wire_of(node, &ready.messages[i]));
    for (uint32_t i = 0; !node->async && i < ready.after_count; i++) {
        if (ready.after[i].to != raft_id(node->raft))
            add_wire(&messages, wire_of(node, &ready.after[i]));
    }
    if (node->async && ready.append)
        add_wire(&messages, storage_append(node, &ready));
    if (node->async && ready.committed_count > 0)
        add_wire(&messages, storage_apply(node, &ready));
    show_ready(&ready, &messages, out);
    note_fetches(node, &ready);
    if (node->async)
        handle_async(world, node, &messages);
    else
        handle_sync(world, node, &ready, &messages);
    free(messages.items); /* what was in it lives on elsewhere */
    raft_check(node->raft);
}

/* ---- threads ---- */

static void finish_work(struct world *world, struct wire *work, struct text *out)
{
    text_add(out, "Responses:\n");
    for (uint32_t i = 0; i < work->responses.count; i++) {
        show_wire(&work->responses.items[i], "", true, out);
        text_add(out, "\n");
        add_wire(&world->messages, work->responses.items[i]);
    }
    work->responses.count = 0;
    free_wire(work);
}

static void start_work(const struct wire *work, struct text *out)
{
    text_add(out, "Processing:\n");
    show_wire(work, "", false, out);
    text_add(out, "\n");
}

static void process_append(struct world *world, struct node *node, struct text *out)
{
    if (node->append_work.count == 0) {
        text_add(out, "no append work to perform");
        return;
    }
    struct wire work = take_wire(&node->append_work, 0);
    start_work(&work, out);
    persist(node, work.hard_changed ? &work.hard : NULL, work.has_snapshot ? &work.snapshot : NULL, work.entries,
            work.entry_count);
    if (work.token.last.index == 0 && !work.has_snapshot)
        append_done(node, &work.token); /* nobody waits for this one, so there is no message to tell */
    finish_work(world, &work, out);
}

static void process_apply(struct world *world, struct node *node, struct text *out)
{
    if (node->apply_work.count == 0) {
        text_add(out, "no apply work to perform");
        return;
    }
    struct wire work = take_wire(&node->apply_work, 0);
    start_work(&work, out);
    apply_entries(node, work.entries, work.entry_count);
    finish_work(world, &work, out);
}

/* ---- delivery ---- */

static bool is_local(const struct wire *wire)
{
    return wire->from == wire->to;
}

static void deliver(struct node *node, struct wire *wire, struct text *out)
{
    enum err code = ERR_OK;
    wire->message.entries = wire->entries;
    wire->message.snapshot = wire->has_snapshot ? &wire->snapshot : NULL;
    if (wire->kind == WIRE_APPEND_DONE)
        append_done(node, &wire->token);
    else if (wire->kind == WIRE_APPLY_DONE)
        raft_applied(node->raft, wire->entries[wire->entry_count - 1].index);
    else if (is_local(wire))
        code = raft_step_own(node->raft, &wire->message);
    else
        code = raft_step(node->raft, &wire->message);
    raft_check(node->raft);
    if (code == ERR_NOT_FOUND)
        text_add(out, "raft: cannot step as peer not found\n");
    else if (code != ERR_OK)
        text_add(out, "raft: %s\n", err_name(code));
}

static bool is_wanted(const struct wire *wire, peer_id to, const char *type, bool drop)
{
    return wire->to == to && !(drop && is_local(wire)) &&
           (!type || (wire->kind == WIRE_MESSAGE && strcmp(show_message_kind(wire->message.kind), type) == 0));
}

/* What is there now, not what delivering brings about. */
static uint32_t deliver_all(struct world *world, peer_id to, const char *type, bool drop, struct text *out)
{
    struct wires batch = {0};
    for (uint32_t i = 0; i < world->messages.count;) {
        if (is_wanted(&world->messages.items[i], to, type, drop))
            add_wire(&batch, take_wire(&world->messages, i));
        else
            i++;
    }
    uint32_t count = batch.count;
    for (uint32_t i = 0; i < batch.count; i++) {
        text_add(out, drop ? "dropped: " : "");
        show_wire(&batch.items[i], "", true, out);
        text_add(out, "\n");
        if (!drop && to <= world->node_count)
            deliver(world->nodes[to - 1], &batch.items[i], out);
    }
    free_wires(&batch);
    return count;
}

static bool has_messages(const struct world *world, peer_id to)
{
    for (uint32_t i = 0; i < world->messages.count; i++) {
        if (world->messages.items[i].to == to)
            return true;
    }
    return false;
}

/* ---- commands ---- */

typedef void run_command(struct world *world, const struct directive *directive, struct text *out);

/* The bare numbers among the arguments name nodes; how many, in *ret_ids. None of them exists: nobody. */
static uint32_t node_ids(const struct world *world, const struct directive *directive, peer_id *ret_ids)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < directive->argument_count; i++) {
        if (directive->arguments[i].value_count > 0)
            continue;
        peer_id id = strtoull(directive->arguments[i].key, NULL, 10);
        if (id >= 1 && id <= world->node_count && count < NODE_COUNT_MAX)
            ret_ids[count++] = id;
    }
    return count;
}

static struct node *first_node(struct world *world, const struct directive *directive)
{
    peer_id ids[NODE_COUNT_MAX];
    if (node_ids(world, directive, ids) > 0)
        return world->nodes[ids[0] - 1];
    world->error = "no such node";
    return NULL;
}

static void add_members(const struct directive *directive, const char *key, uint8_t role, struct raft_conf *conf)
{
    uint64_t ids[RAFT_MEMBER_COUNT_MAX];
    uint32_t count = directive_numbers(directive, key, ids, RAFT_MEMBER_COUNT_MAX, 0);
    for (uint32_t i = 0; i < count; i++)
        raft_conf_add(conf, ids[i], role);
}

static struct raft_config read_config(const struct directive *directive)
{
    return (struct raft_config){
        .heartbeat_ticks = 1,
        .election_ticks = 3,
        .pre_vote = directive_flag(directive, "prevote"),
        .check_quorum = directive_flag(directive, "checkquorum"),
        .lease_reads = strcmp(directive_word(directive, "read-only", "safe"), "lease-based") == 0,
        .step_down_on_removal = directive_flag(directive, "step-down-on-removal"),
        .disable_conf_change_check = directive_flag(directive, "disable-conf-change-validation"),
        .apply_unstable = !directive_flag(directive, "async-storage-writes"),
        .vote_commit_hint = directive_flag(directive, "vote-hint"),
        .coalesce = directive_flag(directive, "coalesce"),
        .lazy_commit = directive_flag(directive, "lazy-commit"),
        .append_size_max = directive_number(directive, "max-size", UINT64_MAX),
        .inflight_count_max = (uint32_t)directive_number(directive, "inflight", INT32_MAX),
        .inflight_size_max = directive_number(directive, "inflight-bytes", 0),
        .uncommitted_size_max = directive_number(directive, "uncommitted", 0),
        .committed_size_max = directive_number(directive, "max-committed-size-per-ready", 0),
        .read_count_max = (uint32_t)directive_number(directive, "read-max", 1000),
        .vote_refuse_ticks = (uint32_t)directive_number(directive, "refuse", 0),
    };
}

static void start_node(struct world *world, struct node *node, peer_id id)
{
    struct raft_snapshot *state = newest_history(node);
    if (state->index < node->installed.index)
        state = &node->installed;
    struct raft_initial initial = {
        .id = id,
        .seed = 1,
        .hard = node->disk.hard,
        .conf = state->conf,
        .applied = state->index,
        .truncated = node->disk.before,
        .base = node->disk.before,
        .entries = node->disk.entries,
        .entry_count = node->disk.count,
    };
    enum err code = raft_new(&node->config, &initial, world->pool, &node->raft);
    if (code != ERR_OK)
        world->error = err_name(code);
}

static void run_add_nodes(struct world *world, const struct directive *directive, struct text *out)
{
    uint64_t count = directive->argument_count ? strtoull(directive->arguments[0].key, NULL, 10) : 0;
    struct raft_snapshot snapshot = {.index = directive_number(directive, "index", 0)};
    add_members(directive, "voters", RAFT_VOTER, &snapshot.conf);
    add_members(directive, "learners", RAFT_LEARNER, &snapshot.conf);
    bool bootstrap = snapshot.index > 0 || snapshot.conf.count > 0 || directive_find(directive, "content");
    (void)out;
    if (bootstrap && snapshot.index <= 1) {
        world->error = "index must be specified as > 1 due to bootstrap";
        return;
    }
    snapshot.term = bootstrap ? 1 : 0;
    for (uint64_t i = 0; i < count && world->node_count < NODE_COUNT_MAX && !world->error; i++) {
        struct node *node = calloc(1, sizeof(*node));
        node->config = read_config(directive);
        node->async = !node->config.apply_unstable;
        disk_install(node, &snapshot);
        add_history(node, &snapshot);
        world->nodes[world->node_count++] = node;
        start_node(world, node, world->node_count);
    }
}

static void run_campaign(struct world *world, const struct directive *directive, struct text *out)
{
    struct node *node = first_node(world, directive);
    (void)out;
    if (node)
        raft_campaign(node->raft); /* a refusal is only logged */
}

static void run_propose(struct world *world, const struct directive *directive, struct text *out)
{
    struct node *node = first_node(world, directive);
    const char *data = directive->argument_count > 1 ? directive->arguments[1].key : "";
    raft_index index;
    raft_term term;
    (void)out;
    if (node && raft_propose(node->raft, bytes_of_string(data), &index, &term) != ERR_OK)
        world->error = "raft proposal dropped";
}

static bool read_change(struct world *world, const struct directive *directive, struct raft_conf_change *change)
{
    static const char *const transitions[] = {"auto", "implicit", "explicit"};
    const char *word = directive_word(directive, "transition", "auto");
    bool v1 = directive_flag(directive, "v1");
    while (change->transition < 3 && strcmp(transitions[change->transition], word) != 0)
        change->transition++;
    change->entry_kind = v1 ? RAFT_ENTRY_CONF_CHANGE : RAFT_ENTRY_CONF_CHANGE_V2;
    if (change->transition == 3)
        world->error = "unknown transition";
    else if (!show_parse_changes(directive->input, change))
        world->error = "unknown input";
    else if (v1 && (change->count != 1 || change->transition != RAFT_TRANSITION_AUTO))
        world->error = "v1 conf change can only have one operation and no transition";
    return !world->error;
}

static void run_propose_conf(struct world *world, const struct directive *directive, struct text *out)
{
    struct node *node = first_node(world, directive);
    struct raft_conf_change change = {0};
    raft_index index;
    raft_term term;
    (void)out;
    if (!node || !read_change(world, directive, &change))
        return;
    enum err code = raft_propose_conf(node->raft, &change, &index, &term);
    if (code == ERR_NOT_READY ||
        code == ERR_INVALID) /* our core refuses; theirs proposes an empty entry in its place */
        code = raft_propose(node->raft, bytes_empty(), &index, &term);
    if (code != ERR_OK)
        world->error = "raft proposal dropped";
}

/* With more than one node, each gets a heading and is indented. */
static void for_nodes(struct world *world, const struct directive *directive, const char *doing,
                      void (*process)(struct world *, struct node *, struct text *), struct text *out)
{
    peer_id ids[NODE_COUNT_MAX];
    uint32_t count = node_ids(world, directive, ids);
    for (uint32_t i = 0; i < count; i++) {
        struct text inner = {0};
        process(world, world->nodes[ids[i] - 1], &inner);
        if (count > 1) {
            text_add(out, "> %llu %s\n", LLU(ids[i]), doing);
            add_indented(out, &inner);
        } else {
            text_add(out, "%s", text_string(&inner));
            text_reset(&inner);
        }
    }
}

static void run_process_ready(struct world *world, const struct directive *directive, struct text *out)
{
    for_nodes(world, directive, "handling Ready", process_ready, out);
}

static void run_process_append(struct world *world, const struct directive *directive, struct text *out)
{
    for_nodes(world, directive, "processing append thread", process_append, out);
}

static void run_process_apply(struct world *world, const struct directive *directive, struct text *out)
{
    for_nodes(world, directive, "processing apply thread", process_apply, out);
}

static void run_deliver(struct world *world, const struct directive *directive, struct text *out)
{
    const char *type = directive_word(directive, "type", NULL);
    uint32_t count = 0;
    for (uint32_t i = 0; i < directive->argument_count; i++) {
        const struct argument *argument = &directive->arguments[i];
        if (argument->value_count == 0)
            count += deliver_all(world, strtoull(argument->key, NULL, 10), type, false, out);
        for (uint32_t j = 0; strcmp(argument->key, "drop") == 0 && j < argument->value_count; j++)
            count += deliver_all(world, strtoull(argument->values[j], NULL, 10), type, true, out);
    }
    if (count == 0)
        text_add(out, "no messages\n");
}

static void deliver_to(struct world *world, struct node *node, struct text *out)
{
    deliver_all(world, raft_id(node->raft), NULL, false, out);
}

static void drain_append(struct world *world, struct node *node, struct text *out)
{
    while (node->append_work.count > 0)
        process_append(world, node, out);
}

static void drain_apply(struct world *world, struct node *node, struct text *out)
{
    while (node->apply_work.count > 0)
        process_apply(world, node, out);
}

static bool is_ready(struct world *world, struct node *node)
{
    (void)world;
    return raft_has_ready(node->raft);
}

static bool has_mail(struct world *world, struct node *node)
{
    return has_messages(world, raft_id(node->raft));
}

static bool has_append_work(struct world *world, struct node *node)
{
    (void)world;
    return node->append_work.count > 0;
}

static bool has_apply_work(struct world *world, struct node *node)
{
    (void)world;
    return node->apply_work.count > 0;
}

static void run_stabilize(struct world *world, const struct directive *directive, struct text *out)
{
    static const struct {
        const char *doing;
        bool (*has)(struct world *, struct node *);
        void (*process)(struct world *, struct node *, struct text *);
    } stages[] = {
        {"handling Ready", is_ready, process_ready},
        {"receiving messages", has_mail, deliver_to},
        {"processing append thread", has_append_work, drain_append},
        {"processing apply thread", has_apply_work, drain_apply},
    };
    peer_id ids[NODE_COUNT_MAX];
    uint32_t count = node_ids(world, directive, ids);
    for (peer_id id = 1; count == 0 && id <= world->node_count; id++)
        ids[id - 1] = id;
    count = count ? count : world->node_count;
    bool done = false;
    for (int round = 0; !done; round++) {
        done = true;
        if (round == STABILIZE_ROUNDS_MAX) {
            world->error = "it never becomes stable";
            break;
        }
        for (size_t stage = 0; stage < sizeof(stages) / sizeof(stages[0]); stage++) {
            for (uint32_t i = 0; i < count; i++) {
                struct node *node = world->nodes[ids[i] - 1];
                struct text inner = {0};
                if (!stages[stage].has(world, node))
                    continue;
                done = false;
                stages[stage].process(world, node, &inner);
                text_add(out, "> %llu %s\n", LLU(ids[i]), stages[stage].doing);
                add_indented(out, &inner);
            }
        }
    }
    if (strcmp(directive_word(directive, "log-level", "info"), "none") == 0)
        text_reset(out);
}

static void run_compact(struct world *world, const struct directive *directive, struct text *out)
{
    struct node *node = first_node(world, directive);
    uint64_t index = directive->argument_count > 1 ? strtoull(directive->arguments[1].key, NULL, 10) : 0;
    if (!node)
        return;
    if (index <= node->disk.before.index) {
        world->error = "requested index is unavailable due to compaction";
        return;
    }
    uint32_t gone = (uint32_t)(index - node->disk.before.index);
    if (gone > node->disk.count) {
        world->error = "compact past the end";
        return;
    }
    node->disk.before = (struct raft_position){.index = index, .term = node->disk.entries[gone - 1].term};
    struct raft_entry *rest = copy_entries(node->disk.entries + gone, node->disk.count - gone);
    free_entries(node->disk.entries, node->disk.count);
    node->disk.entries = rest;
    node->disk.count -= gone;
    raft_truncate(node->raft, index, node->disk.before.term);
    show_disk(node, out);
}

static void run_raft_log(struct world *world, const struct directive *directive, struct text *out)
{
    struct node *node = first_node(world, directive);
    if (node)
        show_disk(node, out);
}

static void run_raft_state(struct world *world, const struct directive *directive, struct text *out)
{
    (void)directive;
    for (uint32_t i = 0; i < world->node_count; i++) {
        struct raft_status status;
        raft_get_status(world->nodes[i]->raft, &status);
        const struct raft_member *own = raft_conf_member(&status.conf, status.id);
        bool voter = own && own->roles & (RAFT_VOTER | RAFT_OUTGOING);
        text_add(out, "%llu: %s %s Term:%llu Lead:%llu\n", LLU(status.id), show_role(status.role),
                 voter ? "(Voter)" : "(Non-Voter)", LLU(status.hard.term), LLU(status.leader));
    }
}

static void run_status(struct world *world, const struct directive *directive, struct text *out)
{
    static const char *const states[] = {"StateProbe", "StateReplicate", "StateSnapshot"};
    struct node *node = first_node(world, directive);
    struct raft_status status;
    if (!node)
        return;
    raft_get_status(node->raft, &status);
    for (uint32_t i = 0; i < status.peer_count; i++) {
        const struct raft_peer_status *peer = &status.peers[i];
        text_add(out, "%llu: %s match=%llu next=%llu", LLU(peer->id), states[peer->state], LLU(peer->match),
                 LLU(peer->next));
        text_add(out, "%s%s", peer->roles & RAFT_LEARNER ? " learner" : "", peer->paused ? " paused" : "");
        if (peer->pending_snapshot)
            text_add(out, " pendingSnap=%llu", LLU(peer->pending_snapshot));
        text_add(out, "%s", peer->recent_active ? "" : " inactive");
        if (peer->inflight_count)
            text_add(out, " inflight=%u%s", peer->inflight_count, peer->inflight_full ? "[full]" : "");
        text_add(out, "%s\n", peer->fetching ? " fetching" : "");
    }
}

static void run_tick_election(struct world *world, const struct directive *directive, struct text *out)
{
    struct node *node = first_node(world, directive);
    (void)out;
    if (node)
        raft_tick(node->raft, node->config.election_ticks);
}

static void run_tick_heartbeat(struct world *world, const struct directive *directive, struct text *out)
{
    struct node *node = first_node(world, directive);
    (void)out;
    if (node)
        raft_tick(node->raft, node->config.heartbeat_ticks);
}

static void run_set_timeout(struct world *world, const struct directive *directive, struct text *out)
{
    struct node *node = first_node(world, directive);
    (void)out;
    if (node)
        node->raft->election_timeout = (uint32_t)directive_number(directive, "timeout", 3);
}

static void run_transfer(struct world *world, const struct directive *directive, struct text *out)
{
    peer_id from = directive_number(directive, "from", 0), to = directive_number(directive, "to", 0);
    (void)out;
    if (from >= 1 && from <= world->node_count)
        raft_transfer(world->nodes[from - 1]->raft, to);
    else
        world->error = "no such node";
}

static void run_forget_leader(struct world *world, const struct directive *directive, struct text *out)
{
    struct node *node = first_node(world, directive);
    (void)out;
    if (node)
        raft_forget_leader(node->raft); /* a refusal is only logged */
}

static void run_report_unreachable(struct world *world, const struct directive *directive, struct text *out)
{
    peer_id ids[NODE_COUNT_MAX];
    (void)out;
    if (node_ids(world, directive, ids) == 2)
        raft_report_unreachable(world->nodes[ids[0] - 1]->raft, ids[1]);
    else
        world->error = "two nodes wanted";
}

static void run_send_snapshot(struct world *world, const struct directive *directive, struct text *out)
{
    peer_id ids[NODE_COUNT_MAX];
    if (node_ids(world, directive, ids) != 2) {
        world->error = "two nodes wanted";
        return;
    }
    struct node *node = world->nodes[ids[0] - 1];
    struct wire wire = {
        .kind = WIRE_MESSAGE, .from = ids[0], .to = ids[1], .has_snapshot = true, .snapshot = *newest_history(node)};
    wire.message =
        (struct raft_message){.kind = RAFT_SNAPSHOT, .from = ids[0], .to = ids[1], .term = raft_term_now(node->raft)};
    show_wire(&wire, "", true, out);
    add_wire(&world->messages, wire);
}

static void run_log_level(struct world *world, const struct directive *directive, struct text *out)
{
    (void)out;
    world->quiet = directive->argument_count > 0 && strcasecmp(directive->arguments[0].key, "none") == 0;
}

static void run_nothing(struct world *world, const struct directive *directive, struct text *out)
{
    (void)world;
    (void)directive;
    (void)out;
}

/* ---- our own commands ---- */

static void run_read(struct world *world, const struct directive *directive, struct text *out)
{
    struct node *node = first_node(world, directive);
    (void)out;
    for (uint32_t i = 1; node && i < directive->argument_count; i++) {
        enum err code = raft_read(node->raft, strtoull(directive->arguments[i].key, NULL, 10));
        if (code != ERR_OK)
            world->error = err_name(code);
    }
}

static void run_evict(struct world *world, const struct directive *directive, struct text *out)
{
    struct node *node = first_node(world, directive);
    if (!node)
        return;
    raft_cache_evict(node->raft, (uint32_t)directive_number(directive, "keep", 0));
    text_add(out, "in memory: %llu..%llu\n", LLU(node->raft->log.base.index + 1), LLU(raft_last_index(node->raft)));
}

static void answer_fetch(struct node *node, const struct raft_fetch *fetch, enum err code)
{
    raft_index first = node->disk.before.index + 1;
    if (code == ERR_OK && (fetch->from < first || fetch->from >= first + node->disk.count))
        code = ERR_NOT_FOUND;
    if (code != ERR_OK) {
        raft_fetched(node->raft, fetch, code, 0, NULL, 0);
        return;
    }
    uint32_t place = (uint32_t)(fetch->from - first), count = 0;
    raft_term before = place ? node->disk.entries[place - 1].term : node->disk.before.term;
    uint64_t size = 0;
    for (; place + count < node->disk.count && count < fetch->count_max; count++) {
        size += raftlog_entry_size(&node->disk.entries[place + count]);
        if (count > 0 && size > fetch->size_max)
            break;
    }
    raft_fetched(node->raft, fetch, ERR_OK, before, node->disk.entries + place, count);
}

static void run_process_fetch(struct world *world, const struct directive *directive, struct text *out)
{
    struct node *node = first_node(world, directive);
    const char *word = directive_word(directive, "error", "");
    enum err code = strcmp(word, "io") == 0 ? ERR_IO : strcmp(word, "missing") == 0 ? ERR_NOT_FOUND : ERR_OK;
    (void)out;
    if (!node || node->fetch_count == 0) {
        world->error = "no fetch to perform";
        return;
    }
    struct raft_fetch fetch = node->fetches[0];
    node->fetch_count--;
    memmove(&node->fetches[0], &node->fetches[1], node->fetch_count * sizeof(fetch));
    answer_fetch(node, &fetch, code);
}

/* The process dies: what was not on disk is gone, what it said is under way. With lazy=true so is the commit index, unless
 * it was written along with something else: all that a disk has to keep. */
static void run_restart(struct world *world, const struct directive *directive, struct text *out)
{
    struct node *node = first_node(world, directive);
    (void)out;
    if (!node)
        return;
    peer_id id = raft_id(node->raft);
    for (uint32_t i = 0; i < world->messages.count;) {
        struct wire *wire = &world->messages.items[i];
        if (is_local(wire) && wire->to == id) {
            struct wire gone = take_wire(&world->messages, i);
            free_wire(&gone);
        } else {
            i++;
        }
    }
    free_wires(&node->append_work);
    free_wires(&node->apply_work);
    node->early_count = node->fetch_count = 0;
    if (directive_flag(directive, "lazy"))
        node->disk.hard.commit = node->disk.sure_commit;
    raft_free(node->raft);
    start_node(world, node, id);
}

static void run_tick(struct world *world, const struct directive *directive, struct text *out)
{
    struct node *node = first_node(world, directive);
    (void)out;
    if (node)
        raft_tick(node->raft, (uint32_t)directive_number(directive, "count", 1));
}

static void run_leader_lost(struct world *world, const struct directive *directive, struct text *out)
{
    struct node *node = first_node(world, directive);
    (void)out;
    if (node)
        raft_leader_lost(node->raft);
}

static void run_wake(struct world *world, const struct directive *directive, struct text *out)
{
    struct node *node = first_node(world, directive);
    (void)out;
    if (node)
        raft_wake(node->raft, (uint32_t)directive_number(directive, "slept", 1),
                  (uint32_t)directive_number(directive, "silent", 0));
}

static void run_report_snapshot(struct world *world, const struct directive *directive, struct text *out)
{
    peer_id ids[NODE_COUNT_MAX];
    (void)out;
    if (node_ids(world, directive, ids) == 2)
        raft_report_snapshot(world->nodes[ids[0] - 1]->raft, ids[1], directive_flag(directive, "ok"));
    else
        world->error = "two nodes wanted";
}

static void run_rounds(struct world *world, const struct directive *directive, struct text *out)
{
    struct node *node = first_node(world, directive);
    if (node)
        text_add(out, "round %llu, confirmed %llu, lease %s\n", LLU(raft_round(node->raft)),
                 LLU(raft_confirmed_round(node->raft)), raft_lease_allowed(node->raft) ? "allowed" : "not allowed");
}

static void run_sleepy(struct world *world, const struct directive *directive, struct text *out)
{
    (void)directive;
    for (uint32_t i = 0; i < world->node_count; i++)
        text_add(out, "%u: %s\n", i + 1, raft_may_sleep(world->nodes[i]->raft) ? "may sleep" : "awake");
}

static void run_deadline(struct world *world, const struct directive *directive, struct text *out)
{
    struct node *node = first_node(world, directive);
    if (node)
        text_add(out, "%u\n", raft_next_deadline(node->raft));
}

static const struct {
    const char *name;
    run_command *run;
} commands[] = {
    {"add-nodes", run_add_nodes},
    {"campaign", run_campaign},
    {"propose", run_propose},
    {"propose-conf-change", run_propose_conf},
    {"process-ready", run_process_ready},
    {"process-append-thread", run_process_append},
    {"process-apply-thread", run_process_apply},
    {"deliver-msgs", run_deliver},
    {"stabilize", run_stabilize},
    {"compact", run_compact},
    {"raft-log", run_raft_log},
    {"raft-state", run_raft_state},
    {"status", run_status},
    {"tick-election", run_tick_election},
    {"tick-heartbeat", run_tick_heartbeat},
    {"set-randomized-election-timeout", run_set_timeout},
    {"transfer-leadership", run_transfer},
    {"forget-leader", run_forget_leader},
    {"report-unreachable", run_report_unreachable},
    {"send-snapshot", run_send_snapshot},
    {"log-level", run_log_level},
    {"_breakpoint", run_nothing},
    {"read", run_read},
    {"evict", run_evict},
    {"process-fetch", run_process_fetch},
    {"restart", run_restart},
    {"tick", run_tick},
    {"leader-lost", run_leader_lost},
    {"wake", run_wake},
    {"report-snapshot", run_report_snapshot},
    {"rounds", run_rounds},
    {"sleepy", run_sleepy},
    {"deadline", run_deadline},
};

static run_command *find(const struct directive *directive)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, directive->command) == 0)
            return commands[i].run;
    }
    return NULL;
}

bool interaction_knows(const struct directive *directive)
{
    return find(directive) != NULL;
}

static void run(void *env, const struct directive *directive, struct text *out)
{
    struct world *world = env;
    run_command *command = find(directive);
    world->error = NULL;
    if (command)
        command(world, directive, out);
    else
        world->error = "unknown command";
    if (world->quiet)
        text_reset(out);
    if (world->error)
        text_add(out, "%s", world->error);
    if (out->size == 0)
        text_add(out, "ok");
}

static void *new (void)
{
    struct world *world = calloc(1, sizeof(*world));
    world->pool = raft_pool_new(0);
    return world;
}

static void free_node(struct node *node)
{
    raft_free(node->raft);
    free_entries(node->disk.entries, node->disk.count);
    free_wires(&node->append_work);
    free_wires(&node->apply_work);
    free(node->history);
    free(node->fetches);
    free(node);
}

static void free_world(void *env)
{
    struct world *world = env;
    for (uint32_t i = 0; i < world->node_count; i++)
        free_node(world->nodes[i]);
    free_wires(&world->messages);
    raft_pool_free(world->pool);
    free(world);
}

const struct driver interaction_driver = {.new = new, .run = run, .free = free_world};
