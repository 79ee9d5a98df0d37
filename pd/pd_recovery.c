#include "pd/pd_recovery.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "env/clock.h"
#include "pd/pd_op.h"
#include "pd/pd_sched_parts.h"

enum {
    FRESH_MS =
        3000, /* so old may be what a plan is made of; who has not answered by then is asked again, and so are all */
    PAUSE_MS = 1000, /* between two rounds */
    LOOK_MS = 200,
    QUIET_ROUNDS = 3, /* before a hole is one */
    HOLES_PER_ROUND = 64,
    STEPS_MAX = 1024, /* in one answer */
    SETTING_SIZE_MAX = 4096,
};

static const char setting_name[] = "recovery";

/* What one store said. */
struct answer {
    store_id store;
    struct list parts; /* of struct pd_op */
    uint32_t part_count;
    bool asked, whole;
};

struct step {
    store_id store;
    struct wire_region_step wire; /* without `lost` */
};

struct pd_recovery {
    struct pd_sched *sched; /* borrowed, it owns us */
    struct {
        uint64_t number;             /* 0: none */
        uint64_t asked_ms, whole_ms; /* whole_ms 0: not yet */
        bool used;
        struct answer *answers; /* owned */
        uint32_t count;
    } round;
    struct step *steps; /* owned; not said yet */
    uint32_t step_count;
    struct pd_recovery_region *regions; /* owned; by id */
    uint32_t region_count, region_capacity;
    uint64_t looked_ms;
    uint32_t quiet_rounds; /* in a row: nothing was to be forced, and all that were lead */
    uint32_t created_count;
};

#define ULL(value) ((unsigned long long)(value))

/* ---- life */

static void forget_round(struct pd_recovery *recovery)
{
    for (uint32_t i = 0; i < recovery->round.count; i++)
        while (!list_is_empty(&recovery->round.answers[i].parts))
            pd_op_free(LIST_ENTRY(recovery->round.answers[i].parts.next, struct pd_op, link));
    free(recovery->round.answers);
    recovery->round.answers = NULL;
    recovery->round.count = 0;
    recovery->round.asked_ms = recovery->round.whole_ms = 0;
}

struct pd_recovery *pd_recovery_new(struct pd_sched *sched)
{
    struct pd_recovery *recovery = calloc(1, sizeof *recovery);
    CHECK(recovery);
    recovery->sched = sched;
    return recovery;
}

void pd_recovery_reset(struct pd_recovery *recovery)
{
    forget_round(recovery);
    free(recovery->steps);
    free(recovery->regions);
    *recovery = (struct pd_recovery){.sched = recovery->sched, .round.number = recovery->round.number};
}

void pd_recovery_free(struct pd_recovery *recovery)
{
    if (!recovery)
        return;
    pd_recovery_reset(recovery);
    free(recovery);
}

static void say(const struct pd_recovery *recovery, const char *event, const char *plan)
{
    log_event(recovery->sched->env->log, LOG_WARN, "event=%s plan=%s", event, plan);
}

/* ---- what outlasts us */

bool pd_recovery_last(const struct pd_recovery *recovery, struct arena *arena, struct wire_recovery *ret_last)
{
    struct bytes value = pd_settings_get(pd_fsm_settings(recovery->sched->fsm), bytes_of_string(setting_name));
    return value.size > 0 && wire_decode_recovery(value, arena, ret_last) == ERR_OK;
}

static enum err put_last(struct pd_recovery *recovery, const struct wire_recovery *last, raft_index *ret_index,
                         struct error *err)
{
    struct buf value;
    buf_init(&value, SETTING_SIZE_MAX);
    enum err code = wire_encode_recovery(last, &value);
    if (code == ERR_OK)
        code = sched_put_setting(recovery->sched, setting_name, buf_bytes(&value), ret_index, err);
    buf_fini(&value);
    return code;
}

/* ---- the question to all that are left */

