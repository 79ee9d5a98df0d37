#include "conf_ask.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

static void free_ask(struct message *message)
{
    free(message);
}

enum err conf_ask_new(region_id region, const struct wire_peer_change *changes, uint32_t count,
                      struct conf_ask **ret_ask)
{
    if (count == 0 || count > RAFT_CHANGE_COUNT_MAX)
        return ERR_INVALID;
    struct conf_ask *ask = calloc(1, sizeof *ask);
    CHECK(ask);
    ask->ids.message.free = free_ask;
    ask->ids.region = region;
    memcpy(ask->changes, changes, count * sizeof *changes);
    ask->count = count;
    *ret_ask = ask;
    return ERR_OK;
}
