#include "cluster_file.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

enum { FILE_SIZE_MAX = 1024 * 1024 };

static char *copy_text(const char *text)
{
    char *copy = strdup(text);
    CHECK(copy);
    return copy;
}

void cluster_file_fini(struct cluster_file *file)
{
    for (uint32_t i = 0; i < file->process_count; i++) {
        struct cluster_process *process = &file->processes[i];
        free(process->address);
        free(process->status_address);
        free(process->data_dir);
        free(process->log);
        for (char **arg = process->args; *arg; arg++)
            free(*arg);
    }
    free(file->pd);
    memset(file, 0, sizeof *file);
}

char *cluster_file_path(const char *dir)
{
    return os_path_join(dir, "cluster.json");
}

/* Text of a field, "" when it is absent or no text; `*ok` goes false. */
static const char *text_field(const cJSON *object, const char *name, bool *ok)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    *ok = *ok && text;
    return text ? text : "";
}

/* Whole numbers up to 2^53, which is what JSON keeps exactly. */
static uint64_t number_field(const cJSON *object, const char *name, uint64_t max, bool *ok)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    double number = cJSON_IsNumber(item) ? item->valuedouble : -1;
    bool fits = number >= 0 && number <= (double)max;
    *ok = *ok && fits;
    return fits ? (uint64_t)number : 0;
}

static bool read_process(const cJSON *item, struct cluster_process *process)
{
    bool ok = true;
    snprintf(process->role, sizeof process->role, "%s", text_field(item, "role", &ok));
    process->id = (uint32_t)number_field(item, "id", UINT32_MAX, &ok);
    process->process.pid = (int32_t)number_field(item, "pid", INT32_MAX, &ok);
    process->process.start_time = number_field(item, "start_time", 1ULL << 53, &ok);
    process->address = copy_text(text_field(item, "address", &ok));
    bool has_status = true;
    process->status_address = copy_text(text_field(item, "status_address", &has_status));
    process->data_dir = copy_text(text_field(item, "data_dir", &ok));
    process->log = copy_text(text_field(item, "log", &ok));
    const cJSON *args = cJSON_GetObjectItemCaseSensitive(item, "args"), *arg;
    ok = ok && cJSON_IsArray(args);
    uint32_t count = 0;
    cJSON_ArrayForEach(arg, args)
    {
        if (count + 1 >= CLUSTER_ARG_MAX || !cJSON_IsString(arg))
            return false;
        process->args[count++] = copy_text(arg->valuestring);
    }
    /* A start time of 0 would mean any process with that pid. */
    return ok && count > 0 && process->process.pid > 1 && process->process.start_time > 0;
}

static bool read_json(const cJSON *json, struct cluster_file *file)
{
    bool ok = true;
    file->pd = copy_text(text_field(json, "pd", &ok));
    const cJSON *options = cJSON_GetObjectItemCaseSensitive(json, "options"), *item;
    bool has_pds = true; /* clusters of the days of one pd do not say how many */
    file->pds = (uint32_t)number_field(options, "pds", CLUSTER_PROCESS_MAX, &has_pds);
    file->pds = has_pds ? file->pds : 1;
    file->stores = (uint32_t)number_field(options, "stores", CLUSTER_PROCESS_MAX, &ok);
    file->regions = (uint32_t)number_field(options, "regions", UINT32_MAX, &ok);
    file->replicas = (uint32_t)number_field(options, "replicas", CLUSTER_PROCESS_MAX, &ok);
    file->port_offset = (uint32_t)number_field(options, "port_offset", 65535, &ok);
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(json, "processes"))
    {
        if (file->process_count == CLUSTER_PROCESS_MAX)
            return false;
        ok = read_process(item, &file->processes[file->process_count++]) && ok;
    }
    return ok && file->process_count > 0;
}

enum err cluster_file_read(const char *dir, struct cluster_file *ret_file, struct error *err)
{
    char *path = cluster_file_path(dir);
    struct buf content;
    buf_init(&content, FILE_SIZE_MAX);
    memset(ret_file, 0, sizeof *ret_file);
    enum err code = os_file_read(path, &content, err);
    if (code == ERR_NOT_FOUND)
        error_set(err, ERR_NOT_FOUND, "no cluster in %s (there is no cluster.json); start one: polder up --dir %s", dir,
                  dir);
    if (code == ERR_OK) {
        cJSON *json = cJSON_ParseWithLength((const char *)content.data, content.size);
        if (!json || !read_json(json, ret_file)) {
            cluster_file_fini(ret_file);
            code = error_set(err, ERR_CORRUPT, "%s: not a cluster.json of this program", path);
        }
        cJSON_Delete(json);
    }
    buf_fini(&content);
    free(path);
    return code;
}

static cJSON *process_json(const struct cluster_process *process)
{
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "role", process->role);
    cJSON_AddNumberToObject(item, "id", process->id);
    cJSON_AddNumberToObject(item, "pid", process->process.pid);
    cJSON_AddNumberToObject(item, "start_time", (double)process->process.start_time);
    cJSON_AddStringToObject(item, "address", process->address);
    cJSON_AddStringToObject(item, "status_address", process->status_address);
    cJSON_AddStringToObject(item, "data_dir", process->data_dir);
    cJSON_AddStringToObject(item, "log", process->log);
    cJSON *args = cJSON_AddArrayToObject(item, "args");
    for (char *const *arg = process->args; *arg; arg++)
        cJSON_AddItemToArray(args, cJSON_CreateString(*arg));
    return item;
}

enum err cluster_file_write(const char *dir, const struct cluster_file *file, struct error *err)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "version", POLDER_VERSION);
    cJSON_AddStringToObject(json, "pd", file->pd);
    cJSON *options = cJSON_AddObjectToObject(json, "options");
    cJSON_AddNumberToObject(options, "pds", file->pds);
    cJSON_AddNumberToObject(options, "stores", file->stores);
    cJSON_AddNumberToObject(options, "regions", file->regions);
    cJSON_AddNumberToObject(options, "replicas", file->replicas);
    cJSON_AddNumberToObject(options, "port_offset", file->port_offset);
    cJSON *processes = cJSON_AddArrayToObject(json, "processes");
    for (uint32_t i = 0; i < file->process_count; i++)
        cJSON_AddItemToArray(processes, process_json(&file->processes[i]));
    char *text = cJSON_Print(json);
    CHECK(text);
    char *path = cluster_file_path(dir);
    enum err code = os_file_write(path, bytes_of_string(text), err);
    free(path);
    cJSON_free(text);
    cJSON_Delete(json);
    return code;
}

struct cluster_process *cluster_file_find(struct cluster_file *file, const char *role, uint32_t id)
{
    for (uint32_t i = 0; i < file->process_count; i++)
        if (strcmp(file->processes[i].role, role) == 0 && file->processes[i].id == id)
            return &file->processes[i];
    return NULL;
}

uint32_t cluster_file_alive_count(const struct cluster_file *file)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < file->process_count; i++)
        count += os_process_is_alive(file->processes[i].process);
    return count;
}
