#include "store_online.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "env/http_client.h"

enum { ANSWER_SIZE_MAX = 64 * 1024 * 1024, URL_SIZE = 512, PAGE_ROWS = 1000, TIMEOUT_MS = 10000 };

static uint64_t number(const cJSON *object, const char *field)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, field);
    return cJSON_IsNumber(item) && item->valuedouble > 0 ? (uint64_t)item->valuedouble : 0;
}

static const char *text(const cJSON *object, const char *field)
{
    const char *found = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, field));
    return found ? found : "";
}

static bool is_set(const cJSON *object, const char *field)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, field));
}

static int fetch(const struct command *command, struct http_client *client, const char *address, const char *path,
                 cJSON **ret_json)
{
    struct buf body;
    struct error err;
    char url[URL_SIZE];
    unsigned status = 0;
    int code = CLI_FAILED;
    buf_init(&body, ANSWER_SIZE_MAX);
    snprintf(url, sizeof url, "%s%s%s", strstr(address, "://") ? "" : "http://", address, path);
    const struct http_fetch what = {.method = "GET", .url = url, .timeout_ms = TIMEOUT_MS};
    enum err found = http_client_fetch(client, &what, &status, &body, &err);
    *ret_json = found == ERR_OK ? cJSON_ParseWithLength((const char *)body.data, body.size) : NULL;
    if (found != ERR_OK)
        cli_complain(command, "%s", err.text);
    else if (status == 200 && *ret_json)
        code = CLI_GO_ON;
    else if (*ret_json)
        cli_complain(command, "%s: %s", text(*ret_json, "code"), text(*ret_json, "message"));
    else
        cli_complain(command, "%s: HTTP status %u, and no JSON: this is no storenode", address, status);
    buf_fini(&body);
    if (code == CLI_GO_ON)
        return code;
    cJSON_Delete(*ret_json);
    *ret_json = NULL;
    return found == ERR_INVALID ? CLI_USAGE : code;
}

/* The fields that `polder store raft` has for a data directory, as far as a running store tells them, and what only that
 * knows. */
static cJSON *as_offline(const cJSON *region)
{
    uint64_t truncated = number(region, "truncated_index"), last = number(region, "last_index");
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {{"id", number(region, "region")},
                   {"peer", number(region, "peer")},
                   {"leader", number(region, "leader")},
                   {"term", number(region, "term")},
                   {"commit", number(region, "committed_index")},
                   {"applied_index", number(region, "applied_index")},
                   {"truncated_index", truncated},
                   {"first_index", truncated + 1},
                   {"last_index", last},
                   {"log_entries", last - truncated},
                   {"log_bytes", number(region, "log_size")},
                   {"lag", last - number(region, "applied_index")},
                   {"waiting_writes", number(region, "waiting_write_count")},
                   {"waiting_reads", number(region, "waiting_read_count")}};
    cJSON *item = cJSON_CreateObject();
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        cJSON_AddNumberToObject(item, numbers[i].name, (double)numbers[i].value);
    cJSON_AddStringToObject(item, "role", text(region, "role"));
    cJSON_AddBoolToObject(item, "asleep", is_set(region, "asleep"));
    cJSON_AddBoolToObject(item, "installing", is_set(region, "installing"));
    cJSON_AddBoolToObject(item, "damaged", is_set(region, "damaged"));
    return item;
}

static const char *state_of(const cJSON *item)
{
    return is_set(item, "damaged")      ? "damaged"
           : is_set(item, "installing") ? "installs"
           : is_set(item, "asleep")     ? "sleeps"
                                        : "";
}

static void print_line(const cJSON *item)
{
    char size[32];
    cli_print_size(number(item, "log_bytes"), size);
    printf("%8" PRIu64 "  %-13s  %6" PRIu64 "  %10" PRIu64 "  %10" PRIu64 "  %10" PRIu64 "  %10" PRIu64 "  %8" PRIu64
           "  %10s  %6" PRIu64 "  %s\n",
           number(item, "id"), text(item, "role"), number(item, "term"), number(item, "commit"),
           number(item, "applied_index"), number(item, "first_index"), number(item, "last_index"),
           number(item, "log_entries"), size, number(item, "lag"), state_of(item));
}

static void print_fields(const cJSON *item)
{
    const cJSON *field;
    cJSON_ArrayForEach(field, item)
    {
        if (cJSON_IsNumber(field))
            printf("%-16s  %.0f\n", field->string, field->valuedouble);
        else if (cJSON_IsString(field))
            printf("%-16s  %s\n", field->string, field->valuestring);
        else
            printf("%-16s  %s\n", field->string, cJSON_IsTrue(field) ? "yes" : "no");
    }
}

