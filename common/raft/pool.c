#include "raft/pool.h"

#include <stdlib.h>

#include "base/check.h"

/* Steps of 16 bytes up to 1 KiB (a group is about that size, so rounding must be fine there), then four steps to a
 * doubling. */
enum { SMALL_MAX = 1024, SMALL_STEP = 16, SMALL_COUNT = SMALL_MAX / SMALL_STEP, CLASS_COUNT = SMALL_COUNT + 4 * 6 + 1 };

struct block {
    uint32_t class; /* CLASS_COUNT: not pooled */
    uint32_t unused;
    union {
        size_t size;        /* while out: of the whole block */
        struct block *next; /* while spare */
    };
};
_Static_assert(sizeof(struct block) == 16, "payload must stay 16-byte aligned");

struct raft_pool {
    struct block *spare[CLASS_COUNT];
    size_t spare_size, spare_size_max;
    size_t used_size;
    uint64_t system_count;
};

static size_t class_size(uint32_t class)
{
    if (class < SMALL_COUNT)
        return (class + 1) * (size_t)SMALL_STEP;
    uint32_t step = class - SMALL_COUNT;
    size_t base = (size_t)SMALL_MAX << (step / 4);
    return base + base / 4 * (step % 4 + 1);
}

static uint32_t class_of(size_t size)
{
    if (size <= SMALL_MAX)
        return size ? (uint32_t)((size - 1) / SMALL_STEP) : 0;
    uint32_t class = SMALL_COUNT;
    while (class < CLASS_COUNT && class_size(class) < size)
        class ++;
    return class;
}

size_t raft_pool_block_size(size_t size)
{
    uint32_t class = class_of(size);
    return sizeof(struct block) + (class < CLASS_COUNT && size <= RAFT_POOL_BLOCK_MAX ? class_size(class) : size);
}

struct raft_pool *raft_pool_new(size_t spare_size_max)
{
    struct raft_pool *pool = calloc(1, sizeof(*pool));
    CHECK(pool);
    pool->spare_size_max = spare_size_max;
    return pool;
}

void raft_pool_trim(struct raft_pool *pool)
{
    for (uint32_t class = 0; class < CLASS_COUNT; class ++) {
        while (pool->spare[class]) {
            struct block *block = pool->spare[class];
            pool->spare[class] = block->next;
            free(block);
        }
    }
    pool->spare_size = 0;
}

void raft_pool_free(struct raft_pool *pool)
{
    if (!pool)
        return;
    CHECK(pool->used_size == 0);
    raft_pool_trim(pool);
    free(pool);
}

void *raft_pool_take(struct raft_pool *pool, size_t size)
{
    uint32_t class = size <= RAFT_POOL_BLOCK_MAX ? class_of(size) : CLASS_COUNT;
    size_t whole = sizeof(struct block) + (class < CLASS_COUNT ? class_size(class) : size);
    struct block *block;
    if (class < CLASS_COUNT && pool->spare[class]) {
        block = pool->spare[class];
        pool->spare[class] = block->next;
        pool->spare_size -= whole;
    } else {
        block = malloc(whole);
        CHECK(block);
        pool->system_count++;
    }
    *block = (struct block){.class = class, .size = whole};
    pool->used_size += whole;
    return block + 1;
}

void raft_pool_give(struct raft_pool *pool, void *data)
{
    if (!data)
        return;
    struct block *block = (struct block *)data - 1;
    size_t whole = block->size;
    CHECK(pool->used_size >= whole);
    pool->used_size -= whole;
    if (block->class >= CLASS_COUNT || pool->spare_size + whole > pool->spare_size_max) {
        free(block);
        return;
    }
    block->next = pool->spare[block->class];
    pool->spare[block->class] = block;
    pool->spare_size += whole;
}

size_t raft_pool_used_size(const struct raft_pool *pool)
{
    return pool->used_size;
}

uint64_t raft_pool_system_count(const struct raft_pool *pool)
{
    return pool->system_count;
}
