#include "env/transport_tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

struct transport_tls {
    char *ca, *cert, *key;     /* owned; PEM text or NULL */
    nng_tls_config *dialing;   /* owned; without a name */
    nng_tls_config *listening; /* owned; NULL: no certificate */
    bool verify_name;
};

enum { PEM_SIZE_MAX = 1024 * 1024 };

/* Leaves `*ret_text` NULL when there is no path. */
static enum err read_pem(const char *path, const char *what, char **ret_text, struct error *err)
{
    if (!path)
        return ERR_OK;
    FILE *file = fopen(path, "re");
    if (!file)
        return error_set(err, ERR_INVALID, "%s \"%s\": %s", what, path, strerror(errno));
    char *text = malloc(PEM_SIZE_MAX + 1);
    CHECK(text);
    size_t size = fread(text, 1, PEM_SIZE_MAX + 1, file);
    bool failed = ferror(file);
    fclose(file);
    if (failed || size > PEM_SIZE_MAX) {
        free(text);
        return error_set(err, ERR_INVALID, "%s \"%s\": %s", what, path, failed ? "cannot be read" : "over 1 MiB");
    }
    text[size] = 0;
    *ret_text = realloc(text, size + 1);
    CHECK(*ret_text);
    return ERR_OK;
}

/* `host` NULL: whoever has a certificate that the CA vouches for will do. */
static enum err config_new(const struct transport_tls *tls, nng_tls_mode mode, const char *host, bool verify,
                           nng_tls_config **ret_config, struct error *err)
{
    nng_tls_config *config;
    const char *what = "allocate";
    int rv = nng_tls_config_alloc(&config, mode);
    if (rv)
        return error_set(err, ERR_NO_MEMORY, "TLS: %s: %s", what, nng_strerror(rv));
    if (!rv && tls->ca) {
        what = "the CA certificates (ca_file)";
        rv = nng_tls_config_ca_chain(config, tls->ca, NULL);
    }
    if (!rv && tls->cert) {
        what = "the own certificate and key (cert_file, key_file)";
        rv = nng_tls_config_own_cert(config, tls->cert, tls->key, NULL);
    }
    if (!rv && host) {
        what = "the host name";
        rv = nng_tls_config_server_name(config, host);
    }
    if (!rv) {
        what = "the verification mode";
        rv = nng_tls_config_auth_mode(config, verify ? NNG_TLS_AUTH_MODE_REQUIRED : NNG_TLS_AUTH_MODE_NONE);
    }
    if (rv) {
        nng_tls_config_free(config);
        return error_set(err, ERR_INVALID, "TLS: %s: %s", what, nng_strerror(rv));
    }
    *ret_config = config;
    return ERR_OK;
}

static enum err check_options(const struct transport_nng_options *options, struct error *err)
{
    if (!options->tls_cert_file != !options->tls_key_file)
        return error_set(err, ERR_INVALID,
                         "TLS: a certificate needs its key, and a key its certificate (cert_file, key_file)");
    if (options->tls_require_client && !options->tls_ca_file)
        return error_set(err, ERR_INVALID, "TLS: certificates of dialers can only be required with a ca_file");
    if (options->tls_verify_name && !options->tls_ca_file)
        return error_set(err, ERR_INVALID, "TLS: names can only be verified with a ca_file");
    return ERR_OK;
}

enum err transport_tls_new(const struct transport_nng_options *options, struct transport_tls **ret_tls,
                           struct error *err)
{
    enum err code = check_options(options, err);
    if (code)
        return code;
    struct transport_tls *tls = calloc(1, sizeof *tls);
    CHECK(tls);
    tls->verify_name = options->tls_verify_name;
    code = read_pem(options->tls_ca_file, "ca_file", &tls->ca, err);
    if (!code)
        code = read_pem(options->tls_cert_file, "cert_file", &tls->cert, err);
    if (!code)
        code = read_pem(options->tls_key_file, "key_file", &tls->key, err);
    if (!code)
        code = config_new(tls, NNG_TLS_MODE_CLIENT, NULL, tls->ca != NULL, &tls->dialing, err);
    if (!code && tls->cert)
        code = config_new(tls, NNG_TLS_MODE_SERVER, NULL, options->tls_require_client, &tls->listening, err);
    if (code) {
        transport_tls_free(tls);
        return code;
    }
    *ret_tls = tls;
    return ERR_OK;
}

void transport_tls_free(struct transport_tls *tls)
{
    if (!tls)
        return;
    if (tls->dialing)
        nng_tls_config_free(tls->dialing);
    if (tls->listening)
        nng_tls_config_free(tls->listening);
    free(tls->ca);
    free(tls->cert);
    free(tls->key);
    free(tls);
}

enum err transport_tls_listener(struct transport_tls *tls, nng_stream_listener *listener, struct error *err)
{
    if (!tls->listening)
        return error_set(err, ERR_INVALID, "TLS: listening needs a certificate and its key (cert_file, key_file)");
    int rv = nng_stream_listener_set_ptr(listener, NNG_OPT_TLS_CONFIG, tls->listening);
    return rv ? error_set(err, ERR_INVALID, "TLS: %s", nng_strerror(rv)) : ERR_OK;
}

/* mbedTLS 2.28 compares a certificate's DNS names only, so 127.0.0.1 or ::1 never matches, whatever the certificate
 * says. For those the chain must do: an authority of one's own vouches for nobody else. */
static bool is_numeric(const char *host)
{
    return strchr(host, ':') != NULL || host[strspn(host, "0123456789.")] == '\0';
}

enum err transport_tls_dialer(struct transport_tls *tls, const char *host, nng_stream_dialer *dialer, struct error *err)
{
    nng_tls_config *config = tls->dialing;
    if (tls->verify_name && !is_numeric(host)) {
        enum err code = config_new(tls, NNG_TLS_MODE_CLIENT, host, true, &config, err);
        if (code)
            return code;
    }
    int rv = nng_stream_dialer_set_ptr(dialer, NNG_OPT_TLS_CONFIG, config);
    if (config != tls->dialing)
        nng_tls_config_free(config); /* the dialer holds it now */
    return rv ? error_set(err, ERR_INVALID, "TLS: %s", nng_strerror(rv)) : ERR_OK;
}
