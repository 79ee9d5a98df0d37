/* split_check: how large is a region, and where should it be cut?
 *
 * Its rows are counted on a read worker, a portion at a time so that reads pass in between; the check then comes back to
 * the region worker as WORKER_SPLIT_CHECKED. Counting reads all keys and values, which for a region of the usual size
 * takes a fraction of a second, and happens once per so many bytes written (peer.c: peer_split_look); in return the cuts
 * are where they should be.
 *
 * Too large is what has region-size-max bytes or region-keys-max keys; a piece ends with the row that makes it
 * region-split-size or region-split-keys, whichever comes first. */
#ifndef STORENODE_SPLIT_CHECK_H
#define STORENODE_SPLIT_CHECK_H

#include "storenode/split_ask.h"
#include "storenode/store_parts.h"

/* How large something is, or what may have been added to it. */
struct region_extent {
    uint64_t size; /* bytes of keys and values, and a little for each row */
    uint64_t keys;
    uint64_t deleted; /* of `written`: so many keys were taken away, and counted as written, too */
};

enum split_check_kind {
    SPLIT_CHECK_GROWN, /* it may be too large */
    SPLIT_CHECK_SIZE, /* nothing is known of it: counted, unless its first rows say that it is large, and not too large */
    SPLIT_CHECK_MIDDLE, /* somebody wants it split: cut once `piece_size` is passed, however small it is */
};

struct split_check {
    struct read_job job;
    struct store *store;
    struct actor *owner;
    struct region *region;        /* owned; as it was at the start */
    struct region_extent written; /* the user's own */
    struct buf position;          /* the next key */
    struct region_extent extent;  /* so far; at the end, of the region */
    struct region_extent piece;   /* since the last cut */
    enum err code;                /* it could not be read */
    enum split_check_kind kind;
    uint64_t piece_size;   /* SPLIT_CHECK_MIDDLE: of the first piece */
    bool estimated;        /* the engine says that it is large: `extent` is what its first rows make of that */
    struct split_ask *ask; /* owned; where each further piece begins, if it is too large */
};

/* `written`: kept for the user. */
void split_check_start(struct store *store, struct actor *owner, const struct region *region,
                       struct region_extent written, enum split_check_kind kind, uint64_t piece_size);

#endif
