/* transport_churn: the transport and links under a peer that is killed and restarted without end.
 *
 *   transport_churn --seconds N --scheme tcp|tls [--idle N] [--every MS]
 *
 * Four sorts of processes, all this program:
 *   survivor  measures. Listens and answers; keeps a link to the peer with 64 requests outstanding.
 *   peer      the same; killed with -9 and started again every 300 ms.
 *   idle      holds a thousand connections to the survivor that only ping.
 *   abuser    garbage, half frames, resets and silence, 20 connections a second.
 *
 * After each restart both directions must answer again within a second: the peer to the survivor, and the survivor to
 * the peer. At the end no connection may hang, the idle ones must have lived through it, and neither descriptors nor
 * memory may have grown. Prints one line of figures; exit code 1 if a limit is broken. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/rng.h"
#include "env/clock_os.h"
#include "env/exec_threads.h"
#include "env/frame_wire.h"
#include "env/transport_nng.h"
#include "rpc/frame_kind.h"
#include "rpc/links.h"

enum {
    OUTSTANDING = 64,
    REQUEST_SIZE = 128,
    TICK_US = 10 * 1000,
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
    /* A process needs longer than 300 ms to start, and freed memory is kept for a while: here it is about what they
       find. */
    EVERY_MS = 1500,
    ANSWER_LIMIT_MS = 5000,
    MEMORY_GROWTH_MAX_KIB = 1024 * 1024,
#else
    EVERY_MS = 300,
    ANSWER_LIMIT_MS = 1000,
    MEMORY_GROWTH_MAX_KIB = 8 * 1024,
#endif
    SETTLE_MS = 5000,
    RESTARTS_MAX = 100000,
    KIND_REQUEST = 40,
    KIND_ANSWER = 41,
};

enum message_kind { MESSAGE_TICK = 1, MESSAGE_LINKS };

struct churn_options {
    uint64_t seconds, every_ms, limit_ms;
    uint32_t idle_count;
    bool tls;
    char directory[64]; /* of the certificate */
    char own_address[64], peer_address[64];
    uint32_t incarnation; /* of a peer; 0: the survivor */
};

static uint64_t now_ms(void)
{
    return clock_now_ms(clock_os());
}

/* ---- what both the survivor and the peer are */

struct node {
    struct env env;
    struct actor *actor;
    struct links *links;
    struct link *link;
    const char *connect_to; /* borrowed */
    struct transport_handler listening;
    uint32_t incarnation;
    /* as seen by others; for the survivor */
    _Atomic uint64_t answers, served, ups;
    _Atomic uint32_t answered_by; /* newest incarnation that answered us */
    _Atomic uint32_t served_to;   /* newest incarnation that certainly got an answer from us */
    _Atomic uint32_t idle_count;
};

/* Who is behind an accepted connection, and how much it asked. Few at a time: the slot is found by number of the
 * connection. */
enum { PEERS_MAX = 64 };
static struct {
    conn_id conn;
    uint32_t incarnation, requests;
} peers[PEERS_MAX];
static pthread_mutex_t peers_lock = PTHREAD_MUTEX_INITIALIZER;

static enum err accept_hello(void *context, conn_id conn, struct bytes bytes, struct frame **ret_reply)
{
    struct node *node = context;
    struct wire_hello hello,
        own = {.role = WIRE_ROLE_TOOL, .version_min = PROTOCOL_VERSION_MIN, .version_max = PROTOCOL_VERSION};
    struct arena hello_arena;
    arena_init(&hello_arena);
    enum err code = wire_decode_hello(bytes, &hello_arena, &hello);
    own.code = (uint16_t)code;
    *ret_reply = wire_frame_hello(FRAME_HELLO, &own);
    if (!code && hello.role == WIRE_ROLE_CLIENT)
        node->idle_count++;
    if (!code && hello.role == WIRE_ROLE_TOOL) {
        pthread_mutex_lock(&peers_lock);
        peers[hello.node_id % PEERS_MAX].conn = conn;
        peers[hello.node_id % PEERS_MAX].incarnation = (uint32_t)hello.node_id;
        peers[hello.node_id % PEERS_MAX].requests = 0;
        pthread_mutex_unlock(&peers_lock);
    }
    arena_fini(&hello_arena);
    return code;
}

