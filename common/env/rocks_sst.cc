#include <cctype>
#include <memory>
#include <string>

#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table.h>

extern "C" {
#include "env/rocks_sst.h"
}

struct rocks_sst {
    rocksdb::Options options;
    std::string path;
    std::unique_ptr<rocksdb::SstFileWriter> writer;
    uint64_t size = 0;
};

namespace
{

rocksdb::Slice slice_of(struct bytes bytes)
{
    return bytes.size ? rocksdb::Slice(reinterpret_cast<const char *>(bytes.data), bytes.size) : rocksdb::Slice();
}

enum err code_of(const rocksdb::Status &status)
{
    return status.IsNoSpace() ? ERR_DISK_FULL : status.IsCorruption() ? ERR_CORRUPT : ERR_IO;
}

enum err answer(const struct rocks_sst *sst, const rocksdb::Status &status, struct error *err)
{
    if (status.ok())
        return ERR_OK;
    std::string text = status.ToString();
    for (char &c : text)
        if (iscntrl(static_cast<unsigned char>(c)))
            c = ' ';
    return error_set(err, code_of(status), "%s: %s", sst->path.c_str(), text.c_str());
}

/* As those of the database (engine_rocks.c), in which the file will live. */
void set_options(rocksdb::Options *options, bool compress)
{
    rocksdb::BlockBasedTableOptions table;
    table.block_size = 16 * 1024;
    table.format_version = 5;
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10, false));
    options->table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    options->compression = compress ? rocksdb::kLZ4Compression : rocksdb::kNoCompression;
    options->bytes_per_sync =
        1024 * 1024; /* so that the last sync has little left, and the log's need not wait for it */
}

} // namespace

extern "C" enum err rocks_sst_new(const char *path, bool compress, struct rocks_sst **ret_sst, struct error *err)
{
    auto *sst = new rocks_sst;
    set_options(&sst->options, compress);
    sst->path = path;
    sst->writer.reset(
        new rocksdb::SstFileWriter(rocksdb::EnvOptions(sst->options), sst->options, nullptr, false /* keep cached */));
    enum err code = answer(sst, sst->writer->Open(path), err);
    if (code == ERR_OK)
        *ret_sst = sst;
    else
        delete sst;
    return code;
}

extern "C" void rocks_sst_free(struct rocks_sst *sst)
{
    delete sst;
}

extern "C" enum err rocks_sst_put(struct rocks_sst *sst, struct bytes key, struct bytes value, struct error *err)
{
    return answer(sst, sst->writer->Put(slice_of(key), slice_of(value)), err);
}

extern "C" enum err rocks_sst_delete_range(struct rocks_sst *sst, struct bytes start, struct bytes end,
                                           struct error *err)
{
    return answer(sst, sst->writer->DeleteRange(slice_of(start), slice_of(end)), err);
}

extern "C" enum err rocks_sst_finish(struct rocks_sst *sst, struct error *err)
{
    rocksdb::ExternalSstFileInfo info;
    enum err code = answer(sst, sst->writer->Finish(&info), err);
    sst->size = info.file_size;
    return code;
}

extern "C" uint64_t rocks_sst_size(struct rocks_sst *sst)
{
    return sst->size ? sst->size : sst->writer->FileSize();
}

extern "C" bool rocks_sst_leave_unchanged(rocksdb_ingestexternalfileoptions_t *options)
{
    auto *inner = reinterpret_cast<rocksdb::IngestExternalFileOptions *>(options);
    for (unsigned char value : {1, 0}) { /* what is set by the C API is seen there */
        rocksdb_ingestexternalfileoptions_set_move_files(options, value);
        rocksdb_ingestexternalfileoptions_set_ingest_behind(options, value);
        if (inner->move_files != (value != 0) || inner->ingest_behind != (value != 0))
            return false;
    }
    if (!inner->write_global_seqno || !inner->snapshot_consistency || !inner->allow_global_seqno)
        return false;
    inner->write_global_seqno = false;
    return true;
}
