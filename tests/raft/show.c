#include "show.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static bool show_role_ids(const struct raft_conf *conf, uint8_t role, const char *format, struct text *out)
{
    bool any = false;
    for (uint32_t i = 0; i < conf->count; i++) {
        if (!(conf->members[i].roles & role))
            continue;
        text_add(out, any ? " " : "%s", "");
        text_add(out, *format == 'x' ? "%llx" : "%llu", (unsigned long long)conf->members[i].id);
        any = true;
    }
    return any;
}

static bool has_role(const struct raft_conf *conf, uint8_t role)
{
    for (uint32_t i = 0; i < conf->count; i++) {
        if (conf->members[i].roles & role)
            return true;
    }
    return false;
}

static void show_group(const struct raft_conf *conf, uint8_t role, const char *before, struct text *out)
{
    text_add(out, "%s(", before);
    show_role_ids(conf, role, "x", out);
    text_add(out, ")");
}

void show_conf(const struct raft_conf *conf, struct text *out)
{
    show_group(conf, RAFT_VOTER, "voters=", out);
    if (has_role(conf, RAFT_OUTGOING))
        show_group(conf, RAFT_OUTGOING, "&&", out);
    if (has_role(conf, RAFT_LEARNER))
        show_group(conf, RAFT_LEARNER, " learners=", out);
    if (has_role(conf, RAFT_LEARNER_NEXT))
        show_group(conf, RAFT_LEARNER_NEXT, " learners_next=", out);
    if (conf->auto_leave)
        text_add(out, " autoleave");
}

void show_conf_state(const struct raft_conf *conf, struct text *out)
{
    static const struct {
        const char *name;
        uint8_t role;
    } lists[] = {{"Voters", RAFT_VOTER},
                 {"VotersOutgoing", RAFT_OUTGOING},
                 {"Learners", RAFT_LEARNER},
                 {"LearnersNext", RAFT_LEARNER_NEXT}};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        text_add(out, "%s:[", lists[i].name);
        show_role_ids(conf, lists[i].role, "u", out);
        text_add(out, "] ");
    }
    text_add(out, "AutoLeave:%s", conf->auto_leave ? "true" : "false");
}

static void show_quoted(struct bytes data, struct text *out)
{
    text_add(out, "\"");
    for (size_t i = 0; i < data.size; i++) {
        uint8_t c = data.data[i];
        if (c == '"' || c == '\\')
            text_add(out, "\\%c", c);
        else if (c == '\n')
            text_add(out, "\\n");
        else if (c == '\t')
            text_add(out, "\\t");
        else if (c == '\r')
            text_add(out, "\\r");
        else if (c < 0x20 || c >= 0x7f)
            text_add(out, "\\x%02x", c);
        else
            text_add(out, "%c", c);
    }
    text_add(out, "\"");
}

void show_entry(const struct raft_entry *entry, struct text *out)
{
    static const char *const kinds[] = {"EntryNormal", "EntryConfChange", "EntryConfChangeV2"};
    static const char letters[] = "vrul";
    struct raft_conf_change change;
    text_add(out, "%llu/%llu %s", (unsigned long long)entry->term, (unsigned long long)entry->index,
             kinds[entry->kind]);
    if (entry->kind == RAFT_ENTRY_NORMAL) {
        text_add(out, " ");
        show_quoted(entry->data, out);
    } else if (raft_conf_change_decode(entry, &change) == ERR_OK) {
        for (uint32_t i = 0; i < change.count; i++)
            text_add(out, " %c%llu", letters[change.changes[i].kind], (unsigned long long)change.changes[i].id);
    } else {
        text_add(out, " (broken)");
    }
}

void show_snapshot(const struct raft_snapshot *snapshot, struct text *out)
{
    text_add(out, "Index:%llu Term:%llu ConfState:", (unsigned long long)snapshot->index,
             (unsigned long long)snapshot->term);
    show_conf_state(&snapshot->conf, out);
}

void show_hard_state(const struct raft_hard_state *hard, struct text *out)
{
    text_add(out, "Term:%llu", (unsigned long long)hard->term);
    if (hard->vote)
        text_add(out, " Vote:%llu", (unsigned long long)hard->vote);
    text_add(out, " Commit:%llu", (unsigned long long)hard->commit);
}

const char *show_role(enum raft_role role)
{
    static const char *const names[] = {"StateFollower", "StatePreCandidate", "StateCandidate", "StateLeader"};
    return names[role];
}

const char *show_message_kind(uint8_t kind)
{
    static const char *const names[] = {
        [RAFT_APP] = "MsgApp",
        [RAFT_APP_RESP] = "MsgAppResp",
        [RAFT_VOTE] = "MsgVote",
        [RAFT_VOTE_RESP] = "MsgVoteResp",
        [RAFT_PRE_VOTE] = "MsgPreVote",
        [RAFT_PRE_VOTE_RESP] = "MsgPreVoteResp",
        [RAFT_HEARTBEAT] = "MsgHeartbeat",
        [RAFT_HEARTBEAT_RESP] = "MsgHeartbeatResp",
        [RAFT_SNAPSHOT] = "MsgSnap",
        [RAFT_TIMEOUT_NOW] = "MsgTimeoutNow",
        [RAFT_READ_INDEX] = "MsgReadIndex",
        [RAFT_READ_INDEX_RESP] = "MsgReadIndexResp",
    };
    return kind < sizeof(names) / sizeof(names[0]) && names[kind] ? names[kind] : "MsgUnknown";
}

bool show_parse_changes(const char *input, struct raft_conf_change *ret_change)
{
    for (const char *at = input; *at;) {
        if (isspace((unsigned char)*at)) {
            at++;
            continue;
        }
        static const char letters[] = "vrul"; /* enum raft_change_kind */
        const char *letter = strchr(letters, *at);
        char *end;
        if (!letter || !isdigit((unsigned char)at[1]) || ret_change->count >= RAFT_CHANGE_COUNT_MAX)
            return false;
        ret_change->changes[ret_change->count].kind = (uint8_t)(letter - letters);
        ret_change->changes[ret_change->count++].id = strtoull(at + 1, &end, 10);
        at = end;
    }
    return true;
}
