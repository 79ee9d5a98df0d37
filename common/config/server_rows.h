/* server_rows: the settings that pd and a storenode have alike: whom they let in, and what they log. `target` is the type of
 * the struct that is filled. */
#ifndef CONFIG_SERVER_ROWS_H
#define CONFIG_SERVER_ROWS_H

#include "config/settings.h"

#define SERVER_ROWS(target)                                                                                            \
    {.key = "insecure",                                                                                                \
     .env = "POLDER_INSECURE",                                                                                         \
     .type = SETTING_BOOL,                                                                                             \
     SETTING_FIELD(target, insecure),                                                                                  \
     .default_text = "false",                                                                                          \
     .help = "allow an address that other machines reach, without TLS"},                                               \
        {.key = "tls-ca",                                                                                              \
         .env = "POLDER_TLS_CA",                                                                                       \
         .type = SETTING_STRING,                                                                                       \
         SETTING_FIELD(target, tls_ca_file),                                                                           \
         .value_name = "FILE",                                                                                         \
         .help = "PEM: who may vouch for the other side"},                                                             \
        {.key = "tls-cert",                                                                                            \
         .env = "POLDER_TLS_CERT",                                                                                     \
         .type = SETTING_STRING,                                                                                       \
         SETTING_FIELD(target, tls_cert_file),                                                                         \
         .value_name = "FILE",                                                                                         \
         .help = "PEM: own certificate, for tls+tcp:// addresses"},                                                    \
        {.key = "tls-key",                                                                                             \
         .env = "POLDER_TLS_KEY",                                                                                      \
         .type = SETTING_STRING,                                                                                       \
         SETTING_FIELD(target, tls_key_file),                                                                          \
         .value_name = "FILE",                                                                                         \
         .help = "PEM: key of the certificate"},                                                                       \
    {                                                                                                                  \
        .key = "log-level", .env = "POLDER_LOG_LEVEL", .type = SETTING_STRING, SETTING_FIELD(target, log_level),       \
        .default_text = "info", .choices = "debug|info|warn|error", .help = "what is less important is not logged"     \
    }

#endif