static bool is_in(const store_id *stores, uint32_t count, store_id store)
{
    for (uint32_t i = 0; i < count; i++)
        if (stores[i] == store)
            return true;
    return false;
}

/* Whom to ask: everybody but the lost and those that have nothing. */
static bool is_left(const struct store_entry *store, const store_id *lost, uint32_t lost_count)
{
    return store->wanted != STORE_LOST && store->wanted != STORE_TOMBSTONE && !is_in(lost, lost_count, store->id);
}

static void begin_round(struct pd_recovery *recovery, const store_id *lost, uint32_t lost_count)
{
    const struct store_table *stores = recovery->sched->stores;
    uint64_t now_us = clock_now_us(recovery->sched->env->clock);
    uint64_t number = recovery->round.number + 1;
    forget_round(recovery);
    recovery->round.number = number > now_us ? number : now_us; /* of no earlier leader, either */
    recovery->round.asked_ms = now_us / 1000;
    recovery->round.used = false;
    recovery->round.answers = calloc(store_table_count(stores) + 1, sizeof *recovery->round.answers);
    CHECK(recovery->round.answers);
    for (uint32_t i = 0; i < store_table_count(stores); i++) {
        const struct store_entry *store = store_table_at(stores, i);
        struct answer *answer = &recovery->round.answers[recovery->round.count];
        if (!is_left(store, lost, lost_count))
            continue;
        answer->store = store->id;
        list_init(&answer->parts);
        recovery->round.count++;
    }
}

static struct answer *answer_of(struct pd_recovery *recovery, store_id store)
{
    for (uint32_t i = 0; i < recovery->round.count; i++)
        if (recovery->round.answers[i].store == store)
            return &recovery->round.answers[i];
    return NULL;
}

store_id pd_recovery_waits_for(const struct pd_recovery *recovery)
{
    for (uint32_t i = 0; i < recovery->round.count; i++)
        if (!recovery->round.answers[i].whole)
            return recovery->round.answers[i].store;
    return 0;
}

static bool is_sound(const struct wire_pd_request *request)
{
    for (uint32_t i = 0; i < request->reports_count; i++)
        if (!request->reports[i].region || request->reports[i].peer_id == 0 ||
            region_check_wire(request->reports[i].region, NULL) != ERR_OK)
            return false;
    return true;
}

void pd_recovery_report(struct pd_recovery *recovery, struct pd_op *take_op)
{
    const struct wire_pd_request *request = &take_op->request;
    struct answer *answer = answer_of(recovery, request->store_id);
    list_remove(&take_op->link);
    if (!answer || answer->whole || request->report != recovery->round.number || request->part != answer->part_count ||
        !is_sound(request)) {
        pd_op_free(take_op); /* of an earlier question, or a part before it was lost: it is asked again */
        return;
    }
    answer->part_count++;
    answer->whole = request->last;
    list_push_back(&answer->parts, &take_op->link);
    if (pd_recovery_waits_for(recovery) == 0)
        recovery->round.whole_ms = pd_sched_now_ms(recovery->sched);
}

/* ---- plans */

static uint32_t count_replicas(const struct pd_recovery *recovery)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < recovery->round.count; i++)
        LIST_FOR_EACH (link, &recovery->round.answers[i].parts)
            count += LIST_ENTRY(link, struct pd_op, link)->request.reports_count;
    return count;
}

/* Of the round that is whole. */
static void make_plan(struct pd_recovery *recovery, const store_id *lost, uint32_t lost_count,
                      struct recovery_plan *ret_plan)
{
    struct recovery_view view = {
        .lost = lost, .lost_count = lost_count, .regions = pd_fsm_regions(recovery->sched->fsm)};
    view.replicas = calloc(count_replicas(recovery) + 1, sizeof *view.replicas);
    CHECK(view.replicas);
    for (uint32_t i = 0; i < recovery->round.count; i++)
        LIST_FOR_EACH (link, &recovery->round.answers[i].parts) {
            const struct pd_op *op = LIST_ENTRY(link, struct pd_op, link);
            for (uint32_t k = 0; k < op->request.reports_count; k++)
                view.replicas[view.replica_count++] = (struct recovery_replica){
                    .store = recovery->round.answers[i].store, .report = &op->request.reports[k]};
        }
    recovery_make(&view, ret_plan);
    free(view.replicas);
}

