/* cmd_region_peers: `polder region show|add-peer|remove-peer|move-peer|rebuild-peer|transfer-leader`: the members of a region.
 *
 * The region itself is the state: each command looks at it as its leader knows it, asks for the one step that brings it nearer
 * to what it should be, and looks again. So it does not matter who leads meanwhile, which answer is lost, or whether an
 * earlier try did a part of it: to call it again goes on where it ended. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "env/os.h"
#include "kv.h"
#include "region_peers.h"

enum { STEP_DEADLINE_MS = 2000, POLL_MS = 50, CAUGHT_UP_COUNT = 32, STEPS_TEXT_SIZE = 256 };
enum { VOTER = 0, LEARNER = 1, NO_PEER = 255 }; /* roles of polder_peer, and none */

struct options {
    struct kv_base base;
    uint64_t wait_ms;
    bool learner;
};

#define WAIT_ROW                                                                                                       \
    {                                                                                                                  \
        .key = "wait", .type = SETTING_DURATION, SETTING_FIELD(struct options, wait_ms), .default_text = "10min",      \
        .min = 1, .max = 86400000, .help = "how long to go on until it is done"                                        \
    }

static const struct setting show_rows[] = {
    CLI_CLIENT_ROWS(struct options, base.client),
    CLI_OUTPUT_ROW(struct options, base.output),
};
static const struct setting move_rows[] = {
    CLI_CLIENT_ROWS(struct options, base.client),
    CLI_OUTPUT_ROW(struct options, base.output),
    WAIT_ROW,
};
static const struct setting add_rows[] = {
    CLI_CLIENT_ROWS(struct options, base.client),
    CLI_OUTPUT_ROW(struct options, base.output),
    WAIT_ROW,
    {.key = "learner",
     .type = SETTING_BOOL,
     SETTING_FIELD(struct options, learner),
     .default_text = "false",
     .help = "it stays a learner, which does not vote"},
};

/* What a region should be: of each store that is spoken of, the role of its peer; and who leads. */
struct wish {
    uint64_t region;
    uint64_t to, from, leader; /* stores; 0: nothing is wished */
    uint64_t not_peer;         /* the peer on `to` is another one; 0: any */
    uint8_t role;              /* of the peer on `to` */
};

struct work {
    const struct command *command;
    const struct options *options;
    struct polder *polder;
    struct wish wish;
    bool quiet;   /* nobody wants the result */
    bool rebuild; /* the peer on wish.to, whoever it is at first, is replaced */
    struct buf start_key;
    uint64_t begun_us;
    char said[STEPS_TEXT_SIZE]; /* the last line of progress */
    char why[STEPS_TEXT_SIZE];  /* the last refusal */
};

/* ---- looking */

static uint8_t role_on(const struct polder_region *region, uint64_t store)
{
    for (size_t i = 0; i < region->peer_count; i++)
        if (region->peers[i].store_id == store)
            return region->peers[i].role;
    return NO_PEER;
}

static bool is_joint(const struct polder_region *region)
{
    for (size_t i = 0; i < region->peer_count; i++)
        if (region->peers[i].role > LEARNER)
            return true;
    return false;
}

static uint64_t leader_of(const struct polder_cluster *view)
{
    for (size_t i = 0; i < view->peer_count; i++)
        if (view->peers[i].leader)
            return view->peers[i].store_id;
    return 0;
}

static uint64_t peer_on(const struct polder_region *region, uint64_t store)
{
    for (size_t i = 0; i < region->peer_count; i++)
        if (region->peers[i].store_id == store)
            return region->peers[i].id;
    return 0;
}

static const struct polder_peer_status *status_on(const struct polder_cluster *view, uint64_t store)
{
    for (size_t i = 0; i < view->peer_count; i++)
        if (view->peers[i].store_id == store)
            return &view->peers[i];
    return NULL;
}

static bool is_done(const struct wish *wish, const struct polder_cluster *view)
{
    const struct polder_region *region = &view->regions[0];
    return !is_joint(region) && (wish->to == 0 || role_on(region, wish->to) == wish->role) &&
           (wish->not_peer == 0 || peer_on(region, wish->to) != wish->not_peer) &&
           (wish->from == 0 || role_on(region, wish->from) == NO_PEER) &&
           (wish->leader == 0 || leader_of(view) == wish->leader);
}

/* ---- telling */

