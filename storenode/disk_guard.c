#include "storenode/disk_guard.h"

bool disk_guard_look(struct disk_guard *guard, const struct engine_space *space, uint64_t reserve_size)
{
    enum { PART_OF_DISK = 10 };
    if (space->capacity_size == 0)
        return false;
    uint64_t low_size = space->capacity_size / PART_OF_DISK;
    if (reserve_size < low_size)
        low_size = reserve_size;
    bool was_low = disk_guard_is_low(guard);
    bool is_low = space->available_size < (was_low ? low_size + low_size / 4 : low_size);
    atomic_store_explicit(&guard->is_low, is_low, memory_order_relaxed);
    return is_low != was_low;
}
