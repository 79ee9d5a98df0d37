#include "store_dir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "env/engine_rocks.h"
#include "env/os.h"

static int check_role(const struct command *command, const char *path)
{
    char *role_path = os_path_join(path, "ROLE");
    struct buf role;
    struct error err;
    buf_init(&role, 64);
    enum err code = os_file_read(role_path, &role, &err);
    int exit_code = CLI_GO_ON;
    if (code == ERR_NOT_FOUND)
        exit_code = cli_usage(command, "%s is not the data directory of a storenode: there is no file ROLE", path);
    else if (code != ERR_OK && code != ERR_ENTRY_TOO_LARGE)
        exit_code = cli_usage(command, "%s", err.text);
    else if (code != ERR_OK || !bytes_equal(buf_bytes(&role), bytes_of_string("storenode")))
        exit_code = cli_usage(command, "%s is not the data directory of a storenode: its file ROLE says \"%.*s\"", path,
                              (int)role.size, (const char *)role.data);
    buf_fini(&role);
    free(role_path);
    return exit_code;
}

/* Can it ask a storenode that runs? */
static bool has_address(const struct command *command)
{
    size_t count;
    const struct setting *table = cli_table(command, &count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].key, "address") == 0)
            return true;
    return false;
}

static int lock_as(const struct command *command, const char *path, bool shared, struct store_dir *ret_dir)
{
    struct error err;
    *ret_dir = (struct store_dir){.command = command};
    if (!path)
        return cli_usage(command, "wants --data-dir DIR%s", has_address(command) ? ", or --address URL" : "");
    if (!os_is_dir(path))
        return cli_usage(command, "%s: there is no such directory", path);
    int code = check_role(command, path);
    if (code != CLI_GO_ON)
        return code;
    enum err lock_code =
        shared ? os_lock_dir_shared(path, &ret_dir->lock, &err) : os_lock_dir(path, &ret_dir->lock, &err);
    if (lock_code != ERR_OK && lock_code != ERR_NOT_FOUND)
        return cli_usage(command, "%s%s", err.text,
                         lock_code != ERR_LOCKED ? ""
                         : has_address(command)  ? "; one that runs is asked with --address"
                                                 : "; stop it first");
    ret_dir->engine_path = os_path_join(path, "engine");
    if (!os_is_dir(ret_dir->engine_path))
        return cli_usage(command, "%s: there is no database", ret_dir->engine_path);
    return CLI_GO_ON;
}

int store_dir_lock(const struct command *command, const char *path, struct store_dir *ret_dir)
{
    return lock_as(command, path, true, ret_dir);
}

static int open_as(const struct command *command, const char *path, bool read_only, struct store_dir *ret_dir)
{
    int code = lock_as(command, path, read_only, ret_dir);
    if (code != CLI_GO_ON)
        return code;
    struct error err;
    struct engine_rocks_options options = {.path = ret_dir->engine_path, .read_only = read_only};
    if (engine_rocks_open(&options, &ret_dir->engine, &err) == ERR_OK)
        return CLI_GO_ON;
    cli_complain(command, "%s", err.text);
    return CLI_USAGE;
}

int store_dir_open(const struct command *command, const char *path, struct store_dir *ret_dir)
{
    return open_as(command, path, true, ret_dir);
}

int store_dir_open_to_change(const struct command *command, const char *path, struct store_dir *ret_dir)
{
    return open_as(command, path, false, ret_dir);
}

void store_dir_close(struct store_dir *dir)
{
    engine_rocks_close(dir->engine);
    os_unlock(dir->lock);
    free(dir->engine_path);
}

static void complain(void *context, bool is_warning, const char *text)
{
    const struct store_dir *dir = context;
    cli_complain(dir->command, "%s%s", is_warning ? "warning: " : "", text);
}

struct inspect store_dir_inspect(struct store_dir *dir)
{
    struct inspect inspect = {.engine = dir->engine, .context = dir, .found = complain};
    struct wire_store_ident ident;
    inspect_ident(&inspect, &ident);
    return inspect;
}

int store_dir_region_id(const struct command *command, const char *text, region_id *ret_id)
{
    char *end;
    errno = 0;
    unsigned long long id = strtoull(text, &end, 10);
    if (errno != 0 || *end || text[0] < '0' || text[0] > '9')
        return cli_usage(command, "\"%.32s\" is not a region id", text);
    *ret_id = id;
    return CLI_GO_ON;
}

int store_dir_exit(const struct inspect *inspect)
{
    return inspect->totals.finding_count > 0 ? CLI_FAILED : CLI_OK;
}
