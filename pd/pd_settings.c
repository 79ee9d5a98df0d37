#include "pd/pd_settings.h"

#include <stdlib.h>

#include "base/check.h"

static struct bytes copy_of(struct bytes from)
{
    uint8_t *data = malloc(from.size + 1);
    CHECK(data);
    if (from.size > 0)
        memcpy(data, from.data, from.size);
    return bytes_of(data, from.size);
}

static void release(struct bytes bytes)
{
    free((void *)bytes.data);
}

void pd_settings_fini(struct pd_settings *settings)
{
    for (uint32_t i = 0; i < settings->count; i++) {
        release(settings->list[i].name);
        release(settings->list[i].value);
    }
    free(settings->list);
    *settings = (struct pd_settings){0};
}

uint32_t pd_settings_seek(const struct pd_settings *settings, struct bytes name)
{
    uint32_t low = 0, high = settings->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (bytes_compare(settings->list[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_at(const struct pd_settings *settings, uint32_t position, struct bytes name)
{
    return position < settings->count && bytes_equal(settings->list[position].name, name);
}

struct bytes pd_settings_get(const struct pd_settings *settings, struct bytes name)
{
    uint32_t position = pd_settings_seek(settings, name);
    return is_at(settings, position, name) ? settings->list[position].value : bytes_empty();
}

static void take_away(struct pd_settings *settings, uint32_t position)
{
    release(settings->list[position].name);
    release(settings->list[position].value);
    settings->count--;
    memmove(&settings->list[position], &settings->list[position + 1],
            (settings->count - position) * sizeof(*settings->list));
}

static enum err insert(struct pd_settings *settings, uint32_t position, struct bytes name, struct bytes value)
{
    if (settings->count == PD_SETTINGS_MAX)
        return ERR_BUSY;
    if (settings->count == settings->capacity) {
        settings->capacity = settings->capacity ? 2 * settings->capacity : 16;
        settings->list = realloc(settings->list, settings->capacity * sizeof(*settings->list));
        CHECK(settings->list);
    }
    memmove(&settings->list[position + 1], &settings->list[position],
            (settings->count - position) * sizeof(*settings->list));
    settings->list[position] = (struct pd_setting){copy_of(name), copy_of(value)};
    settings->count++;
    return ERR_OK;
}

enum err pd_settings_put(struct pd_settings *settings, struct bytes name, struct bytes value)
{
    if (name.size == 0 || name.size > PD_SETTING_NAME_MAX || value.size > PD_SETTING_VALUE_MAX)
        return ERR_INVALID;
    uint32_t position = pd_settings_seek(settings, name);
    if (!is_at(settings, position, name))
        return value.size > 0 ? insert(settings, position, name, value) : ERR_OK;
    if (value.size == 0) {
        take_away(settings, position);
        return ERR_OK;
    }
    release(settings->list[position].value);
    settings->list[position].value = copy_of(value);
    return ERR_OK;
}
