/* pd_config: everything a pd member can be told. Sources: flag > POLDER_* environment > YAML file > default. */
#ifndef PD_PD_CONFIG_H
#define PD_PD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct setting;

enum { PD_CONFIG_FOUNDERS_MAX = 5 };

struct pd_config {
    char *config_file; /* owned; a flag only: the YAML file that the rest is read from; NULL: none */
    /* basic */
    char *name;                 /* owned; pd-1 */
    char *data_dir;             /* owned */
    char *address;              /* owned; tcp://127.0.0.1:2379 */
    char *advertise_address;    /* owned; default: address */
    char *status_address;       /* owned; HTTP: http://127.0.0.1:2381, or "off"; default: the port of address + 2 */
    /* owned; name=address of all founders, this one too; none: it is alone. Looked at by the first start only */
    char *initial_cluster[PD_CONFIG_FOUNDERS_MAX];
    uint32_t initial_cluster_count;
    bool join; /* the first start waits to be added to a cluster that runs */
    bool insecure;              /* allow an address that is not loopback without TLS */
    char *log_level;            /* owned */
    uint32_t bootstrap_stores;  /* stores that must have registered before the first regions are made: 3 */
    uint32_t bootstrap_regions; /* first regions, pre-split over the key space: 16 */
    uint32_t replicas;          /* peers per region: 3 (never more than bootstrap_stores) */
    /* advanced */
    uint64_t tick_ms;               /* 50 */
    uint32_t heartbeat_ticks;       /* 2 */
    uint32_t election_ticks;        /* 15 */
    uint64_t log_size_max;          /* a member that lacks more than this gets a snapshot: 64 MiB; 0: as many bytes */
    uint64_t snapshot_chunk_size;   /* 1 MiB; 0: a row at a time */
    uint32_t mailbox_max;           /* 65536 */
    uint64_t store_disconnected_ms; /* a store is "disconnected" after this long without a heartbeat: 5 s */
    uint64_t store_down_ms;         /* and "down" after this long: 30 min */
    bool scheduling;                /* pd decides by itself; false: only what people ask for is done */
    uint64_t schedule_interval_ms;  /* between two rounds of deciding: 500 */
    uint64_t region_merge_size;     /* a region that is no larger is merged with a neighbour: 20 MiB; 0: none is */
    uint64_t region_merge_keys;     /* and has no more keys: 200000 */
    uint64_t split_merge_interval_ms; /* and was not split for so long: 1 min */
    uint32_t hot_region_load;       /* keys and 4 KiB blocks per second; from this on a region is left where it is: 1000 */
    uint64_t store_limit_size;      /* bytes of snapshots a store sends, and receives, per second: 100 MiB; 0: no limit */
    uint32_t store_space_low_percent; /* a store with less of its disk free gets nothing: 20 */
    uint64_t store_latency_target_ms; /* of synced writes; above it a store's limit is halved each round: 200; 0: never */
    uint32_t operators_max;         /* under way at a time: 4096 */
    uint64_t timestamp_window_ms;   /* persisted ahead: 3 s */
    uint64_t block_cache_size;      /* 8 MiB: everything is in memory, rows are read at a start */
    uint64_t disk_reserve_size;     /* a quarter of it is kept for a full disk: 64 MiB */
    uint64_t write_buffer_size;     /* 8 MiB */
    char *tls_ca_file;              /* owned; PEM, who may vouch for the other side; NULL: anybody may be there */
    char *tls_cert_file;            /* owned; PEM, own certificate; a tls+tcp:// address needs it */
    char *tls_key_file;             /* owned; PEM, its key */
};

/* The rows for config/settings.h: settings_fill writes a struct pd_config. */
const struct setting *pd_config_table(size_t *ret_count);
/* All defaults (and no data_dir). */
void pd_config_init(struct pd_config *config);
void pd_config_fini(struct pd_config *config);
/* After settings_fill: completes addresses (`host:port` becomes tcp://host:port, no advertise_address becomes address)
 * and checks what one key alone cannot tell. ERR_INVALID names the key. */
/* While it runs: `key` as in the file. ERR_NOT_FOUND: not one of those that can be set so; ERR_INVALID. */
bool pd_config_is_online(const char *key);
enum err pd_config_set_online(struct pd_config *config, const char *key, const char *text, struct error *err);
enum err pd_config_finish(struct pd_config *config, struct error *err);

#endif
