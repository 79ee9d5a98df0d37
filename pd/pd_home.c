#include "pd/pd_home.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "pd/pd_fsm.h"

static const char identity_text[] = "polder pd";

enum { HOME_FORMAT = 1, DIGITS_MAX = 19 };

static struct bytes home_key(void)
{
    return bytes_of_string("h");
}

enum engine_cf pd_home_other(enum engine_cf cf)
{
    return cf == ENGINE_DEFAULT ? ENGINE_WRITE : ENGINE_DEFAULT;
}

static enum err engine_is_empty(struct engine *engine, bool *ret_empty, struct error *err)
{
    *ret_empty = true;
    for (int cf = 0; cf < ENGINE_CF_COUNT; cf++) {
        struct engine_iter *iter = engine_iter_new(engine, (enum engine_cf)cf, bytes_empty(), bytes_empty());
        engine_iter_seek(engine, iter, bytes_empty());
        *ret_empty &= !engine_iter_valid(engine, iter);
        enum err code = engine_iter_error(engine, iter, err);
        engine_iter_free(engine, iter);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

static bool parse_identity(struct bytes row, uint64_t *ret_id)
{
    size_t size = strlen(identity_text);
    char digits[DIGITS_MAX + 1] = "";
    *ret_id = 1;
    if (row.size < size || memcmp(row.data, identity_text, size) != 0)
        return false;
    if (row.size == size)
        return true;
    if (row.size - size < 2 || row.size - size - 1 > DIGITS_MAX || row.data[size] != ' ')
        return false;
    memcpy(digits, row.data + size + 1, row.size - size - 1);
    *ret_id = strtoull(digits, NULL, 10);
    return *ret_id > 0 && strspn(digits, "0123456789") == row.size - size - 1;
}

static enum err load_identity(struct engine *engine, struct buf *value, struct pd_home *home, struct error *err)
{
    bool empty;
    enum err code = engine_get(engine, ENGINE_DEFAULT, bytes_of_string(PD_FSM_IDENTITY_KEY), value, err);
    if (code == ERR_OK && !parse_identity(buf_bytes(value), &home->member_id))
        return error_set(err, ERR_CORRUPT, "the identity row is not a pd's");
    if (code != ERR_NOT_FOUND)
        return code;
    code = engine_is_empty(engine, &empty, err);
    if (code == ERR_OK && !empty)
        return error_set(err, ERR_CLUSTER_NOT_MATCH, "it is in use, but not by a pd: it has no identity row of one");
    return code == ERR_OK ? ERR_NOT_FOUND : code;
}

static enum err load_cf(struct engine *engine, struct buf *value, struct pd_home *home, struct error *err)
{
    home->cf = ENGINE_DEFAULT;
    enum err code = engine_get(engine, ENGINE_RAFT, home_key(), value, err);
    if (code != ERR_OK)
        return code == ERR_NOT_FOUND ? ERR_OK : code;
    struct bytes row = buf_bytes(value);
    if (row.size != 2 || row.data[0] != HOME_FORMAT || (row.data[1] != ENGINE_DEFAULT && row.data[1] != ENGINE_WRITE))
        return error_set(err, ERR_CORRUPT, "the row that says where pd's rows are cannot be read");
    home->cf = (enum engine_cf)row.data[1];
    return ERR_OK;
}

enum err pd_home_load(struct engine *engine, struct pd_home *ret_home, struct error *err)
{
    struct buf value;
    buf_init(&value, 4096);
    enum err code = load_identity(engine, &value, ret_home, err);
    if (code == ERR_OK)
        code = load_cf(engine, &value, ret_home, err);
    buf_fini(&value);
    return code;
}

void pd_home_put_identity(struct engine *engine, struct engine_batch *batch, uint64_t member_id)
{
    char text[64];
    if (member_id == 1) /* as versions without members wrote it */
        snprintf(text, sizeof text, "%s", identity_text);
    else
        snprintf(text, sizeof text, "%s %llu", identity_text, (unsigned long long)member_id);
    engine_batch_put(engine, batch, ENGINE_DEFAULT, bytes_of_string(PD_FSM_IDENTITY_KEY), bytes_of_string(text));
}

void pd_home_put_cf(struct engine *engine, struct engine_batch *batch, enum engine_cf cf)
{
    uint8_t row[2] = {HOME_FORMAT, (uint8_t)cf};
    engine_batch_put(engine, batch, ENGINE_RAFT, home_key(), bytes_of(row, sizeof row));
}

void pd_home_clear(struct engine *engine, struct engine_batch *batch, enum engine_cf cf)
{
    engine_batch_delete_range(engine, batch, cf, bytes_of_string("a"), bytes_of_string("m"));
    engine_batch_delete_range(engine, batch, cf, bytes_of_string("n"), bytes_of_string("z"));
}
