/* pd_settings: names and values that pd's members agree on: what people want, and nothing that can be found out.
 *
 *   store/ID          a table StoreWish
 *   rule/GROUP/NAME   a table PlacementRule
 *   scheduler/NAME    "on" or "off"; absent: as it comes
 *   config/KEY        text; absent: as the configuration file says
 *   recovery          a table Recovery: the last one that people asked for
 *
 * The state machine knows of names and bytes only; pd_sched gives them a meaning.
 *
 * Owner: pd_fsm. Memory: copies. Invariant: names strictly increase. */
#ifndef PD_PD_SETTINGS_H
#define PD_PD_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"

enum { PD_SETTINGS_MAX = 16384, PD_SETTING_NAME_MAX = 128, PD_SETTING_VALUE_MAX = 64 * 1024 };

struct pd_setting {
    struct bytes name, value; /* owned */
};

/* All zero is empty. */
struct pd_settings {
    struct pd_setting *list; /* owned; in order of name */
    uint32_t count, capacity;
};

void pd_settings_fini(struct pd_settings *settings);
/* An empty value takes it away. ERR_INVALID: name or value is too long, or the name is empty. ERR_BUSY: PD_SETTINGS_MAX. */
enum err pd_settings_put(struct pd_settings *settings, struct bytes name, struct bytes value);
struct bytes pd_settings_get(const struct pd_settings *settings, struct bytes name); /* empty: there is none */
/* The first whose name is not less; count: there is none. */
uint32_t pd_settings_seek(const struct pd_settings *settings, struct bytes name);

#endif
