/* rocks_table: is one table file of RocksDB whole? Reads all its blocks (index, filters and properties too, which no scan
 * looks at) and compares their checksums, without a database around it.
 *
 * The C API cannot, so this is C++, as rocks_log is. Threads: any. */
#ifndef ENV_ROCKS_TABLE_H
#define ENV_ROCKS_TABLE_H

#include "base/error.h"

/* ERR_CORRUPT, ERR_IO: the text names the file. */
enum err rocks_table_check(const char *path, struct error *err);

#endif