static void say(struct work *work, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct work *work, const char *format, ...)
{
    char line[STEPS_TEXT_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (strcmp(line, work->said) == 0)
        return;
    memcpy(work->said, line, sizeof line);
    fprintf(stderr, "region %" PRIu64 ": %s\n", work->wish.region, line);
}

static const char *role_name(uint8_t role)
{
    static const char *const names[] = {"voter", "learner", "incoming-voter", "outgoing-voter"};
    return role < sizeof names / sizeof names[0] ? names[role] : "unknown";
}

static void print_json(const struct polder_cluster *view, uint64_t took_ms)
{
    const struct polder_region *region = &view->regions[0];
    cJSON *json = cJSON_CreateObject();
    cJSON_AddNumberToObject(json, "region", (double)region->id);
    cJSON_AddNumberToObject(json, "epoch_conf", (double)region->epoch_conf);
    cJSON_AddNumberToObject(json, "epoch_version", (double)region->epoch_version);
    cJSON_AddNumberToObject(json, "leader_store", (double)leader_of(view));
    cJSON_AddNumberToObject(json, "last_index", (double)view->last_index);
    cJSON_AddNumberToObject(json, "took_ms", (double)took_ms);
    cJSON *peers = cJSON_AddArrayToObject(json, "peers");
    for (size_t i = 0; i < view->peer_count; i++) {
        const struct polder_peer_status *peer = &view->peers[i];
        cJSON *item = cJSON_CreateObject();
        cJSON_AddNumberToObject(item, "id", (double)peer->id);
        cJSON_AddNumberToObject(item, "store", (double)peer->store_id);
        cJSON_AddStringToObject(item, "role", role_name(peer->role));
        cJSON_AddBoolToObject(item, "leader", peer->leader);
        cJSON_AddBoolToObject(item, "active", peer->active);
        cJSON_AddBoolToObject(item, "snapshot", peer->snapshot);
        cJSON_AddNumberToObject(item, "match", (double)peer->match);
        cJSON_AddItemToArray(peers, item);
    }
    cli_json_print(json);
}

static void print_text(const struct polder_cluster *view)
{
    const struct polder_region *region = &view->regions[0];
    printf("region %" PRIu64 "  epoch %" PRIu64 ".%" PRIu64 "  log up to %" PRIu64 "\n", region->id, region->epoch_conf,
           region->epoch_version, view->last_index);
    for (size_t i = 0; i < view->peer_count; i++) {
        const struct polder_peer_status *peer = &view->peers[i];
        printf("  peer %-8" PRIu64 " store %-5" PRIu64 " %-15s %s%s%s", peer->id, peer->store_id, role_name(peer->role),
               peer->leader ? "leader" : "", peer->active ? "" : "silent", peer->snapshot ? " gets a snapshot" : "");
        if (!peer->leader && peer->match < view->last_index)
            printf(" %" PRIu64 " behind", view->last_index - peer->match);
        putchar('\n');
    }
}

static void print_result(const struct work *work, const struct polder_cluster *view)
{
    if (kv_json(&work->options->base))
        print_json(view, (os_monotonic_us() - work->begun_us) / 1000);
    else
        print_text(view);
}

/* ---- one step */

static struct polder_call step_call(const struct work *work)
{
    struct polder_call call = kv_call(&work->options->base);
    if (call.deadline_ms > STEP_DEADLINE_MS)
        call.deadline_ms = STEP_DEADLINE_MS;
    return call;
}

/* CLI_GO_ON: look again. */
static int judge_step(struct work *work, struct polder_result *take_result, const char *what)
{
    int code = CLI_GO_ON;
    bool final = take_result->outcome == POLDER_NOT_DONE && take_result->advice == POLDER_ADVICE_GIVE_UP &&
                 take_result->code != POLDER_CONDITION_FAILED;
    if (final)
        code = cli_judge(work->command, take_result, what);
    else if (take_result->outcome != POLDER_DONE)
        snprintf(work->why, sizeof work->why, "%s: %s", take_result->name, take_result->text);
    polder_result_free(take_result);
    return code;
}

static int change(struct work *work, const struct polder_region *region, const struct polder_peer_change *changes,
                  size_t count)
{
    struct polder_call call = step_call(work);
    return judge_step(work,
                      polder_region_change_peers(work->polder, region->id, region->start_key, changes, count,
                                                 region->epoch_conf, &call),
                      "change of members");
}

/* The new peer is there; it should get everything. */
static bool is_caught_up(struct work *work, const struct polder_cluster *view)
{
    const struct polder_peer_status *peer = status_on(view, work->wish.to);
    uint64_t behind = peer && view->last_index > peer->match ? view->last_index - peer->match : 0;
    if (!peer || peer->snapshot || peer->match == 0)
        say(work, "store %" PRIu64 " gets a snapshot", work->wish.to);
    else if (behind > CAUGHT_UP_COUNT)
        say(work, "store %" PRIu64 " is %" PRIu64 " entries behind", work->wish.to, behind);
    else
        return true;
    return false;
}

static int step(struct work *work, const struct polder_cluster *view)
{
    const struct wish *wish = &work->wish;
    const struct polder_region *region = &view->regions[0];
    uint8_t now = wish->to ? role_on(region, wish->to) : NO_PEER;
    bool from_is_there = wish->from && role_on(region, wish->from) != NO_PEER;
    struct polder_peer_change changes[2];
    size_t count = 0;
    if (is_joint(region)) {
        say(work, "the members change");
        return CLI_GO_ON;
    }
    if (wish->leader) {
        struct polder_call call = step_call(work);
        say(work, "leadership goes to store %" PRIu64, wish->leader);
        return judge_step(
            work, polder_region_transfer_leader(work->polder, region->id, region->start_key, wish->leader, &call),
            "transfer of leadership");
    }
    if (wish->not_peer && peer_on(region, wish->to) == wish->not_peer) {
        say(work, "removes the peer on store %" PRIu64, wish->to);
        changes[count++] = (struct polder_peer_change){POLDER_PEER_REMOVE, wish->to};
        return change(work, region, changes, count);
    }
    if (wish->to && now == NO_PEER) {
        say(work, "adds a learner on store %" PRIu64, wish->to);
        changes[count++] = (struct polder_peer_change){POLDER_PEER_ADD_LEARNER, wish->to};
        return change(work, region, changes, count);
    }
    if (wish->to && now == LEARNER && !is_caught_up(work, view))
        return CLI_GO_ON;
    if (wish->to && now == LEARNER && wish->role == VOTER)
        changes[count++] = (struct polder_peer_change){POLDER_PEER_PROMOTE, wish->to};
    if (from_is_there)
        changes[count++] = (struct polder_peer_change){POLDER_PEER_REMOVE, wish->from};
    if (count == 0) {
        cli_complain(work->command, "region %" PRIu64 ": the peer on store %" PRIu64 " is a %s", wish->region, wish->to,
                     role_name(now));
        return CLI_FAILED;
    }
    say(work, count == 2      ? "the new peer takes the place of the old one"
              : from_is_there ? "removes a peer"
                              : "the learner becomes a voter");
    return change(work, region, changes, count);
}

/* ---- until it is done */

/* The start of a region never moves. */
static int find_start(struct work *work)
{
    struct polder_call call = kv_call(&work->options->base);
    struct polder_result *result = polder_cluster_region_by_id(work->polder, work->wish.region, &call);
    int code = cli_judge(work->command, result, "find region");
    if (code == CLI_OK && result->cluster->region_page_count == 0)
        code = CLI_NOT_FOUND;
    if (code == CLI_OK && buf_append_bytes(&work->start_key, kv_bytes(result->cluster->regions[0].start_key)) == ERR_OK)
        code = CLI_GO_ON;
    polder_result_free(result);
    return code;
}

static struct polder_result *look(struct work *work)
{
    struct polder_call call = step_call(work);
    struct polder_result *result =
        polder_region_peers(work->polder, work->wish.region, kv_view(&work->start_key), &call);
    if (result->outcome == POLDER_DONE && result->cluster && result->cluster->region_page_count > 0)
        return result;
    snprintf(work->why, sizeof work->why, "%s: %s", result->name, result->text);
    polder_result_free(result);
    return NULL;
}

/* What moves keeps its role. */
static int begin(struct work *work, const struct polder_region *region)
{
    struct wish *wish = &work->wish;
    if (work->rebuild) {
        wish->not_peer = peer_on(region, wish->to);
        wish->role = role_on(region, wish->to) == LEARNER && !is_joint(region) ? LEARNER : VOTER;
        return CLI_GO_ON;
    }
    uint8_t role = wish->from ? role_on(region, wish->from) : NO_PEER;
    if (wish->to && role == LEARNER)
        wish->role = LEARNER;
    if (!wish->from || !wish->to || role != NO_PEER || role_on(region, wish->to) != NO_PEER)
        return CLI_GO_ON;
    cli_complain(work->command, "region %" PRIu64 " has no peer on store %" PRIu64, wish->region, wish->from);
    return CLI_NOT_FOUND;
}

static int go(struct work *work)
{
    bool first = true;
    int code = find_start(work);
    while (code == CLI_GO_ON) {
        struct polder_result *result = look(work);
        if (result && first)
            code = begin(work, &result->cluster->regions[0]);
        first = first && !result;
        if (code != CLI_GO_ON) {
            polder_result_free(result);
            break;
        }
        if (result && is_done(&work->wish, result->cluster)) {
            if (!work->quiet)
                print_result(work, result->cluster);
            code = CLI_OK;
        } else if (result)
            code = step(work, result->cluster);
        polder_result_free(result);
        if (code != CLI_GO_ON)
            break;
        if (os_monotonic_us() - work->begun_us > work->options->wait_ms * 1000) {
            cli_complain(work->command, "not done in time; the same command goes on: %s", work->why);
            return CLI_UNKNOWN;
        }
        os_sleep_ms(POLL_MS);
    }
    return code;
}

/* ---- the commands */

static int parse_ids(const struct command *command, const struct settings *settings, uint64_t *ret_ids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *text = settings_operand(settings, i);
        char *end;
        errno = 0;
        ret_ids[i] = strtoull(text, &end, 10);
        if (errno != 0 || *end || end == text || text[0] == '-' || ret_ids[i] == 0)
            return cli_usage(command, "%s is not the id of a region or store", text);
    }
    return CLI_GO_ON;
}

