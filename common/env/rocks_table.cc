#include <cctype>
#include <string>

#include <rocksdb/options.h>
#include <rocksdb/sst_file_reader.h>
#include <rocksdb/table.h>

extern "C" {
#include "env/rocks_table.h"
}

extern "C" enum err rocks_table_check(const char *path, struct error *err)
{
    rocksdb::BlockBasedTableOptions table;
    table.no_block_cache = true; /* everything is read once */
    rocksdb::Options options;
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    rocksdb::SstFileReader reader(options);
    rocksdb::Status status = reader.Open(path);
    if (status.ok())
        status = reader.VerifyChecksum();
    if (status.ok())
        return ERR_OK;
    std::string text = status.ToString();
    for (char &c : text)
        if (iscntrl(static_cast<unsigned char>(c)))
            c = ' ';
    return error_set(err, status.IsIOError() ? ERR_IO : ERR_CORRUPT, "%s: %s", path, text.c_str());
}
