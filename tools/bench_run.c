#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/rng.h"
#include "bench.h"
#include "env/os.h"

enum {
    LOAD_BATCH = 128,        /* keys to a request while loading and verifying */
    PARKED_PAUSE_US = 10000, /* until an operation that was refused is tried again */
    POLL_US = 100000,
    VERIFY_TIMEOUT_US = 60 * 1000 * 1000,
    LOST_SHOWN_MAX = 10,
};

struct run;

/* At most one operation under way. */
struct slot {
    struct run *run;
    struct polder *polder; /* borrowed */
    uint32_t number;
    struct rng rng;
    enum bench_kind kind;
    uint64_t key_index, value_id, sequence;
    uint64_t start_us; /* sent, for the history */
    uint64_t due_us;   /* when it should have been sent: latency counts from there */
    uint8_t *value;    /* owned */
    struct slot *next_parked;
};

struct run {
    const struct command *command;
    const struct bench_options *options;
    struct bench_result *result;
    struct polder **handles;    /* owned */
    struct slot *slots;         /* owned */
    struct os_signals *signals; /* owned by listen_and_drive */
    uint64_t signal_look_us;
    bool interrupted;
    uint64_t value_base;    /* the same in all values of this run, another one in the next: old values are told apart */
    struct os_event *wake;  /* parked or ended */
    struct os_mutex *mutex; /* guards what follows */
    bool stopping;
    uint32_t busy_count;
    struct slot *parked;
    struct bench_truth *truth;
};

/* Ctrl-C was heard. Looks now and then only: it is asked between any two operations. */
static bool is_interrupted(struct run *run, uint64_t now_us)
{
    if (now_us >= run->signal_look_us) {
        run->signal_look_us = now_us + POLL_US;
        run->interrupted = run->interrupted || os_signals_wait(run->signals, 0) == OS_SIGNAL_STOP;
    }
    return run->interrupted;
}

/* ---- one operation */

static void choose(struct slot *slot)
{
    const struct bench_options *options = slot->run->options;
    slot->key_index = rng_below(&slot->rng, options->keys);
    if (options->op[0] == 'm')
        slot->kind = rng_below(&slot->rng, 100) < options->read_percent ? BENCH_GET : BENCH_PUT;
    else
        slot->kind = options->op[0] == 'g' ? BENCH_GET : BENCH_PUT;
    if (slot->kind == BENCH_PUT)
        slot->value_id = slot->run->value_base | (uint64_t)(slot->number + 1) << 32 | ++slot->sequence;
}

static void on_ended(void *user, struct polder_result *take_result);

static int send_op(struct slot *slot)
{
    const struct bench_options *options = slot->run->options;
    char key_text[BENCH_KEY_SIZE];
    bench_data_key(slot->key_index, key_text);
    struct polder_bytes key = polder_bytes(key_text, BENCH_KEY_SIZE);
    struct polder_call call = {.size = sizeof call, .deadline_ms = (uint32_t)options->client.deadline_ms};
    if (slot->kind == BENCH_GET) {
        call.read = options->read_mode[0] == 'i'   ? POLDER_READ_INDEX
                    : options->read_mode[0] == 's' ? POLDER_READ_STALE
                                                   : POLDER_READ_LEADER;
        return polder_get_async(slot->polder, key, &call, on_ended, slot);
    }
    bench_data_value(slot->value_id, options->value_size, slot->value);
    return polder_put_async(slot->polder, key, polder_bytes(slot->value, options->value_size), &call, on_ended, slot);
}

static void park(struct slot *slot)
{
    struct run *run = slot->run;
    os_mutex_lock(run->mutex);
    slot->next_parked = run->parked;
    run->parked = slot;
    run->busy_count--;
    os_mutex_unlock(run->mutex);
    os_event_set(run->wake);
}

