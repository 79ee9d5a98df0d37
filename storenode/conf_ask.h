/* conf_ask: a change of a region's members on its way: request or store_change_peers -> region worker (-> pd link for ids, and
 * back). Somebody may be owed an answer: who has it last gives it. */
#ifndef STORENODE_CONF_ASK_H
#define STORENODE_CONF_ASK_H

#include "proto/wire.h"
#include "raft/raft.h"
#include "storenode/id_ask.h"
#include "storenode/replies.h"

struct conf_ask {
    struct id_ask ids; /* the first */
    struct wire_peer_change changes[RAFT_CHANGE_COUNT_MAX];
    uint32_t count;
    uint64_t guard_conf; /* 0: of whatever epoch_conf; once it was checked: of this one */
    bool owed;
    struct reply_to to;
};

/* ERR_INVALID: no changes, or too many. */
enum err conf_ask_new(region_id region, const struct wire_peer_change *changes, uint32_t count,
                      struct conf_ask **ret_ask);

#endif
