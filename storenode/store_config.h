/* store_config: everything a storenode can be told. Sources: flag > POLDER_* environment > YAML file > default. */
#ifndef STORENODE_STORE_CONFIG_H
#define STORENODE_STORE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct setting;

enum { STORE_PD_ENDPOINTS_MAX = 8 };

struct store_config {
    char *config_file; /* owned; a flag only: the YAML file that the rest is read from; NULL: none */
    /* basic */
    char *data_dir;                   /* owned */
    char *address;                    /* owned; where it listens: tcp://127.0.0.1:20160 */
    char *advertise_address;          /* owned; what others dial; default: address */
    char *status_address;             /* owned; HTTP: http://127.0.0.1:20180, or "off"; default: address' port + 20 */
    char *pd[STORE_PD_ENDPOINTS_MAX]; /* owned; pd endpoints */
    uint32_t pd_count;
    bool insecure;   /* allow an address that is not loopback without TLS */
    char *log_level; /* owned; debug info warn error */
    /* advanced */
    uint32_t region_workers;                /* actors that own regions; 0: one per 4 cores, at least 1 */
    uint32_t read_workers;                  /* 0: one per 2 cores, at least 1 */
    uint64_t tick_ms;                       /* 100 */
    uint32_t heartbeat_ticks;               /* 2 */
    uint32_t election_ticks;                /* 10 */
    bool lease_read;                        /* true */
    uint64_t lease_ms;                      /* 750; below (election_ticks - 1) * tick_ms less clock drift */
    uint64_t check_interval_ms;             /* in which each region's replicas are compared once: a day; 0: never */
    uint64_t sleep_after_ms;                /* 1000; 0: regions never sleep */
    uint32_t campaigns_max;                 /* elections under way per region worker: 256 */
    uint32_t mailbox_max;                   /* messages waiting per actor: 65536 */
    uint64_t admission_size_max;            /* bytes of requests being worked on, in all: 512 MiB */
    uint64_t connection_admission_size_max; /* and of one connection: 64 MiB */
    uint32_t region_proposals_max;          /* requests waiting per region: 4096 */
    uint64_t proposal_size_max;             /* bytes in one log entry: 9 MiB */
    uint32_t inflight_count_max;            /* append messages on the way per follower: 256 */
    uint64_t inflight_size_max;             /* bytes on the way per follower: 64 MiB */
    uint64_t append_size_max;               /* bytes per append message: 1 MiB */
    uint64_t log_retain_count;              /* entries kept after apply for slow followers and tokens: 1024 */
    uint64_t log_size_max;                  /* per region; then a slow follower gets a snapshot: 64 MiB */
    uint64_t region_split_size;             /* a region that is too large is cut into pieces of this: 96 MiB */
    uint64_t region_size_max;               /* it is, from this on: 144 MiB; 0: none ever is */
    uint64_t region_split_keys;             /* the same in keys: 960000 */
    uint64_t region_keys_max;               /* 1440000; 0: keys are not counted */
    uint64_t split_load;                    /* requests per second of a region that is split for it: 5000; 0: none is */
    uint64_t split_load_size;               /* or bytes per second: 32 MiB; 0: bytes do not matter */
    uint64_t split_load_seconds;            /* if that goes on for so long: 10 */
    uint64_t log_count_max;                 /* entries per region, likewise: 1000000 */
    uint64_t log_age_max_ms;        /* a peer that is behind for longer gets a snapshot: 3600000; 0: never for that */
    uint64_t expiry_interval_ms;    /* how often compactions hear what has expired: 10000 */
    uint64_t log_check_interval_ms; /* how often the above is looked at: 1000 */
    uint32_t tokens_save_interval;  /* entries; the log is never cut below: 512 */
    uint32_t snapshots_max;         /* on their way at a time, each way: 2 */
    uint64_t snapshot_rate_size;    /* bytes per second that leave in snapshots: 128 MiB; 0: no limit */
    uint64_t snapshot_receive_rate_size; /* bytes per second that are taken in snapshots: 128 MiB; 0: no limit */
    uint64_t snapshot_small_size;        /* up to which a snapshot goes as plain rows: 1 MiB */
    uint64_t snapshot_chunk_size;        /* bytes of rows in one frame: 256 KiB */
    uint64_t snapshot_lag_max;           /* entries committed and not applied, beyond which none is begun: 100000 */
    uint64_t snapshot_interval_min_ms;   /* from the end of one to the begin of the next of a region: 1000 */
    uint64_t snapshot_size_max;          /* bytes; a larger one is given up: 0, none is too large */
    uint64_t snapshot_duration_max_ms;   /* one that took longer is said and counted: 600000 */
    uint64_t snapshot_timeout_ms;        /* without a sign of the other side: 10000 */
    uint64_t stale_check_interval_ms;    /* how often peers that sleep ask whether they are members: 1800000 */
    uint64_t store_heartbeat_ms;         /* 1000 */
    uint64_t block_cache_size;           /* 256 MiB */
    uint64_t disk_reserve_size;          /* free space below which only reads and deletes are taken: 256 MiB */
    uint64_t write_buffer_size; /* 32 MiB per column family; a restart after a crash replays up to twice that */
    uint32_t scan_limit_max;    /* rows per reply: 10000 */
    uint64_t scan_size_max;     /* bytes per reply: 8 MiB */
    char *tls_ca_file;          /* owned; PEM, who may vouch for the other side; NULL: anybody may be there */
    char *tls_cert_file;        /* owned; PEM, own certificate; a tls+tcp:// address needs it */
    char *tls_key_file;         /* owned; PEM, its key */
};

/* The rows for config/settings.h: settings_fill writes a struct store_config. */
const struct setting *store_config_table(size_t *ret_count);
/* All defaults (and no data_dir). */
void store_config_init(struct store_config *config);
void store_config_fini(struct store_config *config);
/* After settings_fill: completes addresses (`host:port` becomes tcp://host:port, no advertise_address becomes address)
 * and checks what one key alone cannot tell. ERR_INVALID names the key. */
enum err store_config_finish(struct store_config *config, struct error *err);

#endif