static void note_request(struct node *node, conn_id conn)
{
    pthread_mutex_lock(&peers_lock);
    for (int i = 0; i < PEERS_MAX; i++) {
        /* One more than it may have outstanding: so it has got an answer. */
        if (peers[i].conn == conn && ++peers[i].requests == OUTSTANDING + 1 && peers[i].incarnation > node->served_to)
            node->served_to = peers[i].incarnation;
    }
    pthread_mutex_unlock(&peers_lock);
}

static enum err answer_request(void *context, conn_id conn, struct frame *take_frame)
{
    struct node *node = context;
    if (take_frame->kind != KIND_REQUEST || take_frame->size != REQUEST_SIZE)
        return ERR_INVALID;
    node->served++;
    if (node->incarnation == 0)
        note_request(node, conn);
    take_frame->kind = KIND_ANSWER;
    memcpy(take_frame->payload, &node->incarnation, sizeof node->incarnation);
    (void)transport_send(node->env.transport, conn, take_frame);
    return ERR_OK;
}

static void forget_conn(void *context, conn_id conn, enum err reason)
{
    (void)context, (void)reason;
    pthread_mutex_lock(&peers_lock);
    for (int i = 0; i < PEERS_MAX; i++) {
        if (peers[i].conn == conn)
            peers[i].conn = 0;
    }
    pthread_mutex_unlock(&peers_lock);
}

static void ask(struct node *node)
{
    struct frame *frame = frame_new(KIND_REQUEST, REQUEST_SIZE);
    memset(frame->payload, 0x5a, REQUEST_SIZE);
    (void)link_send(node->link, frame);
}

static void on_up(void *context, struct link *link, const struct wire_hello *hello)
{
    (void)link, (void)hello;
    struct node *node = context;
    node->ups++;
    for (int i = 0; i < OUTSTANDING; i++)
        ask(node);
}

static void on_answer(void *context, struct link *link, struct frame *take_frame)
{
    (void)link;
    struct node *node = context;
    uint32_t incarnation;
    CHECK(take_frame->kind == KIND_ANSWER && take_frame->size == REQUEST_SIZE);
    memcpy(&incarnation, take_frame->payload, sizeof incarnation);
    frame_unref(take_frame);
    node->answers++;
    if (incarnation > node->answered_by)
        node->answered_by = incarnation;
    ask(node);
}

static void on_down(void *context, struct link *link, bool was_up, enum err code, const char *text)
{
    (void)context, (void)link, (void)was_up, (void)code, (void)text;
}

static void message_drop(struct message *message)
{
    free(message);
}

static void tick_later(struct node *node)
{
    struct message *message = calloc(1, sizeof *message);
    CHECK(message);
    message->kind = MESSAGE_TICK;
    message->free = message_drop;
    actor_post_after(node->env.executor, node->actor, TICK_US, message);
}

static void connect_now(struct node *node)
{
    struct wire_hello hello = {.role = WIRE_ROLE_TOOL,
                               .node_id = node->incarnation,
                               .version_min = PROTOCOL_VERSION_MIN,
                               .version_max = PROTOCOL_VERSION};
    struct links_handler handler = {.context = node, .on_up = on_up, .on_frame = on_answer, .on_down = on_down};
    node->links = links_new(&node->env, node->actor, MESSAGE_LINKS, &hello, NULL, &handler);
    node->link = link_open(node->links, node->connect_to, 0, NULL);
}

