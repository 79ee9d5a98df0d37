/* rocks_sst: one table file of RocksDB, written row by row.
 *
 * The C API has a writer as well, but it drops what it wrote from the kernel's cache, and who checks the file afterwards
 * would read it from the disk again. So this is C++, as rocks_table is.
 *
 * Owner: whoever made it. Threads: one at a time. */
#ifndef ENV_ROCKS_SST_H
#define ENV_ROCKS_SST_H

#include <rocksdb/c.h>

#include "base/bytes.h"
#include "base/error.h"

struct rocks_sst;

/* ERR_DISK_FULL, ERR_IO: the text names the file. */
enum err rocks_sst_new(const char *path, bool compress, struct rocks_sst **ret_sst, struct error *err);
void rocks_sst_free(struct rocks_sst *sst); /* the file stays as it is; NULL is fine */
enum err rocks_sst_put(struct rocks_sst *sst, struct bytes key, struct bytes value, struct error *err);
enum err rocks_sst_delete_range(struct rocks_sst *sst, struct bytes start, struct bytes end, struct error *err);
enum err rocks_sst_finish(struct rocks_sst *sst, struct error *err); /* synced */
uint64_t rocks_sst_size(struct rocks_sst *sst); /* of the file, once it is finished */

/* IngestExternalFileOptions.write_global_seqno = false, which the C API cannot say; it keeps the options as its only member.
 * False: that is not so in this version, and files that are moved in will be written to. */
bool rocks_sst_leave_unchanged(rocksdb_ingestexternalfileoptions_t *options);

#endif
