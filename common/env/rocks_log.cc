#include <cctype>
#include <cstdarg>
#include <cstdio>
#include <memory>

#include <rocksdb/env.h>

extern "C" {
#include "base/log.h"
#include "env/rocks_log.h"
}

/* As RocksDB's c.cc has it: a shared pointer and nothing else. */
struct rocksdb_logger_t {
    std::shared_ptr<rocksdb::Logger> rep;
};

namespace
{
class forwarder final : public rocksdb::Logger
{
  public:
    explicit forwarder(struct log *log) : Logger(rocksdb::WARN_LEVEL), log_(log)
    {
    }
    ~forwarder() override
    {
    }

    void LogHeader(const char *, va_list) override
    {
    }

    using Logger::Logv;
    void Logv(const rocksdb::InfoLogLevel level, const char *format, va_list arguments) override
    {
        if (level < rocksdb::WARN_LEVEL || level >= rocksdb::HEADER_LEVEL || !log_)
            return;
        char text[1024];
        vsnprintf(text, sizeof text, format, arguments);
        for (char *c = text; *c; c++)
            if (*c == '"' || iscntrl(static_cast<unsigned char>(*c)))
                *c = '\'';
        log_event(log_, level == rocksdb::WARN_LEVEL ? LOG_WARN : LOG_ERROR, "event=rocksdb msg=\"%s\"", text);
    }

  private:
    struct log *log_; /* borrowed */
};
} // namespace

extern "C" void rocks_log_attach(rocksdb_options_t *options, struct log *log)
{
    rocksdb_logger_t logger{std::make_shared<forwarder>(log)};
    rocksdb_options_set_info_log(options, &logger); /* copies the pointer */
}
