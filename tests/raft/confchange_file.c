/* confchange_file: what changes make of a configuration, and what becomes of the progress of each member. */
#include <stdlib.h>
#include <string.h>

#include "raft/membership.h"
#include "scenario.h"
#include "show.h"

struct changer {
    struct raft_conf conf;
    raft_index next[RAFT_MEMBER_COUNT_MAX];
    raft_index last_index;
};

bool confchange_knows(const struct directive *directive)
{
    return strcmp(directive->command, "simple") == 0 || strcmp(directive->command, "enter-joint") == 0 ||
           strcmp(directive->command, "leave-joint") == 0;
}

static const char *apply(struct changer *changer, const struct directive *directive)
{
    struct raft_conf_change change = {.entry_kind = RAFT_ENTRY_CONF_CHANGE_V2};
    struct raft_conf before = changer->conf;
    raft_index next[RAFT_MEMBER_COUNT_MAX];
    uint32_t fresh = 0;
    const char *why;
    if (!show_parse_changes(directive->input, &change))
        return "unknown input";
    if (strcmp(directive->command, "simple") == 0)
        why = membership_simple(&before, &change, &changer->conf, &fresh);
    else if (strcmp(directive->command, "enter-joint") == 0)
        why = membership_enter_joint(&before, &change, directive_flag(directive, "autoleave"), &changer->conf, &fresh);
    else if (*directive->input)
        return "this command takes no input";
    else
        why = membership_leave_joint(&before, &changer->conf);
    if (why)
        return why;
    for (uint32_t i = 0; i < changer->conf.count; i++) {
        const struct raft_member *old = raft_conf_member(&before, changer->conf.members[i].id);
        bool is_fresh = !old || fresh & UINT32_C(1) << i;
        next[i] = is_fresh ? (changer->last_index ? changer->last_index : 1) : changer->next[old - before.members];
    }
    memcpy(changer->next, next, sizeof(next));
    return NULL;
}

static void run(void *env, const struct directive *directive, struct text *out)
{
    struct changer *changer = env;
    const char *why = apply(changer, directive);
    changer->last_index++;
    if (why) {
        text_add(out, "%s\n", why);
        return;
    }
    show_conf(&changer->conf, out);
    text_add(out, "\n");
    for (uint32_t i = 0; i < changer->conf.count; i++) {
        text_add(out, "%llu: StateProbe match=0 next=%llu%s\n", (unsigned long long)changer->conf.members[i].id,
                 (unsigned long long)changer->next[i], changer->conf.members[i].roles & RAFT_LEARNER ? " learner" : "");
    }
}

static void *new (void)
{
    return calloc(1, sizeof(struct changer));
}

const struct driver confchange_driver = {.new = new, .run = run, .free = free};
