/* status_port: the HTTP port of `polder pd` and `polder storenode`.
 *
 * The service answers on its own actors; what is the process's and not the service's (memory, actors' mailboxes, RocksDB)
 * is put in front of its /metrics here, on the server's thread, which may wait. */
#ifndef TOOLS_STATUS_PORT_H
#define TOOLS_STATUS_PORT_H

#include "env/http.h"
#include "server.h"

struct status_port;

/* `address` as in the configuration, complete; "off": `*ret_port` is NULL. ERR_LOCKED: the port is in use. */
enum err status_port_open(struct server *server, const char *address, const struct http_handler *service,
                          struct status_port **ret_port, struct error *err);
/* Before the service is freed; NULL is fine. */
void status_port_close(struct status_port *port);

#endif