static int run(const struct command *command, int argc, char **argv, int (*act)(struct work *work, const uint64_t *ids))
{
    struct options options;
    struct settings *settings;
    uint64_t ids[3] = {0};
    memset(&options, 0, sizeof options);
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    struct work work = {.command = command, .options = &options, .begun_us = os_monotonic_us()};
    buf_init(&work.start_key, KEY_SIZE_MAX + 64);
    code = parse_ids(command, settings, ids, command->operand_min);
    if (code == CLI_GO_ON)
        code = cli_open(command, &options.base.client, &work.polder);
    if (code == CLI_GO_ON) {
        work.wish.region = ids[0];
        code = act(&work, ids);
    }
    polder_close(work.polder);
    buf_fini(&work.start_key);
    settings_fini_target(command->table, command->table_count, &options);
    settings_free(settings);
    return code;
}

static int show(struct work *work, const uint64_t *ids)
{
    (void)ids;
    int code = find_start(work);
    if (code != CLI_GO_ON)
        return code;
    struct polder_call call = kv_call(&work->options->base);
    struct polder_result *result =
        polder_region_peers(work->polder, work->wish.region, kv_view(&work->start_key), &call);
    code = cli_judge(work->command, result, "show region");
    if (code == CLI_OK)
        print_result(work, result->cluster);
    polder_result_free(result);
    return code;
}

