/* id_ask: ids from pd for something that a region wants: region worker -> pd link (which has some in store) -> region worker.
 *
 * The head of a message that says what they are for; its owner wakes up to `done_kind` with first_id, or with a code. */
#ifndef STORENODE_ID_ASK_H
#define STORENODE_ID_ASK_H

#include "base/error.h"
#include "base/types.h"
#include "env/executor.h"

struct id_ask {
    struct message message;
    region_id region;
    uint32_t count; /* so many in a row */
    uint32_t done_kind;
    uint64_t first_id;
    enum err code; /* or why there are none */
    uint64_t since_us;
};

#endif
