#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

extern "C" {
#include "env/rocks_wal.h"
}

/* As RocksDB's c.cc has it. */
struct rocksdb_env_t {
    rocksdb::Env *rep;
    bool is_default;
};

namespace
{
using rocksdb::FileOptions;
using rocksdb::FileSystem;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

constexpr uint64_t AHEAD_SIZE = 256 * 1024;     /* of zeros at a time: one sync in hundreds is longer by them */
constexpr uint64_t LARGE_SIZE = AHEAD_SIZE / 4; /* from here on the data is what costs */

const char zeros[64 * 1024] = {};

class wal_file final : public rocksdb::FSWritableFileOwnerWrapper
{
  public:
    wal_file(std::unique_ptr<FSWritableFile> &&file, int descriptor)
        : FSWritableFileOwnerWrapper(std::move(file)), descriptor_(descriptor)
    {
    }
    ~wal_file() override
    {
        close_own();
    }
    wal_file(const wal_file &) = delete;
    wal_file &operator=(const wal_file &) = delete;

    IOStatus Append(const Slice &data, const IOOptions &options, IODebugContext *debug) override
    {
        return appended(data.size(), target()->Append(data, options, debug));
    }
    IOStatus Append(const Slice &data, const IOOptions &options, const rocksdb::DataVerificationInfo &verification,
                    IODebugContext *debug) override
    {
        return appended(data.size(), target()->Append(data, options, verification, debug));
    }

    IOStatus Close(const IOOptions &options, IODebugContext *debug) override
    {
        if (descriptor_ >= 0 && end_ > size_ && ftruncate(descriptor_, static_cast<off_t>(size_)) != 0)
            end_ = size_; /* zeros that stay do no harm */
        close_own();
        return target()->Close(options, debug);
    }

  private:
    IOStatus appended(size_t size, IOStatus status)
    {
        if (!status.ok())
            return status;
        size_ += size;
        if (size_ > end_) {
            end_ = size_;
            if (size < LARGE_SIZE)
                write_zeros();
        }
        return status;
    }

    /* From the end on. What fails (the disk is full) is not needed: then the file grows with the data. */
    void write_zeros()
    {
        for (uint64_t until = end_ + AHEAD_SIZE; end_ < until;) {
            size_t want = std::min<uint64_t>(until - end_, sizeof zeros);
            ssize_t written = descriptor_ >= 0 ? pwrite(descriptor_, zeros, want, static_cast<off_t>(end_)) : -1;
            if (written <= 0)
                return;
            end_ += static_cast<uint64_t>(written);
        }
    }

    void close_own()
    {
        if (descriptor_ >= 0)
            close(descriptor_);
        descriptor_ = -1;
    }

    int descriptor_;    /* a second one of the same file: the first is RocksDB's */
    uint64_t size_ = 0; /* of what RocksDB wrote */
    uint64_t end_ = 0;  /* of the file */
};

bool is_wal(const std::string &path)
{
    static const std::string suffix = ".log";
    return path.size() > suffix.size() && path.compare(path.size() - suffix.size(), suffix.size(), suffix) == 0;
}

class wal_file_system final : public rocksdb::FileSystemWrapper
{
  public:
    explicit wal_file_system(const std::shared_ptr<FileSystem> &target) : FileSystemWrapper(target)
    {
    }

    const char *Name() const override
    {
        return "polder";
    }

    IOStatus NewWritableFile(const std::string &path, const FileOptions &options,
                             std::unique_ptr<FSWritableFile> *result, IODebugContext *debug) override
    {
        IOStatus status = target()->NewWritableFile(path, options, result, debug);
        if (!status.ok() || !is_wal(path) || options.use_direct_writes || options.use_mmap_writes)
            return status;
        /* Without a descriptor it is a file that grows. */
        *result = std::make_unique<wal_file>(std::move(*result), open(path.c_str(), O_WRONLY | O_CLOEXEC));
        return status;
    }
};
} // namespace

extern "C" rocksdb_env_t *rocks_wal_env_new(void)
{
    auto files = std::make_shared<wal_file_system>(FileSystem::Default());
    return new rocksdb_env_t{rocksdb::NewCompositeEnv(files).release(), false};
}

extern "C" void rocks_wal_env_free(rocksdb_env_t *env)
{
    if (!env)
        return;
    delete env->rep;
    delete env;
}
