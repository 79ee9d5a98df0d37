/* What a change of members makes of a region, and what it puts into the engine. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "fsm_home.h"
#include "group/group.h"
#include "group/group_keys.h"
#include "group/group_log.h"
#include "storenode/peer_destroy.h"
#include "storenode/region_conf.h"
#include "storenode/region_fsm.h"
#include "storenode/region_row.h"
#include "storenode/region_split.h"
#include "storenode/store_keys.h"

enum { REGION = 17, CONF = 4 };

static struct region *make_region(void)
{
    return fsm_home_region(REGION, 70, "rb", "rz", CONF, 9);
}

static struct raft_conf make_conf(void)
{
    struct raft_conf conf = {0};
    for (peer_id id = 70; id <= 72; id++)
        assert_int_equal(raft_conf_add(&conf, id, RAFT_VOTER), ERR_OK);
    return conf;
}

/* The bytes of an entry as the core writes them (raft/membership.h). */
struct made {
    struct raft_entry entry;
    struct buf bytes;
};

static void make_entry(struct made *made, const struct region *region, const struct raft_conf_change *change,
                       struct wire_peer *added, uint32_t added_count)
{
    struct buf context;
    buf_init(&context, 4096);
    buf_init(&made->bytes, 4096);
    made->entry = (struct raft_entry){.term = 6, .index = GROUP_FIRST_INDEX + 1, .kind = RAFT_ENTRY_CONF_CHANGE_V2};
    if (change->count > 0) {
        assert_int_equal(region_conf_encode(region, added, added_count, (struct region_epoch){0}, &context), ERR_OK);
        buf_append_u8(&made->bytes, 1);
        buf_append_u8(&made->bytes, change->transition);
        buf_append_u8(&made->bytes, change->count);
        for (uint32_t i = 0; i < change->count; i++) {
            buf_append_u8(&made->bytes, change->changes[i].kind);
            buf_append_u64_be(&made->bytes, change->changes[i].id);
        }
        buf_append_bytes(&made->bytes, buf_bytes(&context));
    }
    made->entry.data = buf_bytes(&made->bytes);
    buf_fini(&context);
}

static enum err apply(const struct region *region, const struct raft_conf *conf, const struct raft_conf_change *change,
                      struct wire_peer *added, uint32_t added_count, struct region_conf **ret_conf)
{
    struct made made;
    make_entry(&made, region, change, added, added_count);
    enum err code = region_conf_new(region, conf, &made.entry, ret_conf);
    buf_fini(&made.bytes);
    return code;
}

static void a_replacement_goes_through_both_halves(void **unused)
{
    (void)unused;
    struct region *region = make_region();
    struct raft_conf conf = make_conf();
    struct region_conf *learner, *joint, *end;
    struct wire_peer added = {.id = 90, .store_id = 4, .role = WIRE_PEER_ROLE_LEARNER};
    struct raft_conf_change add = {.count = 1, .changes = {{RAFT_CHANGE_ADD_LEARNER, 90}}};
    assert_int_equal(apply(region, &conf, &add, &added, 1, &learner), ERR_OK);
    assert_int_equal(learner->region->epoch_conf, CONF + 1);
    assert_int_equal(learner->region->epoch_version, 9);
    assert_int_equal(region_peer_by_id(learner->region, 90)->store_id, 4);
    assert_int_equal(region_peer_by_id(learner->region, 90)->role, WIRE_PEER_ROLE_LEARNER);
    struct raft_conf_change replace = {.count = 2, .changes = {{RAFT_CHANGE_ADD_VOTER, 90}, {RAFT_CHANGE_REMOVE, 72}}};
    assert_int_equal(apply(learner->region, &learner->conf, &replace, NULL, 0, &joint), ERR_OK);
    assert_true(region_is_joint(joint->region));
    assert_int_equal(region_peer_by_id(joint->region, 90)->role, WIRE_PEER_ROLE_INCOMING_VOTER);
    assert_int_equal(region_peer_by_id(joint->region, 72)->role, WIRE_PEER_ROLE_DEMOTING_VOTER);
    assert_int_equal(region_peer_by_id(joint->region, 70)->role, WIRE_PEER_ROLE_VOTER);
    struct raft_conf_change leave = {.count = 0};
    assert_int_equal(apply(joint->region, &joint->conf, &leave, NULL, 0, &end), ERR_OK);
    assert_false(region_is_joint(end->region));
    assert_int_equal(end->region->epoch_conf, CONF + 3);
    assert_int_equal(end->region->peer_count, 3);
    assert_null(region_peer_by_id(end->region, 72));
    assert_int_equal(region_peer_by_id(end->region, 90)->role, WIRE_PEER_ROLE_VOTER);
    region_conf_free(learner);
    region_conf_free(joint);
    region_conf_free(end);
    region_free(region);
}

