/* The log worker and the apply worker, in one thread: what is written together, what leaves afterwards, and that a
 * failed write is the end. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "env/clock_os.h"
#include "env/engine_mem.h"
#include "group/apply_worker.h"
#include "group/log_worker.h"
#include "inline_exec.h"

enum { TASK_DONE = 7, SENT_MAX = 16, DONE_MAX = 64 };

struct world {
    struct transport transport; /* first */
    struct inline_exec exec;
    struct env env;
    struct log log;
    uint32_t log_count;
    enum err write_code;
    uint32_t full_count; /* so many writes meet a full disk first */
    uint32_t write_count, sync_count, write_count_at_send;
    struct {
        conn_id conn;
        uint16_t kind;
    } sent[SENT_MAX];
    uint32_t sent_count;
    struct actor *owner;
    enum err done[DONE_MAX];
    void *done_user[DONE_MAX];
    uint32_t done_count;
    bool keep; /* the owner resets tasks instead of freeing them */
    struct log_task *kept;
};

static enum err fault(void *context, bool sync, size_t size)
{
    struct world *world = context;
    (void)size;
    world->write_count++;
    world->sync_count += sync;
    if (world->full_count > 0) {
        world->full_count--;
        return ERR_DISK_FULL;
    }
    return world->write_code;
}

static enum err fake_send(struct transport *transport, conn_id conn, struct frame *take_frame)
{
    struct world *world = (struct world *)transport;
    assert_true(world->sent_count < SENT_MAX);
    world->write_count_at_send = world->write_count;
    world->sent[world->sent_count].conn = conn;
    world->sent[world->sent_count++].kind = take_frame->kind;
    frame_unref(take_frame);
    return ERR_OK;
}

static void count_line(struct log *log, enum log_level level, const char *fields)
{
    (void)fields;
    assert_int_equal(level, LOG_ERROR);
    ((struct world *)(void *)((char *)log - offsetof(struct world, log)))->log_count++;
}

static void on_owner_message(void *state, struct message *take_message)
{
    struct world *world = state;
    struct log_task *task = (struct log_task *)take_message;
    assert_int_equal(task->message.kind, TASK_DONE);
    assert_true(world->done_count < DONE_MAX);
    assert_true(task->result == ERR_OK || task->error.text[0] != 0);
    world->done[world->done_count] = task->result;
    world->done_user[world->done_count++] = task->user;
    if (world->keep) {
        log_task_reset(task);
        world->kept = task;
    } else
        message_free(take_message);
}

static int set_up(void **state)
{
    static const struct transport_ops ops = {.send = fake_send};
    static const struct actor_ops owner_ops = {.on_message = on_owner_message};
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->transport.ops = &ops;
    world->log = (struct log){.level = LOG_INFO, .write = count_line};
    inline_exec_init(&world->exec);
    world->env = (struct env){.executor = &world->exec.base, .clock = clock_os(), .transport = &world->transport, .log = &world->log};
    assert_int_equal(engine_mem_new(&world->env.engine), ERR_OK);
    engine_mem_set_fault(world->env.engine, fault, world);
    assert_int_equal(executor_spawn(world->env.executor, "owner", &owner_ops, world, UINT32_MAX, &world->owner),
                     ERR_OK);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    inline_exec_fini(&world->exec);
    struct engine_mem_stats stats;
    engine_mem_stats(world->env.engine, &stats);
    assert_int_equal(stats.batch_count, 0);
    engine_mem_free(world->env.engine);
    free(world);
    return 0;
}

/* A task that writes key `name`, and sends a frame of kind `frame_kind` (0: none) once that is done. */
static struct log_task *task_of(struct world *world, const char *name, bool sync, uint16_t frame_kind)
{
    struct log_task *task = log_task_new(&world->env, world->owner, TASK_DONE);
    engine_batch_put(world->env.engine, task->batch, ENGINE_RAFT, bytes_of_string(name), bytes_of_string("v"));
    task->sync = sync;
    task->user = (void *)(uintptr_t)name;
    if (frame_kind)
        log_task_add_send(task, 100 + frame_kind, frame_new(frame_kind, 8));
    return task;
}

static bool is_there(struct world *world, enum engine_cf cf, const char *name)
{
    struct buf value;
    buf_init(&value, 64);
    enum err code = engine_get(world->env.engine, cf, bytes_of_string(name), &value, NULL);
    buf_fini(&value);
    return code == ERR_OK;
}

