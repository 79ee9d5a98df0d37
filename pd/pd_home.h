/* pd_home: who this member is, and where its rows are.
 *
 *   column family  key  value
 *   default        'm'  "polder pd", or "polder pd N": N is the member id; without it: 1
 *   raft           'h'  01 | column family u8: of the rows of pd_fsm; no such row: `default`
 *
 * The truth of pd lives in one of two column families. A snapshot is written into the other one, as it comes; one row in
 * one synced write then says that this is the truth now, and until then nothing has happened.
 *
 * Owner: whoever calls. */
#ifndef PD_PD_HOME_H
#define PD_PD_HOME_H

#include "base/error.h"
#include "env/engine.h"

struct pd_home {
    uint64_t member_id;
    enum engine_cf cf;
};

/* ERR_NOT_FOUND: the engine is empty. ERR_CLUSTER_NOT_MATCH: it is not a pd's. ERR_CORRUPT. */
enum err pd_home_load(struct engine *engine, struct pd_home *ret_home, struct error *err);
void pd_home_put_identity(struct engine *engine, struct engine_batch *batch, uint64_t member_id);
void pd_home_put_cf(struct engine *engine, struct engine_batch *batch, enum engine_cf cf);
/* All rows of pd_fsm there, not the identity. */
void pd_home_clear(struct engine *engine, struct engine_batch *batch, enum engine_cf cf);
/* Where a snapshot comes in. */
enum engine_cf pd_home_other(enum engine_cf cf);

#endif
