#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    enum err code;
    enum err_action action;
    const char *name;
} table[] = {
    {ERR_OK, ERR_ACTION_NONE, "Ok"},
    {ERR_NOT_LEADER, ERR_ACTION_REROUTE, "NotLeader"},
    {ERR_EPOCH_NOT_MATCH, ERR_ACTION_REROUTE, "EpochNotMatch"},
    {ERR_REGION_NOT_FOUND, ERR_ACTION_REROUTE, "RegionNotFound"},
    {ERR_KEY_NOT_IN_REGION, ERR_ACTION_REROUTE, "KeyNotInRegion"},
    {ERR_STORE_NOT_MATCH, ERR_ACTION_REROUTE, "StoreNotMatch"},
    {ERR_BUSY, ERR_ACTION_BACKOFF, "Busy"},
    {ERR_NOT_READY, ERR_ACTION_BACKOFF, "NotReady"},
    {ERR_DISK_FULL, ERR_ACTION_BACKOFF, "DiskFull"},
    {ERR_UNAVAILABLE, ERR_ACTION_BACKOFF, "Unavailable"},
    {ERR_MAYBE, ERR_ACTION_RECHECK, "Maybe"},
    {ERR_TIMEOUT, ERR_ACTION_RECHECK, "Timeout"},
    {ERR_INVALID, ERR_ACTION_GIVE_UP, "Invalid"},
    {ERR_KEY_TOO_LARGE, ERR_ACTION_GIVE_UP, "KeyTooLarge"},
    {ERR_ENTRY_TOO_LARGE, ERR_ACTION_GIVE_UP, "EntryTooLarge"},
    {ERR_KEY_EMPTY, ERR_ACTION_GIVE_UP, "KeyEmpty"},
    {ERR_NOT_FOUND, ERR_ACTION_GIVE_UP, "NotFound"},
    {ERR_CONDITION_FAILED, ERR_ACTION_GIVE_UP, "ConditionFailed"},
    {ERR_CLUSTER_NOT_MATCH, ERR_ACTION_GIVE_UP, "ClusterNotMatch"},
    {ERR_VERSION, ERR_ACTION_GIVE_UP, "Version"},
    {ERR_DEADLINE, ERR_ACTION_GIVE_UP, "Deadline"},
    {ERR_EXISTS, ERR_ACTION_GIVE_UP, "Exists"},
    {ERR_CANCELLED, ERR_ACTION_GIVE_UP, "Cancelled"},
    {ERR_UNSUPPORTED, ERR_ACTION_GIVE_UP, "Unsupported"},
    {ERR_IO, ERR_ACTION_STOP, "Io"},
    {ERR_CORRUPT, ERR_ACTION_STOP, "Corrupt"},
    {ERR_NO_MEMORY, ERR_ACTION_STOP, "NoMemory"},
    {ERR_CLOSED, ERR_ACTION_STOP, "Closed"},
    {ERR_LOCKED, ERR_ACTION_STOP, "Locked"},
    {ERR_GIVEN_UP, ERR_ACTION_STOP, "GivenUp"},
};

const char *err_name(enum err code)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].code == code)
            return table[i].name;
    return "Unknown";
}

enum err_action err_action(enum err code)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].code == code)
            return table[i].action;
    return ERR_ACTION_RECHECK;
}

const char *err_action_name(enum err_action action)
{
    static const char *const names[] = {"none", "reroute", "backoff", "recheck", "give-up", "stop"};
    return action <= ERR_ACTION_STOP ? names[action] : "recheck";
}

enum err error_set(struct error *err, enum err code, const char *format, ...)
{
    if (!err)
        return code;
    err->code = code;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(err->text, sizeof err->text, format, arguments);
    va_end(arguments);
    return code;
}

enum err error_wrap(struct error *err, const char *format, ...)
{
    if (!err)
        return ERR_IO;
    char inner[sizeof err->text];
    memcpy(inner, err->text, sizeof inner);
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(err->text, sizeof err->text, format, arguments);
    va_end(arguments);
    if (used >= 0 && (size_t)used < sizeof err->text - 1)
        snprintf(err->text + used, sizeof err->text - (size_t)used, ": %.*s", (int)(sizeof err->text - (size_t)used - 3), inner);
    return err->code;
}
