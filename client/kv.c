/* kv: the library as programs see it (polder.h): fills env with the real world and waits around client.c. */
#include "base/check.h"
#include "base/log.h"
#include "client/client.h"
#include "client/polder.h"
#include "env/clock_os.h"
#include "env/exec_threads.h"
#include "env/os.h"
#include "env/transport_nng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct polder {
    struct log log; /* first: the sink finds its way back */
    void (*log_line)(void *user, const char *line);
    void *log_user;
    struct executor *executor;   /* owned */
    struct transport *transport; /* owned */
    struct env env;
    struct client *client; /* owned */
};

/* ---- opening and closing */

static void write_log(struct log *log, enum log_level level, const char *fields)
{
    struct polder *polder = (struct polder *)(void *)log;
    char line[1024];
    snprintf(line, sizeof line, "%s %s", log_level_name(level), fields);
    polder->log_line(polder->log_user, line);
}

/* What an older program did not know of is zero. */
static void copy_sized(void *to, size_t to_size, const void *from)
{
    size_t from_size;
    memcpy(&from_size, from, sizeof from_size); /* `size` is the first field of all of them */
    memset(to, 0, to_size);
    memcpy(to, from, from_size < to_size ? from_size : to_size);
}

static enum err fill_env(struct polder *polder, const struct polder_options *options, struct error *err)
{
    if (options->log) {
        polder->log = (struct log){.level = LOG_INFO, .write = write_log};
        polder->log_line = options->log;
        polder->log_user = options->log_user;
        polder->env.log = &polder->log;
    }
    polder->env.clock = clock_os();
    polder->env.seed = os_random_u64();
    enum err code = exec_threads_new(NULL, &polder->executor, err);
    if (code != ERR_OK)
        return code;
    polder->env.executor = polder->executor;
    struct transport_nng_options transport = {
        .tls_ca_file = options->tls_ca_file,
        .tls_cert_file = options->tls_cert_file,
        .tls_key_file = options->tls_key_file,
        .tls_verify_name = options->tls_ca_file != NULL,
        .log = polder->env.log,
    };
    code = transport_nng_new(&transport, &polder->transport, err);
    polder->env.transport = polder->transport;
    return code;
}

static void close_all(struct polder *polder)
{
    if (polder->executor)
        exec_threads_stop(polder->executor);
    client_free(polder->client); /* closes its connections, so the transport is still there */
    transport_nng_free(polder->transport);
    exec_threads_free(polder->executor);
    free(polder);
}

int polder_open(const struct polder_options *caller_options, struct polder **ret_polder, char *error_text,
                size_t error_text_size)
{
    struct error err = {0};
    struct polder_options options;
    enum err code = ERR_OK;
    struct polder *polder = NULL;
    if (caller_options->size < offsetof(struct polder_options, pd) + sizeof options.pd) {
        code = error_set(&err, ERR_INVALID, "options: `size` is %zu: set it to sizeof(struct polder_options)",
                         caller_options->size);
        goto out;
    }
    copy_sized(&options, sizeof options, caller_options);
    polder = calloc(1, sizeof *polder);
    CHECK(polder);
    code = fill_env(polder, &options, &err);
    if (code != ERR_OK)
        goto out;
    struct client_options client_options = {
        .pd = options.pd,
        .name = options.name,
        .deadline_ms = options.deadline_ms,
        .outstanding_max = options.outstanding_max,
        .outstanding_size_max = options.outstanding_size_max,
        .silence_ms = options.silence_ms,
        .route_count_max = options.route_count_max,
        .tls = options.tls_ca_file || options.tls_cert_file,
    };
    code = client_new(&polder->env, &client_options, &polder->client, &err);
out:
    if (error_text && error_text_size > 0)
        snprintf(error_text, error_text_size, "%s", err.text);
    if (code == ERR_OK)
        *ret_polder = polder;
    else if (polder)
        close_all(polder);
    return (int)code;
}

void polder_close(struct polder *polder)
{
    if (polder)
        close_all(polder);
}

const char *polder_version(void)
{
    return POLDER_VERSION;
}

/* ---- calls: filled the same way for the blocking and the callback form */

static struct bytes bytes_from(struct polder_bytes bytes)
{
    return bytes_of(bytes.data, bytes.size);
}

static struct client_call call_new(enum client_op op, const struct polder_call *options)
{
    struct client_call call = {.op = op};
    if (!options)
        return call;
    struct polder_call copy;
    copy_sized(&copy, sizeof copy, options);
    call.deadline_ms = copy.deadline_ms;
    call.ttl_ms = copy.ttl_ms;
    call.read = copy.read <= POLDER_READ_STALE ? copy.read : POLDER_READ_LEADER;
    return call;
}

