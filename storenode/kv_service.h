/* kv_service: where frames enter a storenode.
 *
 * Runs in the transport's thread: verifies and decodes, then posts to the region workers that own the regions. A full
 * mailbox answers ERR_BUSY, and the transport stops reading that connection for a while. Requests that find no room for
 * their bytes (admission.h) are answered Busy, raft frames dropped. Raft frames are taken only from connections on which
 * a store of this cluster has said hello, and only in its name; whatever else comes ends its connection (frames_refused).
 *
 * Owner: the store. State: none but the connections' frames. */
#ifndef STORENODE_KV_SERVICE_H
#define STORENODE_KV_SERVICE_H

#include "env/transport.h"

struct store;

/* Fills `handler` for transport_listen. */
void kv_service_init(struct store *store, struct transport_handler *handler);

#endif
