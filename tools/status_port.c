#include "status_port.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "config/address.h"
#include "env/engine_rocks.h"
#include "env/exec_threads.h"
#include "env/os.h"
#include "http/http_api.h"

enum { METRICS_SIZE_MAX = 16 * 1024 * 1024 };

struct status_port {
    struct http_server *server;
    struct server *process;      /* borrowed */
    struct http_handler service; /* borrowed */
    uint64_t started_us;
};

/* An exchange whose answer gets something in front. */
struct prefixed {
    struct http_exchange exchange; /* first */
    struct http_exchange *outer;
    struct buf text;
};

/* ---- what the process counts */

struct actor_metrics {
    struct buf *out;
    const char *name;
    uint64_t (*of)(const struct exec_threads_stats *stats);
    uint32_t index; /* workers of one kind share a name */
};

static void visit_actor(void *context, const struct exec_threads_stats *stats)
{
    struct actor_metrics *metrics = context;
    char label[96];
    snprintf(label, sizeof label, "actor=\"%.32s\",index=\"%u\"", stats->name, metrics->index++);
    metric_u64(metrics->out, metrics->name, label, metrics->of(stats));
}

static uint64_t waiting_of(const struct exec_threads_stats *stats)
{
    return stats->waiting_count;
}

static uint64_t messages_of(const struct exec_threads_stats *stats)
{
    return stats->message_count;
}

static uint64_t rounds_of(const struct exec_threads_stats *stats)
{
    return stats->round_count;
}

static uint64_t refused_of(const struct exec_threads_stats *stats)
{
    return stats->refused_count;
}

static void put_actors(struct executor *executor, struct buf *out, const char *name, const char *type, const char *help,
                       uint64_t (*of)(const struct exec_threads_stats *stats))
{
    struct actor_metrics metrics = {.out = out, .name = name, .of = of};
    metric_head(out, name, type, help);
    exec_threads_each(executor, visit_actor, &metrics);
}

static void put_engine(struct engine *engine, struct buf *out)
{
    struct engine_rocks_stats stats;
    engine_rocks_stats(engine, &stats);
    metric_one(out, "polder_rocksdb_memtable_bytes", "gauge", stats.memtable_size,
               "Rows that are in memory and the log only");
    metric_one(out, "polder_rocksdb_table_bytes", "gauge", stats.table_size, "Files that are live");
    metric_one(out, "polder_rocksdb_block_cache_bytes", "gauge", stats.cache_size, "Block cache in use");
    metric_one(out, "polder_rocksdb_table_reader_bytes", "gauge", stats.table_readers_size,
               "Indexes and filters of open files");
    metric_one(out, "polder_rocksdb_pending_compaction_bytes", "gauge", stats.pending_compaction_size,
               "Estimated work of compactions to come");
    metric_one(out, "polder_rocksdb_rows", "gauge", stats.row_count, "Rows, an estimate");
    metric_one(out, "polder_rocksdb_expired_rows_total", "counter", stats.expired_count,
               "Expired rows that compactions dropped");
    metric_one(out, "polder_rocksdb_running_flushes", "gauge", stats.running_flush_count, "Flushes under way");
    metric_one(out, "polder_rocksdb_running_compactions", "gauge", stats.running_compaction_count,
               "Compactions under way");
    metric_one(out, "polder_rocksdb_delayed_write_bytes_per_second", "gauge", stats.delayed_write_rate,
               "What writes are held to; 0: they are not");
    metric_one(out, "polder_rocksdb_write_stopped", "gauge", stats.is_write_stopped, "1 while RocksDB takes no writes");
    metric_one(out, "polder_rocksdb_broken", "gauge", stats.is_broken, "1 after a write failed for good");
    metric_one(out, "polder_disk_bytes", "gauge", stats.disk_size, "Size of the file system");
    metric_one(out, "polder_disk_free_bytes", "gauge", stats.disk_free_size, "Room left in the file system");
}

static void put_process(const struct status_port *port, struct buf *out)
{
    struct os_process self = os_process_self();
    metric_head(out, "polder_build_info", "gauge", "1; the version is in the label");
    metric_u64(out, "polder_build_info", "version=\"" POLDER_VERSION "\"", 1);
    metric_one(out, "polder_process_resident_bytes", "gauge", os_process_memory(self.pid), "Memory of the process");
    metric_head(out, "polder_process_cpu_seconds_total", "counter", "Processor time of the process");
    metric_f64(out, "polder_process_cpu_seconds_total", "", (double)os_process_cpu_ms(self.pid) / 1000);
    metric_head(out, "polder_process_uptime_seconds", "gauge", "Since the port was opened");
    metric_f64(out, "polder_process_uptime_seconds", "", (double)(os_monotonic_us() - port->started_us) / 1e6);
    struct executor *executor = port->process->env.executor;
    put_actors(executor, out, "polder_actor_waiting", "gauge", "Messages in the mailbox of an actor", waiting_of);
    put_actors(executor, out, "polder_actor_messages_total", "counter", "Messages that an actor handled", messages_of);
    put_actors(executor, out, "polder_actor_rounds_total", "counter", "Rounds of an actor", rounds_of);
    put_actors(executor, out, "polder_actor_refused_total", "counter", "Messages refused because the mailbox was full",
               refused_of);
    put_engine(port->process->env.engine, out);
}

static void answer_prefixed(struct http_exchange *take_exchange, unsigned status, const char *type, struct bytes body)
{
    struct prefixed *prefixed = (struct prefixed *)take_exchange;
    if (status == 200 && buf_append_bytes(&prefixed->text, body) == ERR_OK)
        body = buf_bytes(&prefixed->text);
    http_answer(prefixed->outer, status, type, body);
    buf_fini(&prefixed->text);
    free(prefixed);
}

static void on_request(void *context, struct http_exchange *take_exchange)
{
    struct status_port *port = context;
    if (strcmp(take_exchange->path, "/metrics") == 0) {
        struct prefixed *prefixed = calloc(1, sizeof *prefixed);
        CHECK(prefixed);
        prefixed->exchange = *take_exchange;
        prefixed->exchange.answer = answer_prefixed;
        prefixed->outer = take_exchange;
        buf_init(&prefixed->text, METRICS_SIZE_MAX);
        put_process(port, &prefixed->text);
        take_exchange = &prefixed->exchange;
    }
    port->service.on_request(port->service.context, take_exchange);
}

enum err status_port_open(struct server *server, const char *address, const struct http_handler *service,
                          struct status_port **ret_port, struct error *err)
{
    struct address parsed;
    *ret_port = NULL;
    if (!address_parse_status(address, &parsed))
        return ERR_OK;
    struct status_port *port = calloc(1, sizeof *port);
    CHECK(port);
    port->process = server;
    port->service = *service;
    port->started_us = os_monotonic_us();
    const struct http_handler handler = {.context = port, .on_request = on_request};
    enum err code = http_server_new(parsed.host, parsed.port, &handler, server->env.log, &port->server, err);
    if (code == ERR_OK) {
        *ret_port = port;
        return ERR_OK;
    }
    free(port);
    return error_wrap(err, "status-address");
}

void status_port_close(struct status_port *port)
{
    if (!port)
        return;
    http_server_free(port->server);
    free(port);
}