static void on_message(void *state, struct message *take_message)
{
    struct node *node = state;
    if (take_message->kind == MESSAGE_LINKS) {
        links_on_message(node->links, take_message);
        return;
    }
    message_free(take_message);
    if (!node->link)
        connect_now(node);
    links_tick(node->links);
    tick_later(node);
}

static struct transport *make_transport(const struct churn_options *options)
{
    char cert[96], key[96];
    snprintf(cert, sizeof cert, "%s/cert.pem", options->directory);
    snprintf(key, sizeof key, "%s/key.pem", options->directory);
    struct transport_nng_options transport_options = {.hello_timeout_ms = 2000, .clock = clock_os()};
    if (options->tls) {
        transport_options.tls_ca_file = transport_options.tls_cert_file = cert;
        transport_options.tls_key_file = key;
    }
    struct transport *transport;
    struct error err = {0};
    if (transport_nng_new(&transport_options, &transport, &err)) {
        fprintf(stderr, "transport_churn: %s\n", err.text);
        exit(2);
    }
    return transport;
}

static void node_start(struct node *node, const struct churn_options *options)
{
    struct error err = {0};
    node->incarnation = options->incarnation;
    node->env = (struct env){.clock = clock_os(), .transport = make_transport(options), .seed = 1};
    node->listening = (struct transport_handler){node, accept_hello, answer_request, forget_conn};
    static const struct actor_ops ops = {.on_message = on_message};
    if (exec_threads_new(NULL, &node->env.executor, &err) ||
        executor_spawn(node->env.executor, "churn", &ops, node, 65536, &node->actor) ||
        transport_listen(node->env.transport, options->own_address, &node->listening, &err)) {
        fprintf(stderr, "transport_churn: %s\n", err.text);
        exit(2);
    }
}

static void node_connect(struct node *node, const char *address)
{
    node->connect_to = address;
    tick_later(node);
}

static void node_stop(struct node *node)
{
    exec_threads_stop(node->env.executor);
    links_free(node->links);
    transport_nng_free(node->env.transport);
    exec_threads_free(node->env.executor);
}

/* ---- the idle ones */

static _Atomic uint32_t idle_opened, idle_lost;

static enum err idle_open(void *context, conn_id conn, struct bytes hello, struct frame **ret_reply)
{
    (void)context, (void)conn, (void)hello, (void)ret_reply;
    idle_opened++;
    return ERR_OK;
}

static enum err idle_frame(void *context, conn_id conn, struct frame *take_frame)
{
    (void)context, (void)conn;
    frame_unref(take_frame);
    return ERR_OK;
}

static void idle_close(void *context, conn_id conn, enum err reason)
{
    (void)context, (void)conn, (void)reason;
    idle_lost++;
}

static void idle_main(const struct churn_options *options)
{
    struct transport *transport = make_transport(options);
    struct transport_handler handler = {NULL, idle_open, idle_frame, idle_close};
    struct wire_hello hello = {
        .role = WIRE_ROLE_CLIENT, .version_min = PROTOCOL_VERSION_MIN, .version_max = PROTOCOL_VERSION};
    struct buf encoded;
    buf_init(&encoded, 4096);
    CHECK(wire_encode_hello(&hello, &encoded) == ERR_OK);
    for (uint32_t i = 0; i < options->idle_count; i++) {
        conn_id conn;
        CHECK(transport_dial(transport, options->peer_address, buf_bytes(&encoded), &handler, &conn) == ERR_OK);
        while (idle_opened + 8 < i && idle_lost == 0) /* a handshake takes its time */
            usleep(1000);
    }
    for (;;) {
        usleep(100000);
        if (idle_lost > 0)
            exit(3);
    }
}

/* ---- the abuser */

