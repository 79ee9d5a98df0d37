/* raft_core: what the core itself costs. One process plays all peers; messages are handed over, disks answer at once.
 *
 * Prints, per group size and batch, from propose to committed and applied on every peer: the CPU time of all peers together
 * per entry, and per entry and peer; the calls to malloc, calloc and realloc (the linker leads them through here: --wrap);
 * and what an idle leader and an idle follower hold. Exit code 1 if the steady state allocates, or if an idle peer of
 * three holds more than 1 KB. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "raft/raft.h"

enum { PEER_MAX = 5, ROUNDS_WARM = 4000, IDLE_SIZE_MAX = 1024 };

static uint64_t allocation_count;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *data, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *data, size_t size);

void *__wrap_malloc(size_t size)
{
    allocation_count++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    allocation_count++;
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *data, size_t size)
{
    allocation_count++;
    return __real_realloc(data, size);
}

static struct raft_pool *pool;
static struct raft *peers[PEER_MAX + 1];
static uint32_t peer_count;

static void make_group(const struct raft_config *config, uint32_t count)
{
    peer_count = count;
    for (peer_id id = 1; id <= count; id++) {
        struct raft_initial initial = {.id = id, .seed = id, .hard = {.term = 5, .commit = 5}, .applied = 5};
        initial.truncated = initial.base = (struct raft_position){.index = 5, .term = 5};
        for (peer_id voter = 1; voter <= count; voter++)
            raft_conf_add(&initial.conf, voter, RAFT_VOTER);
        if (raft_new(config, &initial, pool, &peers[id]) != ERR_OK)
            abort();
    }
}

static void deliver(const struct raft_message *message)
{
    if (raft_step(peers[message->to], message) != ERR_OK)
        abort();
}

static bool handle(struct raft *raft)
{
    struct raft_ready ready;
    bool any = false;
    while (raft_ready(raft, &ready)) {
        any = true;
        for (uint32_t i = 0; i < ready.message_count; i++)
            deliver(&ready.messages[i]);
        for (uint32_t i = 0; i < ready.after_count; i++) {
            if (ready.after[i].to == raft_id(raft))
                raft_step_own(raft, &ready.after[i]);
            else
                deliver(&ready.after[i]);
        }
        if (ready.append)
            raft_appended(raft, &ready.token);
        if (ready.committed_count)
            raft_applied(raft, ready.committed[ready.committed_count - 1].index);
    }
    return any;
}

static void settle(void)
{
    for (bool any = true; any;) {
        any = false;
        for (peer_id id = 1; id <= peer_count; id++)
            any |= handle(peers[id]);
    }
}

static void propose_batch(uint32_t batch, struct bytes data)
{
    raft_index index;
    raft_term term;
    for (uint32_t i = 0; i < batch; i++) {
        if (raft_propose(peers[1], data, &index, &term) != ERR_OK)
            abort();
    }
    settle();
    if (raft_commit_index(peers[1]) != index)
        abort();
}

static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* False: it allocated, or an idle peer is too big. */
static bool measure(const struct raft_config *config, uint32_t count, uint32_t batch, uint32_t rounds)
{
    uint8_t payload[100] = {0};
    pool = raft_pool_new(64 << 20);
    make_group(config, count);
    if (raft_campaign(peers[1]) != ERR_OK)
        abort();
    settle();
    for (uint32_t i = 0; i < ROUNDS_WARM; i++)
        propose_batch(batch, bytes_of(payload, sizeof(payload)));
    uint64_t allocations_before = allocation_count;
    double from = now_ns();
    for (uint32_t i = 0; i < rounds; i++)
        propose_batch(batch, bytes_of(payload, sizeof(payload)));
    double each = (now_ns() - from) / rounds / batch;
    uint64_t allocations = allocation_count - allocations_before;
    for (peer_id id = 1; id <= count; id++)
        raft_cache_evict(peers[id], 0);
    settle();
    size_t leader_size = raft_memory_size(peers[1]), follower_size = count > 1 ? raft_memory_size(peers[2]) : 0;
    printf("peers %u  batch %2u  %6.0f ns per entry, %5.0f per entry and peer  %llu allocations in %u entries  idle: "
           "leader "
           "%4zu bytes, follower %4zu bytes\n",
           count, batch, each, each / count, (unsigned long long)allocations, rounds * batch, leader_size,
           follower_size);
    for (peer_id id = 1; id <= count; id++)
        raft_free(peers[id]);
    raft_pool_free(pool);
    return allocations == 0 && (count > 3 || (leader_size <= IDLE_SIZE_MAX && follower_size <= IDLE_SIZE_MAX));
}

int main(void)
{
    struct raft_config config;
    bool good = true;
    raft_config_default(&config);
    config.pre_vote = false;
    config.cache_size_max = 256 * 1024;
    for (uint32_t count = 1; count <= PEER_MAX; count += 2) {
        good &= measure(&config, count, 1, 100000);
        good &= measure(&config, count, 64, 5000);
    }
    return good ? 0 : 1;
}
