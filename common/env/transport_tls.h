/* transport_tls: certificates from PEM files into what nng wants.
 *
 * The files are read once. A dialer that verifies the name needs a configuration per host, because nng keeps the name
 * there; all others share one. Threads: any, after transport_tls_new. */
#ifndef ENV_TRANSPORT_TLS_H
#define ENV_TRANSPORT_TLS_H

#include <nng/nng.h>
#include <nng/supplemental/tls/tls.h>

#include "env/transport_nng.h"

struct transport_tls;

enum err transport_tls_new(const struct transport_nng_options *options, struct transport_tls **ret_tls,
                           struct error *err);
void transport_tls_free(struct transport_tls *tls); /* NULL is fine */
/* ERR_INVALID: no certificate was given. */
enum err transport_tls_listener(struct transport_tls *tls, nng_stream_listener *listener, struct error *err);
enum err transport_tls_dialer(struct transport_tls *tls, const char *host, nng_stream_dialer *dialer,
                              struct error *err);

#endif
