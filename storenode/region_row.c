#include "region_row.h"

#include "group/group_keys.h"
#include "storenode/store_keys.h"

enum { CHECKSUM_SIZE = 4 };

enum err row_seal(struct buf *row, uint8_t suffix)
{
    return buf_append_u32_be(row, group_checksum(suffix, row->data, row->size));
}

enum err row_unseal(struct bytes *row, uint8_t suffix)
{
    if (row->size < CHECKSUM_SIZE)
        return ERR_CORRUPT;
    size_t size = row->size - CHECKSUM_SIZE;
    if (load_u32_be(row->data + size) != group_checksum(suffix, row->data, size))
        return ERR_CORRUPT;
    row->size = size;
    return ERR_OK;
}

enum err region_row_encode(const struct wire_region_state *state, struct buf *row)
{
    enum err code = wire_encode_region_state(state, row);
    return code == ERR_OK ? row_seal(row, STORE_REGION_STATE) : code;
}

enum err region_row_decode(struct bytes row, struct arena *arena, struct wire_region_state *ret_state)
{
    if (row_unseal(&row, STORE_REGION_STATE) != ERR_OK || wire_decode_region_state(row, arena, ret_state) != ERR_OK ||
        !ret_state->region)
        return ERR_CORRUPT;
    return ERR_OK;
}