/* Without the mutex: the callback may come before this returns. The slot counts as busy already. */
static void start(struct slot *slot, uint64_t due_us)
{
    struct run *run = slot->run;
    choose(slot);
    slot->start_us = os_monotonic_us();
    slot->due_us = due_us ? due_us : slot->start_us;
    int code = send_op(slot);
    if (code == POLDER_OK)
        return;
    os_mutex_lock(run->mutex);
    bench_stats_refused(&run->result->stats, code);
    os_mutex_unlock(run->mutex);
    park(slot);
}

/* The library's thread. */
static void on_ended(void *user, struct polder_result *take_result)
{
    struct slot *slot = user;
    struct run *run = slot->run;
    uint64_t end_us = os_monotonic_us();
    os_mutex_lock(run->mutex);
    bench_stats_record(&run->result->stats, slot->kind, slot->due_us, end_us, take_result);
    if (slot->kind == BENCH_PUT)
        bench_truth_put(run->truth, slot->number, slot->key_index, slot->value_id, slot->start_us, end_us,
                        take_result->outcome);
    else
        bench_truth_get(run->truth, slot->number, slot->key_index, slot->start_us, end_us, take_result->outcome,
                        take_result->found, bytes_of(take_result->value.data, take_result->value.size));
    bool go_on = !run->stopping && run->options->rate == 0;
    os_mutex_unlock(run->mutex);
    polder_result_free(take_result);
    if (go_on)
        start(slot, 0);
    else
        park(slot);
}

static struct slot *take_parked(struct run *run)
{
    os_mutex_lock(run->mutex);
    struct slot *slot = run->parked;
    if (slot) {
        run->parked = slot->next_parked;
        run->busy_count++;
    }
    os_mutex_unlock(run->mutex);
    return slot;
}

/* ---- history file */

static int write_history(struct run *run)
{
    struct error err;
    struct buf lines;
    if (!run->options->history)
        return CLI_OK;
    buf_init(&lines, 1);
    os_mutex_lock(run->mutex);
    bench_truth_take(run->truth, &lines);
    os_mutex_unlock(run->mutex);
    enum err code = lines.size ? os_file_append(run->options->history, buf_bytes(&lines), &err) : ERR_OK;
    buf_fini(&lines);
    if (code == ERR_OK)
        return CLI_OK;
    cli_complain(run->command, "history: %s", err.text);
    return CLI_FAILED;
}

/* ---- loading and reading back, LOAD_BATCH keys at a time */

struct key_batch {
    char keys[LOAD_BATCH][BENCH_KEY_SIZE];
    struct polder_bytes views[LOAD_BATCH];
    struct polder_pair pairs[LOAD_BATCH];
    uint64_t indexes[LOAD_BATCH];
    size_t count;
};

static void add_key(struct key_batch *batch, uint64_t index)
{
    bench_data_key(index, batch->keys[batch->count]);
    batch->views[batch->count] = polder_bytes(batch->keys[batch->count], BENCH_KEY_SIZE);
    batch->indexes[batch->count++] = index;
}

static int load_batch(struct run *run, struct key_batch *batch, uint8_t *values)
{
    size_t value_size = run->options->value_size;
    uint32_t client = run->options->concurrency;
    for (size_t i = 0; i < batch->count; i++) {
        uint64_t id = run->value_base | batch->indexes[i];
        bench_data_value(id, value_size, values + i * value_size);
        batch->pairs[i] =
            (struct polder_pair){.key = batch->views[i], .value = polder_bytes(values + i * value_size, value_size)};
    }
    uint64_t start_us = os_monotonic_us();
    struct polder_result *result = polder_batch_put(run->handles[0], batch->pairs, batch->count, NULL);
    uint64_t end_us = os_monotonic_us();
    os_mutex_lock(run->mutex);
    for (size_t i = 0; i < batch->count; i++)
        bench_truth_put(run->truth, client, batch->indexes[i], run->value_base | batch->indexes[i], start_us, end_us,
                        i < result->row_count ? (enum polder_outcome)result->rows[i].outcome : result->outcome);
    os_mutex_unlock(run->mutex);
    int code = cli_judge(run->command, result, "load keys");
    polder_result_free(result);
    run->result->loaded += batch->count;
    batch->count = 0;
    return code == CLI_OK ? write_history(run) : code;
}

