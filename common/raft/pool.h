/* pool: memory for the Raft groups of one worker: blocks by size class, freed blocks are kept for the next caller.
 *
 * A group takes and gives back small blocks all the time (entries, messages, windows). Kept per worker rather than per
 * group, the spare blocks of one serve a thousand, and an idle group holds nothing.
 *
 * Owner: one actor; not safe across threads, though *reading* a block from another thread is fine while it is held.
 * Blocks over RAFT_POOL_BLOCK_MAX go straight to the system. Running out of memory is a CHECK, as everywhere. */
#ifndef RAFT_POOL_H
#define RAFT_POOL_H

#include <stddef.h>
#include <stdint.h>

enum { RAFT_POOL_BLOCK_MAX = 64 * 1024 };

struct raft_pool;

/* Keeps at most `spare_size_max` bytes of free blocks; more go back to the system. */
struct raft_pool *raft_pool_new(size_t spare_size_max);
void raft_pool_free(struct raft_pool *pool); /* every block must have come back; NULL is fine */

void raft_pool_trim(struct raft_pool *pool); /* all free blocks go back to the system */

void *raft_pool_take(struct raft_pool *pool, size_t size); /* 16-byte aligned, not zeroed */
void raft_pool_give(struct raft_pool *pool, void *block);  /* NULL is fine */
/* What a block of `size` really takes, header included. */
size_t raft_pool_block_size(size_t size);

size_t raft_pool_used_size(const struct raft_pool *pool); /* bytes in blocks that are out */
uint64_t
raft_pool_system_count(const struct raft_pool *pool); /* times that the system was asked: steady state adds none */

#endif
