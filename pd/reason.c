#include "pd/reason.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void reason_begin(struct reason *reason, const char *policy)
{
    *reason = (struct reason){.policy = policy};
}

void reason_fact(struct reason *reason, const char *name, int64_t value)
{
    for (uint32_t i = 0; i < reason->fact_count; i++)
        if (strcmp(reason->facts[i].name, name) == 0) {
            reason->facts[i].value = value;
            return;
        }
    if (reason->fact_count < REASON_FACTS_MAX)
        reason->facts[reason->fact_count++] = (struct reason_fact){name, value};
}

void reason_refuse(struct reason *reason, const char *what, uint64_t id, const char *why)
{
    for (uint32_t i = 0; i < reason->refusal_count; i++)
        if (reason->refusals[i].id == id && reason->refusals[i].what == what && reason->refusals[i].why == why)
            return;
    if (reason->refusal_count < REASON_REFUSALS_MAX)
        reason->refusals[reason->refusal_count++] = (struct reason_refusal){what, id, why};
    else
        reason->refusals_unkept++;
}

static enum err print(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
static enum err print(struct buf *buf, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return size < 0 || (size_t)size >= sizeof(text) ? ERR_ENTRY_TOO_LARGE : buf_append(buf, text, (size_t)size);
}

enum err reason_json(const struct reason *reason, struct buf *buf)
{
    enum err code = print(buf, "{\"policy\": \"%s\", \"facts\": {", reason->policy);
    for (uint32_t i = 0; code == ERR_OK && i < reason->fact_count; i++)
        code = print(buf, "%s\"%s\": %" PRId64, i ? ", " : "", reason->facts[i].name, reason->facts[i].value);
    if (code == ERR_OK)
        code = print(buf, "}, \"refused\": [");
    for (uint32_t i = 0; code == ERR_OK && i < reason->refusal_count; i++)
        code = print(buf, "%s{\"%s\": %" PRIu64 ", \"why\": \"%s\"}", i ? ", " : "", reason->refusals[i].what,
                     reason->refusals[i].id, reason->refusals[i].why);
    return code == ERR_OK ? print(buf, "], \"refused_unkept\": %" PRIu32 "}", reason->refusals_unkept) : code;
}