static enum err check_lost(const struct pd_recovery *recovery, store_id id, struct error *err)
{
    const struct store_entry *store = sched_store(recovery->sched, id);
    uint64_t now_ms = pd_sched_now_ms(recovery->sched);
    if (!store)
        return error_set(err, ERR_STORE_NOT_MATCH, "there is no store %llu", ULL(id));
    if (store->wanted == STORE_LOST || store->heard >= STORE_DISCONNECTED)
        return ERR_OK;
    if (store->heard == STORE_UP)
        return error_set(err, ERR_CONDITION_FAILED,
                         "store %llu is up: it was heard %llu ms ago. Only what is gone for good may be called lost",
                         ULL(id), ULL(now_ms - store->heard_ms));
    return error_set(err, ERR_NOT_READY, "store %llu may still be there: nobody has listened for it for long enough",
                     ULL(id));
}

/* All that are not lost must be heard: one of them could have the log that has more than all others. */
static enum err check_left(const struct pd_recovery *recovery, const store_id *lost, uint32_t lost_count,
                           struct error *err)
{
    const struct store_table *stores = recovery->sched->stores;
    uint32_t left = 0;
    for (uint32_t i = 0; i < store_table_count(stores); i++) {
        const struct store_entry *store = store_table_at(stores, i);
        if (!is_left(store, lost, lost_count))
            continue;
        left++;
        if (store->heard == STORE_UNKNOWN)
            return error_set(err, ERR_NOT_READY, "store %llu has not been heard yet", ULL(store->id));
        if (store->heard != STORE_UP)
            return error_set(err, ERR_CONDITION_FAILED,
                             "store %llu is not heard either, and may have what all others lack: start it, or name it "
                             "as well if it is gone for good",
                             ULL(store->id));
    }
    return left > 0 ? ERR_OK : error_set(err, ERR_CONDITION_FAILED, "no store would be left to recover from");
}

/* Those that are named and those that are lost already, each once, in order of id. */
static uint32_t all_lost(const struct pd_recovery *recovery, const store_id *stores, uint32_t count,
                         store_id ret_lost[STORE_TABLE_COUNT_MAX])
{
    const struct store_table *table = recovery->sched->stores;
    uint32_t lost = 0;
    for (uint32_t i = 0; i < store_table_count(table); i++) {
        const struct store_entry *store = store_table_at(table, i);
        if (store->wanted == STORE_LOST || is_in(stores, count, store->id))
            ret_lost[lost++] = store->id;
    }
    return lost;
}

enum err pd_recovery_plan(struct pd_recovery *recovery, const store_id *stores, uint32_t count,
                          struct recovery_plan *ret_plan, struct error *err)
{
    store_id lost[STORE_TABLE_COUNT_MAX];
    uint64_t now_ms = pd_sched_now_ms(recovery->sched);
    if (!recovery->sched->leading)
        return error_set(err, ERR_NOT_LEADER, "this member of pd does not lead");
    enum err code = ERR_OK;
    for (uint32_t i = 0; i < count && code == ERR_OK; i++)
        code = check_lost(recovery, stores[i], err);
    if (code != ERR_OK)
        return code;
    uint32_t lost_count = all_lost(recovery, stores, count, lost);
    if (lost_count == 0)
        return error_set(err, ERR_INVALID, "no lost store is named");
    code = check_left(recovery, lost, lost_count, err);
    if (code != ERR_OK)
        return code;
    bool asks = recovery->round.asked_ms != 0 && now_ms <= recovery->round.asked_ms + FRESH_MS;
    bool whole = asks && recovery->round.whole_ms != 0;
    for (uint32_t i = 0; i < store_table_count(recovery->sched->stores); i++) {
        const struct store_entry *store = store_table_at(recovery->sched->stores, i);
        if (is_left(store, lost, lost_count) && !answer_of(recovery, store->id))
            whole = asks = false; /* it was called lost by whoever asked before */
    }
    if (whole) {
        make_plan(recovery, lost, lost_count, ret_plan);
        return ERR_OK;
    }
    if (!asks)
        begin_round(recovery, lost, lost_count);
    return error_set(err, ERR_NOT_READY, "store %llu has not said yet what it has",
                     ULL(pd_recovery_waits_for(recovery)));
}

