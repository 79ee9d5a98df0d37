/* net_address: what the transport understands as an address, and what is wrong with the rest.
 *
 *   tcp://host:port   tls+tcp://host:port   ipc:///path      host: a name, 1.2.3.4, [::1], or * (listening on all)
 *
 * Threads: any. */
#ifndef ENV_NET_ADDRESS_H
#define ENV_NET_ADDRESS_H

#include <stdbool.h>

#include "base/error.h"

enum net_scheme { NET_TCP, NET_TLS, NET_IPC };

struct net_address {
    enum net_scheme scheme;
    char host[256]; /* without brackets; of ipc: the path */
    uint16_t port;  /* 0 with ipc, and where a listener wants any */
};

/* ERR_INVALID, with the address and the reason in the text. `listening` allows port 0 and the host `*`. */
enum err net_address_parse(const char *text, bool listening, struct net_address *ret_address, struct error *err);

#endif
