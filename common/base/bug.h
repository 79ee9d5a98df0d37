/* bug: deliberate mistakes, to prove that the simulator finds them.
 *
 * `if (BUG(skip_fsync))` is never true in a build for use: the compiler removes what it guards, and no name is left in
 * the program. In a build with `-Dbugs=true` it is true while `polder sim --bug skip-fsync` has chosen that one. A site
 * is one line, where the mistake would have been made. tests/mutants/system.txt says what each of them does wrong and
 * within how many seeds it must be found; tests/mutants/run holds the simulator to that. */
#ifndef BASE_BUG_H
#define BASE_BUG_H

#include <stdbool.h>

#ifdef POLDER_BUGS

/* On the command line with '-' for '_'. */
#define BUG_LIST(X)                                                                                                    \
    /* what must be on the disk */                                                                                     \
    X(skip_fsync)                                                                                                      \
    X(skip_fsync_vote)                                                                                                 \
    X(forget_vote)                                                                                                     \
    X(forget_vote_on_restart)                                                                                          \
    X(log_row_lost_on_restart)                                                                                         \
    X(ack_before_append)                                                                                               \
    X(apply_before_durable)                                                                                            \
    X(apply_twice)                                                                                                     \
    X(answer_before_commit)                                                                                            \
    X(torn_batch_accepted)                                                                                             \
    /* votes */                                                                                                        \
    X(double_vote)                                                                                                     \
    X(vote_by_half)                                                                                                    \
    X(vote_outdated_log)                                                                                               \
    X(vote_inside_lease)                                                                                               \
    X(vote_after_restart_in_lease)                                                                                     \
    /* replication */                                                                                                  \
    X(commit_old_term)                                                                                                 \
    X(majority_off_by_one)                                                                                             \
    X(ack_own_last)                                                                                                    \
    X(commit_own_last)                                                                                                 \
    X(heartbeat_commits_blindly)                                                                                       \
    X(stale_append_truncates)                                                                                          \
    X(stale_nack_moves_back)                                                                                           \
    /* reads */                                                                                                        \
    X(stale_lease)                                                                                                     \
    X(lease_from_receive_time)                                                                                         \
    X(lease_through_transfer)                                                                                          \
    X(lease_read_before_applied)                                                                                       \
    X(read_before_term_commit)                                                                                         \
    X(readindex_no_quorum)                                                                                             \
    X(readindex_older_round)                                                                                           \
    X(follower_reads_alone)                                                                                            \
    /* answers */                                                                                                      \
    X(lost_idempotency)                                                                                                \
    X(tokens_lost_on_restart)                                                                                          \
    X(retry_without_token)                                                                                             \
    X(unknown_as_not_done)                                                                                             \
    X(step_down_says_not_done)                                                                                         \
    X(answers_others_entry)                                                                                            \
    X(cas_ignores_value)                                                                                               \
    X(scan_skips_at_region_edge)                                                                                       \
    X(create_over_another)                                                                                             \
    X(no_epoch_check)                                                                                                  \
    /* membership and snapshots */                                                                                     \
    X(joint_one_half)                                                                                                  \
    X(joint_vote_one_half)                                                                                             \
    X(learner_counts)                                                                                                  \
    X(two_conf_changes)                                                                                                \
    X(campaign_before_conf_applied)                                                                                    \
    X(tables_unchecked)                                                                                                \
    X(install_keeps_old_rows)                                                                                          \
    X(ingest_takes_neighbour)                                                                                          \
    X(marker_ignored)                                                                                                  \
    X(how_far_is_not_told)                                                                                             \
    X(range_set_late)                                                                                                  \
    X(snapshot_without_tokens)                                                                                         \
    X(snapshot_off_by_one)                                                                                             \
    X(snapshot_forgets_conf)                                                                                           \
    /* regions */                                                                                                      \
    X(split_forgets_tokens)                                                                                            \
    X(conf_keeps_epoch)                                                                                                \
    X(conf_row_late)                                                                                                   \
    X(damage_is_a_crash)                                                                                               \
    X(address_is_identity)                                                                                             \
    X(lost_peer_comes_back)                                                                                            \
    X(forces_the_healthy)                                                                                              \
    X(empty_region_again)                                                                                              \
    X(lost_store_comes_back)                                                                                           \
    X(uncommitted_members_count)                                                                                       \
    X(destroy_keeps_rows)                                                                                              \
    X(gone_is_not_said)                                                                                                \
    X(question_tells)                                                                                                  \
    X(sleepers_do_not_ask)                                                                                             \
    /* damage */                                                                                                       \
    X(damaged_row_reads_as_absent)                                                                                     \
    X(damaged_asks_leaders_only)                                                                                       \
    X(damaged_never_leads)                                                                                             \
    X(damaged_replica_serves)                                                                                          \
    X(rebuild_forgets_log)                                                                                             \
    X(rebuild_skips_merges)                                                                                            \
    /* ranges */                                                                                                       \
    X(range_skips_at_region_edge)                                                                                      \
    X(range_forgets_token)                                                                                             \
    X(time_goes_back)                                                                                                  \
    X(split_forgets_time)                                                                                              \
    X(snapshot_forgets_time)                                                                                           \
    X(cas_by_clock)                                                                                                    \
    X(expired_is_read)                                                                                                 \
    X(expired_by_clock)                                                                                                \
    X(dropped_by_clock)                                                                                                \
    X(expiry_before_sync)                                                                                              \
    X(checksum_skips_a_row)                                                                                            \
    X(merge_forgets_time)                                                                                              \
    X(merge_forgets_tokens)                                                                                            \
    X(part_stands_for_all)                                                                                             \
    X(merge_without_source_log)                                                                                        \
    X(merge_before_all_have)                                                                                           \
    X(merge_source_writes)                                                                                             \
    X(no_target_is_waited_for)                                                                                         \
    X(merge_source_reads)                                                                                              \
    X(merge_any_epoch)                                                                                                 \
    X(end_is_not_said)                                                                                                 \
    X(damaged_hears_no_end)                                                                                            \
    X(left_over_ends_unasked)                                                                                          \
    X(rollback_unasked)                                                                                                \
    X(snapshot_keeps_source)                                                                                           \
    /* pd */                                                                                                           \
    X(tso_goes_back)                                                                                                   \
    X(tso_follows_clock)                                                                                               \
    X(id_twice)                                                                                                        \
    X(pd_read_unproved)                                                                                                \
    X(pd_follower_tso)                                                                                                 \
    X(pd_window_of_ours)                                                                                               \
    X(pd_stuck_leads)                                                                                                  \
    X(pd_snapshot_stays_away)                                                                                          \
    X(pd_voter_forgets)                                                                                                \
    /* placement */                                                                                                    \
    X(two_operators)                                                                                                   \
    X(half_done_by_size_alone)                                                                                         \
    X(promotes_what_lags)                                                                                              \
    X(step_of_any_epoch)                                                                                               \
    X(operator_no_epoch_guard)                                                                                         \
    X(move_removes_first)                                                                                              \
    X(balance_past_the_mean)                                                                                           \
    X(balance_forgets_operators)                                                                                       \
    X(isolation_ignored)                                                                                               \
    X(pd_http_says_too_early)                                                                                          \
    X(repair_in_planned_restart)

#define BUG_NUMBER(name) BUG_##name,
enum bug { BUG_NONE, BUG_LIST(BUG_NUMBER) BUG_COUNT };
#undef BUG_NUMBER

extern enum bug bug_chosen; /* the one mutable global, of a program that is not for use */

#define BUG(name) (bug_chosen == BUG_##name)

bool bug_choose(const char *text); /* false: no such bug */
const char *bug_text(enum bug bug);

#else
#define BUG(name) false
#endif

#endif