static int load(struct run *run)
{
    uint64_t started_us = os_monotonic_us();
    struct key_batch *batch = calloc(1, sizeof *batch);
    uint8_t *values = malloc(LOAD_BATCH * run->options->value_size + 1);
    CHECK(batch && values);
    /* Batches are limited in bytes as well. */
    size_t count_max = run->options->value_size ? 1024 * 1024 / run->options->value_size : LOAD_BATCH;
    count_max = count_max < 1 ? 1 : count_max > LOAD_BATCH ? LOAD_BATCH : count_max;
    int code = CLI_OK;
    for (uint64_t i = 0; i < run->options->keys && code == CLI_OK; i++) {
        add_key(batch, i);
        if (batch->count == count_max || i + 1 == run->options->keys)
            code = load_batch(run, batch, values);
    }
    free(values);
    free(batch);
    run->result->load_us = os_monotonic_us() - started_us;
    return code;
}

static void judge_row(struct run *run, uint64_t index, const struct polder_row *row)
{
    struct bench_result *result = run->result;
    enum bench_verdict verdict =
        bench_truth_judge(run->truth, index, row->found, bytes_of(row->value.data, row->value.size));
    result->verified += verdict == BENCH_RIGHT;
    result->lost += verdict == BENCH_LOST;
    result->wrong += verdict == BENCH_WRONG;
    if ((verdict == BENCH_LOST || verdict == BENCH_WRONG) && result->lost + result->wrong <= LOST_SHOWN_MAX) {
        char key[BENCH_KEY_SIZE];
        bench_data_key(index, key);
        cli_complain(run->command, "key %.*s: %s", BENCH_KEY_SIZE, key,
                     verdict == BENCH_WRONG ? "has a value that nobody wrote"
                     : row->found           ? "has an older value than the last acknowledged one"
                                            : "is missing, though a write was acknowledged");
    }
}

static void verify_batch(struct run *run, struct key_batch *batch, uint64_t end_us)
{
    struct polder_result *result = NULL;
    uint64_t start_us;
    do {
        polder_result_free(result);
        start_us = os_monotonic_us();
        result = polder_batch_get(run->handles[0], batch->views, batch->count, NULL);
        if (result->outcome != POLDER_DONE)
            os_sleep_ms(100);
    } while (result->outcome != POLDER_DONE && os_monotonic_us() < end_us);
    uint64_t ended_us = os_monotonic_us();
    for (size_t i = 0; i < batch->count; i++) {
        bool done = i < result->row_count && result->rows[i].outcome == POLDER_DONE;
        run->result->unread += !done;
        if (!done)
            continue;
        const struct polder_row *row = &result->rows[i];
        judge_row(run, batch->indexes[i], row);
        bench_truth_get(run->truth, run->options->concurrency + 1, batch->indexes[i], start_us, ended_us, POLDER_DONE,
                        row->found, bytes_of(row->value.data, row->value.size));
    }
    polder_result_free(result);
    batch->count = 0;
}

static int verify(struct run *run)
{
    struct key_batch *batch = calloc(1, sizeof *batch);
    CHECK(batch);
    uint64_t end_us = os_monotonic_us() + VERIFY_TIMEOUT_US;
    for (uint64_t i = 0; i < run->options->keys; i++) {
        if (bench_truth_expects(run->truth, i))
            add_key(batch, i);
        if (batch->count == LOAD_BATCH || (i + 1 == run->options->keys && batch->count))
            verify_batch(run, batch, end_us);
    }
    free(batch);
    run->result->acknowledged = bench_truth_acknowledged(run->truth);
    struct bench_result *result = run->result;
    return result->lost + result->wrong + result->unread ? CLI_FAILED : CLI_OK;
}

