/* peer_destroy: a peer that is no member any more leaves nothing behind.
 *
 * That it is gone it hears from a member that has applied its removal durably: the answer to what a peer says that is not in
 * the region as this store knows it, which is newer than what that peer knows, is PEER_GONE; and a message for
 * another peer of the region on its store means the same. Ids of peers are never given twice, so who is not a member
 * at a newer epoch_conf than its own was removed for good. Who hears nothing of a leader for long asks the others (PEER_ASK),
 * and if that does not help pd: they may all be gone themselves. If the region is not on pd's map either, it was merged into
 * another one, perhaps, while we were away: every store there is is asked. Those that had a peer of it at its end know who was
 * a member then. That pd knows nothing, or nobody answers, means nothing.
 *
 * Invariant: a peer goes on nobody's word but that of a store that has applied a membership without it (or, of a
 * region that is on the map, on that of pd, whom such a store has told).
 *
 * To have applied the own removal is not enough: those that stay may not know that it is committed, and after a crash elect
 * by the old members. Of two peers that become one, the one that stays needs the vote of the other, until its row says
 * otherwise. Until somebody says so the peer votes when it is asked, and serves nobody.
 *
 *   begin     answers all who wait, takes nothing in; what is under way comes back
 *   quiet     one synced batch: tombstone, data of the range and raft rows deleted                  peer_destroy_go_on
 *   durable   the apply worker forgets the range, the read workers are through with what they had
 *   over      the memory is freed
 *
 * A tombstone is the region row with the epoch_conf at which the peer was gone: a snapshot of an older one makes no
 * peer here any more (peer_create.h).
 *
 * Owner: the region worker of the peer. docs/decisions/0015. */
#ifndef STORENODE_PEER_DESTROY_H
#define STORENODE_PEER_DESTROY_H

#include <stdbool.h>

#include "base/error.h"
#include "base/types.h"
#include "env/engine.h"
#include "storenode/store_parts.h"

struct message;
struct peer;
struct region;
struct region_worker;
struct wire_raft_message;

/* Kinds of raft messages beside enum raft_message_kind, not for the core: `to` is no member at `epoch_conf`; am I one? the
 * region was prepared by the entry at `index`, `log_term`, and taken in by another (peer_merge.h). */
enum { PEER_GONE = STORE_ROWS_WANTED + 1, PEER_ASK, PEER_MERGED };

struct peer_destroy {
    uint64_t epoch_conf;   /* at which it is no member */
    uint32_t silent_ticks; /* since a leader was heard */
    uint8_t waits;         /* for the apply worker and the read workers */
    bool begun, posted, over;
};

void peer_destroy_begin(struct peer *peer, uint64_t epoch_conf);
/* After a round of the peer: the next step, if nothing is under way. */
void peer_destroy_go_on(struct peer *peer);
/* The batch is durable. */
void peer_destroy_logged(struct peer *peer);
/* A WORKER_PEER_FORGOTTEN message: of which region. */
region_id peer_destroy_region(const struct message *message);
void peer_destroy_forgotten(struct peer *peer);

bool peer_is_member(const struct peer *peer); /* false: it has applied its own removal */
/* What pd knows of the region. */
void peer_destroy_seen(struct peer *peer, const struct region *region);
/* pd knows nothing of the region. */
void peer_destroy_unknown(struct peer *peer);
/* Is `peer` a member, whoever knows? To nobody in particular (0), at epoch_conf 0: who takes a message for another peer of the region
 * on its store for its own end must not take this one for it. */
void peer_destroy_ask_everybody(struct region_worker *worker, const struct region *region, peer_id peer);
void peer_destroy_tick(struct peer *peer, uint32_t count);
/* Am I a member? Who sleeps asks now and then, without waking anybody: its leader may have removed it while it was not heard,
 * and has nothing more to say to it. */
void peer_destroy_ask(struct peer *peer);
/* Before anything else looks at the message. True: it says that we are gone, or who sent it is; nobody needs it. */
bool peer_destroy_judge(struct peer *peer, const struct wire_raft_message *wire, store_id from_store);

/* Deletes all rows of the region but its own one. For peer_destroy.c and tests. */
void peer_destroy_put(struct engine *engine, struct engine_batch *batch, const struct region *region);

#endif
