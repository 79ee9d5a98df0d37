#include "env/engine_batch.h"

#include "base/check.h"

enum { COUNT_OFFSET = 8, TAG_COUNT = 3 };

/* By kind: the tag for the default column family, and for one that is named. */
static const uint8_t tags[TAG_COUNT][2] = {{1, 5}, {0, 4}, {15, 14}};

static uint32_t load_count(const struct engine_batch *batch)
{
    const uint8_t *p = batch->data.data + COUNT_OFFSET;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void store_count(struct engine_batch *batch, uint32_t count)
{
    for (int i = 0; i < 4; i++)
        batch->data.data[COUNT_OFFSET + i] = (uint8_t)(count >> 8 * i);
}

void engine_batch_init(struct engine_batch *batch, struct engine *engine)
{
    *batch = (struct engine_batch){.engine = engine};
    buf_init(&batch->data, UINT32_MAX);
    engine_batch_data_clear(batch);
}

void engine_batch_fini(struct engine_batch *batch)
{
    buf_fini(&batch->data);
}

void engine_batch_data_clear(struct engine_batch *batch)
{
    enum { KEEP_SIZE_MAX = 4 * 1024 * 1024 }; /* one giant batch must not pin its memory for ever */
    if (batch->data.capacity > KEEP_SIZE_MAX)
        buf_fini(&batch->data);
    buf_reset(&batch->data);
    uint8_t *header = buf_extend(&batch->data, ENGINE_BATCH_HEADER_SIZE);
    memset(header, 0, ENGINE_BATCH_HEADER_SIZE);
}

static uint8_t *put_varint(uint8_t *p, size_t value)
{
    CHECK(value <= UINT32_MAX);
    for (; value >= 0x80; value >>= 7)
        *p++ = (uint8_t)(value | 0x80);
    *p++ = (uint8_t)value;
    return p;
}

static uint8_t *put_string(uint8_t *p, struct bytes bytes)
{
    p = put_varint(p, bytes.size);
    if (bytes.size > 0)
        memcpy(p, bytes.data, bytes.size);
    return p + bytes.size;
}

static void add(struct engine_batch *batch, enum engine_batch_kind kind, enum engine_cf cf, struct bytes key,
                const struct bytes *value)
{
    enum { OVERHEAD_MAX = 1 + 3 * 5 }; /* tag and three varints */
    CHECK((unsigned)cf < ENGINE_CF_COUNT);
    size_t size = batch->data.size;
    uint8_t *begin = buf_extend(&batch->data, OVERHEAD_MAX + key.size + (value ? value->size : 0));
    CHECK(begin);
    uint8_t *p = begin;
    *p++ = tags[kind][cf != ENGINE_DEFAULT];
    if (cf != ENGINE_DEFAULT)
        p = put_varint(p, (size_t)cf);
    p = put_string(p, key);
    if (value)
        p = put_string(p, *value);
    batch->data.size = size + (size_t)(p - begin);
    store_count(batch, load_count(batch) + 1);
}

void engine_batch_data_put(struct engine_batch *batch, enum engine_cf cf, struct bytes key, struct bytes value)
{
    add(batch, ENGINE_BATCH_PUT, cf, key, &value);
}

void engine_batch_data_delete(struct engine_batch *batch, enum engine_cf cf, struct bytes key)
{
    add(batch, ENGINE_BATCH_DELETE, cf, key, NULL);
}

void engine_batch_data_delete_range(struct engine_batch *batch, enum engine_cf cf, struct bytes start, struct bytes end)
{
    CHECK(cf != ENGINE_RAFT || start.size < ENGINE_RAFT_HINT_SIZE);
    if (bytes_compare(start, end) < 0)
        add(batch, ENGINE_BATCH_DELETE_RANGE, cf, start, &end);
}

void engine_batch_data_append(struct engine_batch *batch, struct engine_batch *other)
{
    CHECK(batch != other && batch->engine == other->engine);
    size_t size = other->data.size - ENGINE_BATCH_HEADER_SIZE;
    if (size == 0)
        return;
    CHECK(buf_append(&batch->data, other->data.data + ENGINE_BATCH_HEADER_SIZE, size) == ERR_OK);
    store_count(batch, load_count(batch) + load_count(other));
}

void engine_batch_data_cut(struct engine_batch *batch, size_t count, size_t size)
{
    CHECK(count <= load_count(batch) && size + ENGINE_BATCH_HEADER_SIZE <= batch->data.size);
    batch->data.size = size + ENGINE_BATCH_HEADER_SIZE;
    store_count(batch, (uint32_t)count);
}

size_t engine_batch_data_count(const struct engine_batch *batch)
{
    return load_count(batch);
}

size_t engine_batch_data_size(const struct engine_batch *batch)
{
    return batch->data.size - ENGINE_BATCH_HEADER_SIZE;
}

/* The bytes are our own, so anything odd here is a broken belief. */
static uint32_t take_varint(const struct engine_batch *batch, size_t *at)
{
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        CHECK(*at < batch->data.size && shift < 35);
        uint8_t byte = batch->data.data[(*at)++];
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            break;
    }
    return (uint32_t)value;
}

static struct bytes take_string(const struct engine_batch *batch, size_t *at)
{
    size_t size = take_varint(batch, at);
    CHECK(size <= batch->data.size - *at);
    struct bytes bytes = bytes_of(batch->data.data + *at, size);
    *at += size;
    return bytes;
}

bool engine_batch_next(const struct engine_batch *batch, size_t *position, struct engine_batch_operation *ret_operation)
{
    size_t at = *position + ENGINE_BATCH_HEADER_SIZE;
    if (at >= batch->data.size)
        return false;
    uint8_t tag = batch->data.data[at++];
    int kind = 0;
    while (kind < TAG_COUNT && tags[kind][0] != tag && tags[kind][1] != tag)
        kind++;
    CHECK(kind < TAG_COUNT);
    *ret_operation = (struct engine_batch_operation){.kind = (enum engine_batch_kind)kind, .cf = ENGINE_DEFAULT};
    if (tag == tags[kind][1])
        ret_operation->cf = (enum engine_cf)take_varint(batch, &at);
    ret_operation->key = take_string(batch, &at);
    if (kind != ENGINE_BATCH_DELETE)
        ret_operation->value = take_string(batch, &at);
    *position = at - ENGINE_BATCH_HEADER_SIZE;
    return true;
}

bool engine_batch_data_find(const struct engine_batch *batch, enum engine_cf cf, struct bytes key, bool *ret_present,
                            struct bytes *ret_value)
{
    struct engine_batch_operation operation;
    bool found = false;
    for (size_t position = 0; engine_batch_next(batch, &position, &operation);) {
        if (operation.cf != cf)
            continue;
        bool range = operation.kind == ENGINE_BATCH_DELETE_RANGE;
        if (range ? bytes_compare(key, operation.key) < 0 || bytes_compare(key, operation.value) >= 0
                  : !bytes_equal(operation.key, key))
            continue;
        found = true;
        *ret_present = operation.kind == ENGINE_BATCH_PUT;
        *ret_value = *ret_present ? operation.value : bytes_empty();
    }
    return found;
}