/* Regions from `from` on, up to `limit` of them; all if it is 0. */
static int each_region(const struct command *command, const char *address, region_id from, uint64_t limit,
                       void (*visit)(void *context, cJSON *take_item), void *context)
{
    struct http_client *client = NULL;
    struct error err;
    char path[128];
    int code = http_client_new(&client, &err) == ERR_OK ? CLI_GO_ON : CLI_FAILED;
    if (code != CLI_GO_ON)
        cli_complain(command, "%s", err.text);
    for (bool more = true; more && code == CLI_GO_ON;) {
        cJSON *json = NULL, *region;
        snprintf(path, sizeof path, "/store/v1/regions?from=%" PRIu64 "&limit=%" PRIu64, from,
                 limit ? limit : PAGE_ROWS);
        code = fetch(command, client, address, path, &json);
        cJSON_ArrayForEach(region, cJSON_GetObjectItemCaseSensitive(json, "regions"))
            visit(context, as_offline(region));
        from = number(json, "next");
        more = from != 0 && limit == 0;
        cJSON_Delete(json);
    }
    http_client_free(client);
    return code;
}

static void add_to(void *context, cJSON *take_item)
{
    cJSON_AddItemToArray(context, take_item);
}

int store_online_raft_list(const struct command *command, const char *address, bool json)
{
    cJSON *all = cJSON_CreateArray(), *item;
    int code = each_region(command, address, 0, 0, add_to, all);
    if (code == CLI_GO_ON && !json)
        printf("  REGION  ROLE             TERM      COMMIT     APPLIED       FIRST        LAST   ENTRIES        SIZE  "
               "   LAG\n");
    if (!json && code == CLI_GO_ON)
        cJSON_ArrayForEach(item, all) print_line(item);
    if (json && code == CLI_GO_ON)
        cli_json_print(all);
    else
        cJSON_Delete(all);
    return code == CLI_GO_ON ? CLI_OK : code;
}

int store_online_raft_show(const struct command *command, const char *address, bool json, region_id id)
{
    cJSON *found = cJSON_CreateArray();
    int code = each_region(command, address, id, 1, add_to, found);
    cJSON *item = cJSON_DetachItemFromArray(found, 0);
    if (code == CLI_GO_ON && (!item || number(item, "id") != id)) {
        cli_complain(command, "region %" PRIu64 " is not on this store", id);
        code = CLI_NOT_FOUND;
    } else if (code == CLI_GO_ON && json) {
        cli_json_print(item);
        item = NULL;
        code = CLI_OK;
    } else if (code == CLI_GO_ON) {
        print_fields(item);
        code = CLI_OK;
    }
    cJSON_Delete(item);
    cJSON_Delete(found);
    return code;
}

static void add_installing(void *context, cJSON *take_item)
{
    if (is_set(take_item, "installing"))
        cJSON_AddItemToArray(context, cJSON_CreateNumber((double)number(take_item, "id")));
    cJSON_Delete(take_item);
}

int store_online_snapshots(const struct command *command, const char *address, bool json)
{
    struct http_client *client = NULL;
    struct error err;
    cJSON *status = NULL, *all = cJSON_CreateObject(), *region;
    cJSON *installing = cJSON_AddArrayToObject(all, "installing");
    int code =
        http_client_new(&client, &err) == ERR_OK ? fetch(command, client, address, "/status", &status) : CLI_FAILED;
    http_client_free(client);
    if (code == CLI_GO_ON)
        code = each_region(command, address, 0, 0, add_installing, installing);
    cJSON_AddNumberToObject(all, "leaving", (double)number(status, "snapshots_leaving"));
    cJSON_AddNumberToObject(all, "coming", (double)number(status, "snapshots_coming"));
    if (code == CLI_GO_ON && json) {
        cli_json_print(all);
        all = NULL;
    } else if (code == CLI_GO_ON) {
        printf("leaving     %" PRIu64 "\ncoming      %" PRIu64 "\ninstalling ", number(all, "leaving"),
               number(all, "coming"));
        cJSON_ArrayForEach(region, installing) printf(" %.0f", region->valuedouble);
        printf("%s\n", cJSON_GetArraySize(installing) == 0 ? " none" : "");
    }
    cJSON_Delete(all);
    cJSON_Delete(status);
    return code == CLI_GO_ON ? CLI_OK : code;
}