/* ---- ids */

void pd_recovery_id(const store_id *stores, uint32_t count, uint64_t digest, char *text, size_t size)
{
    size_t at = 0;
    for (uint32_t i = 0; i < count && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%llu", i ? "." : "", ULL(stores[i]));
    if (at < size)
        snprintf(text + at, size - at, "-%016" PRIx64, digest);
}

enum err pd_recovery_parse(const char *text, store_id *stores, uint32_t *ret_count, uint64_t *ret_digest,
                           struct error *err)
{
    const char *at = text;
    char *end;
    *ret_count = 0;
    while (*at >= '1' && *at <= '9' && *ret_count < RECOVERY_STORES_MAX) {
        stores[(*ret_count)++] = strtoull(at, &end, 10);
        at = *end == '.' ? end + 1 : end;
    }
    if (*ret_count == 0 || *at != '-' || strspn(at + 1, "0123456789abcdef") != 16 || at[17])
        return error_set(err, ERR_INVALID, "\"%.60s\" is no id of a plan", text);
    *ret_digest = strtoull(at + 1, NULL, 16);
    return ERR_OK;
}

/* ---- apply */

bool pd_recovery_is_running(const struct pd_recovery *recovery)
{
    struct wire_recovery last;
    struct arena arena;
    arena_init(&arena);
    bool on = pd_recovery_last(recovery, &arena, &last) && last.ended_ms == 0;
    arena_fini(&arena);
    return on;
}

static bool are_lost(const struct pd_recovery *recovery, const store_id *stores, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (!pd_sched_store_is_lost(recovery->sched, stores[i]))
            return false;
    return true;
}

static enum err record(struct pd_recovery *recovery, const char *id, const store_id *stores, uint32_t count,
                       bool create_empty, raft_index *ret_index, struct error *err)
{
    struct pd_sched *sched = recovery->sched;
    store_id list[RECOVERY_STORES_MAX];
    enum err code = ERR_OK;
    memcpy(list, stores, count * sizeof *list);
    for (uint32_t i = 0; i < count && code == ERR_OK; i++) {
        struct store_entry *store = sched_store(sched, stores[i]);
        raft_index index;
        if (store->wanted == STORE_LOST)
            continue;
        store->wanted = STORE_LOST;
        code = sched_put_wish(sched, store, &index, err);
    }
    const struct wire_recovery last = {.plan = bytes_of_string(id),
                                       .stores = list,
                                       .stores_count = count,
                                       .begun_ms = clock_wall_ms(sched->env->clock),
                                       .create_empty = create_empty};
    if (code == ERR_OK)
        code = put_last(recovery, &last, ret_index, err);
    if (code != ERR_OK)
        sched_load_truth(sched); /* what could not be proposed did not happen */
    return code;
}

enum err pd_recovery_apply(struct pd_recovery *recovery, const char *id, bool create_empty, raft_index *ret_index,
                           struct error *err)
{
    store_id stores[RECOVERY_STORES_MAX];
    uint32_t count;
    uint64_t digest;
    struct recovery_plan plan;
    char now[RECOVERY_PLAN_ID_SIZE];
    *ret_index = 0;
    enum err code = pd_recovery_parse(id, stores, &count, &digest, err);
    if (code != ERR_OK)
        return code;
    if (!recovery->sched->leading)
        return error_set(err, ERR_NOT_LEADER, "this member of pd does not lead");
    if (!sched_load_if_old(recovery->sched))
        return error_set(err, ERR_BUSY, "another change is on its way through pd's log: try again");
    if (are_lost(recovery, stores, count) && pd_recovery_is_running(recovery))
        return ERR_OK;
    code = pd_recovery_plan(recovery, stores, count, &plan, err);
    if (code != ERR_OK)
        return code;
    pd_recovery_id(stores, count, plan.digest, now, sizeof now);
    recovery_fini(&plan);
    if (strcmp(now, id) != 0)
        return error_set(err, ERR_CONDITION_FAILED, "what is left has changed: by now it is plan %s", now);
    code = record(recovery, id, stores, count, create_empty, ret_index, err);
    if (code == ERR_OK)
        say(recovery, "recovery_begun", id);
    return code;
}

/* ---- it goes on */

static struct pd_recovery_region *watch(struct pd_recovery *recovery, region_id id)
{
    uint32_t low = 0, high = recovery->region_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (recovery->regions[middle].region < id)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < recovery->region_count && recovery->regions[low].region == id)
        return &recovery->regions[low];
    if (recovery->region_count == recovery->region_capacity) {
        recovery->region_capacity = recovery->region_capacity ? 2 * recovery->region_capacity : 64;
        recovery->regions = realloc(recovery->regions, recovery->region_capacity * sizeof *recovery->regions);
        CHECK(recovery->regions);
    }
    struct pd_recovery_region *region = &recovery->regions[low];
    memmove(region + 1, region, (recovery->region_count++ - low) * sizeof *region);
    *region = (struct pd_recovery_region){.region = id, .planned_ms = pd_sched_now_ms(recovery->sched)};
    return region;
}

