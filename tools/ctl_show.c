/* ctl_show: answers of pd as tables, as JSON, as lines of JSON. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "ctl.h"

enum { CELL_SIZE_MAX = 1024 * 1024, COLUMNS_MAX = 16 };

static void append_text(struct buf *out, const char *text)
{
    (void)buf_append_bytes(out, bytes_of_string(text)); /* what is too long is cut */
}

void ctl_key_text(const char *hex, const char *if_empty, struct buf *out)
{
    struct buf key;
    buf_init(&key, CELL_SIZE_MAX);
    for (const char *at = hex; at[0] && at[1]; at += 2) {
        char pair[3] = {at[0], at[1], 0};
        (void)buf_append_u8(&key, (uint8_t)strtoul(pair, NULL, 16));
    }
    if (key.size > 0)
        cli_escape(buf_bytes(&key), out);
    else
        append_text(out, if_empty);
    buf_fini(&key);
}

static void append_number(struct buf *out, double number)
{
    char text[40];
    if (number == (double)(int64_t)number)
        snprintf(text, sizeof text, "%" PRId64, (int64_t)number);
    else
        snprintf(text, sizeof text, "%.2f", number);
    append_text(out, text);
}

/* Voters by store, the leader with a star, others with their role. */
static void append_peers(struct buf *out, const cJSON *peers)
{
    const cJSON *peer;
    cJSON_ArrayForEach(peer, peers)
    {
        const char *role = ctl_text(peer, "role");
        append_text(out, peer->prev && peer != peers->child ? "," : "");
        append_number(out, ctl_number(peer, "store"));
        append_text(out, cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(peer, "leader")) ? "*" : "");
        if (strcmp(role, "voter") != 0) {
            append_text(out, ":");
            append_text(out, role);
        }
        if (cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(peer, "store_up")))
            append_text(out, "!");
    }
}

static void append_labels(struct buf *out, const cJSON *labels)
{
    const cJSON *label;
    cJSON_ArrayForEach(label, labels)
    {
        append_text(out, label != labels->child ? "," : "");
        append_text(out, label->string);
        append_text(out, "=");
        append_text(out, cJSON_IsString(label) ? label->valuestring : "?");
    }
}

/* Plain values by name, the rest as JSON. */
static void append_object(struct buf *out, const cJSON *object)
{
    const cJSON *item;
    struct buf value;
    buf_init(&value, CELL_SIZE_MAX);
    cJSON_ArrayForEach(item, object)
    {
        append_text(out, item != object->child ? ", " : "");
        append_text(out, item->string);
        append_text(out, " ");
        ctl_cell(item, CTL_TEXT, &value);
        append_text(out, (const char *)value.data);
    }
    buf_fini(&value);
}

static void append_steps(struct buf *out, const cJSON *steps)
{
    const cJSON *step;
    cJSON_ArrayForEach(step, steps)
    {
        append_text(out, step != steps->child ? ", " : "");
        append_text(out, ctl_text(step, "step"));
        if (ctl_number(step, "store") > 0) {
            append_text(out, " ");
            append_number(out, ctl_number(step, "store"));
        }
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(step, "done")))
            append_text(out, " (done)");
    }
}

void ctl_cell(const cJSON *item, enum ctl_kind kind, struct buf *out)
{
    char text[32];
    buf_reset(out);
    if (!item || cJSON_IsNull(item)) {
        append_text(out, "-");
    } else if (kind == CTL_PEERS) {
        append_peers(out, item);
    } else if (kind == CTL_LABELS) {
        append_labels(out, item);
    } else if (kind == CTL_STEPS) {
        append_steps(out, item);
    } else if (cJSON_IsObject(item)) {
        append_object(out, item);
    } else if (kind == CTL_KEY) {
        ctl_key_text(cJSON_IsString(item) ? item->valuestring : "", "-", out);
    } else if (cJSON_IsBool(item)) {
        append_text(out, cJSON_IsTrue(item) ? "yes" : "no");
    } else if (cJSON_IsNumber(item) && kind == CTL_SIZE) {
        cli_print_size((uint64_t)(item->valuedouble > 0 ? item->valuedouble : 0), text);
        append_text(out, text);
    } else if (cJSON_IsNumber(item) && kind == CTL_MS) {
        cli_print_duration((uint64_t)(item->valuedouble > 0 ? item->valuedouble : 0), text);
        append_text(out, text);
    } else if (cJSON_IsNumber(item) && kind == CTL_PERMILLE) {
        snprintf(text, sizeof text, "%.1f %%", item->valuedouble / 10);
        append_text(out, text);
    } else if (cJSON_IsNumber(item)) {
        append_number(out, item->valuedouble);
    } else if (cJSON_IsString(item)) {
        cli_escape(bytes_of_string(item->valuestring), out);
    } else {
        char *printed = cJSON_PrintUnformatted(item);
        append_text(out, printed ? printed : "?");
        cJSON_free(printed);
    }
    if (buf_append_u8(out, 0) == ERR_OK)
        out->size--;
}

