#include "env/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/list.h"

enum {
    CONNECTION_MEMORY_SIZE = 64 * 1024, /* headers and the path */
    BACKLOG = 64,
    LAST_WORDS_MS = 500,
};

struct http_server {
    struct MHD_Daemon *daemon;
    struct http_handler handler;
    struct log *log;
    int socket;
    /* Under exchanges_mutex. */
    bool stopping;
    struct list waiting;                   /* of struct exchange: their connections sleep */
    uint32_t open_count;                   /* asked, and not answered to the last byte */
    int connections[HTTP_CONNECTIONS_MAX]; /* their sockets, while libmicrohttpd has them open; -1: none */
};

/* Held by the connection, and by its owner from on_request to the answer. */
struct exchange {
    struct http_exchange shown; /* first */
    struct list link;           /* while it waits */
    struct http_server *server; /* not to be touched once `connection` is NULL */
    _Atomic int holders;
    struct MHD_Connection *connection; /* NULL: it is gone, or answered */
    char *method, *path, *query;       /* owned */
    struct buf body;
    bool asked;
    unsigned status; /* 0: not answered yet */
    const char *type;
    struct buf answer;
};

static void exchange_unref(struct exchange *exchange)
{
    if (atomic_fetch_sub(&exchange->holders, 1) != 1)
        return;
    free(exchange->method);
    free(exchange->path);
    free(exchange->query);
    buf_fini(&exchange->body);
    buf_fini(&exchange->answer);
    free(exchange);
}

static const char own_words[] = "{\"code\":\"%s\",\"message\":\"%s\",\"hint\":\"%s\"}\n";

static void set_answer(struct exchange *exchange, unsigned status, const char *type, struct bytes body)
{
    exchange->status = status;
    exchange->type = type;
    buf_reset(&exchange->answer);
    if (buf_append_bytes(&exchange->answer, body) == ERR_OK)
        return;
    exchange->status = 500;
    exchange->type = HTTP_JSON;
    CHECK(buf_append_bytes(&exchange->answer, bytes_of_string("{\"code\":\"EntryTooLarge\",\"message\":\"the answer is "
                                                              "too large\",\"hint\":\"ask for less\"}\n")) == ERR_OK);
}

static void refuse(struct exchange *exchange, unsigned status, const char *code, const char *message, const char *hint)
{
    char text[512];
    int size = snprintf(text, sizeof text, own_words, code, message, hint);
    set_answer(exchange, status, HTTP_JSON, bytes_of(text, (size_t)size));
}

/* Over what the server's thread and owners share. Not in the server: an owner may answer when that is gone. */
static pthread_mutex_t exchanges_mutex = PTHREAD_MUTEX_INITIALIZER;

/* Under the mutex. */
static void wake(struct exchange *exchange)
{
    list_remove(&exchange->link);
    MHD_resume_connection(exchange->connection);
    exchange->connection = NULL;
}

static void answer(struct http_exchange *take_exchange, unsigned status, const char *type, struct bytes body)
{
    struct exchange *exchange = (struct exchange *)take_exchange;
    pthread_mutex_lock(&exchanges_mutex);
    if (exchange->connection) {
        set_answer(exchange, status, type, body);
        wake(exchange);
    }
    pthread_mutex_unlock(&exchanges_mutex);
    exchange_unref(exchange);
}

/* ---- the server's thread */

static bool is_known_method(const char *method)
{
    static const char *const known[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(method, known[i]) == 0)
            return true;
    return false;
}

/* Printable ASCII only, so that it can be put into any text. */
static bool is_plain(const char *text)
{
    for (; *text; text++)
        if (*text <= ' ' || *text >= 0x7f)
            return false;
    return true;
}

/* The URI comes before libmicrohttpd takes it apart: so escapes and a ? without a value stay what they are. */
static void *on_uri(void *context, const char *uri, struct MHD_Connection *connection)
{
    (void)connection;
    struct exchange *exchange = calloc(1, sizeof *exchange);
    CHECK(exchange);
    exchange->shown.answer = answer;
    exchange->server = context;
    exchange->holders = 1;
    const char *query = strchr(uri, '?');
    exchange->path = query ? strndup(uri, (size_t)(query - uri)) : strdup(uri);
    exchange->query = strdup(query ? query + 1 : "");
    CHECK(exchange->path && exchange->query);
    buf_init(&exchange->body, HTTP_BODY_SIZE_MAX);
    buf_init(&exchange->answer, HTTP_ANSWER_SIZE_MAX);
    list_init(&exchange->link);
    return exchange;
}

