#include "base/arena.h"

#include <stdlib.h>

#include "base/check.h"

/* Many arenas hold one small message and go: their first block is of a size that malloc has at hand. */
enum { FIRST_BLOCK_SIZE = 1008, BLOCK_SIZE = 16 * 1024, KEEP_SIZE_MAX = 64 * 1024 };

struct arena_block {
    struct arena_block *next;
    size_t capacity;
    _Alignas(16) uint8_t data[];
};

void arena_init(struct arena *arena)
{
    *arena = (struct arena){0};
}

void arena_fini(struct arena *arena)
{
    for (struct arena_block *block = arena->first, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    *arena = (struct arena){0};
}

void arena_reset(struct arena *arena)
{
    size_t kept = 0;
    struct arena_block **link = &arena->first;
    while (*link) {
        struct arena_block *block = *link;
        if (kept + block->capacity <= KEEP_SIZE_MAX) {
            kept += block->capacity;
            link = &block->next;
        } else {
            *link = block->next;
            free(block);
        }
    }
    arena->current = arena->first;
    arena->used = 0;
}

/* Moves to the next kept block that is large enough, or puts a new one after the current. */
static void next_block(struct arena *arena, size_t size)
{
    struct arena_block *following = arena->current ? arena->current->next : arena->first;
    if (!following || following->capacity < size) {
        size_t usual = arena->first ? BLOCK_SIZE : FIRST_BLOCK_SIZE;
        size_t capacity = size > usual ? size : usual;
        struct arena_block *block = malloc(sizeof *block + capacity);
        CHECK(block);
        block->capacity = capacity;
        block->next = following;
        if (arena->current)
            arena->current->next = block;
        else
            arena->first = block;
        following = block;
    }
    arena->current = following;
    arena->used = 0;
}

static void *take(struct arena *arena, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    if (!arena->current || arena->current->capacity - arena->used < size)
        next_block(arena, size);
    void *memory = arena->current->data + arena->used;
    arena->used += size;
    return memory;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    void *memory = take(arena, size);
    if (size > 0)
        memset(memory, 0, size);
    return memory;
}

size_t arena_size(const struct arena *arena)
{
    size_t size = 0;
    for (const struct arena_block *block = arena->first; block; block = block->next)
        size += sizeof *block + block->capacity;
    return size;
}

struct bytes arena_copy(struct arena *arena, struct bytes bytes)
{
    if (bytes.size == 0)
        return bytes_empty();
    void *copy = take(arena, bytes.size);
    memcpy(copy, bytes.data, bytes.size);
    return bytes_of(copy, bytes.size);
}
