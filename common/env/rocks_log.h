/* rocks_log: RocksDB's own messages go to our log, from warnings upwards, instead of to files beside the data.
 *
 * Not only for tidiness: on a full disk RocksDB's file logger fails, and Debian's build (asserts are on) aborts the
 * process at the next message. The C API can set a logger but not make one, so this is C++, as rocks_wal is. */
#ifndef ENV_ROCKS_LOG_H
#define ENV_ROCKS_LOG_H

#include <rocksdb/c.h>

struct log;

/* `log` is borrowed until the database is closed; NULL: the messages are dropped. */
void rocks_log_attach(rocksdb_options_t *options, struct log *log);

#endif