static void take_region(struct pd_recovery *recovery, const struct recovery_region *planned)
{
    struct pd_recovery_region *region = watch(recovery, planned->region);
    if (region->epoch_conf_next == 0)
        region->epoch_conf_next = planned->epoch_conf_next;
    bool is_news = region->peer != planned->peer;
    region->store = planned->store;
    region->peer = planned->peer;
    snprintf(region->refused, sizeof region->refused, "%.*s", (int)planned->refused.size,
             planned->refused.size ? (const char *)planned->refused.data : "");
    if (planned->forced && region->forced_ms == 0)
        region->forced_ms = pd_sched_now_ms(recovery->sched);
    if (planned->forced)
        return;
    if (is_news) /* it is said until it shows */
        log_event(recovery->sched->env->log, LOG_WARN,
                  "event=recovery_step region=%llu peer=%llu store=%llu conf=%llu version=%llu last=%llu",
                  ULL(region->region), ULL(region->peer), ULL(region->store), ULL(planned->epoch_conf),
                  ULL(planned->epoch_version), ULL(planned->last_index));
    recovery->steps[recovery->step_count++] =
        (struct step){.store = planned->store,
                      .wire = {.region_id = planned->region,
                               .kind = WIRE_STEP_KIND_FORCE,
                               .peer_id = planned->peer,
                               .epoch_conf = planned->epoch_conf,
                               .epoch_version = planned->epoch_version,
                               .epoch_conf_next = planned->epoch_conf_next,
                               .epoch_version_next = planned->epoch_version_next}};
}

/* What heartbeats say of those that were forced. */
static bool look_after(struct pd_recovery *recovery)
{
    bool all_led = true;
    uint64_t now_ms = pd_sched_now_ms(recovery->sched);
    for (uint32_t i = 0; i < recovery->region_count; i++) {
        struct pd_recovery_region *region = &recovery->regions[i];
        struct region_node *node = region_tree_find_id(pd_fsm_regions(recovery->sched->fsm), region->region);
        struct fit fit;
        if (!node) /* merged into another one by now */
            continue;
        bool led = region_node_conf(node) >= region->epoch_conf_next && region_node_leader_store(node) != 0 &&
                   !pd_sched_store_is_lost(recovery->sched, region_node_leader_store(node));
        if (led && region->led_ms == 0)
            region->led_ms = now_ms;
        all_led &= region->led_ms != 0;
        fit_region(recovery->sched->stores, &recovery->sched->rules, node, &fit);
        if (led && region->whole_ms == 0 && fit_problems(&fit) == 0)
            region->whole_ms = now_ms;
    }
    return all_led;
}

