/* rocks_records: does a write-ahead log or MANIFEST of RocksDB end with a whole record?
 *
 * RocksDB compares the checksums of records when it reads these files, but takes a last record that does not fit into the
 * file for one that a crash cut off, silently: so a damaged length there loses that record unseen. Both files have one
 * form (RocksDB's wiki, "Write Ahead Log File Format"): blocks of 32 KiB, in each
 *
 *   checksum u32 | length u16 le | type u8 (1 whole, 2 first, 3 middle, 4 last part; 0 with length 0: nothing) | payload
 *
 * and less than 7 bytes of padding at its end. Zeros at the end of the file are space that was never written. */
#ifndef ENV_ROCKS_RECORDS_H
#define ENV_ROCKS_RECORDS_H

#include "base/error.h"

/* ERR_CORRUPT names the file and the offset of the record that is not whole; ERR_IO. */
enum err rocks_records_check_end(const char *path, struct error *err);

#endif