/* ---- the log worker */

static void tasks_of_a_round_are_one_synced_write_and_frames_leave_after_it(void **state)
{
    struct world *world = *state;
    struct log_worker *worker;
    assert_int_equal(log_worker_new(&world->env, 64, &worker), ERR_OK);
    static const char *const names[] = {"a", "b", "c"};
    for (uint16_t i = 0; i < 3; i++)
        log_worker_post(worker, task_of(world, names[i], i == 1, (uint16_t)(10 + i)));
    inline_exec_run(&world->exec);
    assert_int_equal(world->write_count, 1);
    assert_int_equal(world->sync_count, 1);
    assert_int_equal(world->sent_count, 3);
    assert_int_equal(world->write_count_at_send, 1);
    assert_int_equal(world->done_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(is_there(world, ENGINE_RAFT, names[i]));
        assert_int_equal(world->sent[i].kind, 10 + i);
        assert_int_equal(world->sent[i].conn, 110 + i);
        assert_int_equal(world->done[i], ERR_OK);
        assert_ptr_equal(world->done_user[i], names[i]);
    }
    log_worker_free(worker);
}

static void unsynced_tasks_are_not_synced_and_empty_ones_not_written(void **state)
{
    struct world *world = *state;
    struct log_worker *worker;
    assert_int_equal(log_worker_new(&world->env, 64, &worker), ERR_OK);
    log_worker_post(worker, task_of(world, "a", false, 0));
    inline_exec_run(&world->exec);
    assert_int_equal(world->write_count, 1);
    assert_int_equal(world->sync_count, 0);
    struct log_task *empty = log_task_new(&world->env, world->owner, TASK_DONE);
    log_task_add_send(empty, 5, frame_new(9, 0));
    log_worker_post(worker, empty);
    inline_exec_run(&world->exec);
    assert_int_equal(world->write_count, 1);
    assert_int_equal(world->sent_count, 1);
    assert_int_equal(world->done_count, 2);
    log_worker_free(worker);
}

static void so_many_tasks_make_a_write_and_no_more(void **state)
{
    struct world *world = *state;
    struct log_worker *worker;
    assert_int_equal(log_worker_new(&world->env, 4, &worker), ERR_OK);
    for (int i = 0; i < 10; i++)
        log_worker_post(worker, task_of(world, "a", true, 0));
    inline_exec_run(&world->exec);
    assert_int_equal(world->write_count, 3);
    assert_int_equal(world->done_count, 10);
    log_worker_free(worker);
}

static void a_failed_log_write_is_final_and_nothing_of_it_is_promised(void **state)
{
    struct world *world = *state;
    struct log_worker *worker;
    assert_int_equal(log_worker_new(&world->env, 64, &worker), ERR_OK);
    world->write_code = ERR_IO;
    log_worker_post(worker, task_of(world, "a", true, 10));
    log_worker_post(worker, task_of(world, "b", true, 11));
    inline_exec_run(&world->exec);
    world->write_code = ERR_OK; /* a later success would prove nothing */
    log_worker_post(worker, task_of(world, "c", true, 12));
    inline_exec_run(&world->exec);
    assert_int_equal(world->write_count, 1);
    assert_int_equal(world->log_count, 1);
    assert_int_equal(world->sent_count, 0);
    assert_int_equal(world->done_count, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(world->done[i], ERR_IO);
    assert_false(is_there(world, ENGINE_RAFT, "c"));
    log_worker_free(worker);
}

/* Each retry is a timer. */
static void run_with_retries(struct world *world, uint32_t count)
{
    inline_exec_run(&world->exec);
    for (; count > 0; count--) {
        assert_int_equal(world->done_count, 0); /* it waits */
        inline_exec_fire(&world->exec);
        inline_exec_run(&world->exec);
    }
}

static void tasks_that_meet_a_full_disk_wait_for_room_in_order(void **state)
{
    struct world *world = *state;
    struct log_worker *worker;
    assert_int_equal(log_worker_new(&world->env, 2, &worker), ERR_OK);
    world->full_count = 3;
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    for (uint16_t i = 0; i < 5; i++)
        log_worker_post(worker, task_of(world, names[i], true, (uint16_t)(10 + i)));
    run_with_retries(world, 3);
    assert_int_equal(world->write_count, 4); /* the last one takes all */
    assert_int_equal(world->done_count, 5);
    assert_int_equal(world->sent_count, 5);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(world->done[i], ERR_OK);
        assert_ptr_equal(world->done_user[i], names[i]);
        assert_int_equal(world->sent[i].kind, 10 + i);
        assert_true(is_there(world, ENGINE_RAFT, names[i]));
    }
    log_worker_free(worker);
}

