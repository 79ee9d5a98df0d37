/* pd_link: the store's side of pd: who am I, which regions are mine, where are the others, and how am I doing.
 *
 *   START --cluster_info--> REGISTER --register_store--> IDENT (written through the log worker) --> BOOTSTRAP
 *   BOOTSTRAP --bootstrap_regions (asked again until pd has made the regions)--> REGIONS (rows written) --> SERVING
 *   a restart that finds its regions in the engine begins at SERVING: no pd is needed to serve
 *   SERVING: store_heartbeat every store_heartbeat_ms, list_stores every few of them, region heartbeats as they come
 *
 * Owner: an actor of its own. */
#ifndef STORENODE_PD_LINK_H
#define STORENODE_PD_LINK_H

#include "storenode/id_ask.h"
#include "storenode/store_parts.h"

/* `ident`: what the directory says; lent. Nothing happens before pd_link_start. */
enum err pd_link_new(struct store *store, const struct wire_store_ident *ident, struct pd_link **ret_link);
void pd_link_start(struct pd_link *link);
void pd_link_free(struct pd_link *link); /* after the executor has stopped; NULL is fine */
/* A PdRequest frame (region heartbeats) to pd's leader; dropped when there is no connection. Any actor. */
void pd_link_post(struct pd_link *link, struct frame *take_frame);

/* Gives the ask ids, of a stock from pd, and hands it to the region worker of its region (its done_kind). Any actor.
 */
void pd_link_ask_ids(struct pd_link *link, struct id_ask *take_ask);

/* What does pd know of that region? The region workers hear of it (WORKER_REGION_SEEN), or the one whose region it is
 * that it knows nothing (WORKER_REGION_UNKNOWN). Any actor. */
void pd_link_ask_region(struct pd_link *link, region_id region);

/* The ident row of column family raft. ERR_NOT_FOUND: an empty directory. */
enum err pd_link_load_ident(struct engine *engine, struct wire_store_ident *ret_ident, struct error *err);
void pd_link_put_ident(struct engine *engine, struct engine_batch *batch, const struct wire_store_ident *ident);

#endif
