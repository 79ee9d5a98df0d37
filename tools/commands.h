/* commands: the subcommands of `polder`, for the dispatcher, the help and the completion. */
#ifndef TOOLS_COMMANDS_H
#define TOOLS_COMMANDS_H

#include "cli.h"

extern const struct command command_up, command_down, command_restart, command_status;
extern const struct command command_kv_put, command_kv_get, command_kv_delete, command_kv_scan, command_kv_cas;
extern const struct command command_kv_batch, command_kv_load, command_kv_verify;
extern const struct command command_region_list, command_region_split, command_region_merge, command_region_check;
extern const struct command command_region_show, command_region_add_peer, command_region_remove_peer;
extern const struct command command_region_move_peer, command_region_rebuild_peer, command_region_transfer_leader;
extern const struct command command_kv_delete_range, command_kv_checksum, command_kv_ttl;
extern const struct command command_bench;
extern const struct command command_pd, command_storenode;
extern const struct command command_config_gen, command_config_check, command_config_show;
extern const struct command command_store_rebuild;
extern const struct command command_store_region_list, command_store_region_show;
extern const struct command command_store_raft_list, command_store_raft_show, command_store_raft_log;
extern const struct command command_store_raft_min_checkpoint, command_store_snapshot_list, command_store_size, command_store_check, command_store_compact;
extern const struct command command_sim, command_version, command_completion;

extern const struct command command_ctl;
size_t ctl_command_count(void);
const struct command *ctl_command_at(size_t index); /* its verbs: "ctl store list" */
int ctl_main(int argc, char **argv); /* pd-ctl: words without the name of the program */

/* In the order of help; ends with NULL. */
extern const struct command *const commands[];

#endif
