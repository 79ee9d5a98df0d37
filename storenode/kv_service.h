/* kv_service: where frames enter a storenode.
 *
 * Runs in the transport's thread: verifies and decodes, then posts to the region workers that own the regions. A full
 * mailbox answers ERR_BUSY, and the transport stops reading that connection for a while: that is all the back-pressure.
 *
 * Owner: the store. State: none but the connections' frames. */
#ifndef STORENODE_KV_SERVICE_H
#define STORENODE_KV_SERVICE_H

#include "env/transport.h"

struct store;

/* Fills `handler` for transport_listen. */
void kv_service_init(struct store *store, struct transport_handler *handler);

#endif
