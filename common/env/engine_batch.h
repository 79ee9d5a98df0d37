/* engine_batch: the operations of a write batch as bytes, in the very format that RocksDB keeps in its log, so that
 * appending one batch to another is a memcpy and handing a batch to RocksDB is another.
 *
 *   offset 0  u64 le  sequence number, zero here
 *          8  u32 le  number of operations
 *         12  operations, one behind the other:
 *             u8 tag, [varint32 column family, if the tag says so], string key, [string value or end of range]
 *             string: varint32 length, bytes
 *
 *   tag (default / other column family)   put 1 / 5    delete 0 / 4    delete range 15 / 14
 *
 * The format is RocksDB's on-disk format since 2012 (write_batch.cc, dbformat.h); the model test compares what it does.
 *
 * Owner: the engines of this directory; nobody else sees it. */
#ifndef ENV_ENGINE_BATCH_H
#define ENV_ENGINE_BATCH_H

#include "env/engine.h"

struct engine_batch {
    struct engine *engine;
    struct buf data;
    struct engine_batch *next, *previous; /* engine_mem's list of handles */
    uint64_t generation;                  /* engine_mem: of the node that made it */
};

enum { ENGINE_BATCH_HEADER_SIZE = 12 };

void engine_batch_init(struct engine_batch *batch, struct engine *engine);
void engine_batch_fini(struct engine_batch *batch);

/* The common part of both engines' ops. */
void engine_batch_data_clear(struct engine_batch *batch);
void engine_batch_data_put(struct engine_batch *batch, enum engine_cf cf, struct bytes key, struct bytes value);
void engine_batch_data_delete(struct engine_batch *batch, enum engine_cf cf, struct bytes key);
/* An empty range is nothing: RocksDB would refuse the whole batch when start > end. */
void engine_batch_data_delete_range(struct engine_batch *batch, enum engine_cf cf, struct bytes start,
                                    struct bytes end);
void engine_batch_data_append(struct engine_batch *batch, struct engine_batch *other);
bool engine_batch_data_find(const struct engine_batch *batch, enum engine_cf cf, struct bytes key, bool *ret_present,
                            struct bytes *ret_value);
size_t engine_batch_data_count(const struct engine_batch *batch);
size_t engine_batch_data_size(const struct engine_batch *batch); /* 0 when empty */
void engine_batch_data_cut(struct engine_batch *batch, size_t count, size_t size);

/* Walking it. `*position` begins at 0; false at the end. The views are into the batch. */
enum engine_batch_kind { ENGINE_BATCH_PUT, ENGINE_BATCH_DELETE, ENGINE_BATCH_DELETE_RANGE };
struct engine_batch_operation {
    enum engine_batch_kind kind;
    enum engine_cf cf;
    struct bytes key;   /* or start */
    struct bytes value; /* or end */
};
bool engine_batch_next(const struct engine_batch *batch, size_t *position,
                       struct engine_batch_operation *ret_operation);

#endif