static void what_is_for_other_members_or_impossible_changes_nothing(void **unused)
{
    (void)unused;
    struct region *region = make_region(), *older = make_region();
    struct raft_conf conf = make_conf();
    struct region_conf *result;
    struct made made;
    struct wire_peer here = {.id = 90, .store_id = 2};
    older->epoch_conf--;
    struct raft_conf_change remove = {.count = 1, .changes = {{RAFT_CHANGE_REMOVE, 72}}};
    make_entry(&made, older, &remove, NULL, 0);
    assert_int_equal(region_conf_new(region, &conf, &made.entry, &result), ERR_EPOCH_NOT_MATCH);
    buf_fini(&made.bytes);
    struct raft_conf_change leave = {.count = 0};
    assert_int_equal(apply(region, &conf, &leave, NULL, 0, &result), ERR_INVALID); /* it is not joint */
    struct raft_conf_change add = {.count = 1, .changes = {{RAFT_CHANGE_ADD_LEARNER, 90}}};
    assert_int_equal(apply(region, &conf, &add, &here, 1, &result), ERR_INVALID); /* a second peer on store 2 */
    assert_int_equal(apply(region, &conf, &add, NULL, 0, &result), ERR_INVALID);  /* on no store */
    make_entry(&made, region, &remove, NULL, 0);
    made.entry.data.size -= 3;
    assert_int_equal(region_conf_new(region, &conf, &made.entry, &result), ERR_CORRUPT);
    buf_fini(&made.bytes);
    region_free(region);
    region_free(older);
}

/* ---- the state machine */

struct machine {
    struct fsm_home home;
    struct region *region;
    struct region_fsm *fsm;
    uint32_t conf_count;
    raft_index applied;
};

static void take_task(void *state, struct message *take_message)
{
    struct machine *machine = state;
    struct region_task *task = (struct region_task *)take_message;
    assert_int_equal(task->code, ERR_OK);
    machine->applied = task->applied_index;
    for (const struct region_conf *conf = task->confs; conf; conf = conf->next)
        machine->conf_count++;
    message_free(take_message);
}

static void machine_init(struct machine *machine)
{
    static const struct actor_ops ops = {.on_message = take_task};
    memset(machine, 0, sizeof *machine);
    fsm_home_init(&machine->home, &ops, machine);
    machine->region = make_region();
    struct engine_batch *batch = engine_batch_new(machine->home.env.engine);
    assert_int_equal(region_put_new(machine->home.env.engine, batch, machine->region, 72), ERR_OK);
    assert_int_equal(engine_write(machine->home.env.engine, batch, true, NULL), ERR_OK);
    engine_batch_free(machine->home.env.engine, batch);
    machine->fsm =
        region_fsm_new(&machine->home.env, NULL, machine->region, 72, GROUP_FIRST_INDEX, GROUP_FIRST_TERM, 512);
}

static void machine_fini(struct machine *machine)
{
    region_fsm_free(machine->fsm);
    region_free(machine->region);
    fsm_home_fini(&machine->home);
}

static void run(struct machine *machine, const struct raft_entry *entries, uint32_t count)
{
    fsm_home_apply(&machine->home, machine->fsm, entries, count, false);
}