static struct client_call call_of_key(enum client_op op, struct polder_bytes key, const struct polder_call *options)
{
    struct client_call call = call_new(op, options);
    call.key = bytes_from(key);
    return call;
}

static struct client_call call_of_put(struct polder_bytes key, struct polder_bytes value,
                                      const struct polder_call *options)
{
    struct client_call call = call_of_key(CLIENT_PUT, key, options);
    call.value = bytes_from(value);
    return call;
}

static struct client_call call_of_cas(struct polder_bytes key, const struct polder_bytes *expected,
                                      struct polder_bytes value, const struct polder_call *options)
{
    struct client_call call = call_of_key(CLIENT_CAS, key, options);
    call.value = bytes_from(value);
    call.expect_value = expected != NULL;
    if (expected)
        call.expected = bytes_from(*expected);
    return call;
}

static struct client_call call_of_scan(const struct polder_scan *scan, const struct polder_call *options)
{
    struct client_call call = call_new(CLIENT_SCAN, options);
    if (scan)
        copy_sized(&call.scan, sizeof call.scan, scan);
    return call;
}

static struct client_call call_of_pairs(const struct polder_pair *pairs, size_t count,
                                        const struct polder_call *options)
{
    struct client_call call = call_new(CLIENT_BATCH_WRITE, options);
    call.pairs = pairs;
    call.pair_count = count;
    return call;
}

static struct client_call call_of_range(enum client_op op, struct polder_bytes start, struct polder_bytes end,
                                        const struct polder_call *options)
{
    struct client_call call = call_new(op, options);
    call.scan = (struct polder_scan){.size = sizeof call.scan, .start = start, .end = end};
    return call;
}

/* `*ret_pairs` is the caller's to free after the submission. */
static struct client_call call_of_keys(enum client_op op, const struct polder_bytes *keys, size_t count,
                                       const struct polder_call *options, struct polder_pair **ret_pairs)
{
    struct client_call call = call_new(op, options);
    struct polder_pair *pairs = calloc(count + 1, sizeof *pairs);
    CHECK(pairs);
    for (size_t i = 0; i < count; i++)
        pairs[i] = (struct polder_pair){.key = keys[i], .remove = op == CLIENT_BATCH_WRITE};
    call.pairs = *ret_pairs = pairs;
    call.pair_count = count;
    return call;
}

/* ---- waiting */

struct waiter {
    struct os_event *event;
    struct polder_result *result;
};

static void wake(void *user, struct polder_result *take_result)
{
    struct waiter *waiter = user;
    waiter->result = take_result;
    os_event_set(waiter->event);
}

/* The advice that goes with a refusal of client_submit: nothing was done in any case. */
static enum polder_advice advice_of(enum err code)
{
    return code == ERR_BUSY || code == ERR_CLOSED ? POLDER_ADVICE_RETRY : POLDER_ADVICE_GIVE_UP;
}

static struct polder_result *wait_for(struct polder *polder, struct client_call call)
{
    struct waiter waiter = {.event = os_event_new()};
    call.done = wake;
    call.user = &waiter;
    enum err code = client_submit(polder->client, &call);
    if (code == ERR_OK)
        os_event_wait(waiter.event, UINT64_MAX);
    else
        waiter.result = client_result_refused(code, advice_of(code));
    os_event_free(waiter.event);
    return waiter.result;
}

static int submit(struct polder *polder, struct client_call call, polder_callback callback, void *user)
{
    call.done = callback;
    call.user = user;
    return (int)client_submit(polder->client, &call);
}

/* ---- the functions of polder.h */

struct polder_result *polder_get(struct polder *polder, struct polder_bytes key, const struct polder_call *call)
{
    return wait_for(polder, call_of_key(CLIENT_GET, key, call));
}

int polder_get_async(struct polder *polder, struct polder_bytes key, const struct polder_call *call,
                     polder_callback callback, void *user)
{
    return submit(polder, call_of_key(CLIENT_GET, key, call), callback, user);
}

struct polder_result *polder_put(struct polder *polder, struct polder_bytes key, struct polder_bytes value,
                                 const struct polder_call *call)
{
    return wait_for(polder, call_of_put(key, value, call));
}

int polder_put_async(struct polder *polder, struct polder_bytes key, struct polder_bytes value,
                     const struct polder_call *call, polder_callback callback, void *user)
{
    return submit(polder, call_of_put(key, value, call), callback, user);
}

struct polder_result *polder_delete(struct polder *polder, struct polder_bytes key, const struct polder_call *call)
{
    return wait_for(polder, call_of_key(CLIENT_DELETE, key, call));
}