static bool is_right(enum ctl_kind kind)
{
    return kind == CTL_NUMBER || kind == CTL_SIZE || kind == CTL_MS || kind == CTL_PERMILLE;
}

static void print_table(const cJSON *list, const struct ctl_column *columns)
{
    size_t widths[COLUMNS_MAX] = {0}, count = 0;
    const cJSON *row;
    struct buf cell;
    buf_init(&cell, CELL_SIZE_MAX);
    for (; columns[count].field; count++)
        widths[count] = strlen(columns[count].title);
    CHECK(count <= COLUMNS_MAX);
    cJSON_ArrayForEach(row, list)
    {
        for (size_t i = 0; i < count; i++) {
            ctl_cell(cJSON_GetObjectItemCaseSensitive(row, columns[i].field), columns[i].kind, &cell);
            widths[i] = cell.size > widths[i] ? cell.size : widths[i];
        }
    }
    for (size_t i = 0; i < count; i++)
        printf("%*s%s",
               is_right(columns[i].kind) ? (int)widths[i]
               : i + 1 < count           ? -(int)widths[i]
                                         : 0,
               columns[i].title, i + 1 < count ? "  " : "\n");
    cJSON_ArrayForEach(row, list)
    {
        for (size_t i = 0; i < count; i++) {
            ctl_cell(cJSON_GetObjectItemCaseSensitive(row, columns[i].field), columns[i].kind, &cell);
            printf("%*s%s",
                   is_right(columns[i].kind) ? (int)widths[i]
                   : i + 1 < count           ? -(int)widths[i]
                                             : 0,
                   (const char *)cell.data, i + 1 < count ? "  " : "\n");
        }
    }
    buf_fini(&cell);
}

static enum ctl_kind kind_of(const char *field, const cJSON *item)
{
    size_t size = strlen(field);
    if (strcmp(field, "peers") == 0)
        return CTL_PEERS;
    if (strcmp(field, "labels") == 0)
        return CTL_LABELS;
    if (strcmp(field, "steps") == 0)
        return CTL_STEPS;
    if (size > 4 && strcmp(field + size - 4, "_key") == 0)
        return CTL_KEY;
    if (size > 4 && strcmp(field + size - 4, "size") == 0)
        return CTL_SIZE;
    if (size > 7 && (strcmp(field + size - 6, "age_ms") == 0 || strcmp(field + size - 9, "uptime_ms") == 0))
        return CTL_MS;
    return cJSON_IsNumber(item) ? CTL_NUMBER : CTL_TEXT;
}

/* Field by field; `columns` may say how. */
static void print_object(const cJSON *object, const struct ctl_column *columns)
{
    const cJSON *item;
    struct buf cell;
    int width = 0;
    buf_init(&cell, CELL_SIZE_MAX);
    cJSON_ArrayForEach(item, object) width = (int)strlen(item->string) > width ? (int)strlen(item->string) : width;
    cJSON_ArrayForEach(item, object)
    {
        enum ctl_kind kind = kind_of(item->string, item);
        for (const struct ctl_column *column = columns; column && column->field; column++)
            if (strcmp(column->field, item->string) == 0)
                kind = column->kind;
        ctl_cell(item, kind, &cell);
        printf("%-*s  %s\n", width, item->string, (const char *)cell.data);
    }
    buf_fini(&cell);
}

int ctl_show(struct ctl *ctl, cJSON *take_json, const char *list, const struct ctl_column *columns)
{
    const cJSON *rows = list ? cJSON_GetObjectItemCaseSensitive(take_json, list) : NULL, *row;
    if (strcmp(ctl->options.output, "json") == 0) {
        cli_json_print(take_json);
        return CLI_OK;
    }
    if (ctl_is_table(ctl) && rows) {
        print_table(rows, columns);
    } else if (ctl_is_table(ctl)) {
        print_object(take_json, columns);
    } else {
        const cJSON *one = rows ? rows->child : take_json;
        for (row = one; row; row = rows ? row->next : NULL) {
            char *text = cJSON_PrintUnformatted(row);
            CHECK(text);
            printf("%s\n", text);
            cJSON_free(text);
        }
    }
    cJSON_Delete(take_json);
    return CLI_OK;
}

int ctl_show_change(struct ctl *ctl, cJSON *take_json)
{
    if (!ctl_is_table(ctl))
        return ctl_show(ctl, take_json, NULL, NULL);
    double number = ctl_number(take_json, "operator");
    if (number > 0)
        printf("operator %.0f does it; pd-ctl operator show %.0f tells how far it is\n", number, number);
    else if (cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(take_json, "changed")))
        printf("nothing to change: it is so already\n");
    else
        printf("done\n");
    cJSON_Delete(take_json);
    return CLI_OK;
}
