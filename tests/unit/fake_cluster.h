/* fake_cluster: a pd and three stores made of one array, an executor, a clock and a transport, for testing the client.
 *
 * Everything runs in the caller's thread when the cluster is run; time stands still otherwise. Stores do what stores do
 * (epoch, leader, tokens, rows) unless the test's hook decides otherwise for a request. */
#ifndef TESTS_FAKE_CLUSTER_H
#define TESTS_FAKE_CLUSTER_H

#include "client/client.h"
#include "env/clock.h"
#include "env/env.h"
#include "env/executor.h"
#include "env/transport.h"
#include "proto/wire.h"

#include <stdbool.h>

enum {
    FAKE_STORES = 3,
    FAKE_REGIONS_MAX = 64,
    FAKE_CONNS_MAX = 4096,
    FAKE_LOG_MAX = 100000,
    FAKE_ROWS_MAX = 4096,
    FAKE_TOKENS_MAX = 10000
};

struct fake_region {
    uint64_t id;
    char start[32], end[32]; /* encoded */
    uint64_t epoch_conf, epoch_version;
    uint64_t leader;    /* store id; 0: none, requests are refused */
    uint64_t pd_leader; /* what pd believes */
};

/* What became of a request that arrived. */
enum fake_fate {
    FAKE_SERVE,       /* as a store would */
    FAKE_REPLY,       /* the hook has filled the reply */
    FAKE_DROP,        /* not executed, no answer */
    FAKE_EXECUTE_CUT, /* executed, then the connection ends before the answer */
    FAKE_CUT,         /* not executed, the connection ends */
};

struct fake_request { /* what arrived at a store */
    uint64_t store, id, region_id, client_id, sequence, sequence_done, at_us;
    uint8_t op;
    char key[32], end_key[32]; /* encoded; of ranges */
    bool retry;
    uint32_t deadline_ms;
    uint32_t pair_count;
    uint32_t frame; /* number of the frame */
};

struct fake_cluster;
typedef enum fake_fate (*fake_hook)(struct fake_cluster *cluster, uint64_t store, const struct wire_kv_request *request,
                                    struct wire_kv_reply *reply);

struct fake_row {
    char key[32]; /* encoded, text */
    uint8_t *value;
    size_t size;
};

struct fake_conn {
    bool open, ended, told;
    uint64_t store; /* 0: pd */
    struct transport_handler handler;
};

struct fake_event;
struct fake_timer;

struct fake_cluster {
    struct env env;
    struct executor executor;
    struct clock clock;
    struct transport transport;
    uint64_t now_us;

    const struct actor_ops *actor_ops;
    void *actor_state;
    bool stopped;
    struct message *first, **last;
    uint32_t waiting;
    struct fake_timer *timers;
    struct fake_event *events, **events_last;

    struct fake_region regions[FAKE_REGIONS_MAX];
    uint32_t region_count;
    bool store_up[FAKE_STORES + 1];     /* [0]: pd */
    bool store_silent[FAKE_STORES + 1]; /* accepts, takes, says nothing */
    bool store_moved[FAKE_STORES + 1];  /* lives at its second address */
    bool black_hole[FAKE_STORES + 1];   /* dials neither succeed nor fail */
    fake_hook hook;
    void *hook_state;
    uint32_t hook_count;
    bool pd_lists_nothing;
    uint32_t pd_by_id_count; /* a question for the stores gets no answer */
    enum err pd_code; /* not ERR_OK: what pd answers to everything */

    struct fake_row rows[FAKE_ROWS_MAX];
    uint32_t row_count;
    struct {
        uint64_t client_id, sequence;
        enum err code;
    } tokens[FAKE_TOKENS_MAX];
    uint32_t token_count;
    uint32_t executed; /* writes */

    struct fake_conn conns[FAKE_CONNS_MAX];
    uint32_t conn_count;
    struct fake_request log[FAKE_LOG_MAX];
    uint32_t log_count, frame_count, pd_request_count, store_list_count;
    struct client *client;
};

/* `region_count` regions over the raw keys: boundaries at r, rb, rd, rf ... ; store 1 leads all. */
struct fake_cluster *fake_new(uint32_t region_count);
/* Starts the client; `options` may be NULL. */
void fake_open_client(struct fake_cluster *cluster, const struct client_options *options);
void fake_free(struct fake_cluster *cluster);

/* Lets everything happen up to `us` from now, or until `*until` is true if that is given. */
void fake_run(struct fake_cluster *cluster, uint64_t us, const bool *until);
/* Submits, runs until it is answered (at most a virtual minute), returns the result. */
struct polder_result *fake_call(struct fake_cluster *cluster, struct client_call call);
void fake_cut(struct fake_cluster *cluster, uint64_t store); /* all its connections end */
void fake_split(struct fake_cluster *cluster, uint32_t index, const char *at, uint64_t new_id);
struct fake_row *fake_row(struct fake_cluster *cluster, const char *encoded_key);
void fake_put(struct fake_cluster *cluster, const char *encoded_key, struct bytes value);

#endif