int polder_delete_async(struct polder *polder, struct polder_bytes key, const struct polder_call *call,
                        polder_callback callback, void *user)
{
    return submit(polder, call_of_key(CLIENT_DELETE, key, call), callback, user);
}

struct polder_result *polder_cas(struct polder *polder, struct polder_bytes key, const struct polder_bytes *expected,
                                 struct polder_bytes value, const struct polder_call *call)
{
    return wait_for(polder, call_of_cas(key, expected, value, call));
}

int polder_cas_async(struct polder *polder, struct polder_bytes key, const struct polder_bytes *expected,
                     struct polder_bytes value, const struct polder_call *call, polder_callback callback, void *user)
{
    return submit(polder, call_of_cas(key, expected, value, call), callback, user);
}

struct polder_result *polder_scan(struct polder *polder, const struct polder_scan *scan, const struct polder_call *call)
{
    return wait_for(polder, call_of_scan(scan, call));
}

int polder_scan_async(struct polder *polder, const struct polder_scan *scan, const struct polder_call *call,
                      polder_callback callback, void *user)
{
    return submit(polder, call_of_scan(scan, call), callback, user);
}

struct polder_result *polder_batch_get(struct polder *polder, const struct polder_bytes *keys, size_t count,
                                       const struct polder_call *call)
{
    struct polder_pair *pairs;
    struct polder_result *result = wait_for(polder, call_of_keys(CLIENT_BATCH_GET, keys, count, call, &pairs));
    free(pairs);
    return result;
}

int polder_batch_get_async(struct polder *polder, const struct polder_bytes *keys, size_t count,
                           const struct polder_call *call, polder_callback callback, void *user)
{
    struct polder_pair *pairs;
    int code = submit(polder, call_of_keys(CLIENT_BATCH_GET, keys, count, call, &pairs), callback, user);
    free(pairs);
    return code;
}

struct polder_result *polder_batch_delete(struct polder *polder, const struct polder_bytes *keys, size_t count,
                                          const struct polder_call *call)
{
    struct polder_pair *pairs;
    struct polder_result *result = wait_for(polder, call_of_keys(CLIENT_BATCH_WRITE, keys, count, call, &pairs));
    free(pairs);
    return result;
}

struct polder_result *polder_batch_write(struct polder *polder, const struct polder_pair *pairs, size_t count,
                                         const struct polder_call *call)
{
    return wait_for(polder, call_of_pairs(pairs, count, call));
}

struct polder_result *polder_batch_put(struct polder *polder, const struct polder_pair *pairs, size_t count,
                                       const struct polder_call *call)
{
    return polder_batch_write(polder, pairs, count, call);
}

int polder_batch_write_async(struct polder *polder, const struct polder_pair *pairs, size_t count,
                             const struct polder_call *call, polder_callback callback, void *user)
{
    return submit(polder, call_of_pairs(pairs, count, call), callback, user);
}

struct polder_result *polder_delete_range(struct polder *polder, struct polder_bytes start, struct polder_bytes end,
                                          const struct polder_call *call)
{
    return wait_for(polder, call_of_range(CLIENT_DELETE_RANGE, start, end, call));
}

int polder_delete_range_async(struct polder *polder, struct polder_bytes start, struct polder_bytes end,
                              const struct polder_call *call, polder_callback callback, void *user)
{
    return submit(polder, call_of_range(CLIENT_DELETE_RANGE, start, end, call), callback, user);
}

struct polder_result *polder_ttl(struct polder *polder, struct polder_bytes key, const struct polder_call *call)
{
    return wait_for(polder, call_of_key(CLIENT_TTL, key, call));
}

int polder_ttl_async(struct polder *polder, struct polder_bytes key, const struct polder_call *call,
                     polder_callback callback, void *user)
{
    return submit(polder, call_of_key(CLIENT_TTL, key, call), callback, user);
}

struct polder_result *polder_checksum(struct polder *polder, struct polder_bytes start, struct polder_bytes end,
                                      const struct polder_call *call)
{
    return wait_for(polder, call_of_range(CLIENT_CHECKSUM, start, end, call));
}

int polder_checksum_async(struct polder *polder, struct polder_bytes start, struct polder_bytes end,
                          const struct polder_call *call, polder_callback callback, void *user)
{
    return submit(polder, call_of_range(CLIENT_CHECKSUM, start, end, call), callback, user);
}

struct polder_result *polder_cluster_info(struct polder *polder, const struct polder_call *call)
{
    return wait_for(polder, call_new(CLIENT_CLUSTER_INFO, call));
}