/* ---- the run */

static void print_second(struct run *run, uint64_t second)
{
    struct histogram *latency = &run->result->stats.second_us;
    os_mutex_lock(run->mutex);
    uint64_t count = latency->count, p50 = histogram_quantile(latency, 500), p99 = histogram_quantile(latency, 990),
             max = latency->max;
    uint64_t errors = run->result->stats.second_errors;
    histogram_reset(latency);
    run->result->stats.second_errors = 0;
    os_mutex_unlock(run->mutex);
    if (run->options->progress)
        fprintf(stderr,
                "%4" PRIu64 " s  %8" PRIu64 " ops/s  p50 %7.2f ms  p99 %7.2f ms  max %7.2f ms  errors %" PRIu64 "\n",
                second, count, (double)p50 / 1000, (double)p99 / 1000, (double)max / 1000, errors);
}

/* Starts what is due of a paced run. Returns when to look again. */
static uint64_t pace(struct run *run, uint64_t *next_due_us)
{
    uint64_t interval_us = 1000000 / run->options->rate;
    uint64_t now_us = os_monotonic_us();
    while (*next_due_us <= now_us) {
        struct slot *slot = take_parked(run);
        if (!slot)
            return now_us + POLL_US; /* all are under way: what is late counts from when it was due */
        start(slot, *next_due_us);
        *next_due_us += interval_us ? interval_us : 1;
    }
    return *next_due_us;
}

/* The main thread: paces or unparks, writes history, prints seconds. */
static int drive(struct run *run)
{
    const struct bench_options *options = run->options;
    uint64_t now_us = os_monotonic_us(), started_us = now_us;
    uint64_t measure_us = started_us + options->warmup_ms * 1000, end_us = measure_us + options->seconds * 1000000;
    uint64_t next_due_us = started_us, next_second_us = started_us + 1000000, second = 0, unpark_us = started_us;
    bool warming = options->warmup_ms > 0;
    int code = CLI_OK;
    bench_stats_start(&run->result->stats, started_us);
    while (now_us < end_us && code == CLI_OK && !is_interrupted(run, now_us)) {
        uint64_t wake_us = now_us + POLL_US;
        if (options->rate) {
            wake_us = pace(run, &next_due_us);
        } else if (now_us >= unpark_us) {
            for (struct slot *slot; (slot = take_parked(run));) {
                start(slot, 0);
                if (os_monotonic_us() - now_us > PARKED_PAUSE_US)
                    break;
            }
            unpark_us = os_monotonic_us() + PARKED_PAUSE_US;
        }
        if (options->rate == 0 && wake_us > unpark_us)
            wake_us = unpark_us;
        wake_us = wake_us < next_second_us ? wake_us : next_second_us;
        wake_us = wake_us < end_us ? wake_us : end_us;
        now_us = os_monotonic_us();
        if (wake_us > now_us)
            os_event_wait(run->wake, wake_us - now_us);
        now_us = os_monotonic_us();
        if (warming && now_us >= measure_us) {
            warming = false;
            os_mutex_lock(run->mutex);
            bench_stats_start(&run->result->stats, now_us);
            os_mutex_unlock(run->mutex);
        }
        if (now_us >= next_second_us) {
            print_second(run, ++second);
            next_second_us += 1000000;
            code = write_history(run);
        }
    }
    os_mutex_lock(run->mutex);
    run->stopping = true;
    bench_stats_end(&run->result->stats, os_monotonic_us());
    run->result->run_us = os_monotonic_us() - run->result->stats.started_us;
    os_mutex_unlock(run->mutex);
    if (run->interrupted)
        cli_complain(run->command, "interrupted; this is what was measured");
    return code;
}

