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
 * What is bad is one of these:
 *
 *   cut      the file, or all that is not zero, ends within the record. A process that dies in the middle of a write leaves
 *            that. It was never synced, so nobody was told of it
 *   torn     a sector of it is all zeros: a loss of power in the middle of a write leaves that
 *   damaged  anything else; and always if it were good with one byte changed, or with a length that is shorter
 *
 * So one byte changed is always damage, with one exception: a byte that became zero and has a sector (512 bytes) for itself. */
#ifndef ENV_ROCKS_RECORDS_H
#define ENV_ROCKS_RECORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* ERR_OK; `*ret_is_cut`: but for its last record, which is cut or torn, and the text says where. ERR_CORRUPT names the file
 * and the offset of the record that is damaged; ERR_IO. */
enum err rocks_records_check(const char *path, bool *ret_is_cut, struct error *err);

/* ---- what was synced
 *
 * A start goes on behind a record that is cut or torn, if nothing behind it was synced. So every batch that is to be
 * synced carries a mark, as a blob that RocksDB keeps in its log and nowhere else: the sequence number up to which all had
 * been synced before. It costs nothing, and says what the log must hold, whatever was lost: all but the last
 * synced batches. An orderly close writes a last mark behind them. After a crash they must be told by their form: who dies in the
 * middle of a write leaves a record that is cut or torn, never a damaged one. docs/decisions/0017. */
enum { ROCKS_RECORDS_MARK_SIZE = 20 };
void rocks_records_mark(uint64_t synced, uint8_t ret_mark[static ROCKS_RECORDS_MARK_SIZE]);
/* All write-ahead logs in `directory`, and its MANIFEST, before anything opens it. ERR_CORRUPT: a record is damaged, or one
 * that is gone was synced; names the file and the offset. */
enum err rocks_records_check_syncs(const char *directory, struct error *err);

#endif