static int run_show(const struct command *command, int argc, char **argv)
{
    return run(command, argc, argv, show);
}

static int add_peer(struct work *work, const uint64_t *ids)
{
    work->wish.to = ids[1];
    work->wish.role = work->options->learner ? LEARNER : VOTER;
    return go(work);
}

static int run_add_peer(const struct command *command, int argc, char **argv)
{
    return run(command, argc, argv, add_peer);
}

static int remove_peer(struct work *work, const uint64_t *ids)
{
    work->wish.from = ids[1];
    return go(work);
}

static int run_remove_peer(const struct command *command, int argc, char **argv)
{
    return run(command, argc, argv, remove_peer);
}

static int move_peer(struct work *work, const uint64_t *ids)
{
    if (ids[1] == ids[2])
        return cli_usage(work->command, "from store %" PRIu64 " to itself", ids[1]);
    work->wish.from = ids[1];
    work->wish.to = ids[2];
    work->wish.role = VOTER;
    return go(work);
}

int region_peers_move(const struct command *command, struct polder *polder, const struct kv_base *base,
                      uint64_t wait_ms, uint64_t region, uint64_t from, uint64_t to)
{
    struct options options = {.base = *base, .wait_ms = wait_ms};
    struct work work = {.command = command,
                        .options = &options,
                        .polder = polder,
                        .begun_us = os_monotonic_us(),
                        .wish = {.region = region},
                        .quiet = true};
    buf_init(&work.start_key, KEY_SIZE_MAX + 64);
    int code = move_peer(&work, (uint64_t[]){region, from, to});
    buf_fini(&work.start_key);
    return code;
}

static int run_move_peer(const struct command *command, int argc, char **argv)
{
    return run(command, argc, argv, move_peer);
}

