/* arena: memory with one end. Nothing inside is freed alone; `arena_reset` ends all of it and keeps the blocks.
 *
 * Named by what ends it: message_arena, ready_arena, batch_arena. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/bytes.h"

struct arena_block;
struct arena {
    struct arena_block *first; /* owned chain */
    struct arena_block *current;
    size_t used; /* in current */
};

void arena_init(struct arena *arena);
void arena_fini(struct arena *arena);
/* Keeps blocks up to about 64 KiB in all, frees the rest: one giant message must not pin memory for ever. */
void arena_reset(struct arena *arena);
/* 16-byte aligned, zeroed; never NULL (callers are bounded by frame sizes). */
void *arena_alloc(struct arena *arena, size_t size);
size_t arena_size(const struct arena *arena); /* bytes that it holds, used or not */
struct bytes arena_copy(struct arena *arena, struct bytes bytes);

#endif
