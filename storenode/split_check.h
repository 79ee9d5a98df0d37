/* split_check: how large is a region, and where should it be cut?
 *
 * Its rows are counted on a read worker, a portion at a time so that reads pass in between; the check then comes back to
 * the region worker as WORKER_SPLIT_CHECKED. Counting reads all keys and values, which for a region of the usual size
 * takes a fraction of a second, and happens once per so many bytes written (peer.c: peer_split_look); in return the cuts
 * are where they should be. */
#ifndef STORENODE_SPLIT_CHECK_H
#define STORENODE_SPLIT_CHECK_H

#include "storenode/split_ask.h"
#include "storenode/store_parts.h"

struct split_check {
    struct read_job job;
    struct store *store;
    struct actor *owner;
    struct region *region; /* owned; as it was at the start */
    uint64_t split_size, size_max;
    uint64_t written_size; /* the user's own */
    struct buf position;   /* the next key */
    uint64_t size, piece_size;
    enum err code;         /* it could not be read */
    struct split_ask *ask; /* owned; where each further piece of split_size begins, if it is larger than size_max */
};

void split_check_start(struct store *store, struct actor *owner, const struct region *region, uint64_t written_size);

#endif
