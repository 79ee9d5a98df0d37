/* rocks_records: is a write-ahead log or MANIFEST of RocksDB whole, to its very end?
 *
 * RocksDB takes a record that is bad for one that a crash cut off, and goes on without it and all that follows. Here the
 * two are told apart. Both files have one form (RocksDB's wiki, "Write Ahead Log File Format"): blocks of 32 KiB, in each
 *
 *   checksum u32 | length u16 le | type u8 (1 whole, 2 first, 3 middle, 4 last part; 0 with length 0: nothing) | payload
 *
 * and less than 7 bytes of padding at its end. The checksum is CRC-32C of type and payload, masked. Zeros at the end of the
 * file are space that was never written.
 *
 * A process that dies in the middle of a write leaves a prefix of it, then zeros or the end of the file: such a record is
 * *cut*. It was never synced, so nobody was told of it. A record whose bytes are all there, or that others follow, is
 * damaged; so is one at the end whose checksum fits a shorter length than it claims. (After a loss of power pages may be
 * missing in any order, and look damaged.) */
#ifndef ENV_ROCKS_RECORDS_H
#define ENV_ROCKS_RECORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* ERR_OK; `*ret_is_cut`: but for its last record, and the text says where. ERR_CORRUPT names the file and the offset of
 * the record that is damaged; ERR_IO. */
enum err rocks_records_check(const char *path, bool *ret_is_cut, struct error *err);

/* ---- what was synced
 *
 * A record that is bad may be one that a loss of power left half written; then nothing after it was ever synced, and to go
 * on without it all is right. Or it was damaged later, and then RocksDB would forget what was promised. So every batch
 * that is to be synced carries a mark, as a blob that RocksDB keeps in its log and nowhere else. The next one is written
 * when that sync has ended: if several marks lie behind a bad record, it was synced once. */
enum { ROCKS_RECORDS_MARK_SIZE = 16, ROCKS_RECORDS_MARKS_MIN = 3 };
void rocks_records_mark(uint64_t number, uint8_t ret_mark[static ROCKS_RECORDS_MARK_SIZE]);
/* All write-ahead logs in `directory`. ERR_CORRUPT: one has lost what was synced; names the file and the offset. */
enum err rocks_records_check_syncs(const char *directory, struct error *err);

#endif