static void a_task_comes_back_lazily_only_if_nobody_waits_for_it(void **state)
{
    struct world *world = *state;
    static const struct {
        uint32_t own_count;
        raft_index snapshot;
        bool append, lazy;
    } cases[] = {{0, 0, true, true}, {1, 0, true, false}, {0, 9, true, false}, {0, 0, false, false}};
    struct log_worker *worker;
    assert_int_equal(log_worker_new(&world->env, 64, &worker), ERR_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t before = world->exec.lazy_count;
        struct log_task *task = task_of(world, "a", true, 0);
        if (cases[i].append) {
            struct raft_token token = {.sequence = 1, .snapshot_index = cases[i].snapshot};
            log_task_add_append(task, 3, token)->own_count = cases[i].own_count;
        }
        log_worker_post(worker, task);
        inline_exec_run(&world->exec);
        assert_int_equal(world->exec.lazy_count - before, cases[i].lazy);
    }
    world->write_code = ERR_IO;
    struct log_task *task = task_of(world, "a", true, 0);
    log_task_add_append(task, 3, (struct raft_token){.sequence = 1});
    uint32_t before = world->exec.lazy_count;
    log_worker_post(worker, task);
    inline_exec_run(&world->exec);
    assert_int_equal(world->exec.lazy_count, before); /* a failure wakes */
    log_worker_free(worker);
}

static void a_task_that_is_reset_serves_another_round(void **state)
{
    struct world *world = *state;
    struct log_worker *worker;
    assert_int_equal(log_worker_new(&world->env, 64, &worker), ERR_OK);
    world->keep = true;
    struct log_task *task = task_of(world, "a", true, 10);
    for (uint64_t i = 0; i < 40; i++) /* more than the first room */
        assert_int_equal(log_task_add_append(task, i, (struct raft_token){.sequence = i})->own_count, 0);
    log_worker_post(worker, task);
    inline_exec_run(&world->exec);
    assert_ptr_equal(world->kept, task);
    assert_int_equal(task->append_count + task->send_count, 0);
    assert_false(task->sync);
    assert_null(task->user);
    assert_int_equal(engine_batch_count(world->env.engine, task->batch), 0);
    log_task_add_send(task, 1, frame_new(10, 0));
    log_task_reset(task); /* frames that were never sent go with it */
    assert_int_equal(task->send_count, 0);
    log_task_free(task);
    log_task_free(NULL);
    log_worker_free(worker);
}

static void a_log_worker_may_go_with_tasks_that_wait(void **state)
{
    struct world *world = *state;
    struct log_worker *worker;
    assert_int_equal(log_worker_new(&world->env, 64, &worker), ERR_OK);
    log_worker_post(worker, task_of(world, "a", true, 10));
    log_worker_post(worker, task_of(world, "b", true, 11));
    /* It had taken one when everything stopped. */
    struct actor *actor = &world->exec.actors[1];
    struct message *first = actor->first;
    actor->first = first->next;
    actor->ops->on_message(actor->state, first);
    log_worker_free(worker);
    log_worker_free(NULL);
    assert_int_equal(world->done_count + world->sent_count + world->write_count, 0);
}

/* ---- the apply worker */

struct apply_item {
    struct apply_task task; /* first */
    struct world *world;
    const char *name;
    size_t size;
    bool fail;
};

static void free_item(struct message *message)
{
    free(message);
}

static void apply(struct apply_task *base, struct apply_worker *worker)
{
    struct apply_item *item = (struct apply_item *)base;
    assert_ptr_equal(apply_worker_env(worker), &item->world->env);
    uint8_t *value = calloc(1, item->size + 1);
    assert_non_null(value);
    engine_batch_put(item->world->env.engine, apply_worker_batch(worker), ENGINE_DEFAULT, bytes_of_string(item->name),
                     bytes_of(value, item->size));
    free(value);
    if (item->fail) {
        apply_worker_fail(worker, ERR_CORRUPT);
        apply_worker_fail(worker, ERR_IO); /* the first reason counts */
    }
}

