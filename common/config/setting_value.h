/* setting_value: the text of one value, checked against its row of the table, and back. */
#ifndef CONFIG_SETTING_VALUE_H
#define CONFIG_SETTING_VALUE_H

#include "config/settings.h"

/* Numbers, booleans, sizes and durations; `ret_number` is filled for those. The error text does not name the place. */
enum err setting_value_parse(const struct setting *setting, const char *text, uint64_t *ret_number, struct error *err);
/* "64MiB", "200ms": in the largest unit that is exact. `text` holds at least 32 bytes. */
void setting_value_print_size(uint64_t size, char *text);
void setting_value_print_duration(uint64_t ms, char *text);
/* The value that a target has for this row, as YAML would have it, with a zero behind that does not count. */
void setting_value_of(const struct setting *setting, const void *target, struct buf *out);
/* Bytes of the UTF-8 character that `text` begins with, and which it is; 0 if there is none. */
size_t setting_value_utf8(const char *text, uint32_t *ret_point);
/* What to write for a value in help: "SIZE", "true|false". */
const char *setting_value_name(const struct setting *setting);

#endif