static uint64_t row_epoch(struct machine *machine, bool durable, bool *ret_tombstone)
{
    struct group_key key = group_key(REGION, STORE_REGION_STATE);
    struct wire_region_state state;
    struct arena arena;
    struct buf value;
    arena_init(&arena);
    buf_init(&value, 4096);
    assert_int_equal(durable
                         ? engine_mem_get_durable(machine->home.env.engine, ENGINE_RAFT, group_key_bytes(&key), &value)
                         : engine_get(machine->home.env.engine, ENGINE_RAFT, group_key_bytes(&key), &value, NULL),
                     ERR_OK);
    assert_int_equal(region_row_decode(buf_bytes(&value), &arena, &state), ERR_OK);
    uint64_t epoch = state.region->epoch_conf;
    *ret_tombstone = state.tombstone;
    arena_fini(&arena);
    buf_fini(&value);
    return epoch;
}

static void a_change_is_durable_with_its_apply_and_ends_what_was_removed(void **unused)
{
    (void)unused;
    struct machine machine;
    struct made made;
    struct raft_conf conf;
    bool tombstone;
    machine_init(&machine);
    struct raft_conf_change remove = {.count = 1, .changes = {{RAFT_CHANGE_REMOVE, 72}}};
    make_entry(&made, machine.region, &remove, NULL, 0);
    struct raft_entry entries[] = {made.entry, {.term = 6, .index = GROUP_FIRST_INDEX + 2}};
    run(&machine, entries, 2);
    assert_int_equal(machine.conf_count, 1);
    assert_int_equal(machine.applied, GROUP_FIRST_INDEX + 1); /* what came behind it is not for this peer */
    assert_int_equal(row_epoch(&machine, true, &tombstone), CONF + 1);
    assert_false(tombstone); /* until somebody says so */
    assert_int_equal(group_log_load_conf(machine.home.env.engine, REGION, &conf, NULL), ERR_OK);
    assert_int_equal(conf.count, 2);
    raft_index index;
    raft_term term;
    assert_int_equal(region_fsm_load_applied(machine.home.env.engine, REGION, &index, &term, NULL), ERR_OK);
    assert_int_equal(index, GROUP_FIRST_INDEX + 1);
    buf_fini(&made.bytes);
    machine_fini(&machine);
}

static size_t count_rows(struct engine *engine, enum engine_cf cf)
{
    size_t count = 0;
    struct engine_iter *iter = engine_iter_new(engine, cf, bytes_empty(), bytes_empty());
    for (engine_iter_seek(engine, iter, bytes_empty()); engine_iter_valid(engine, iter); engine_iter_next(engine, iter))
        count++;
    engine_iter_free(engine, iter);
    return count;
}

static void of_a_peer_that_goes_only_the_tombstone_stays(void **unused)
{
    (void)unused;
    struct machine machine;
    bool tombstone;
    machine_init(&machine);
    struct engine *engine = machine.home.env.engine;
    struct engine_batch *batch = engine_batch_new(engine);
    engine_batch_put(engine, batch, ENGINE_DEFAULT, bytes_of_string("rc"), bytes_of_string("x"));
    engine_batch_put(engine, batch, ENGINE_DEFAULT, bytes_of_string("rz"), bytes_of_string("of another region"));
    assert_int_equal(engine_write(engine, batch, false, NULL), ERR_OK);
    engine_batch_clear(engine, batch);
    peer_destroy_put(engine, batch, machine.region);
    assert_int_equal(region_put_tombstone(engine, batch, machine.region, 72), ERR_OK);
    assert_int_equal(engine_write(engine, batch, true, NULL), ERR_OK);
    engine_batch_free(engine, batch);
    assert_int_equal(count_rows(engine, ENGINE_DEFAULT), 1);
    assert_int_equal(count_rows(engine, ENGINE_RAFT), 1);
    assert_int_equal(row_epoch(&machine, true, &tombstone), CONF);
    assert_true(tombstone);
    machine_fini(&machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_replacement_goes_through_both_halves),
        cmocka_unit_test(what_is_for_other_members_or_impossible_changes_nothing),
        cmocka_unit_test(a_change_is_durable_with_its_apply_and_ends_what_was_removed),
        cmocka_unit_test(of_a_peer_that_goes_only_the_tombstone_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