struct polder_result *polder_cluster_stores(struct polder *polder, const struct polder_call *call)
{
    return wait_for(polder, call_new(CLIENT_CLUSTER_STORES, call));
}

struct polder_result *polder_cluster_regions(struct polder *polder, struct polder_bytes start_key, uint32_t limit,
                                             const struct polder_call *options)
{
    struct client_call call = call_of_key(CLIENT_CLUSTER_REGIONS, start_key, options);
    call.count = limit;
    return wait_for(polder, call);
}

struct polder_result *polder_cluster_region_by_id(struct polder *polder, uint64_t id, const struct polder_call *options)
{
    struct client_call call = call_new(CLIENT_CLUSTER_REGION_BY_ID, options);
    call.region_id = id;
    return wait_for(polder, call);
}

struct polder_result *polder_cluster_region_of(struct polder *polder, struct polder_bytes key,
                                               const struct polder_call *call)
{
    return wait_for(polder, call_of_key(CLIENT_CLUSTER_REGION_OF, key, call));
}

struct polder_result *polder_region_merge(struct polder *polder, uint64_t source, struct polder_bytes start_key,
                                          uint64_t target, const struct polder_call *options)
{
    struct client_call call = call_of_key(CLIENT_MERGE_REGION, start_key, options);
    call.region_id = source;
    call.target_region = target;
    return wait_for(polder, call);
}

struct polder_result *polder_region_split(struct polder *polder, struct polder_bytes key,
                                          const struct polder_call *call)
{
    return wait_for(polder, call_of_key(CLIENT_SPLIT_REGION, key, call));
}

struct polder_result *polder_region_split_keys(struct polder *polder, const struct polder_bytes *keys, size_t count,
                                               const struct polder_call *call)
{
    struct polder_pair *pairs;
    struct polder_result *result = wait_for(polder, call_of_keys(CLIENT_SPLIT_REGIONS, keys, count, call, &pairs));
    free(pairs);
    return result;
}

static struct client_call peers_call(enum client_op op, uint64_t id, struct polder_bytes start_key,
                                     const struct polder_call *options)
{
    struct client_call call = call_of_key(op, start_key, options);
    call.region_id = id;
    return call;
}

struct polder_result *polder_region_peers(struct polder *polder, uint64_t id, struct polder_bytes start_key,
                                          const struct polder_call *call)
{
    return wait_for(polder, peers_call(CLIENT_REGION_PEERS, id, start_key, call));
}

struct polder_result *polder_region_change_peers(struct polder *polder, uint64_t id, struct polder_bytes start_key,
                                                 const struct polder_peer_change *changes, size_t count,
                                                 uint64_t guard_conf, const struct polder_call *options)
{
    struct client_call call = peers_call(CLIENT_CHANGE_PEERS, id, start_key, options);
    call.changes = changes;
    call.change_count = count;
    call.guard_conf = guard_conf;
    return wait_for(polder, call);
}

struct polder_result *polder_region_transfer_leader(struct polder *polder, uint64_t id, struct polder_bytes start_key,
                                                    uint64_t store_id, const struct polder_call *options)
{
    struct polder_peer_change to = {.store_id = store_id};
    struct client_call call = peers_call(CLIENT_TRANSFER_LEADER, id, start_key, options);
    call.changes = &to;
    call.change_count = 1;
    return wait_for(polder, call);
}

struct polder_result *polder_region_check(struct polder *polder, struct polder_bytes key,
                                          const struct polder_call *call)
{
    return wait_for(polder, call_of_key(CLIENT_CHECK_REGION, key, call));
}

static struct polder_result *count_call(struct polder *polder, enum client_op op, uint32_t count,
                                        const struct polder_call *options)
{
    struct client_call call = call_new(op, options);
    call.count = count;
    return wait_for(polder, call);
}

struct polder_result *polder_cluster_alloc_ids(struct polder *polder, uint32_t count, const struct polder_call *call)
{
    return count_call(polder, CLIENT_CLUSTER_ALLOC_IDS, count, call);
}

struct polder_result *polder_cluster_timestamp(struct polder *polder, uint32_t count, const struct polder_call *call)
{
    return count_call(polder, CLIENT_CLUSTER_TIMESTAMP, count, call);
}

void polder_stats(struct polder *polder, struct polder_stats *stats)
{
    struct polder_stats all = {.size = sizeof all};
    struct client_call call = {.op = CLIENT_STATS, .stats = &all};
    polder_result_free(wait_for(polder, call));
    size_t size = stats->size < sizeof all ? stats->size : sizeof all;
    if (size <= sizeof all.size)
        return;
    size_t own_size = stats->size;
    memcpy(stats, &all, size);
    stats->size = own_size;
}
