#include "config/address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

static enum err parse_port(const char *whole, const char *text, uint16_t *ret_port, struct error *err)
{
    uint32_t port = 0;
    size_t size = strlen(text);
    for (size_t i = 0; i < size && i < 6; i++)
        port = text[i] >= '0' && text[i] <= '9' ? port * 10 + (uint32_t)(text[i] - '0') : 100000;
    if (size == 0 || size > 5 || port == 0 || port > 65535)
        return error_set(err, ERR_INVALID, "bad address \"%.128s\": \"%.16s\" is not a port (1 to 65535)", whole, text);
    *ret_port = (uint16_t)port;
    return ERR_OK;
}

static bool host_character(char c, bool brackets)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '-' ||
           c == '_' || (brackets && c == ':');
}

/* `rest` is what follows `://`. */
static enum err parse_host_port(const char *whole, const char *rest, struct address *address, struct error *err)
{
    bool brackets = rest[0] == '[';
    const char *host = rest + brackets;
    size_t size = strcspn(host, brackets ? "]" : ":");
    const char *behind = host + size + (brackets && host[size] == ']');
    if (size == 0)
        return error_set(err, ERR_INVALID, "bad address \"%.128s\": no host; write for example tcp://127.0.0.1:2379",
                         whole);
    if (behind[0] != ':' || (brackets && behind == host + size))
        return error_set(err, ERR_INVALID, "bad address \"%.128s\": no port; write for example tcp://127.0.0.1:2379",
                         whole);
    if (size >= sizeof address->host)
        return error_set(err, ERR_INVALID, "bad address \"%.128s\": too long", whole);
    for (size_t i = 0; i < size; i++)
        if (!host_character(host[i], brackets))
            return error_set(err, ERR_INVALID, "bad address \"%.128s\": '%c' in the host", whole,
                             host[i] >= ' ' && host[i] < 127 ? host[i] : '?');
    memcpy(address->host, host, size);
    address->host[size] = '\0';
    return parse_port(whole, behind + 1, &address->port, err);
}

enum err address_parse(const char *text, struct address *ret_address, struct error *err)
{
    struct address address = {0};
    if (strlen(text) >= ADDRESS_TEXT_SIZE_MAX)
        return error_set(err, ERR_INVALID, "bad address \"%.64s...\": too long", text);
    enum err code = ERR_OK;
    if (strncmp(text, "tcp://", 6) == 0) {
        code = parse_host_port(text, text + 6, &address, err);
    } else if (strncmp(text, "tls+tcp://", 10) == 0) {
        address.tls = true;
        code = parse_host_port(text, text + 10, &address, err);
    } else if (strncmp(text, "ipc://", 6) == 0) {
        address.ipc = true;
        if (text[6] != '/' || strlen(text + 6) > 100)
            code = error_set(err, ERR_INVALID,
                             "bad address \"%.128s\": wants ipc:// and an absolute path of at most 100 bytes", text);
        else
            snprintf(address.host, sizeof address.host, "%s", text + 6);
    } else {
        code = error_set(err, ERR_INVALID,
                         "bad address \"%.128s\": wants tcp://host:port, tls+tcp://host:port or ipc:///path", text);
    }
    if (code == ERR_OK)
        *ret_address = address;
    return code;
}

enum err address_normalize(const char *text, char ret_text[static ADDRESS_TEXT_SIZE_MAX], struct error *err)
{
    char full[2 * ADDRESS_TEXT_SIZE_MAX];
    snprintf(full, sizeof full, "%s%.*s", strstr(text, "://") ? "" : "tcp://", ADDRESS_TEXT_SIZE_MAX, text);
    struct address address;
    enum err code = address_parse(full, &address, err);
    if (code == ERR_OK)
        memcpy(ret_text, full, strlen(full) + 1);
    return code;
}

bool address_is_local(const struct address *address)
{
    return address->ipc || strcmp(address->host, "localhost") == 0 || strcmp(address->host, "::1") == 0 ||
           (strncmp(address->host, "127.", 4) == 0 && strspn(address->host, "0123456789.") == strlen(address->host));
}

bool address_is_wildcard(const struct address *address)
{
    return !address->ipc && (strcmp(address->host, "0.0.0.0") == 0 || strcmp(address->host, "::") == 0);
}