/* ---- holes */

static bool store_can_take(const struct store_entry *store)
{
    return store->wanted == STORE_SERVING && store->heard == STORE_UP && !store->cordoned;
}

static const struct store_entry *emptiest_store(const struct pd_recovery *recovery)
{
    const struct store_table *stores = recovery->sched->stores;
    const struct store_entry *best = NULL;
    for (uint32_t i = 0; i < store_table_count(stores); i++) {
        const struct store_entry *store = store_table_at(stores, i);
        if (store_can_take(store) && (!best || store->count < best->count))
            best = store;
    }
    return best;
}

static bool overlaps(struct bytes start, struct bytes end, const struct recovery_hole *hole)
{
    return (hole->end_key.size == 0 || bytes_compare(start, hole->end_key) < 0) &&
           (end.size == 0 || bytes_compare(hole->start_key, end) < 0);
}

/* As pd knows it: its replicas may be there soon. */
static bool may_come_back(const struct pd_recovery *recovery, const struct region_node *node)
{
    uint32_t voters = 0, left = 0;
    for (uint32_t i = 0; i < region_node_peer_count(node); i++) {
        struct wire_peer peer = region_node_peer(node, i);
        if (peer.role == WIRE_PEER_ROLE_LEARNER)
            continue;
        voters++;
        left += !pd_sched_store_is_lost(recovery->sched, peer.store_id);
    }
    return left > voters / 2;
}

/* Nothing is left of these keys, and nothing will come. `ret_version`: above all that had them. */
static bool is_gone(const struct pd_recovery *recovery, const struct recovery_plan *plan,
                    const struct recovery_hole *hole, uint64_t *ret_version)
{
    const struct region_tree *regions = pd_fsm_regions(recovery->sched->fsm);
    *ret_version = 1;
    for (uint32_t i = 0; i < plan->region_count; i++)
        if ((plan->regions[i].kind == RECOVERY_SUPERSEDED || plan->regions[i].damaged > 0) &&
            overlaps(plan->regions[i].start_key, plan->regions[i].end_key, hole))
            return false; /* somebody may want its rows */
    for (struct region_node *node = region_tree_seek(regions, hole->start_key);
         node && overlaps(region_node_start(node), region_node_end(node), hole);
         node = region_tree_next(regions, node)) {
        if (may_come_back(recovery, node))
            return false;
        if (*ret_version <= region_node_version(node))
            *ret_version = region_node_version(node) + 1;
    }
    return true;
}

/* It was put on the map for this hole, by us or an earlier leader, and its store has not shown it yet. */
static bool is_on_its_way(const struct pd_recovery *recovery, const struct region_node *node,
                          const struct recovery_hole *hole)
{
    return node && region_node_conf(node) == 1 && region_node_peer_count(node) == 1 &&
           !pd_sched_store_is_lost(recovery->sched, region_node_peer(node, 0).store_id) &&
           bytes_equal(region_node_start(node), hole->start_key) && bytes_equal(region_node_end(node), hole->end_key);
}

static void say_create(struct pd_recovery *recovery, const struct region_node *node)
{
    struct wire_peer peer = region_node_peer(node, 0);
    recovery->steps[recovery->step_count++] = (struct step){.store = peer.store_id,
                                                            .wire = {.region_id = region_node_id(node),
                                                                     .kind = WIRE_STEP_KIND_CREATE,
                                                                     .peer_id = peer.id,
                                                                     .epoch_conf = region_node_conf(node),
                                                                     .epoch_version = region_node_version(node)}};
}

