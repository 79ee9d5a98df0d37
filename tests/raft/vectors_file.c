/* vectors_file: single rules of the core, one call each, some of them on its inside (core.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "raft/core.h"
#include "scenario.h"

enum { COUNT_MAX = 64 };
typedef void run_vector(struct raft_pool *pool, const struct directive *directive, struct text *out);

#define LLU(x) ((unsigned long long)(x))

/* ---- building and feeding one node ---- */

static const struct raft_config plain_config = {
    .heartbeat_ticks = 1,
    .election_ticks = 10,
    .append_size_max = UINT64_MAX,
    .inflight_count_max = 256,
    .read_count_max = 16,
};

/* A node `id` of voters 1..size whose log has `terms` from index 1 on, all durable. */
static struct raft *make(struct raft_pool *pool, peer_id id, uint32_t size, const uint64_t *terms, uint32_t count,
                         raft_term term)
{
    struct raft_entry entries[COUNT_MAX] = {{0}};
    struct raft_initial initial = {
        .id = id, .seed = 1, .hard = {.term = term}, .entries = entries, .entry_count = count};
    struct raft *raft = NULL;
    for (peer_id voter = 1; voter <= size; voter++)
        raft_conf_add(&initial.conf, voter, RAFT_VOTER);
    for (uint32_t i = 0; i < count; i++)
        entries[i] = (struct raft_entry){.term = terms[i], .index = i + 1};
    if (raft_new(&plain_config, &initial, pool, &raft) != ERR_OK)
        abort();
    return raft;
}

struct inbox {
    struct raft_message messages[COUNT_MAX];
    struct raft_entry entries[COUNT_MAX][COUNT_MAX];
    uint32_t count;
};

static void note(struct inbox *inbox, const struct raft_message *message)
{
    struct raft_message *copy = &inbox->messages[inbox->count];
    *copy = *message;
    if (message->entry_count)
        memcpy(inbox->entries[inbox->count], message->entries, message->entry_count * sizeof(struct raft_entry));
    copy->entries = inbox->entries[inbox->count];
    inbox->count++;
}

/* Handles everything that the node wants; messages for others go to `inbox` (NULL: nowhere). */
static void drain(struct raft *raft, struct inbox *inbox)
{
    struct raft_ready ready;
    while (raft_ready(raft, &ready)) {
        struct inbox own = {.count = 0};
        struct raft_token token = ready.token;
        bool append = ready.append;
        raft_index applied = ready.committed_count ? ready.committed[ready.committed_count - 1].index : 0;
        for (uint32_t i = 0; inbox && i < ready.message_count; i++)
            note(inbox, &ready.messages[i]);
        for (uint32_t i = 0; i < ready.after_count; i++) {
            if (ready.after[i].to == raft_id(raft))
                note(&own, &ready.after[i]);
            else if (inbox)
                note(inbox, &ready.after[i]);
        }
        for (uint32_t i = 0; i < own.count; i++)
            raft_step_own(raft, &own.messages[i]);
        if (append)
            raft_appended(raft, &token);
        if (applied)
            raft_applied(raft, applied);
    }
}

static void answer(struct raft *raft, peer_id from, uint8_t kind, raft_index index, bool reject)
{
    struct raft_message message = {.kind = kind,
                                   .from = from,
                                   .to = raft->id,
                                   .term = raft->term,
                                   .index = index,
                                   .reject = reject,
                                   .reject_hint = index};
    raft_step(raft, &message);
}

static void elect(struct raft *raft, uint32_t size)
{
    raft_campaign(raft);
    drain(raft, NULL);
    for (peer_id voter = 2; voter <= size; voter++)
        answer(raft, voter, RAFT_VOTE_RESP, 0, false);
    drain(raft, NULL);
}

static void show_terms(const struct raftlog *log, raft_index from, struct text *out)
{
    text_add(out, "(");
    for (raft_index i = from; i <= raftlog_last(log); i++)
        text_add(out, "%s%llu", i > from ? ", " : "", LLU(raftlog_entry(log, i)->term));
    text_add(out, ")");
}

