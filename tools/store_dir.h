/* store_dir: the data directory of a storenode that does not run, opened for looking; nothing in it is changed. Holds a
 * shared lock meanwhile, so that no storenode starts. Or opened to change something, as a storenode would. */
#ifndef TOOLS_STORE_DIR_H
#define TOOLS_STORE_DIR_H

#include "cli.h"
#include "storenode/store_inspect.h"

struct os_lock;

struct store_dir {
    const struct command *command; /* borrowed */
    char *engine_path;             /* owned */
    struct os_lock *lock;          /* owned; NULL: a copy in which no process ever ran */
    struct engine *engine;         /* owned */
};

#define STORE_DIR_ROW(target, member)                                                                                  \
    {                                                                                                                  \
        .key = "data-dir", .type = SETTING_STRING, SETTING_FIELD(target, member), .value_name = "DIR",                 \
        .help = "of a storenode that does not run"                                                                     \
    }

/* A storenode's, and nobody in it? CLI_GO_ON, or CLI_USAGE after saying why. Close it in any case. */
int store_dir_lock(const struct command *command, const char *path, struct store_dir *ret_dir);
/* With the engine; CLI_GO_ON or CLI_USAGE. */
int store_dir_open(const struct command *command, const char *path, struct store_dir *ret_dir);
/* The same, and nobody else may even look; the log is replayed and gone. */
int store_dir_open_to_change(const struct command *command, const char *path, struct store_dir *ret_dir);
void store_dir_close(struct store_dir *dir);

/* An inspect whose findings are complaints. */
struct inspect store_dir_inspect(struct store_dir *dir);

/* CLI_GO_ON, or CLI_USAGE after saying that `text` is no number. */
int store_dir_region_id(const struct command *command, const char *text, region_id *ret_id);
/* What a listing ends with: CLI_OK, or CLI_FAILED when something was damaged. */
int store_dir_exit(const struct inspect *inspect);

#endif