/* What is under way ends by itself, by its deadline at the latest. */
static void wait_idle(struct run *run)
{
    for (;;) {
        os_mutex_lock(run->mutex);
        bool idle = run->busy_count == 0;
        os_mutex_unlock(run->mutex);
        if (idle)
            return;
        os_event_wait(run->wake, POLL_US);
    }
}

static void sum_client_stats(struct run *run)
{
    struct polder_stats *sum = &run->result->client;
    for (uint32_t i = 0; i < run->options->clients; i++) {
        struct polder_stats stats = {.size = sizeof stats};
        polder_stats(run->handles[i], &stats);
        sum->operations += stats.operations;
        sum->requests += stats.requests;
        sum->retries += stats.retries;
        sum->frames += stats.frames;
        sum->reroutes += stats.reroutes;
        sum->backoffs += stats.backoffs;
        sum->losses += stats.losses;
    }
}

static int open_run(struct run *run)
{
    const struct bench_options *options = run->options;
    run->value_base = os_random_u64() << 48;
    run->mutex = os_mutex_new();
    run->wake = os_event_new();
    run->truth = bench_truth_new(options->history, options->verify, options->keys, options->value_size);
    run->handles = calloc(options->clients, sizeof *run->handles);
    run->slots = calloc(options->concurrency, sizeof *run->slots);
    CHECK(run->handles && run->slots);
    int code = CLI_GO_ON;
    for (uint32_t i = 0; i < options->clients && code == CLI_GO_ON; i++)
        code = cli_open(run->command, &options->client, &run->handles[i]);
    for (uint32_t i = 0; i < options->concurrency && code == CLI_GO_ON; i++) {
        struct slot *slot = &run->slots[i];
        slot->run = run;
        slot->number = i;
        slot->polder = run->handles[i % options->clients];
        slot->value = malloc(options->value_size + 1);
        CHECK(slot->value);
        rng_init(&slot->rng, options->seed * 1000003 + i, "bench");
        slot->next_parked = run->parked;
        run->parked = slot;
    }
    return code;
}

static void close_run(struct run *run)
{
    for (uint32_t i = 0; i < run->options->clients; i++)
        polder_close(run->handles[i]);
    for (uint32_t i = 0; i < run->options->concurrency; i++)
        free(run->slots[i].value);
    free(run->handles);
    free(run->slots);
    bench_truth_free(run->truth);
    os_event_free(run->wake);
    os_mutex_free(run->mutex);
}

static int listen_and_drive(struct run *run)
{
    struct error err;
    if (os_signals_open(&run->signals, &err) != ERR_OK) {
        cli_complain(run->command, "%s", err.text);
        return CLI_FAILED;
    }
    int code = drive(run);
    os_signals_close(run->signals);
    return code;
}

int bench_run(const struct command *command, const struct bench_options *options, struct bench_result *result)
{
    struct run run = {.command = command, .options = options, .result = result};
    struct error err;
    /* The client's threads inherit that Ctrl-C is not for them. This one hears it as ever, and dies of it, but for the
     * measurement. */
    struct os_signals *signals;
    if (os_signals_open(&signals, &err) != ERR_OK) {
        cli_complain(command, "%s", err.text);
        return CLI_FAILED;
    }
    int code = open_run(&run);
    os_signals_close(signals);
    if (code == CLI_GO_ON && options->history && os_file_write(options->history, bytes_empty(), &err) != ERR_OK) {
        cli_complain(command, "history: %s", err.text);
        code = CLI_FAILED;
    }
    if (code == CLI_GO_ON)
        code = options->no_load ? CLI_OK : load(&run);
    if (code == CLI_OK) {
        code = listen_and_drive(&run);
        wait_idle(&run);
        int verified = code == CLI_OK && options->verify ? verify(&run) : CLI_OK;
        int written = write_history(&run);
        sum_client_stats(&run);
        code = code != CLI_OK ? code : verified != CLI_OK ? verified : written;
    }
    close_run(&run);
    return code;
}