/* The head of the request is here: refused without its body, or not. */
static void judge_head(struct exchange *exchange, struct MHD_Connection *connection, const char *method)
{
    exchange->method = strdup(method);
    CHECK(exchange->method);
    const char *size = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    bool changes = strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0;
    if (!is_known_method(method))
        refuse(exchange, 405, "Unsupported", "no such method", "GET, HEAD, POST, PUT, PATCH and DELETE are known");
    else if (exchange->path[0] != '/' || !is_plain(exchange->path) || !is_plain(exchange->query) ||
             strlen(exchange->path) + strlen(exchange->query) > HTTP_PATH_SIZE_MAX)
        refuse(exchange, 400, "Invalid", "the path is none, or too long", "write %XX for what is no plain character");
    else if (size && strtoull(size, NULL, 10) > HTTP_BODY_SIZE_MAX)
        refuse(exchange, 413, "EntryTooLarge", "the body is larger than 1MiB", "send less");
    else if (changes && MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Origin"))
        refuse(exchange, 403, "Invalid", "a page of a browser may not change anything", "use pd-ctl");
}

static enum MHD_Result queue_answer(struct exchange *exchange, struct MHD_Connection *connection)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(exchange->answer.size, exchange->answer.data, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, exchange->type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    enum MHD_Result result = MHD_queue_response(connection, exchange->status, response);
    MHD_destroy_response(response);
    return result;
}

static uint32_t open_count(struct http_server *server)
{
    pthread_mutex_lock(&exchanges_mutex);
    uint32_t count = server->open_count;
    pthread_mutex_unlock(&exchanges_mutex);
    return count;
}

/* The connection must sleep before anybody can wake it. False: nobody was asked, the refusal is there. */
static bool ask(struct exchange *exchange, struct MHD_Connection *connection)
{
    struct http_server *server = exchange->server;
    exchange->shown.method = exchange->method;
    exchange->shown.path = exchange->path;
    exchange->shown.query = exchange->query;
    exchange->shown.body = buf_bytes(&exchange->body);
    pthread_mutex_lock(&exchanges_mutex);
    bool stopping = server->stopping;
    if (stopping) {
        refuse(exchange, 503, "Closed", "the process is stopping", "ask again a little later");
    } else {
        MHD_suspend_connection(connection);
        exchange->connection = connection;
        exchange->asked = true;
        list_push_back(&server->waiting, &exchange->link);
        server->open_count++;
        atomic_fetch_add(&exchange->holders, 1);
    }
    pthread_mutex_unlock(&exchanges_mutex);
    if (!stopping)
        server->handler.on_request(server->handler.context, &exchange->shown);
    return !stopping;
}

static enum MHD_Result on_access(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                                 const char *version, const char *data, size_t *data_size, void **state)
{
    struct exchange *exchange = *state;
    (void)context, (void)url, (void)version;
    if (!exchange)
        return MHD_NO;
    if (!exchange->method) { /* the first call: no answer but a refusal yet */
        judge_head(exchange, connection, method);
        return exchange->status ? queue_answer(exchange, connection) : MHD_YES;
    }
    if (*data_size > 0) {
        /* More than it said, or it did not say: nobody waits for the end of it. */
        enum err code = buf_append(&exchange->body, data, *data_size);
        *data_size = 0;
        return code == ERR_OK ? MHD_YES : MHD_NO;
    }
    if (!exchange->asked && ask(exchange, connection))
        return MHD_YES;
    return queue_answer(exchange, connection);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode why)
{
    struct exchange *exchange = *state;
    (void)context, (void)connection, (void)why;
    *state = NULL;
    if (!exchange)
        return;
    pthread_mutex_lock(&exchanges_mutex);
    exchange->server->open_count -= exchange->asked && exchange->server->open_count > 0;
    if (exchange->connection) {
        list_remove(&exchange->link);
        exchange->connection = NULL;
    }
    pthread_mutex_unlock(&exchanges_mutex);
    exchange_unref(exchange);
}

/* A connection begins, or has ended: its socket is closed behind this. */
static void on_connection(void *context, struct MHD_Connection *connection, void **state,
                          enum MHD_ConnectionNotificationCode what)
{
    struct http_server *server = context;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    bool begins = what == MHD_CONNECTION_NOTIFY_STARTED;
    (void)state;
    pthread_mutex_lock(&exchanges_mutex);
    for (uint32_t i = 0; i < HTTP_CONNECTIONS_MAX && info; i++)
        if (server->connections[i] == (begins ? -1 : info->connect_fd)) {
            server->connections[i] = begins ? info->connect_fd : -1;
            break;
        }
    pthread_mutex_unlock(&exchanges_mutex);
}

/* True: there is none any more. */
static bool end_connections(struct http_server *server)
{
    bool none = true;
    pthread_mutex_lock(&exchanges_mutex);
    for (uint32_t i = 0; i < HTTP_CONNECTIONS_MAX; i++)
        if (server->connections[i] >= 0) {
            shutdown(server->connections[i], SHUT_RDWR);
            none = false;
        }
    pthread_mutex_unlock(&exchanges_mutex);
    return none;
}

/* What libmicrohttpd says about connections that end badly is nobody's business. */
static void on_log(void *context, const char *format, va_list arguments)
{
    (void)context, (void)format, (void)arguments;
}

/* ---- life */

static int listen_on(const struct addrinfo *address)
{
    int one = 1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (address->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int code = errno;
    close(fd);
    errno = code;
    return -1;
}

static enum err open_socket(struct http_server *server, const char *host, uint16_t port, struct error *err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    int code = getaddrinfo(strcmp(host, "*") == 0 ? NULL : host, service, &hints, &found);
    if (code != 0)
        return error_set(err, ERR_INVALID, "%s: %s", host, gai_strerror(code));
    server->socket = listen_on(found);
    int reason = errno;
    freeaddrinfo(found);
    if (server->socket >= 0)
        return ERR_OK;
    return error_set(err, reason == EADDRINUSE ? ERR_LOCKED : ERR_IO, "listen on http://%s:%u: %s", host, port,
                     reason == EADDRINUSE ? "the port is in use" : strerror(reason));
}

enum err http_server_new(const char *host, uint16_t port, const struct http_handler *handler, struct log *log,
                         struct http_server **ret_server, struct error *err)
{
    struct http_server *server = calloc(1, sizeof *server);
    CHECK(server);
    server->handler = *handler;
    server->log = log;
    list_init(&server->waiting);
    for (uint32_t i = 0; i < HTTP_CONNECTIONS_MAX; i++)
        server->connections[i] = -1;
    enum err code = open_socket(server, host, port, err);
    if (code == ERR_OK) {
        server->daemon = MHD_start_daemon(
            MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, port, NULL, NULL, on_access,
            server, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, server->socket,
            MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
            (unsigned)HTTP_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY_SIZE,
            MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_URI_LOG_CALLBACK, on_uri, server,
            MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_END);
        if (!server->daemon) {
            close(server->socket);
            code = error_set(err, ERR_IO, "start a server for http://%s:%u: %s", host, port, strerror(errno));
        }
    }
    if (code != ERR_OK) {
        free(server);
        return code;
    }
    log_event(log, LOG_INFO, "msg=\"serving status\" address=http://%s:%u", host, port);
    *ret_server = server;
    return ERR_OK;
}

void http_server_free(struct http_server *server)
{
    if (!server)
        return;
    /* libmicrohttpd cannot stop while a connection sleeps. */
    pthread_mutex_lock(&exchanges_mutex);
    server->stopping = true;
    while (!list_is_empty(&server->waiting)) {
        struct exchange *exchange = LIST_ENTRY(server->waiting.next, struct exchange, link);
        refuse(exchange, 503, "Closed", "the process is stopping", "ask again a little later");
        wake(exchange);
    }
    pthread_mutex_unlock(&exchanges_mutex);
    /* Stopping cuts connections off: the last words leave first, if somebody reads them. */
    for (int i = 0; i < LAST_WORDS_MS && open_count(server) > 0; i++)
        usleep(1000);
    /* While it stops it takes a response for said, and falls over a request that it refuses itself just then (a path that is too
     * long): none must be under way. */
    MHD_socket listening = MHD_quiesce_daemon(server->daemon);
    for (int i = 0; i < LAST_WORDS_MS && !end_connections(server); i++)
        usleep(1000);
    MHD_stop_daemon(server->daemon);
    if (listening != MHD_INVALID_SOCKET)
        close(listening);
    free(server);
}