static void put_on_map(struct pd_recovery *recovery, const struct recovery_hole *hole, uint64_t version)
{
    const struct pd_sched_host *host = &recovery->sched->host;
    const struct store_entry *store = emptiest_store(recovery);
    uint64_t first;
    raft_index index;
    if (!store || !host->take_ids || host->take_ids(host->context, 2, &first) != ERR_OK)
        return; /* with the next round */
    struct wire_peer peer = {.id = first + 1, .store_id = store->id, .role = WIRE_PEER_ROLE_VOTER};
    struct wire_region region = {.id = first,
                                 .start_key = hole->start_key,
                                 .end_key = hole->end_key,
                                 .epoch_conf = 1,
                                 .epoch_version = version,
                                 .peers = &peer,
                                 .peers_count = 1};
    struct wire_route route = {.region = &region};
    const struct wire_pd_command command = {
        .kind = WIRE_PD_COMMAND_KIND_PUT_REGIONS, .regions = &route, .regions_count = 1};
    if (sched_propose(recovery->sched, &command, &index, NULL) != ERR_OK)
        return;
    recovery->created_count++;
    log_event(recovery->sched->env->log, LOG_WARN, "event=recovery_empty_region region=%llu store=%llu version=%llu",
              ULL(first), ULL(store->id), ULL(version));
}

/* False: there is none that could be filled. */
static bool fill_holes(struct pd_recovery *recovery, const struct recovery_plan *plan)
{
    bool fills = false;
    for (uint32_t i = 0; i < plan->hole_count && i < HOLES_PER_ROUND; i++) {
        const struct recovery_hole *hole = &plan->holes[i];
        struct region_node *node = region_tree_find(pd_fsm_regions(recovery->sched->fsm), hole->start_key);
        uint64_t version;
        if (is_on_its_way(recovery, node, hole))
            say_create(recovery, node);
        else if (is_gone(recovery, plan, hole, &version))
            put_on_map(recovery, hole, version);
        else
            continue;
        fills = true;
    }
    return fills;
}

static void end(struct pd_recovery *recovery, const struct recovery_plan *plan)
{
    struct wire_recovery last;
    struct arena arena;
    raft_index index;
    arena_init(&arena);
    if (pd_recovery_last(recovery, &arena, &last)) {
        last.ended_ms = clock_wall_ms(recovery->sched->env->clock);
        last.forced = recovery->region_count;
        last.superseded = last.gone = 0;
        for (uint32_t i = 0; i < plan->region_count; i++) {
            last.superseded += plan->regions[i].kind == RECOVERY_SUPERSEDED;
            last.gone += plan->regions[i].kind == RECOVERY_GONE;
        }
        last.holes = plan->hole_count;
        last.created = recovery->created_count;
        if (put_last(recovery, &last, &index, NULL) == ERR_OK)
            log_event(recovery->sched->env->log, LOG_WARN,
                      "event=recovery_ended plan=%.*s forced=%llu superseded=%llu gone=%llu holes=%llu",
                      (int)last.plan.size, (const char *)last.plan.data, ULL(last.forced), ULL(last.superseded),
                      ULL(last.gone), ULL(last.holes));
    }
    arena_fini(&arena);
}

static bool wants_empty(const struct pd_recovery *recovery)
{
    struct wire_recovery last;
    struct arena arena;
    arena_init(&arena);
    bool wants = pd_recovery_last(recovery, &arena, &last) && last.create_empty;
    arena_fini(&arena);
    return wants;
}

