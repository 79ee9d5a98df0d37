/* peer_parts: the inside of peer, shared by its rooms alone.
 *
 *   peer.c           its life, what it proposes, what is committed and applied, reads that wait, the group's word
 *   peer_request.c   what clients ask: checked, refused, or taken as a write or a read
 *   peer_split.c     does it grow too large, or get too much to do: from the question to the proposal
 *
 * Nobody else includes it: peer.h is for all others. */
#ifndef STORENODE_PEER_PARTS_H
#define STORENODE_PEER_PARTS_H

#include "storenode/peer.h"

enum { BUSY_WAIT_MS = 10, NOT_READY_WAIT_MS = 50 };

/* ---- peer.c */

/* The writes that wait become entries. */
void peer_propose_pending(struct peer *peer);

/* ---- peer_request.c */

/* A split, say, is in the engine, its task not back yet: our range is that of before, and what was cut off may be written to
 * by others already. Ask this after region_fsm_applied. */
bool peer_range_is_old(const struct peer *peer);
/* Of a request to split: at one key, or at several. */
uint32_t peer_split_key_count(const struct wire_kv_request *request);
struct bytes peer_split_key(const struct wire_kv_request *request, uint32_t at);

/* ---- peer_split.c */

void peer_split_request(struct peer *peer, struct reply_to to, const struct wire_kv_request *request);
void peer_extent_forget(struct peer *peer); /* how large it is must be counted anew */

#endif
