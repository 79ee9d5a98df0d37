/* What a message between two actors costs: a lone one going to and fro, and a stream of them.
 *
 *   exec_bench [messages] */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "env/clock_os.h"
#include "env/exec_threads.h"

struct note {
    struct message message; /* must be first */
    uint64_t left_count;
};

struct player {
    struct executor *executor;
    struct actor *self, *other;
    atomic_uint_fast64_t handled_count;
    uint64_t round_count;
    atomic_bool is_done;
};

static void note_free(struct message *message)
{
    free(message);
}

static struct message *note_new(uint64_t left_count)
{
    struct note *note = calloc(1, sizeof *note);
    CHECK(note);
    *note = (struct note){.message = {.free = note_free}, .left_count = left_count};
    return &note->message;
}

static void play(void *state, struct message *message)
{
    struct player *player = state;
    struct note *note = (struct note *)message;
    if (note->left_count == 0) {
        message_free(message);
        atomic_store(&player->is_done, true);
        return;
    }
    note->left_count--;
    actor_post_must(player->executor, player->other, message);
}

static void count(void *state, struct message *message)
{
    struct player *player = state;
    message_free(message);
    atomic_fetch_add_explicit(&player->handled_count, 1, memory_order_relaxed);
}

static void count_round(void *state)
{
    ((struct player *)state)->round_count++;
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

static double cpu_seconds(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static void report(const char *what, uint64_t message_count, uint64_t begin_us, double begin_cpu)
{
    double us = (double)(clock_now_us(clock_os()) - begin_us);
    printf("%-28s %8.3f us a message, %9.0f/s, %6.3f us CPU", what, us / (double)message_count,
           (double)message_count * 1e6 / us, (cpu_seconds() - begin_cpu) * 1e6 / (double)message_count);
}

static void ping_pong(struct executor *executor, uint64_t message_count)
{
    static const struct actor_ops ops = {.on_message = play};
    static struct player players[2];
    for (int i = 0; i < 2; i++) {
        players[i].executor = executor;
        CHECK(executor_spawn(executor, i ? "pong" : "ping", &ops, &players[i], 16, &players[i].self) == ERR_OK);
    }
    players[0].other = players[1].self;
    players[1].other = players[0].self;
    uint64_t begin_us = clock_now_us(clock_os());
    double begin_cpu = cpu_seconds();
    actor_post_must(executor, players[0].self, note_new(message_count));
    while (!atomic_load(&players[0].is_done) && !atomic_load(&players[1].is_done))
        nap();
    report("ping-pong, one way", message_count, begin_us, begin_cpu);
    printf("\n");
}

static void stream(struct executor *executor, uint64_t message_count)
{
    static const struct actor_ops ops = {.on_message = count, .on_round = count_round};
    static struct player sink;
    CHECK(executor_spawn(executor, "sink", &ops, &sink, 65536, &sink.self) == ERR_OK);
    uint64_t begin_us = clock_now_us(clock_os());
    double begin_cpu = cpu_seconds();
    for (uint64_t i = 0; i < message_count; i++) {
        struct message *message = note_new(0);
        while (actor_post(executor, sink.self, message) == ERR_BUSY)
            nap();
    }
    while (atomic_load(&sink.handled_count) < message_count)
        nap();
    report("stream from one thread", message_count, begin_us, begin_cpu);
    printf(", %.1f messages a round\n", (double)message_count / (double)sink.round_count);
}

int main(int argument_count, char **arguments)
{
    uint64_t message_count = argument_count > 1 ? strtoull(arguments[1], NULL, 10) : 300000;
    struct executor *executor = NULL;
    CHECK(exec_threads_new(NULL, &executor, NULL) == ERR_OK);
    ping_pong(executor, message_count / 4 + 1);
    stream(executor, message_count * 10);
    exec_threads_free(executor);
    return 0;
}
