/* rocks_reserve: room that is kept for the moment when the disk is full.
 *
 * RocksDB must never meet a full disk in the middle of a write: what it wrote then is not known, and a sync that fails is
 * final. So each write is preceded by a look at the free space. A file beside the database keeps some of it. When less
 * than half of the file's size is free, the file goes: that is the room in which memtables are flushed, deletes are
 * written and Raft elects, while the store takes no new data (rocks_reserve_taken counts as not free). Only when nearly
 * all of that is used up, too, writes are refused. When there is room for twice the file again, it is made anew.
 *
 * Threads: any. */
#ifndef ENV_ROCKS_RESERVE_H
#define ENV_ROCKS_RESERVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"

struct rocks_reserve;

/* `directory` is the database's; the file is `<directory>.reserve`. At most a twentieth of the file system; 0: no file,
 * and no write is ever refused. `log` is borrowed, may be NULL. */
struct rocks_reserve *rocks_reserve_new(const char *directory, uint64_t size, struct log *log);
void rocks_reserve_free(struct rocks_reserve *reserve); /* the file stays; NULL is fine */
/* False: the disk is full. A call of the system each time, no more. */
bool rocks_reserve_allows(struct rocks_reserve *reserve);
/* Bytes that should be free and are being used: 0 while the file is there. */
uint64_t rocks_reserve_taken(const struct rocks_reserve *reserve);

#endif