static void applied(struct apply_task *take_task, enum err code)
{
    struct apply_item *item = (struct apply_item *)take_task;
    struct world *world = item->world;
    world->done_user[world->done_count] = (void *)(uintptr_t)item->name;
    world->done[world->done_count++] = code;
    free(item);
}

static struct apply_task *item_of(struct world *world, const char *name, size_t size, bool fail)
{
    struct apply_item *item = calloc(1, sizeof *item);
    assert_non_null(item);
    *item = (struct apply_item){.task = {.message = {.free = free_item}, .apply = apply, .done = applied},
                                .world = world,
                                .name = name,
                                .size = size,
                                .fail = fail};
    return &item->task;
}

static void on_apply_round(void *context)
{
    struct world *world = context;
    world->sent_count = world->done_count; /* all `done` of the round came before */
}

static struct apply_worker *apply_worker_of(struct world *world, size_t batch_size_max)
{
    struct apply_worker *worker;
    struct apply_worker_options options = {
        .batch_size_max = batch_size_max, .context = world, .on_round = on_apply_round};
    assert_int_equal(apply_worker_new(&world->env, &options, &worker), ERR_OK);
    return worker;
}

static void applies_of_a_round_are_one_unsynced_write_and_answered_after_it(void **state)
{
    struct world *world = *state;
    struct apply_worker *worker = apply_worker_of(world, 0);
    static const char *const names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++)
        apply_worker_post(worker, item_of(world, names[i], 10, false));
    inline_exec_run(&world->exec);
    assert_int_equal(world->write_count, 1);
    assert_int_equal(world->sync_count, 0);
    assert_int_equal(world->done_count, 3);
    assert_int_equal(world->sent_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(world->done[i], ERR_OK);
        assert_ptr_equal(world->done_user[i], names[i]);
        assert_true(is_there(world, ENGINE_DEFAULT, names[i]));
    }
    apply_worker_free(worker);
}

static void a_batch_that_grew_large_is_written_between_tasks(void **state)
{
    struct world *world = *state;
    struct apply_worker *worker = apply_worker_of(world, 1000);
    for (int i = 0; i < 8; i++)
        apply_worker_post(worker, item_of(world, "a", 600, false));
    inline_exec_run(&world->exec);
    assert_int_equal(world->write_count, 4);
    assert_int_equal(world->done_count, 8);
    apply_worker_free(worker);
}

static void an_apply_that_failed_half_way_is_never_written_nor_anything_after_it(void **state)
{
    struct world *world = *state;
    struct apply_worker *worker = apply_worker_of(world, 0);
    apply_worker_post(worker, item_of(world, "before", 10, false));
    inline_exec_run(&world->exec);
    apply_worker_post(worker, item_of(world, "half", 10, true));
    apply_worker_post(worker, item_of(world, "after", 10, false));
    inline_exec_run(&world->exec);
    apply_worker_post(worker, item_of(world, "later", 10, false));
    inline_exec_run(&world->exec);
    assert_int_equal(world->write_count, 1);
    assert_int_equal(world->done_count, 4);
    assert_int_equal(world->done[0], ERR_OK);
    for (int i = 1; i < 4; i++)
        assert_int_equal(world->done[i], ERR_CORRUPT);
    assert_true(is_there(world, ENGINE_DEFAULT, "before"));
    assert_false(is_there(world, ENGINE_DEFAULT, "half"));
    assert_false(is_there(world, ENGINE_DEFAULT, "later"));
    apply_worker_free(worker);
}

static void a_failed_apply_write_comes_to_every_task_from_then_on(void **state)
{
    struct world *world = *state;
    struct apply_worker *worker = apply_worker_of(world, 0);
    world->write_code = ERR_IO;
    apply_worker_post(worker, item_of(world, "a", 10, false));
    apply_worker_post(worker, item_of(world, "b", 10, false));
    inline_exec_run(&world->exec);
    world->write_code = ERR_OK;
    apply_worker_post(worker, item_of(world, "c", 10, false));
    inline_exec_run(&world->exec);
    assert_int_equal(world->log_count, 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(world->done[i], ERR_IO);
    assert_false(is_there(world, ENGINE_DEFAULT, "c"));
    apply_worker_free(worker);
}

static void applies_that_meet_a_full_disk_wait_for_room_in_order(void **state)
{
    struct world *world = *state;
    struct apply_worker *worker = apply_worker_of(world, 80);
    world->full_count = 3;
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    for (int i = 0; i < 5; i++)
        apply_worker_post(worker, item_of(world, names[i], 40, false));
    run_with_retries(world, 3);
    assert_int_equal(world->done_count, 5);
    assert_int_equal(world->write_count, 3 + 3); /* two by two, and what is left */
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(world->done[i], ERR_OK);
        assert_ptr_equal(world->done_user[i], names[i]);
        assert_true(is_there(world, ENGINE_DEFAULT, names[i]));
    }
    apply_worker_free(worker);
}