static void abuse(struct rng *rng, uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    CHECK(fd >= 0);
    (void)connect(fd, (struct sockaddr *)&address, sizeof address);
    usleep(2000);
    uint8_t bytes[2000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)rng_next(rng);
    size_t size = rng_between(rng, 0, sizeof bytes);
    uint64_t sort = rng_below(rng, 4);
    if (sort == 1) { /* the header of a hello, and half of what it announces */
        struct frame_header header = {.size = 4000, .version = 1, .kind = FRAME_HELLO};
        frame_header_encode(&header, bytes);
    } else if (sort == 2) {
        size = 0; /* silence */
    } else if (sort == 3) {
        struct linger reset = {.l_onoff = 1, .l_linger = 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    (void)!send(fd, bytes, size, MSG_NOSIGNAL);
    static int held[64]; /* left open for a while: the other side has to end them */
    static uint32_t next;
    if (held[next % 64])
        close(held[next % 64]);
    held[next++ % 64] = fd;
}

static void abuser_main(const struct churn_options *options)
{
    struct rng rng;
    rng_init(&rng, 7, "abuse");
    uint16_t port = (uint16_t)atoi(strrchr(options->peer_address, ':') + 1);
    for (;;) {
        abuse(&rng, port);
        usleep(48000);
    }
}

/* ---- the survivor */

static pid_t spawn(const char *role, const struct churn_options *options, const char *own_address,
                   const char *peer_address, uint32_t incarnation)
{
    char number[16], idle[16];
    snprintf(number, sizeof number, "%u", incarnation);
    snprintf(idle, sizeof idle, "%u", options->idle_count);
    pid_t parent = getpid();
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(2);
    execl("/proc/self/exe", "transport_churn", "--role", role, "--scheme", options->tls ? "tls" : "tcp", "--directory",
          options->directory, "--own", own_address, "--peer", peer_address, "--incarnation", number, "--idle", idle,
          (char *)NULL);
    _exit(2);
}

static void kill_and_wait(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static uint32_t count_descriptors(void)
{
    uint32_t count = 0;
    for (int fd = 0; fd < 20000; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static uint64_t resident_kib(void)
{
    unsigned long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fscanf(file, "%lu %lu", &total, &resident) == 2);
    fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
}

/* Below the range that the kernel takes for dialers: nobody else can get it while the peer is down. */
static uint16_t free_port(void)
{
    for (uint16_t port = (uint16_t)(20000 + getpid() % 10000); port < 32000; port++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        struct sockaddr_in address = {
            .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
        int rv = bind(fd, (struct sockaddr *)&address, sizeof address);
        close(fd);
        if (rv == 0)
            return port;
    }
    fprintf(stderr, "transport_churn: no free port\n");
    exit(2);
}

/* How long each restart waited until the peer of that restart, or a later one, was heard. */
struct waits {
    uint32_t done;
    uint64_t max_ms, sum_ms;
};

static uint64_t restarted_ms[RESTARTS_MAX];

static void waits_note(struct waits *waits, uint32_t reached, uint32_t restarts, uint64_t now)
{
    for (; waits->done < restarts; waits->done++) {
        uint64_t waited = now - restarted_ms[waits->done + 1];
        if (reached <= waits->done) {
            if (waited > waits->max_ms) /* still waiting */
                waits->max_ms = waited;
            return;
        }
        waits->sum_ms += waited;
        if (waited > waits->max_ms)
            waits->max_ms = waited;
    }
}

struct figures {
    uint32_t restarts, fds_before, fds_after;
    uint64_t rss_before, rss_after;
    struct waits answered, served;
    bool idle_alive;
};

static void churn(struct node *node, const struct churn_options *options, const char *survivor_address,
                  struct figures *figures)
{
    uint64_t begin = now_ms(), end = begin + options->seconds * 1000, warm = begin + options->seconds * 1000 / 4;
    pid_t peer = 0;
    uint64_t next = begin;
    for (uint64_t now = begin; now < end; now = now_ms()) {
        if (now >= next && figures->restarts + 1 < RESTARTS_MAX) {
            if (peer)
                kill_and_wait(peer);
            restarted_ms[++figures->restarts] = now_ms();
            peer = spawn("peer", options, options->peer_address, survivor_address, figures->restarts);
            next += options->every_ms;
        }
        waits_note(&figures->answered, node->answered_by, figures->restarts, now_ms());
        waits_note(&figures->served, node->served_to, figures->restarts, now_ms());
        if (figures->rss_before == 0 && now >= warm)
            figures->rss_before = resident_kib();
        usleep(2000);
    }
    figures->rss_after = resident_kib();
    kill_and_wait(peer);
}

/* Waits until only the idle connections are left, and the descriptors of all others. */
static void settle(struct node *node, const struct churn_options *options, struct figures *figures,
                   struct transport_nng_stats *stats)
{
    uint64_t begin = now_ms();
    do {
        usleep(20000);
        transport_nng_stats(node->env.transport, stats);
        figures->fds_after = count_descriptors();
    } while ((stats->connections_open > options->idle_count || figures->fds_after > figures->fds_before) &&
             now_ms() - begin < SETTLE_MS);
}

static bool wait_idle(struct node *node, pid_t idle, const struct churn_options *options)
{
    for (int i = 0; i < 6000 && node->idle_count < options->idle_count; i++) {
        usleep(10000);
        if (waitpid(idle, NULL, WNOHANG) != 0)
            return false;
    }
    return node->idle_count >= options->idle_count;
}

static int report(const struct churn_options *options, const struct figures *figures, struct node *node,
                  const struct transport_nng_stats *stats)
{
    const char *broken = NULL;
    uint64_t growth = figures->rss_after > figures->rss_before ? figures->rss_after - figures->rss_before : 0;
    if (figures->answered.max_ms > options->limit_ms || figures->answered.done == 0)
        broken = "the peer answered too late";
    else if (figures->served.max_ms > options->limit_ms || figures->served.done == 0)
        broken = "the survivor answered too late";
    else if (stats->connections_stuck > 0)
        broken = "a connection is stuck in nng";
    else if (stats->connections_open != options->idle_count || !figures->idle_alive)
        broken = "connections hang, or idle ones were lost";
    else if (figures->fds_after > figures->fds_before)
        broken = "descriptors have grown";
    else if (growth > MEMORY_GROWTH_MAX_KIB)
        broken = "memory has grown";
    printf("scheme=%s seconds=%llu restarts=%u reconnects=%llu first_answer_ms_max=%llu first_answer_ms_mean=%llu "
           "first_served_ms_max=%llu first_served_ms_mean=%llu answers=%llu served=%llu connections=%llu idle=%u "
           "fds_before=%u fds_after=%u "
           "rss_before_kib=%llu rss_after_kib=%llu stuck=%llu %s%s\n",
           options->tls ? "tls" : "tcp", (unsigned long long)options->seconds, figures->restarts,
           (unsigned long long)node->ups, (unsigned long long)figures->answered.max_ms,
           (unsigned long long)(figures->answered.sum_ms / (figures->answered.done ? figures->answered.done : 1)),
           (unsigned long long)figures->served.max_ms,
           (unsigned long long)(figures->served.sum_ms / (figures->served.done ? figures->served.done : 1)),
           (unsigned long long)node->answers, (unsigned long long)node->served,
           (unsigned long long)stats->connections_opened, options->idle_count, figures->fds_before, figures->fds_after,
           (unsigned long long)figures->rss_before, (unsigned long long)figures->rss_after,
           (unsigned long long)stats->connections_stuck, broken ? "BROKEN: " : "ok", broken ? broken : "");
    return broken ? 1 : 0;
}

static int survivor_main(struct churn_options *options)
{
    static struct node node;
    struct figures figures = {0};
    char survivor_address[64];
    const char *scheme = options->tls ? "tls+tcp" : "tcp";
    snprintf(options->own_address, sizeof options->own_address, "%s://127.0.0.1:0", scheme);
    snprintf(options->peer_address, sizeof options->peer_address, "%s://127.0.0.1:%u", scheme, free_port());
    node_start(&node, options);
    snprintf(survivor_address, sizeof survivor_address, "%s://127.0.0.1:%u", scheme,
             transport_nng_port(node.env.transport, options->own_address));
    pid_t idle = spawn("idle", options, "", survivor_address, 0);
    if (!wait_idle(&node, idle, options)) {
        fprintf(stderr, "transport_churn: only %u of %u idle connections came\n", node.idle_count, options->idle_count);
        kill_and_wait(idle);
        return 1;
    }
    figures.fds_before = count_descriptors();
    pid_t abuser = spawn("abuser", options, "", survivor_address, 0);
    node_connect(&node, options->peer_address);
    churn(&node, options, survivor_address, &figures);
    kill_and_wait(abuser);
    struct transport_nng_stats stats;
    settle(&node, options, &figures, &stats);
    figures.idle_alive = waitpid(idle, NULL, WNOHANG) == 0;
    int code = report(options, &figures, &node, &stats);
    kill_and_wait(idle);
    node_stop(&node);
    return code;
}

static void peer_main(const struct churn_options *options)
{
    static struct node node;
    node_start(&node, options);
    node_connect(&node, options->peer_address);
    for (;;)
        pause();
}

/* ---- options */

static void make_certificate(struct churn_options *options)
{
    char command[512];
    snprintf(options->directory, sizeof options->directory, "/tmp/transport_churn.XXXXXX");
    CHECK(mkdtemp(options->directory));
    snprintf(command, sizeof command,
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
             "-keyout %s/key.pem -out %s/cert.pem 2>/dev/null",
             options->directory, options->directory);
    if (system(command) != 0) {
        fprintf(stderr, "transport_churn: openssl could not make a certificate\n");
        exit(2);
    }
}

static int usage(void)
{
    fprintf(stderr, "usage: transport_churn --seconds N --scheme tcp|tls [--idle N] [--every MS] [--limit-ms MS]\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct churn_options options = {.seconds = 5, .every_ms = EVERY_MS, .limit_ms = ANSWER_LIMIT_MS, .idle_count = 1000};
    const char *role = "survivor";
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (strcmp(name, "--seconds") == 0)
            options.seconds = strtoull(value, NULL, 10);
        else if (strcmp(name, "--every") == 0)
            options.every_ms = strtoull(value, NULL, 10);
        else if (strcmp(name, "--limit-ms") == 0)
            options.limit_ms = strtoull(value, NULL, 10);
        else if (strcmp(name, "--idle") == 0)
            options.idle_count = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(name, "--scheme") == 0 && (strcmp(value, "tcp") == 0 || strcmp(value, "tls") == 0))
            options.tls = strcmp(value, "tls") == 0;
        else if (strcmp(name, "--role") == 0)
            role = value;
        else if (strcmp(name, "--directory") == 0)
            snprintf(options.directory, sizeof options.directory, "%s", value);
        else if (strcmp(name, "--own") == 0)
            snprintf(options.own_address, sizeof options.own_address, "%s", value);
        else if (strcmp(name, "--peer") == 0)
            snprintf(options.peer_address, sizeof options.peer_address, "%s", value);
        else if (strcmp(name, "--incarnation") == 0)
            options.incarnation = (uint32_t)strtoul(value, NULL, 10);
        else
            return usage();
    }
    if (argc % 2 == 0 || options.seconds == 0 || options.every_ms == 0)
        return usage();
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (strcmp(role, "peer") == 0)
        peer_main(&options);
    else if (strcmp(role, "idle") == 0)
        idle_main(&options);
    else if (strcmp(role, "abuser") == 0)
        abuser_main(&options);
    if (options.tls)
        make_certificate(&options);
    int code = survivor_main(&options);
    if (options.tls) {
        char command[128];
        snprintf(command, sizeof command, "rm -r %s", options.directory);
        (void)!system(command);
    }
    return code;
}
