/* rocks_expiry: the compaction filter that drops rows which have expired.
 *
 * What may be dropped is told by whoever knows (engine_set_expiry), as spans of keys with the time up to which rows there are
 * expired for good. A compaction uses the spans as they are when it begins. Spans that are older than the truth drop less.
 *
 * Threads: any. */
#ifndef ENV_ROCKS_EXPIRY_H
#define ENV_ROCKS_EXPIRY_H

#include <rocksdb/c.h>

#include "env/engine.h"

struct rocks_expiry;

struct rocks_expiry *rocks_expiry_new(void);
void rocks_expiry_free(struct rocks_expiry *expiry); /* after the database is closed; NULL is fine */
/* For the options of one column family. */
void rocks_expiry_attach(struct rocks_expiry *expiry, rocksdb_options_t *options);
void rocks_expiry_set(struct rocks_expiry *expiry, const struct engine_expiry *spans);
uint64_t rocks_expiry_dropped(const struct rocks_expiry *expiry); /* rows, since it was made */

#endif