static int rebuild_peer(struct work *work, const uint64_t *ids)
{
    work->wish.to = ids[1];
    work->rebuild = true;
    return go(work);
}

static int run_rebuild_peer(const struct command *command, int argc, char **argv)
{
    return run(command, argc, argv, rebuild_peer);
}

static int transfer(struct work *work, const uint64_t *ids)
{
    work->wish.leader = ids[1];
    return go(work);
}

static int run_transfer(const struct command *command, int argc, char **argv)
{
    return run(command, argc, argv, transfer);
}

#define EXIT_CODES                                                                                                     \
    "Exit codes: 0 done, 1 not done, 2 wrong usage, 3 no such region, store or peer, 5 not done in time (it goes "     \
    "on).\n\n"

const struct command command_region_show = {
    .name = "region show",
    .operands = "REGION",
    .summary = "the members of a region, as its leader knows them",
    .text = "Roles, who leads, who is heard of, how far each one has the log.\n"
            "\n"
            "Examples:\n"
            "  polder region show 7\n"
            "  polder region show 7 -o json\n"
            "\n" EXIT_CODES,
    CLI_TABLE(show_rows),
    .operand_min = 1,
    .operand_max = 1,
    .run = run_show,
};

const struct command command_region_add_peer = {
    .name = "region add-peer",
    .operands = "REGION STORE",
    .summary = "one more replica of a region, on a store",
    .text = "The new peer gets the data as a learner, and votes once it has it. If it is there, nothing happens;\n"
            "a learner becomes a voter. Stopped half-way it is called again, and goes on.\n"
            "\n"
            "Examples:\n"
            "  polder region add-peer 7 4\n"
            "  polder region add-peer 7 4 --learner\n"
            "\n" EXIT_CODES,
    CLI_TABLE(add_rows),
    .operand_min = 2,
    .operand_max = 2,
    .run = run_add_peer,
};

const struct command command_region_remove_peer = {
    .name = "region remove-peer",
    .operands = "REGION STORE",
    .summary = "one replica of a region less",
    .text = "The store deletes its data of the region. A leader goes elsewhere first. Refused if it is the last voter, "
            "or if\n"
            "too few of those that stay are alive. If there is no peer on that store, nothing happens.\n"
            "\n"
            "Examples:\n"
            "  polder region remove-peer 7 4\n"
            "\n" EXIT_CODES,
    CLI_TABLE(move_rows),
    .operand_min = 2,
    .operand_max = 2,
    .run = run_remove_peer,
};

const struct command command_region_move_peer = {
    .name = "region move-peer",
    .operands = "REGION FROM TO",
    .summary = "a replica of a region moves from one store to another",
    .text =
        "A learner on store TO gets the data, then takes the place of the peer on store FROM in one step: there are\n"
        "never fewer voters. Stopped half-way it is called again, and goes on.\n"
        "\n"
        "Examples:\n"
        "  polder region move-peer 7 2 4\n"
        "  polder region move-peer 7 2 4 --wait 1h -o json\n"
        "\n" EXIT_CODES,
    CLI_TABLE(move_rows),
    .operand_min = 3,
    .operand_max = 3,
    .run = run_move_peer,
};

const struct command command_region_rebuild_peer = {
    .name = "region rebuild-peer",
    .operands = "REGION STORE",
    .summary = "a replica of a region is made anew, on the same store",
    .text =
        "For a replica that cannot be trusted any more: its store says event=replica_lost. It is removed, and its store\n"
        "deletes what it had; a new peer, with an id that never voted, gets the data from the others. Refused if\n"
        "too few of the others are alive. If there is no peer on that store, one is added. Stopped half-way it is called\n"
        "again; then it may begin anew.\n"
        "\n"
        "Examples:\n"
        "  polder region rebuild-peer 7 2\n"
        "\n" EXIT_CODES,
    CLI_TABLE(move_rows),
    .operand_min = 2,
    .operand_max = 2,
    .run = run_rebuild_peer,
};

const struct command command_region_transfer_leader = {
    .name = "region transfer-leader",
    .operands = "REGION STORE",
    .summary = "the peer on a store leads a region from now on",
    .text = "Waits until it does. Nothing keeps another one from being elected later.\n"
            "\n"
            "Examples:\n"
            "  polder region transfer-leader 7 2\n"
            "\n" EXIT_CODES,
    CLI_TABLE(move_rows),
    .operand_min = 2,
    .operand_max = 2,
    .run = run_transfer,
};