enum err address_copy(char **ret_address, const char *address)
{
    *ret_address = strdup(address);
    CHECK(*ret_address);
    return ERR_OK;
}

enum err address_complete(char **address, const char *key, struct error *err)
{
    char full[ADDRESS_TEXT_SIZE_MAX];
    if (address_normalize(*address, full, err) != ERR_OK)
        return error_wrap(err, "%s", key);
    free(*address);
    return address_copy(address, full);
}

enum err address_check_listen(const char *address, const char *advertised, bool insecure, const char *cert_file,
                              struct error *err)
{
    struct address own, other;
    if (address_parse(address, &own, err) != ERR_OK)
        return error_wrap(err, "address");
    if (!own.tls && !address_is_local(&own) && !insecure)
        return error_set(
            err, ERR_INVALID,
            "address: %s can be reached from other machines without TLS; use tls+tcp:// or say insecure: true",
            address);
    if (own.tls && !cert_file)
        return error_set(err, ERR_INVALID, "tls-cert: must be given to listen on %s", address);
    if (!advertised && address_is_wildcard(&own))
        return error_set(err, ERR_INVALID, "advertise-address: must be given, since nobody can dial %s", address);
    if (!advertised)
        return ERR_OK;
    if (address_parse(advertised, &other, err) != ERR_OK)
        return error_wrap(err, "advertise-address");
    if (address_is_wildcard(&other))
        return error_set(err, ERR_INVALID, "advertise-address: nobody can dial %s", advertised);
    return ERR_OK;
}

static char *format_status(const char *host, unsigned port)
{
    char text[ADDRESS_TEXT_SIZE_MAX + 32];
    bool brackets = strchr(host, ':') != NULL;
    snprintf(text, sizeof text, "http://%s%s%s:%u", brackets ? "[" : "", host, brackets ? "]" : "", port);
    char *copy = strdup(text);
    CHECK(copy);
    return copy;
}

static void default_status(char **status, const char *address, uint16_t port_add)
{
    struct address own;
    if (address_parse(address, &own, NULL) != ERR_OK || own.ipc || own.port > UINT16_MAX - port_add) {
        address_copy(status, "off");
        return;
    }
    *status = format_status(address_is_local(&own) ? own.host : "127.0.0.1", own.port + port_add);
}

enum err address_complete_status(char **status, const char *address, uint16_t port_add, bool insecure,
                                 struct error *err)
{
    struct address parsed;
    char full[ADDRESS_TEXT_SIZE_MAX + 8];
    if (!*status || (*status)[0] == '\0') {
        free(*status);
        default_status(status, address, port_add);
        return ERR_OK;
    }
    if (strcmp(*status, "off") == 0)
        return ERR_OK;
    const char *rest = strncmp(*status, "http://", 7) == 0 ? *status + 7 : *status;
    if (strlen(rest) >= ADDRESS_TEXT_SIZE_MAX || strstr(rest, "://"))
        return error_set(err, ERR_INVALID, "status-address: wants host:port, http://host:port or off");
    snprintf(full, sizeof full, "tcp://%s", rest);
    if (address_parse(full, &parsed, err) != ERR_OK)
        return error_wrap(err, "status-address");
    if (!address_is_local(&parsed) && !insecure)
        return error_set(err, ERR_INVALID,
                         "status-address: http://%s can be reached from other machines without TLS; say insecure: true",
                         rest);
    char *complete = format_status(parsed.host, parsed.port);
    free(*status);
    *status = complete;
    return ERR_OK;
}

bool address_parse_status(const char *status, struct address *ret_address)
{
    char full[ADDRESS_TEXT_SIZE_MAX + 8];
    if (!status || strncmp(status, "http://", 7) != 0)
        return false;
    snprintf(full, sizeof full, "tcp://%.*s", ADDRESS_TEXT_SIZE_MAX - 1, status + 7);
    return address_parse(full, ret_address, NULL) == ERR_OK;
}

char *address_advertise_status(const char *status, const char *advertised)
{
    struct address own, other;
    if (!address_parse_status(status, &own)) {
        char *none = strdup("");
        CHECK(none);
        return none;
    }
    bool replace = address_is_wildcard(&own) && address_parse(advertised, &other, NULL) == ERR_OK && !other.ipc;
    return format_status(replace ? other.host : own.host, own.port);
}
