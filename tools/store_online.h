/* store_online: what `polder store raft` and `store snapshot` tell of a storenode that runs, over its status port. */
#ifndef TOOLS_STORE_ONLINE_H
#define TOOLS_STORE_ONLINE_H

#include "base/types.h"
#include "cli.h"

#define STORE_ONLINE_ROW(target, member)                                                                               \
    {                                                                                                                  \
        .key = "address", .type = SETTING_STRING, SETTING_FIELD(target, member), .value_name = "URL",                  \
        .help = "status address of a storenode that runs, instead of --data-dir"                                       \
    }

/* Each returns an exit code, after saying why. */
int store_online_raft_list(const struct command *command, const char *address, bool json);
int store_online_raft_show(const struct command *command, const char *address, bool json, region_id id);
int store_online_snapshots(const struct command *command, const char *address, bool json);

#endif