static uint32_t numbers(const struct directive *directive, const char *key, uint64_t *ret_numbers)
{
    return directive_numbers(directive, key, ret_numbers, COUNT_MAX, 0);
}

/* Which of `names` it is. None of them: a file of another kind, which ends here. */
static uint32_t place_of(const char *const *names, uint32_t count, const char *word)
{
    for (uint32_t place = 0; place < count; place++) {
        if (strcmp(names[place], word) == 0)
            return place;
    }
    fprintf(stderr, "unknown word: %s\n", word);
    abort();
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* ---- elections ---- */

static void run_campaign(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    static const char *const names[] = {"follower", "pre-candidate", "candidate", "leader"};
    const struct argument *votes = directive_find(directive, "votes");
    struct raft *raft = make(pool, 1, (uint32_t)directive_number(directive, "size", 1), NULL, 0, 0);
    raft_campaign(raft);
    drain(raft, NULL);
    for (uint32_t i = 0; i < votes->value_count; i++)
        answer(raft, strtoull(votes->values[i], NULL, 10), RAFT_VOTE_RESP, 0, strchr(votes->values[i], 'n') != NULL);
    text_add(out, "%s term=%llu\n", names[raft->role], LLU(raft->term));
    raft_free(raft);
}

static enum raft_role role_word(const char *word)
{
    static const char *const names[] = {"follower", "precandidate", "candidate", "leader"};
    return (enum raft_role)place_of(names, 4, word);
}

static bool ask_for_vote(struct raft *raft, uint8_t kind, peer_id from, raft_term term, struct raft_position last)
{
    struct raft_message message = {
        .kind = kind, .from = from, .to = raft->id, .term = term, .index = last.index, .log_term = last.term};
    struct inbox inbox = {.count = 0};
    if (raft_step(raft, &message) != ERR_OK)
        abort();
    drain(raft, &inbox);
    return inbox.count == 1 && inbox.messages[0].to == from && !inbox.messages[0].reject;
}

static bool ask_prepared(struct raft_pool *pool, const struct directive *directive, uint8_t kind)
{
    uint64_t terms[COUNT_MAX] = {2, 2};
    struct raft_position last = {.index = directive_number(directive, "index", 0),
                                 .term = directive_number(directive, "logterm", 0)};
    raft_term term = most(2, last.term);
    struct raft *raft = make(pool, 1, 3, terms, 2, term);
    raft->role = (uint8_t)role_word(directive_word(directive, "state", "follower"));
    raft->vote = directive_number(directive, "voted", 0);
    bool granted = ask_for_vote(raft, kind, 2, term, last);
    raft->role = RAFT_FOLLOWER;
    raft_free(raft);
    return granted;
}

static void run_vote(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    uint64_t terms[COUNT_MAX];
    bool granted;
    if (directive_find(directive, "state")) {
        granted = ask_prepared(pool, directive, RAFT_VOTE);
        if (granted != ask_prepared(pool, directive, RAFT_PRE_VOTE))
            text_add(out, "vote and pre-vote differ\n");
    } else if (directive_find(directive, "log")) {
        struct raft *raft = make(pool, 1, 2, terms, numbers(directive, "log", terms), 1);
        struct raft_position last = {.index = directive_number(directive, "index", 0),
                                     .term = directive_number(directive, "term", 0)};
        granted = ask_for_vote(raft, RAFT_VOTE, 2, 3, last);
        raft_free(raft);
    } else {
        struct raft *raft = make(pool, 1, 3, NULL, 0, 1);
        raft->vote = directive_number(directive, "voted", 0);
        granted = ask_for_vote(raft, RAFT_VOTE, directive_number(directive, "from", 0), 1, (struct raft_position){0});
        raft_free(raft);
    }
    text_add(out, granted ? "grant\n" : "reject\n");
}

/* In a child: what must not happen aborts. */
static void run_transition(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    enum raft_role from = role_word(directive_word(directive, "from", "")),
                   to = role_word(directive_word(directive, "to", ""));
    int pipe_ends[2], status;
    uint64_t result[2] = {0};
    if (pipe(pipe_ends) != 0)
        abort();
    pid_t child = fork();
    if (child == 0) {
        struct raft *raft = make(pool, 1, 1, NULL, 0, 0);
        if (!freopen("/dev/null", "w", stderr))
            abort();
        raft->role = (uint8_t)from;
        if (to == RAFT_FOLLOWER)
            election_become_follower(raft, from == RAFT_FOLLOWER || from == RAFT_LEADER ? 1 : 0, 0);
        else if (to == RAFT_PRE_CANDIDATE)
            election_become_pre_candidate(raft);
        else if (to == RAFT_CANDIDATE)
            election_become_candidate(raft);
        else
            election_become_leader(raft);
        result[0] = raft->term;
        result[1] = raft->leader;
        _exit(write(pipe_ends[1], result, sizeof(result)) != sizeof(result));
    }
    close(pipe_ends[1]);
    bool fine = read(pipe_ends[0], result, sizeof(result)) == sizeof(result);
    close(pipe_ends[0]);
    waitpid(child, &status, 0);
    if (fine)
        text_add(out, "term=%llu lead=%llu\n", LLU(result[0]), LLU(result[1]));
    else
        text_add(out, "fatal\n");
}

/* ---- commit ---- */

static void run_commit(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    uint64_t match[COUNT_MAX], terms[COUNT_MAX];
    uint32_t size = numbers(directive, "match", match), count = numbers(directive, "terms", terms);
    struct raft *raft = make(pool, 1, size, terms, count, directive_number(directive, "term", 0));
    raft->role = RAFT_LEADER;
    for (uint32_t i = 0; i < size; i++)
        raft->peers[i].match = match[i];
    replicate_commit(raft);
    text_add(out, "%llu\n", LLU(raft->log.commit));
    raft_free(raft);
}

static void run_ack_commit(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    uint64_t terms[COUNT_MAX];
    uint32_t count = numbers(directive, "log", terms);
    raft_index index;
    raft_term term;
    struct raft *raft = make(pool, 1, 2, terms, count, directive_number(directive, "leaderterm", 1) - 1);
    elect(raft, 2);
    raft_propose(raft, bytes_empty(), &index, &term);
    drain(raft, NULL);
    answer(raft, 2, RAFT_APP_RESP, directive_number(directive, "ack", 0), false);
    text_add(out, "%llu\n", LLU(raft->log.commit));
    raft_free(raft);
}

static void run_propose_ack(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    uint32_t size = (uint32_t)directive_number(directive, "size", 1);
    uint64_t acceptors[COUNT_MAX];
    uint32_t count = numbers(directive, "acceptors", acceptors);
    raft_index index;
    raft_term term;
    struct raft *raft = make(pool, 1, size, NULL, 0, 0);
    elect(raft, size);
    for (peer_id voter = 2; voter <= size; voter++)
        answer(raft, voter, RAFT_APP_RESP, 1, false);
    drain(raft, NULL);
    raft_propose(raft, bytes_of_string("some data"), &index, &term);
    drain(raft, NULL);
    for (uint32_t i = 0; i < count; i++)
        answer(raft, acceptors[i], RAFT_APP_RESP, index, false);
    text_add(out, raft->log.commit >= index ? "committed\n" : "not committed\n");
    raft_free(raft);
}

static void run_app_resp(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    uint64_t terms[COUNT_MAX] = {1, 1};
    struct raft *raft = make(pool, 1, 3, terms, 2, 0);
    struct inbox inbox = {.count = 0}, before = {.count = 0};
    election_become_candidate(raft);
    election_become_leader(raft);
    answer(raft, 2, RAFT_APP_RESP, directive_number(directive, "index", 0), directive_flag(directive, "reject"));
    struct progress *peer = raft_peer(raft, 2);
    struct message_list *list = raft->queued ? &raft->queued->now : NULL;
    for (uint32_t i = 0; list && i < list->count; i++)
        note(&inbox, &list->items[i]);
    text_add(out, "match=%llu next=%llu msgs=%u previndex=%llu commit=%llu\n", LLU(peer->match), LLU(peer->next),
             inbox.count, LLU(inbox.count ? inbox.messages[0].index : 0),
             LLU(inbox.count ? inbox.messages[0].commit : 0));
    drain(raft, &before);
    raft_free(raft);
}

/* ---- the follower's appends ---- */

struct append {
    struct raft_message message;
    struct raft_entry entries[COUNT_MAX];
};

/* The message's term is whatever a leader with such entries must have. */
static void read_append(const struct directive *directive, struct append *ret_append)
{
    uint64_t terms[COUNT_MAX];
    uint32_t count = numbers(directive, "terms", terms);
    struct raft_message *message = &ret_append->message;
    *message = (struct raft_message){
        .kind = RAFT_APP, .from = 2, .to = 1, .entries = ret_append->entries, .entry_count = count};
    message->index = directive_number(directive, "previndex", 0);
    message->log_term = directive_number(directive, "prevterm", 0);
    message->commit = directive_number(directive, "leadercommit", 0);
    message->term = most(2, message->log_term);
    for (uint32_t i = 0; i < count; i++) {
        ret_append->entries[i] = (struct raft_entry){.term = terms[i], .index = message->index + 1 + i};
        message->term = most(message->term, terms[i]);
    }
}

/* The answer of a follower with log terms 1, 2. */
static struct raft_message append_to(struct raft *raft, const struct append *append)
{
    if (raft_step(raft, &append->message) != ERR_OK || !raft->queued || raft->queued->after.count != 1)
        abort();
    return raft->queued->after.items[0];
}

static void run_check_app(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    uint64_t terms[COUNT_MAX] = {1, 2};
    struct raft *raft = make(pool, 1, 3, terms, 2, 2);
    struct append append;
    raftlog_commit_to(&raft->log, 1);
    read_append(directive, &append);
    struct raft_message answered = append_to(raft, &append);
    if (answered.reject)
        text_add(out, "reject index=%llu hint=%llu hintterm=%llu\n", LLU(answered.index), LLU(answered.reject_hint),
                 LLU(answered.log_term));
    else
        text_add(out, "accept index=%llu\n", LLU(answered.index));
    raft_free(raft);
}

static void run_handle_app(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    uint64_t terms[COUNT_MAX] = {1, 2};
    struct raft *raft = make(pool, 1, 1, terms, 2, 2);
    struct append append;
    read_append(directive, &append);
    struct raft_message answered = append_to(raft, &append);
    text_add(out, "%slast=%llu commit=%llu\n", answered.reject ? "reject " : "", LLU(raftlog_last(&raft->log)),
             LLU(raft->log.commit));
    raft_free(raft);
}

static void show_log(const struct raftlog *log, struct text *out)
{
    text_add(out, "log=");
    show_terms(log, log->base.index + 1, out);
}

static void run_follower_append(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    uint64_t terms[COUNT_MAX] = {1, 2};
    struct raft *raft = make(pool, 1, 3, terms, 2, 2);
    struct append append;
    read_append(directive, &append);
    append_to(raft, &append);
    show_log(&raft->log, out);
    text_add(out, " unstable=");
    show_terms(&raft->log, raft->log.unstable, out);
    text_add(out, "\n");
    raft_free(raft);
}

/* ---- two nodes ---- */

static bool step_all(struct raft *raft, struct inbox *inbox)
{
    bool any = false;
    for (uint32_t i = 0; i < inbox->count; i++) {
        if (inbox->messages[i].to == raft->id) {
            raft_step(raft, &inbox->messages[i]);
            any = true;
        }
    }
    return any;
}

static void talk(struct raft *a, struct raft *b)
{
    for (bool any = true; any;) {
        struct inbox from_a = {.count = 0}, from_b = {.count = 0};
        drain(a, &from_a);
        any = step_all(b, &from_a);
        drain(b, &from_b);
        any |= step_all(a, &from_b);
    }
}

static void run_sync(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    uint64_t leader_terms[COUNT_MAX], follower_terms[COUNT_MAX];
    raft_term term = directive_number(directive, "term", 0);
    raft_index index;
    struct raft *leader = make(pool, 1, 3, leader_terms, numbers(directive, "leader", leader_terms), term);
    struct raft *follower = make(pool, 2, 3, follower_terms, numbers(directive, "follower", follower_terms), term - 1);
    raft_campaign(leader);
    drain(leader, NULL);
    answer(leader, 3, RAFT_VOTE_RESP, 0, false);
    talk(leader, follower);
    raft_propose(leader, bytes_empty(), &index, &term);
    talk(leader, follower);
    show_log(&follower->log, out);
    text_add(out, "\n");
    raft_free(leader);
    raft_free(follower);
}

/* Compacted beyond its commit index, as no real node is: a probe then finds a log that it cannot look into. */
static void compact_by_force(struct raft *raft, raft_index index)
{
    struct raftlog *log = &raft->log;
    log->commit = log->applying = log->applied = index;
    raftlog_truncate(log, (struct raft_position){.index = index, .term = raftlog_entry(log, index)->term});
    log->commit = log->applying = log->applied = 0;
}

static void run_reject(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    uint64_t leader_terms[COUNT_MAX], follower_terms[COUNT_MAX];
    uint32_t leader_count = numbers(directive, "leader", leader_terms);
    raft_index compact = directive_number(directive, "compact", 0);
    struct raft *leader = make(pool, 1, 3, leader_terms, leader_count, leader_terms[leader_count - 1] - 1);
    struct raft *follower = make(pool, 2, 3, follower_terms, numbers(directive, "follower", follower_terms), 0);
    struct inbox probe = {.count = 0}, refusal = {.count = 0}, next = {.count = 0};
    if (compact)
        compact_by_force(follower, compact);
    election_become_candidate(leader);
    election_become_leader(leader);
    answer(leader, 2, RAFT_HEARTBEAT_RESP, 0, false);
    note(&probe, &leader->queued->now.items[0]);
    step_all(follower, &probe);
    note(&refusal, &follower->queued->after.items[0]);
    step_all(leader, &refusal);
    note(&next, &leader->queued->now.items[1]);
    text_add(out, "hint term=%llu index=%llu\n", LLU(refusal.messages[0].log_term),
             LLU(refusal.messages[0].reject_hint));
    text_add(out, "probe term=%llu index=%llu\n", LLU(next.messages[0].log_term), LLU(next.messages[0].index));
    raft_free(leader);
    raft_free(follower);
}

/* ---- the log ---- */

static void make_log(struct raft_pool *pool, struct raftlog *log, struct raft_position base, const uint64_t *terms,
                     uint32_t count)
{
    raftlog_init(log, pool, base, base);
    for (uint32_t i = 0; i < count; i++)
        raftlog_push(log, terms[i], RAFT_ENTRY_NORMAL, bytes_empty());
    log->unstable = log->in_progress = raftlog_last(log) + 1;
}

static uint32_t read_entries(const struct directive *directive, const char *key, raft_index first,
                             struct raft_entry *ret_entries)
{
    uint64_t terms[COUNT_MAX];
    uint32_t count = numbers(directive, key, terms);
    for (uint32_t i = 0; i < count; i++)
        ret_entries[i] = (struct raft_entry){.term = terms[i], .index = first + i};
    return count;
}

static const uint64_t one_two_three[] = {1, 2, 3};

static void run_find_conflict(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    struct raftlog log;
    struct raft_entry entries[COUNT_MAX];
    make_log(pool, &log, (struct raft_position){0}, one_two_three, 3);
    uint32_t count = read_entries(directive, "terms", directive_number(directive, "first", 0), entries);
    text_add(out, "%llu\n", LLU(raftlog_find_conflict(&log, entries, count)));
    raftlog_fini(&log);
}

static void run_find_conflict_by_term(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    struct raftlog log;
    uint64_t terms[COUNT_MAX];
    uint32_t count = numbers(directive, "terms", terms);
    struct raft_position base = {.index = directive_number(directive, "snap", 0), .term = terms[0]};
    make_log(pool, &log, base, terms + 1, count - 1);
    struct raft_position found = raftlog_find_conflict_by_term(&log, directive_number(directive, "index", 0),
                                                               directive_number(directive, "term", 0));
    text_add(out, "index=%llu term=%llu\n", LLU(found.index), LLU(found.term));
    raftlog_fini(&log);
}

static void cut_and_push(struct raftlog *log, const struct raft_entry *entries, uint32_t count)
{
    if (count > 0 && entries[0].index <= raftlog_last(log))
        raftlog_cut(log, entries[0].index);
    for (uint32_t i = 0; i < count; i++)
        raftlog_push(log, entries[i].term, RAFT_ENTRY_NORMAL, bytes_empty());
}

static void run_append(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    struct raftlog log;
    uint64_t terms[COUNT_MAX];
    struct raft_entry entries[COUNT_MAX];
    if (directive_find(directive, "previndex")) {
        run_follower_append(pool, directive, out);
        return;
    }
    make_log(pool, &log, (struct raft_position){0}, terms, numbers(directive, "stable", terms));
    cut_and_push(&log, entries, read_entries(directive, "terms", directive_number(directive, "first", 0), entries));
    text_add(out, "last=%llu ", LLU(raftlog_last(&log)));
    show_log(&log, out);
    text_add(out, " unstable=%llu\n", LLU(log.unstable));
    raftlog_fini(&log);
}

static void run_maybe_append(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    struct raftlog log;
    uint64_t terms[COUNT_MAX];
    struct raft_entry entries[COUNT_MAX];
    struct raft_position previous = {.index = directive_number(directive, "previndex", 0),
                                     .term = directive_number(directive, "prevterm", 0)};
    raft_index last, cut;
    make_log(pool, &log, (struct raft_position){0}, terms, numbers(directive, "log", terms));
    raftlog_commit_to(&log, directive_number(directive, "commit", 0));
    uint32_t count = read_entries(directive, "terms", previous.index + 1, entries);
    switch (raftlog_maybe_append(&log, previous, entries, count, directive_number(directive, "leadercommit", 0), &last,
                                 &cut)) {
    case RAFTLOG_APPENDED:
        text_add(out, "last=%llu commit=%llu\n", LLU(last), LLU(log.commit));
        break;
    case RAFTLOG_MISMATCH:
        text_add(out, "reject commit=%llu\n", LLU(log.commit));
        break;
    case RAFTLOG_CONTRADICTION: /* the replica stops: ERR_CORRUPT */
        text_add(out, "fatal\n");
    }
    raftlog_fini(&log);
}

static void run_up_to_date(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    struct raftlog log;
    uint64_t terms[COUNT_MAX];
    struct raft_position last = {.index = directive_number(directive, "index", 0),
                                 .term = directive_number(directive, "term", 0)};
    make_log(pool, &log, (struct raft_position){0}, terms, numbers(directive, "own", terms));
    text_add(out, raftlog_is_up_to_date(&log, last) ? "yes\n" : "no\n");
    raftlog_fini(&log);
}

/* The unstable part alone: what is before it is durable and has term 1 (or is a snapshot). */
static void make_unstable(struct raft_pool *pool, const struct directive *directive, struct raftlog *log,
                          raft_index stable_from)
{
    uint64_t snap[2], terms[COUNT_MAX];
    raft_index offset = directive_number(directive, "offset", 0);
    struct raft_position base = {.index = stable_from};
    if (numbers(directive, "snap", snap) == 2)
        base = (struct raft_position){.index = snap[0], .term = snap[1]};
    raftlog_init(log, pool, base, base);
    while (raftlog_last(log) + 1 != offset)
        raftlog_push(log, 1, RAFT_ENTRY_NORMAL, bytes_empty());
    uint32_t count = numbers(directive, "terms", terms);
    for (uint32_t i = 0; i < count; i++)
        raftlog_push(log, terms[i], RAFT_ENTRY_NORMAL, bytes_empty());
    log->unstable = offset;
    log->in_progress = directive_number(directive, "inprogress", 0);
}

static void run_stable_to(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    struct raftlog log;
    make_unstable(pool, directive, &log, directive_number(directive, "offset", 0) - 1);
    raftlog_stable_to(&log, (struct raft_position){.index = directive_number(directive, "index", 0),
                                                   .term = directive_number(directive, "term", 0)});
    text_add(out, "offset=%llu inprogress=%llu len=%llu\n", LLU(log.unstable), LLU(log.in_progress),
             LLU(raftlog_last(&log) + 1 - log.unstable));
    raftlog_fini(&log);
}

static void run_truncate_append(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    struct raftlog log;
    struct raft_entry entries[COUNT_MAX];
    make_unstable(pool, directive, &log, 0);
    cut_and_push(&log, entries, read_entries(directive, "add", directive_number(directive, "first", 0), entries));
    text_add(out, "offset=%llu inprogress=%llu terms=", LLU(log.unstable), LLU(log.in_progress));
    show_terms(&log, log.unstable, out);
    text_add(out, "\n");
    raftlog_fini(&log);
}

/* ---- progress ---- */

static struct progress read_progress(const struct directive *directive)
{
    static const char *const names[] = {"probe", "replicate", "snapshot"};
    struct progress progress = {.match = directive_number(directive, "match", 0),
                                .next = directive_number(directive, "next", 0),
                                .pending_snapshot = directive_number(directive, "pendingsnap", 0)};
    progress.paused = directive_flag(directive, "flowpaused");
    if (directive_find(directive, "state"))
        progress.state = (uint8_t)place_of(names, 3, directive_word(directive, "state", ""));
    return progress;
}

static void run_ack(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    struct progress progress = read_progress(directive);
    bool news = progress_ack(&progress, directive_number(directive, "index", 0));
    (void)pool;
    text_add(out, "match=%llu next=%llu %s\n", LLU(progress.match), LLU(progress.next), news ? "changed" : "unchanged");
}

static void run_nack(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    struct progress progress = read_progress(directive);
    bool accepted =
        progress_nack(&progress, directive_number(directive, "rejected", 0), directive_number(directive, "hint", 0));
    (void)pool;
    text_add(out, "%s next=%llu\n", accepted ? "accepted" : "stale", LLU(progress.next));
}

static void run_paused(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    struct progress progress = read_progress(directive);
    (void)pool;
    text_add(out, progress_is_paused(&progress) ? "yes\n" : "no\n");
}

static void run_become_probe(struct raft_pool *pool, const struct directive *directive, struct text *out)
{
    struct progress progress = read_progress(directive);
    progress_become_probe(&progress, pool);
    text_add(out, "next=%llu\n", LLU(progress.next));
}

/* ---- which is which ---- */

static const struct {
    const char *command;
    run_vector *run;
} vectors[] = {
    {"campaign", run_campaign},
    {"vote", run_vote},
    {"transition", run_transition},
    {"commit", run_commit},
    {"ack-commit", run_ack_commit},
    {"propose-ack", run_propose_ack},
    {"app-resp", run_app_resp},
    {"check-app", run_check_app},
    {"handle-app", run_handle_app},
    {"append", run_append},
    {"sync", run_sync},
    {"reject", run_reject},
    {"find-conflict", run_find_conflict},
    {"find-conflict-by-term", run_find_conflict_by_term},
    {"maybe-append", run_maybe_append},
    {"up-to-date", run_up_to_date},
    {"stable-to", run_stable_to},
    {"truncate-append", run_truncate_append},
    {"ack", run_ack},
    {"nack", run_nack},
    {"paused", run_paused},
    {"become-probe", run_become_probe},
};

static run_vector *find(const struct directive *directive)
{
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        if (strcmp(vectors[i].command, directive->command) == 0)
            return vectors[i].run;
    }
    return NULL;
}

bool vectors_knows(const struct directive *directive)
{
    /* "campaign 1" is an interaction, "campaign size=3" a vector */
    return find(directive) && directive->argument_count > 0 && directive->arguments[0].value_count > 0;
}

static void run(void *env, const struct directive *directive, struct text *out)
{
    run_vector *vector = find(directive);
    (void)env;
    if (!vector) {
        text_add(out, "unknown command %s", directive->command);
        return;
    }
    struct raft_pool *pool = raft_pool_new(0);
    vector(pool, directive, out);
    raft_pool_free(pool); /* also checks that everything came back */
}

static void *new (void)
{
    return NULL;
}

const struct driver vectors_driver = {.new = new, .run = run, .free = free};
