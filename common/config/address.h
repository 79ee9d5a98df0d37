/* address: `tcp://host:port`, `tls+tcp://host:port`, `ipc:///path`: is it one, and who can reach it? */
#ifndef CONFIG_ADDRESS_H
#define CONFIG_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { ADDRESS_TEXT_SIZE_MAX = 256 };

struct address {
    bool tls;
    bool ipc;
    char host[ADDRESS_TEXT_SIZE_MAX]; /* without []; for ipc the path */
    uint16_t port;                    /* 0 for ipc */
};

/* ERR_INVALID with a text that quotes `text` and says what is wrong. */
enum err address_parse(const char *text, struct address *ret_address, struct error *err);
/* The same for people: `host:port` and `tcp://host:port` both are fine. Writes the full form into `ret_text`. */
enum err address_normalize(const char *text, char ret_text[static ADDRESS_TEXT_SIZE_MAX], struct error *err);
/* Only this machine reaches it: 127.0.0.0/8, ::1, localhost, ipc. */
bool address_is_local(const struct address *address);
/* Binds every interface (0.0.0.0, ::), so nobody can dial it under this name. */
bool address_is_wildcard(const struct address *address);

/* For a setting that holds an address: replaces `*address` (owned, from malloc) by its full form. `key` is for the
 * text. */
enum err address_complete(char **address, const char *key, struct error *err);
enum err address_copy(char **ret_address, const char *address);

/* `address` may be listened on, and `advertised` (NULL: the same) dialed by others. Beyond this machine it must be TLS
 * or `insecure`, and TLS wants a certificate (`cert_file` is not NULL). */
enum err address_check_listen(const char *address, const char *advertised, bool insecure, const char *cert_file,
                              struct error *err);

/* For a setting that holds the address of a status port: `host:port` becomes http://host:port; NULL becomes the port of
 * `address` plus `port_add` on this machine, or "off" if there is none; "off" stays. Beyond this machine it must be
 * `insecure`: there is no TLS. */
enum err address_complete_status(char **status, const char *address, uint16_t port_add, bool insecure,
                                 struct error *err);
/* Host and port of a complete one; false: "off". */
bool address_parse_status(const char *status, struct address *ret_address);
/* What others should dial: the host of `advertised` where the status port listens on all. Free it. */
char *address_advertise_status(const char *status, const char *advertised);

#endif