static void use_round(struct pd_recovery *recovery)
{
    store_id lost[STORE_TABLE_COUNT_MAX];
    struct recovery_plan plan;
    make_plan(recovery, lost, all_lost(recovery, NULL, 0, lost), &plan);
    recovery->round.used = true;
    recovery->step_count = 0;
    recovery->steps = realloc(recovery->steps, (plan.region_count + HOLES_PER_ROUND) * sizeof *recovery->steps);
    CHECK(recovery->steps);
    for (uint32_t i = 0; i < plan.region_count; i++)
        if (plan.regions[i].kind == RECOVERY_FORCE)
            take_region(recovery, &plan.regions[i]);
    bool quiet = look_after(recovery) && plan.force_count == 0;
    recovery->quiet_rounds = quiet ? recovery->quiet_rounds + 1 : 0;
    /* What a round has not seen may be on its way: a child of a split. */
    bool fills = wants_empty(recovery) && plan.hole_count > 0 && recovery->quiet_rounds > 0 &&
                 (recovery->quiet_rounds < QUIET_ROUNDS || fill_holes(recovery, &plan));
    if (quiet && !fills)
        end(recovery, &plan);
    recovery_fini(&plan);
}

void pd_recovery_tick(struct pd_recovery *recovery)
{
    uint64_t now_ms = pd_sched_now_ms(recovery->sched), asked_ms = recovery->round.asked_ms;
    bool whole = recovery->round.whole_ms != 0, fresh = asked_ms != 0 && now_ms <= asked_ms + FRESH_MS;
    if (now_ms < recovery->looked_ms + LOOK_MS)
        return;
    recovery->looked_ms = now_ms;
    (void)look_after(recovery);
    if (!pd_recovery_is_running(recovery)) {
        if (asked_ms != 0 && !fresh)
            forget_round(recovery);
    } else if (!sched_load_if_old(recovery->sched)) {
        return; /* a wish is on its way through the log */
    } else if (whole && fresh && !recovery->round.used) {
        use_round(recovery);
    } else if (whole ? now_ms > recovery->round.whole_ms + PAUSE_MS : !fresh) {
        begin_round(recovery, NULL, 0);
    }
}

static bool put_keys(const struct pd_recovery *recovery, struct arena *arena, struct wire_region_step *step)
{
    const struct region_node *node = region_tree_find_id(pd_fsm_regions(recovery->sched->fsm), step->region_id);
    if (!node || region_node_conf(node) != step->epoch_conf || region_node_version(node) != step->epoch_version)
        return false;
    step->key = arena_copy(arena, region_node_start(node));
    step->end_key = arena_copy(arena, region_node_end(node));
    return true;
}

void pd_recovery_store_heartbeat(struct pd_recovery *recovery, store_id store, struct arena *arena,
                                 struct wire_pd_reply *reply)
{
    struct answer *answer = answer_of(recovery, store);
    if (answer && !answer->asked) {
        answer->asked = true;
        reply->report = recovery->round.number;
    }
    if (recovery->step_count == 0)
        return;
    store_id *lost = arena_alloc(arena, STORE_TABLE_COUNT_MAX * sizeof *lost);
    uint32_t lost_count = all_lost(recovery, NULL, 0, lost), kept = 0, count = reply->steps_count;
    struct wire_region_step *steps = arena_alloc(arena, (count + recovery->step_count) * sizeof *steps);
    if (count > 0)
        memcpy(steps, reply->steps, count * sizeof *steps);
    for (uint32_t i = 0; i < recovery->step_count; i++) {
        if (recovery->steps[i].store != store || count >= STEPS_MAX) {
            recovery->steps[kept++] = recovery->steps[i];
            continue;
        }
        steps[count] = recovery->steps[i].wire;
        if (steps[count].kind == WIRE_STEP_KIND_CREATE && !put_keys(recovery, arena, &steps[count]))
            continue; /* it is another region by now */
        steps[count].lost = lost;
        steps[count++].lost_count = lost_count;
    }
    recovery->step_count = kept;
    reply->steps = steps;
    reply->steps_count = count;
}

/* ---- to read */

uint32_t pd_recovery_region_count(const struct pd_recovery *recovery)
{
    return recovery->region_count;
}

const struct pd_recovery_region *pd_recovery_region(const struct pd_recovery *recovery, uint32_t index)
{
    return &recovery->regions[index];
}
