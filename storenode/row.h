/* row: how a value lies in column family `default`.
 *
 *   byte 0   flags: 0 plain; other values belong to newer versions and are refused
 *   byte 1.. the user's value */
#ifndef STORENODE_ROW_H
#define STORENODE_ROW_H

#include "base/bytes.h"
#include "base/error.h"

enum { ROW_PLAIN = 0, ROW_HEADER_SIZE = 1 };

/* The user's value inside a row. */
static inline enum err row_value(struct bytes row, struct bytes *ret_value)
{
    if (row.size < ROW_HEADER_SIZE || row.data[0] != ROW_PLAIN)
        return ERR_CORRUPT;
    *ret_value = bytes_of(row.data + ROW_HEADER_SIZE, row.size - ROW_HEADER_SIZE);
    return ERR_OK;
}

#endif
