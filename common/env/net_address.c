#include "env/net_address.h"

#include <string.h>

enum { IPC_PATH_SIZE_MAX = 107 }; /* sockaddr_un */

static enum err bad(struct error *err, const char *text, const char *reason)
{
    return error_set(err, ERR_INVALID, "address \"%.200s\": %s", text, reason);
}

static bool parse_port(const char *text, uint16_t *ret_port)
{
    uint32_t port = 0;
    size_t size = strlen(text);
    if (size == 0 || size > 5)
        return false;
    for (const char *digit = text; *digit; digit++) {
        if (*digit < '0' || *digit > '9')
            return false;
        port = port * 10 + (uint32_t)(*digit - '0');
    }
    *ret_port = (uint16_t)port;
    return port <= UINT16_MAX;
}

static bool host_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_';
}

static bool host_is_good(const char *host, size_t size, bool in_brackets, bool listening)
{
    if (size == 1 && *host == '*')
        return listening && !in_brackets;
    for (size_t i = 0; i < size; i++) {
        if (!host_character(host[i]) && !(in_brackets && host[i] == ':'))
            return false;
    }
    return size > 0;
}

static enum err parse_host_port(const char *text, const char *rest, bool listening, struct net_address *address,
                                struct error *err)
{
    const char *host = rest;
    const char *host_end;
    bool in_brackets = *rest == '[';
    if (in_brackets) {
        host++;
        host_end = strchr(host, ']');
        if (!host_end)
            return bad(err, text, "a [ without its ]");
        rest = host_end + 1;
    } else {
        host_end = strrchr(rest, ':');
        rest = host_end;
    }
    if (!rest || *rest != ':')
        return bad(err, text, "no port; write host:port");
    size_t size = (size_t)(host_end - host);
    if (size >= sizeof address->host || !host_is_good(host, size, in_brackets, listening))
        return bad(err, text, size == 0 ? "no host" : "not a host name or IP address");
    if (!parse_port(rest + 1, &address->port))
        return bad(err, text, "the port is not a number from 0 to 65535");
    if (address->port == 0 && !listening)
        return bad(err, text, "port 0 cannot be connected to");
    memcpy(address->host, host, size);
    address->host[size] = 0;
    return ERR_OK;
}

static enum err parse_path(const char *text, const char *path, struct net_address *address, struct error *err)
{
    size_t size = strlen(path);
    if (size == 0 || path[0] != '/')
        return bad(err, text, "no absolute path; write ipc:///path");
    if (size > IPC_PATH_SIZE_MAX)
        return bad(err, text, "the path is longer than 107 bytes");
    memcpy(address->host, path, size + 1);
    return ERR_OK;
}

enum err net_address_parse(const char *text, bool listening, struct net_address *ret_address, struct error *err)
{
    static const struct {
        const char *prefix;
        enum net_scheme scheme;
    } schemes[] = {{"tcp://", NET_TCP}, {"tls+tcp://", NET_TLS}, {"ipc://", NET_IPC}};
    if (!text)
        return bad(err, "", "empty");
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        size_t size = strlen(schemes[i].prefix);
        if (strncmp(text, schemes[i].prefix, size) != 0)
            continue;
        struct net_address address = {.scheme = schemes[i].scheme};
        enum err code = address.scheme == NET_IPC ? parse_path(text, text + size, &address, err)
                                                  : parse_host_port(text, text + size, listening, &address, err);
        if (!code)
            *ret_address = address;
        return code;
    }
    return bad(err, text, "it does not begin with tcp://, tls+tcp:// or ipc://");
}
