/* fuzz_pd_api: hostile methods, paths, queries and bodies at pd's HTTP API: each has an answer, of the form that is promised,
 * and none of what may be asked breaks the truth.
 *
 * Input: u8 method | path '?' query '\n' body. */
#include <stdlib.h>
#include <string.h>

#include "../unit/api_world.h"
#include "fuzz.h"

static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};

static char *text_of(struct bytes bytes)
{
    char *text = malloc(bytes.size + 1);
    CHECK(text);
    if (bytes.size > 0)
        memcpy(text, bytes.data, bytes.size);
    text[bytes.size] = '\0';
    return text;
}

static void check_answer(const struct api_world *world, unsigned status)
{
    const struct api_answer *answer = &world->answer;
    CHECK(status >= 200 && status < 600 && answer->type);
    if (strcmp(answer->type, "application/json") != 0)
        return; /* text, or nothing yet: it is for pd_service to say */
    cJSON *json = cJSON_ParseWithLength((const char *)answer->body.data, answer->body.size);
    CHECK(cJSON_IsObject(json));
    CHECK(status == 200 ||
          (cJSON_IsString(cJSON_GetObjectItem(json, "code")) && cJSON_IsString(cJSON_GetObjectItem(json, "message"))));
    cJSON_Delete(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct api_world world;
    struct fuzz_input input = {data, size};
    const char *method = methods[fuzz_u8(&input) % (sizeof methods / sizeof methods[0])];
    const uint8_t *line_end = input.size ? memchr(input.data, '\n', input.size) : NULL;
    struct bytes line = fuzz_take(&input, line_end ? (size_t)(line_end - input.data) : input.size);
    fuzz_u8(&input);
    char *path = text_of(line), empty[] = "";
    char *query = strchr(path, '?');
    if (query)
        *query++ = '\0';
    if (path[0] == '/') { /* the server lets nothing else through */
        api_world_init(&world);
        check_answer(&world, api_world_ask(&world, method, path, query ? query : empty, fuzz_take(&input, input.size)));
        pd_fsm_check(world.fsm);
        operator_list_check(pd_sched_view(world.api.sched)->operators);
        api_world_fini(&world);
    }
    free(path);
    return 0;
}

void fuzz_seeds(fuzz_write_seed *write, void *context)
{
    static const struct {
        const char *name;
        uint8_t method;
        const char *text;
    } seeds[] = {
        {"stores", 0, "/pd/v1/stores\n"},
        {"store", 0, "/pd/v1/stores/1\n"},
        {"regions", 0, "/pd/v1/regions?limit=2&from=7261&check=empty&top=size&store=1\n"},
        {"key", 0, "/pd/v1/region-of-key?key=72%36%31\n"},
        {"holes", 0, "/pd/v1/holes?from=72\n"},
        {"why", 0, "/pd/v1/why/regions/5\n"},
        {"metrics", 0, "/metrics\n"},
        {"cordon", 2, "/pd/v1/stores/1/cordon\n{\"on\": true}"},
        {"label", 2, "/pd/v1/stores/1/label\n{\"name\": \"zone\", \"value\": \"\\u00e9st\"}"},
        {"weight", 2, "/pd/v1/stores/2/weight\n{\"leader_permille\": 1500, \"region_permille\": \"9007199254740993\"}"},
        {"limit", 2, "/pd/v1/stores/2/limit\n{\"receive_size\": 1, \"send_size\": 18446744073709551615}"},
        {"stop", 2, "/pd/v1/stores/2/prepare-stop\n{\"duration_ms\": 60000}"},
        {"drain", 2, "/pd/v1/stores/2/drain\n"},
        {"transfer", 2, "/pd/v1/regions/5/transfer-leader\n{\"store\": 2}"},
        {"move", 2, "/pd/v1/regions/5/move-peer\n{\"from\": 1, \"to\": 4}"},
        {"split", 2, "/pd/v1/regions/5/split\n"},
        {"merge", 2, "/pd/v1/regions/5/merge\n{\"target\": 6}"},
        {"scatter", 2, "/pd/v1/scatter\n{\"start_key\": \"72\", \"end_key\": \"\"}"},
        {"config", 4, "/pd/v1/config\n{\"store-limit\": \"1MiB\"}"},
        {"switch", 3, "/pd/v1/schedulers/shuffle-region\n{\"on\": true}"},
        {"pause", 2, "/pd/v1/schedulers/balance-leader/pause\n{\"duration_ms\": 1}"},
        {"balance", 2, "/pd/v1/balance\n"},
        {"rule", 3,
         "/pd/v1/rules/a/b\n{\"count\": 2, \"role\": \"leader\", \"start_key\": \"72\", \"locations\": [\"z\"], "
         "\"index\": 1,"
         "\"constraints\": [{\"label\": \"z\", \"test\": \"not_in\", \"values\": [\"x\"]}], \"overrides\": true}"},
        {"unrule", 5, "/pd/v1/rules/polder/default\n"},
        {"member", 2, "/pd/v1/members\n{\"name\": \"pd-2\", \"address\": \"tcp://a:1\"}"},
        {"unmember", 5, "/pd/v1/members/1\n"},
        {"forget", 5, "/pd/v1/stores/1\n"},
    };
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++) {
        char text[512];
        text[0] = (char)seeds[i].method;
        size_t size = strlen(seeds[i].text);
        memcpy(text + 1, seeds[i].text, size);
        write(context, seeds[i].name, text, size + 1);
    }
}