static void workers_may_go_while_the_disk_is_full(void **state)
{
    struct world *world = *state;
    struct apply_worker *applier = apply_worker_of(world, 0);
    struct log_worker *logger;
    assert_int_equal(log_worker_new(&world->env, 2, &logger), ERR_OK);
    world->full_count = UINT32_MAX;
    for (int i = 0; i < 3; i++) {
        apply_worker_post(applier, item_of(world, "a", 300, false));
        log_worker_post(logger, task_of(world, "b", true, 10));
    }
    for (int i = 0; i < 3; i++) { /* not for ever: each round tries once more */
        for (uint32_t actor = 0; actor < world->exec.actor_count; actor++)
            inline_exec_round(&world->exec.actors[actor]);
        apply_worker_post(applier, item_of(world, "c", 300, false));
    }
    assert_int_equal(world->done_count, 0);
    apply_worker_free(applier);
    log_worker_free(logger);
}

static void an_apply_worker_may_go_with_tasks_that_wait(void **state)
{
    struct world *world = *state;
    struct apply_worker *worker;
    assert_int_equal(apply_worker_new(&world->env, &(struct apply_worker_options){0}, &worker), ERR_OK);
    apply_worker_post(worker, item_of(world, "a", 10, false));
    inline_exec_run(&world->exec);
    assert_int_equal(world->done_count, 1); /* also when nobody wants to hear of the round */
    apply_worker_post(worker, item_of(world, "b", 10, false));
    struct actor *actor = &world->exec.actors[1];
    struct message *first = actor->first;
    actor->first = first->next;
    actor->last = &actor->first;
    actor->ops->on_message(actor->state, first);
    apply_worker_free(worker);
    apply_worker_free(NULL);
    assert_int_equal(world->done_count, 1);
}

static void a_worker_whose_actor_cannot_start_leaves_nothing(void **state)
{
    struct world *world = *state;
    struct log_worker *log_worker = NULL;
    struct apply_worker *apply_worker = NULL;
    world->exec.spawn_code = ERR_NO_MEMORY;
    assert_int_equal(log_worker_new(&world->env, 64, &log_worker), ERR_NO_MEMORY);
    assert_int_equal(apply_worker_new(&world->env, &(struct apply_worker_options){0}, &apply_worker), ERR_NO_MEMORY);
    assert_null(log_worker);
    assert_null(apply_worker);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(tasks_of_a_round_are_one_synced_write_and_frames_leave_after_it),
        CLAIM(unsynced_tasks_are_not_synced_and_empty_ones_not_written),
        CLAIM(so_many_tasks_make_a_write_and_no_more),
        CLAIM(a_failed_log_write_is_final_and_nothing_of_it_is_promised),
        CLAIM(tasks_that_meet_a_full_disk_wait_for_room_in_order),
        CLAIM(applies_that_meet_a_full_disk_wait_for_room_in_order),
        CLAIM(workers_may_go_while_the_disk_is_full),
        CLAIM(a_task_comes_back_lazily_only_if_nobody_waits_for_it),
        CLAIM(a_task_that_is_reset_serves_another_round),
        CLAIM(a_log_worker_may_go_with_tasks_that_wait),
        CLAIM(applies_of_a_round_are_one_unsynced_write_and_answered_after_it),
        CLAIM(a_batch_that_grew_large_is_written_between_tasks),
        CLAIM(an_apply_that_failed_half_way_is_never_written_nor_anything_after_it),
        CLAIM(a_failed_apply_write_comes_to_every_task_from_then_on),
        CLAIM(an_apply_worker_may_go_with_tasks_that_wait),
        CLAIM(a_worker_whose_actor_cannot_start_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
