/* raft: one peer of one Raft group, as a pure machine. The whole interface of common/raft is on this page.
 *
 * Deterministic: no I/O, no clock, no threads, no callbacks, no chance but the seed. Inputs are plain calls; what they
 * caused is pulled as one record, `struct raft_ready`. Behaviour follows etcd-io/raft (its text scenarios are our
 * oracle), with asynchronous storage writes as the only mode.
 *
 * Owner: one actor. Every call on one `struct raft` and on its pool comes from that actor.
 *
 * THE LOOP of the layer above, for each group that was touched:
 *
 *   while (raft_ready(raft, &ready)) {
 *       if (ready.round)   note (ready.round, now) before anything is sent               -- for leases
 *       send ready.messages at once, even before the append (the leader writes in parallel)
 *       if (ready.append)  give {hard, snapshot, entries} to the log worker; keep a copy of `after` and `token`
 *       give ready.committed to the apply worker, in order; answer ready.reads, run ready.fetches
 *   }
 *   append done (in the order handed out, one call each):
 *       for each m of the kept `after`: m.to == own id ? raft_step_own(raft, &m) : send(m);
 *       then raft_appended(raft, &token)
 *   batch applied: raft_apply_conf() for each conf-change entry in order, then raft_applied(raft, index of last)
 *
 * If an append fails, the process must stop: it may never be reported, retried or skipped.
 *
 * MEMORY. Everything comes from a `struct raft_pool` shared by the groups of one worker; steady state allocates nothing
 * from the system; an idle three-peer group with an empty cache takes under 1 KB (raft_memory_size).
 *   - Arrays in `struct raft_ready` (messages, entries, committed, reads, ...) live until the next raft_ready or
 * raft_free of the same group, whatever is called in between. raft_ready returning false gives them back.
 *   - Payloads (entry.data.data) reached through `entries` live until raft_appended of that token AND, through
 *     `committed`, until raft_applied of that index, even if the entries are truncated, overwritten or evicted
 * meanwhile: other threads may read them for that long. Payloads reached through `messages` live as long as the message
 * array.
 *   - What is passed in (entries, data, snapshot, initial) is lent until return and copied.
 *
 * LOG. [ truncated | on disk only | cache: base+1 .. last ]. The core remembers (index, term) of the entry before the
 * first one on disk (`truncated`) and of the entry before the first one in memory (`base`); truncated <= base <=
 * applied <= commit <= last. Entries that a slow follower needs from the middle part are asked for in `fetches`.
 *
 * LEASES AND READS. Messages of a leader carry `round`: a new number for every raft_ready that sends any append or
 * heartbeat; answers echo it. When a quorum has echoed round r or newer, `confirmed_round` is >= r: at the moment when
 * round r was first sent, we were the leader. lease end = (time noted for confirmed_round) + lease length, if
 * raft_lease_allowed. With config.lease_reads, who answers a leader will neither vote nor campaign for election_ticks
 * ticks from then on, whatever happens in between (only a leadership transfer overrides it, and who transfers has no
 * lease any more in that term); so the lease length is the time of election_ticks ticks, less what clocks may differ.
 * After a restart nobody knows what it promised: set vote_refuse_ticks = election_ticks as well. A group that slept
 * must be told for how long: raft_wake.
 *
 * ERRORS. A bad message is ERR_INVALID (malformed, impossible) or ERR_CORRUPT (contradicts what is committed here:
 * somebody lost data; stop this replica); nothing changes then. Misuse by the layer above is a CHECK.
 *
 * Invariants: raft_check. Ongaro 2014: chapters 3, 4, 6.4, 9.6, 10.2. */
#ifndef RAFT_RAFT_H
#define RAFT_RAFT_H

#include "base/bytes.h"
#include "base/error.h"
#include "base/types.h"
#include "raft/pool.h" /* raft_pool_new, raft_pool_free */

struct raft;

enum { RAFT_MEMBER_COUNT_MAX = 32, RAFT_CHANGE_COUNT_MAX = 16 };

/* ---- configuration */

/* Borrowed by raft_new: must outlive every group that was made with it. One for all groups of a process is usual. */
struct raft_config {
    uint32_t heartbeat_ticks; /* > 0 */
    uint32_t election_ticks;  /* > heartbeat_ticks; the timeout is random in [election_ticks, 2 * election_ticks - 1] */
    bool pre_vote;
    bool check_quorum;         /* step down without a live quorum; refuse votes while the leader is alive */
    bool lease_reads;          /* the layer above reads under leases: answering a leader is a promise, see below */
    bool step_down_on_removal; /* a leader that is removed or demoted steps down when it applies that */
    bool vote_commit_hint;     /* votes carry the commit index (needed to get out of some joint configurations) */
    /* No messages only to say that the commit index moved: followers learn it with the next entries or heartbeat. Saves
     * a third of all messages; followers apply up to one heartbeat later. (raft-rs: skip_bcast_commit) */
    bool lazy_commit;
    bool coalesce;                  /* entries and acks queued one after another for one peer travel as one message */
    bool disable_conf_change_check; /* for tests of the layer above only */
    /* `committed` may hold entries of the same ready's `entries`: only for a caller that persists before it applies. */
    bool apply_unstable;
    uint64_t append_size_max;      /* bytes of entries in one append message (at least one entry always goes) */
    uint32_t inflight_count_max;   /* append messages under way to one follower; > 0 */
    uint64_t inflight_size_max;    /* bytes under way to one follower; 0: no limit */
    uint64_t uncommitted_size_max; /* payload bytes proposed and not committed, then ERR_BUSY; 0: no limit */
    uint64_t committed_size_max;   /* bytes handed out in `committed` and not yet applied; 0: no limit */
    uint64_t cache_size_max;       /* bytes of applied, stable entries kept in memory; older ones go. 0: no limit */
    uint32_t read_count_max;       /* reads waiting here, then ERR_BUSY; > 0 */
    bool campaign_when_told;     /* an election timeout makes us want to campaign (raft_wants_campaign), no more */
    uint32_t vote_refuse_ticks; /* after raft_new: neither votes nor campaigns for so long (somebody's lease); 0: off */
};

/* Sensible values: ticks of 100 ms, 10 for an election, pre-vote, check-quorum, step-down and vote hints on. */
void raft_config_default(struct raft_config *ret_config);

/* ---- nouns */

struct raft_position {
    raft_index index;
    raft_term term;
};

enum raft_entry_kind { RAFT_ENTRY_NORMAL = 0, RAFT_ENTRY_CONF_CHANGE = 1, RAFT_ENTRY_CONF_CHANGE_V2 = 2 };

struct raft_entry {
    raft_term term;
    raft_index index;
    struct bytes data; /* empty and NORMAL: a new leader's first entry; nothing to apply */
    uint8_t kind;      /* enum raft_entry_kind */
};

/* Goes to disk. Synced if `must_sync`; a change of commit alone need not be: it may be merged into a later write, at the
 * latest into the next one that has a conf-change entry. (Who has such an entry must remember that the change before it is
 * committed, or it could be elected by the members of two changes ago: tests/raft/two_changes_ago.txt.) */
struct raft_hard_state {
    raft_term term;
    peer_id vote; /* 0: none in this term */
    raft_index commit;
};

/* Members in ascending id. Voters of a joint configuration are VOTER (incoming) and/or OUTGOING; a voter of the
 * outgoing half that becomes a learner on leaving is OUTGOING | LEARNER_NEXT. */
enum raft_member_role { RAFT_VOTER = 1, RAFT_OUTGOING = 2, RAFT_LEARNER = 4, RAFT_LEARNER_NEXT = 8 };
struct raft_member {
    peer_id id;
    uint8_t roles; /* bits of enum raft_member_role; never 0 */
};
struct raft_conf {
    uint32_t count;
    bool auto_leave; /* the leader leaves the joint configuration by itself */
    struct raft_member members[RAFT_MEMBER_COUNT_MAX];
};
bool raft_conf_is_joint(const struct raft_conf *conf);
/* NULL if not there. */
const struct raft_member *raft_conf_member(const struct raft_conf *conf, peer_id id);
/* Adds a role, keeps the order; ERR_INVALID if the table is full or the id is 0. For building a conf. */
enum err raft_conf_add(struct raft_conf *conf, peer_id id, uint8_t roles);
/* ERR_INVALID unless a group could be in it. Use on anything that came from outside. */
enum err raft_conf_check(const struct raft_conf *conf);

enum raft_change_kind {
    RAFT_CHANGE_ADD_VOTER = 0,
    RAFT_CHANGE_REMOVE = 1,
    RAFT_CHANGE_UPDATE = 2,
    RAFT_CHANGE_ADD_LEARNER = 3
};
enum raft_transition { RAFT_TRANSITION_AUTO = 0, RAFT_TRANSITION_IMPLICIT = 1, RAFT_TRANSITION_EXPLICIT = 2 };

/* AUTO with one change is applied at once; anything more goes through a joint configuration, which the leader leaves by
 * itself (AUTO, IMPLICIT) or on an empty change (EXPLICIT: count 0). This is also the payload of conf-change entries.
 */
struct raft_conf_change {
    uint8_t entry_kind; /* RAFT_ENTRY_CONF_CHANGE: exactly one change, AUTO; else RAFT_ENTRY_CONF_CHANGE_V2 */
    uint8_t transition; /* enum raft_transition */
    uint8_t count;
    struct {
        uint8_t kind; /* enum raft_change_kind */
        peer_id id;
    } changes[RAFT_CHANGE_COUNT_MAX];
    struct bytes context; /* of the layer above; borrowed */
};
enum err raft_conf_change_decode(const struct raft_entry *entry, struct raft_conf_change *ret_change);
/* The configuration that `change` makes of `conf`, as raft_apply_conf would. */
enum err raft_conf_apply(const struct raft_conf *conf, const struct raft_conf_change *change,
                         struct raft_conf *ret_conf);

struct raft_snapshot {
    raft_index index;
    raft_term term;
    struct raft_conf conf;
    uint64_t id, size; /* of the layer above: carried, never looked at */
};

/* Table RaftMessage in proto/raft.fbs, field by field. Kinds are numbers on the wire. */
enum raft_message_kind {
    RAFT_APP = 1,
    RAFT_APP_RESP = 2,
    RAFT_VOTE = 3,
    RAFT_VOTE_RESP = 4,
    RAFT_PRE_VOTE = 5,
    RAFT_PRE_VOTE_RESP = 6,
    RAFT_HEARTBEAT = 7,
    RAFT_HEARTBEAT_RESP = 8,
    RAFT_SNAPSHOT = 9, /* see SNAPSHOTS below */
    RAFT_TIMEOUT_NOW = 10,
    RAFT_READ_INDEX = 11,
    RAFT_READ_INDEX_RESP = 12,
    RAFT_ABSENT = 13, /* of the leader's term: there is nothing of this group where `from` should be; see SNAPSHOTS */
};
struct raft_message {
    uint8_t kind;
    bool reject;
    bool force; /* VOTE, PRE_VOTE: a leadership transfer, leases do not count */
    uint32_t entry_count;
    peer_id from, to;
    raft_term term;
    raft_index index;   /* APP: entry before the entries; VOTE: last; *_RESP: acknowledged, rejected or read index */
    raft_term log_term; /* term at `index`; in a rejection: term of the hint */
    raft_index commit;
    raft_term commit_term; /* votes: term at `commit` */
    raft_index reject_hint;
    uint64_t round;   /* of the leader; echoed */
    uint64_t context; /* forwarded reads */
    const struct raft_entry *entries;
    const struct raft_snapshot *snapshot; /* RAFT_SNAPSHOT only, else NULL */
};
const char *raft_message_kind_name(uint8_t kind); /* "append", ..., never NULL */

/* ---- birth and death */

/* The founders of a group all start with the same `conf` and the same truncated = base = applied position, its index >
 * 0 (say 5, term 5): so the log never reaches back to the beginning, and whoever joins later (conf empty, everything
 * else 0) is brought in by a snapshot, which tells it the configuration. */
struct raft_initial {
    peer_id id;    /* our own; need not be in `conf` */
    uint64_t seed; /* for election timeouts: different on every store */
    struct raft_hard_state hard;
    struct raft_conf conf; /* as of `applied`, or of conf_index, if that is more */
    raft_index conf_index; /* 0: not known */
    raft_index applied;    /* may be past hard.commit (which is synced lazily): commit is then raised */
    struct raft_position truncated;
    struct raft_position base;        /* truncated <= base <= applied */
    const struct raft_entry *entries; /* base + 1 .. last, all of them */
    uint32_t entry_count;
};

/* ERR_INVALID: impossible configuration; ERR_CORRUPT: the initial state contradicts itself. `pool` is borrowed. */
enum err raft_new(const struct raft_config *config, const struct raft_initial *initial, struct raft_pool *pool,
                  struct raft **ret_raft);
/* Appends and applies still under way must be over: their payloads go too. NULL is fine. */
void raft_free(struct raft *raft);

/* ---- input */

/* A message from another peer. From the wire: nothing in it is trusted. A message from a peer that is not in the
 * configuration is fine (it may know more than we do). ERR_NOT_FOUND: an answer from a peer that we do not track. */
enum err raft_step(struct raft *raft, const struct raft_message *message);
/* A message of ready.after with to == own id, when its append is durable. */
enum err raft_step_own(struct raft *raft, const struct raft_message *message);

/* `count` ticks passed. */
void raft_tick(struct raft *raft, uint32_t count);
/* Ticks until raft_tick could do anything; UINT32_MAX: never. */
uint32_t raft_next_deadline(const struct raft *raft);

/* Appends to the log and starts replication. ERR_NOT_LEADER; ERR_BUSY: too much uncommitted, or leadership is being
 * transferred. The entry at *ret_index is ours if and only if its term is *ret_term when it is applied. */
enum err raft_propose(struct raft *raft, struct bytes data, raft_index *ret_index, raft_term *ret_term);
/* Also: ERR_NOT_READY: an earlier change is not applied yet, or the configuration is joint and this does not leave it;
 * ERR_INVALID: it could not be applied to the present configuration. */
enum err raft_propose_conf(struct raft *raft, const struct raft_conf_change *change, raft_index *ret_index,
                           raft_term *ret_term);

/* Asks from which index on a read is linearizable. On ERR_OK the answer is in a later ready.reads with the same context
 * (contexts need not be unique), always: with an index, or with a code. Works on any peer: a follower asks its leader.
 * ERR_NOT_LEADER: no leader known; ERR_BUSY: read_count_max. */
enum err raft_read(struct raft *raft, uint64_t context);

/* Starts an election (a pre-vote first, if configured). ERR_NOT_READY: not a voter, a snapshot or an unapplied conf
 * change in the way, or a promise (leases) that is not over. ERR_EXISTS: we lead already. */
enum err raft_campaign(struct raft *raft);
/* The same without a pre-vote, for a group that began just now: there is no leader that could be disturbed. */
enum err raft_campaign_at_once(struct raft *raft);
/* From now on nobody but ourselves is asked, in elections, for commits and reads, whatever the configuration says: the
 * majority was lost for good, and whoever calls this knows that. If it was not, there will be two leaders. A learner
 * may lead then as well. Calls for raft_campaign_at_once next, and in the end for a configuration without those that
 * were lost, and `forced` false; a restart forgets it. */
void raft_force(struct raft *raft, bool forced);
bool raft_is_forced(const struct raft *raft);
/* With campaign_when_told: there was no sign of a leader for an election timeout, or a campaign came to nothing for as long.
 * Waiting for raft_campaign does no harm: we vote for others meanwhile. */
bool raft_wants_campaign(const struct raft *raft);
/* Hands leadership to `peer`: brings it up to date, then tells it to campaign. Given up after an election timeout.
 * Meanwhile proposals are ERR_BUSY. ERR_NOT_LEADER, ERR_NOT_FOUND (no such voter). Own id: gives up a transfer. */
enum err raft_transfer(struct raft *raft, peer_id peer);
/* A leader leads no more; nobody is told. For who cannot serve and has nobody to hand over to. */
void raft_resign(struct raft *raft);
/* A follower drops its leader, as if it had timed out, without campaigning. ERR_UNSUPPORTED with lease_reads. */
enum err raft_forget_leader(struct raft *raft);
/* The layer's own failure detector: the leader is dead. Ends the lease in which we refuse votes, and campaigns soon
 * (within one election timeout, at random). For groups that sleep: see raft_may_sleep. */
void raft_leader_lost(struct raft *raft);
/* The group slept for `slept` ticks: it was allowed to (raft_may_sleep) and was not ticked. Promises have grown older by
 * as much. While it slept, the layer's own word from the leader's process stood for heartbeats; `silent` ticks ago was
 * the last one: a follower's patience goes on from there. A leader speaks up at the next tick, and has one election
 * timeout to hear from a quorum. Before anything else is put in. */
void raft_wake(struct raft *raft, uint32_t slept, uint32_t silent);

/* Somebody who must know says that this entry is committed (another group's log, for a group whose leader may be gone).
 * True: it is here, and is committed. False: it is not here, or not now (a snapshot is in the way; we lead). */
bool raft_learn_commit(struct raft *raft, struct raft_position position);

void raft_report_unreachable(struct raft *raft,
                             peer_id peer); /* a message to it was lost: probe instead of streaming */

/* ---- SNAPSHOTS
 *
 * Sender: a
 * RAFT_SNAPSHOT in ready.messages says "`to` needs a snapshot". Its snapshot is only the least that will do (index =
 * our applied index). The layer above takes its own snapshot at some index >= that, sends its rows by another way, and
 * does not send the message itself. It ends with raft_report_snapshot: ok = the follower has installed it (or at least
 * all was sent); failed = whatever went wrong, also "not now": a later heartbeat answer makes the core ask again. While
 * a snapshot is under way to a peer, the core sends it nothing but heartbeats; the follower's ack ends that as well.
 * Receiver: when all rows are staged, the layer makes a RAFT_SNAPSHOT message (from, to, term of the leader that sent
 * it; snapshot = index, term, conf) and steps it. If the core wants it, ready.snapshot says so: finish applying what
 * was handed out, replace the state, make it durable, then raft_appended. If it does not (stale), no ready.snapshot
 * will come for it: drop the rows. raft_pending_snapshot() tells which it was right after raft_step.
 * Nobody there: a member that has no state at all (it was added, or its region was split off while it was away) cannot
 * answer, and must not: an answer counts for leases and quorums. The layer above says RAFT_ABSENT in its place, which
 * counts for nothing: the leader asks for a snapshot for a peer that has never acknowledged anything to it. */
void raft_report_snapshot(struct raft *raft, peer_id peer, bool ok);
raft_index raft_pending_snapshot(const struct raft *raft); /* index of a snapshot that waits to be installed, or 0 */

/* ---- output */

enum raft_role { RAFT_FOLLOWER = 0, RAFT_PRE_CANDIDATE = 1, RAFT_CANDIDATE = 2, RAFT_LEADER = 3 };

/* Names one append; compared by the core so that a late acknowledgement cannot pass for a newer one. */
struct raft_token {
    uint64_t sequence; /* 1, 2, ... in the order handed out */
    raft_term term;
    struct raft_position last; /* last entry of the log then; index 0: nothing unstable */
    raft_index snapshot_index; /* 0: none */
};

struct raft_read_result {
    uint64_t context;
    raft_index index; /* serve the read once this is applied */
    enum err code;    /* not ERR_OK: the read was given up (ERR_NOT_LEADER: leader changed; ERR_NOT_READY: no answer) */
};

/* Read entries from..from+count_max-1 of the log on disk, up to size_max bytes but at least one, and the term of entry
 * from-1; answer with raft_fetched. At most one per peer is outstanding. */
struct raft_fetch {
    peer_id peer;
    raft_term term; /* ours, when we asked */
    raft_index from;
    uint32_t count_max;
    uint64_t size_max;
};

struct raft_ready {
    /* who we are now; `soft_changed` if role or leader differ from the last ready */
    bool soft_changed;
    enum raft_role role;
    peer_id leader; /* 0: unknown */

    /* to the log, in one atomic write, only if `append`. If `snapshot`: it replaces the whole log. `entries` replace
     * what the log has from entries[0].index on. After the write: `after`, then raft_appended(token). */
    bool append;
    bool hard_changed;
    bool must_sync;
    struct raft_hard_state hard;
    const struct raft_snapshot *snapshot; /* install it; NULL: none */
    const struct raft_entry *entries;
    uint32_t entry_count;
    struct raft_token token;
    const struct raft_message *after; /* plain values (no entries, no snapshot): copy them. Some are to == own id */
    uint32_t after_count;

    const struct raft_message *messages; /* send now */
    uint32_t message_count;

    const struct raft_entry *committed; /* apply in order; all durable here (unless apply_unstable) */
    uint32_t committed_count;

    const struct raft_read_result *reads;
    uint32_t read_count;

    const struct raft_fetch *fetches;
    uint32_t fetch_count;

    uint64_t round;           /* newest round sent in `messages`; 0: none in this ready */
    uint64_t confirmed_round; /* as raft_confirmed_round */

    /* Not 0: entries from this index on that were in the log before are lost for ever: proposals there did not happen
     * unless an entry of the same term comes back at that index. */
    raft_index overwritten_from;
};

/* False: nothing to do, *ret_ready untouched. Arrays of the ready before are given back in either case. */
bool raft_ready(struct raft *raft, struct raft_ready *ret_ready);
bool raft_has_ready(const struct raft *raft);

/* ---- completions */

/* That write is durable. Exactly once per ready with `append`, in order. */
void raft_appended(struct raft *raft, const struct raft_token *token);
/* Everything up to `index` (of entries handed out in `committed`) is applied. */
void raft_applied(struct raft *raft, raft_index index);
/* A conf-change entry of `committed` is being applied: switches to the new configuration, which the caller persists
 * with its apply state. ERR_INVALID: the change is impossible here (as on every other peer): nothing changed, go on.
 * The layer above may also refuse a change by not calling this, if all peers do the same. */
enum err raft_apply_conf(struct raft *raft, const struct raft_entry *entry, struct raft_conf *ret_conf);
/* A state machine that can apply nothing may still take over the committed changes of members, by raft_apply_conf in order.
 * All of them up to `index` (at most the commit index) were looked at: they do not keep it from campaigning any more. */
void raft_conf_known(struct raft *raft, raft_index index);
raft_index raft_conf_index(const struct raft *raft); /* the same; never less than what is applied */
/* The state machine was replaced by one as of `snapshot`, whose members it has, and the log stays as it is: vote and
 * acknowledgements stand. Nothing may be at the layer above to be applied; what comes behind `snapshot` is handed out (again) in
 * `committed`. For a replica whose rows are damaged and whose log is not. ERR_NOT_READY: not committed and durable here yet;
 * ERR_INVALID: older than what is applied, or we lead; ERR_CORRUPT: another term than the log's. */
enum err raft_rebase(struct raft *raft, const struct raft_snapshot *snapshot);
/* Answer to `fetch`. May be late or about a peer long gone: then it is ignored. With `code` not ERR_OK the entries are
 * ignored and the peer is tried again after its next heartbeat answer; ERR_NOT_FOUND: by a snapshot. Entries are lent.
 */
void raft_fetched(struct raft *raft, const struct raft_fetch *fetch, enum err code, raft_term term_before,
                  const struct raft_entry *entries, uint32_t entry_count);

/* ---- log memory */

/* Entries that are applied and stable leave memory, except the newest `keep_count` of the log. 0 when a group goes
 * idle. */
void raft_cache_evict(struct raft *raft, uint32_t keep_count);
/* Entries up to `index` (<= applied) left the disk. Peers that need them get a snapshot. */
void raft_truncate(struct raft *raft, raft_index index, raft_term term);
/* Bytes that this group holds from the pool, itself included. */
size_t raft_memory_size(const struct raft *raft);

/* ---- questions */

peer_id raft_id(const struct raft *raft);
raft_term raft_term_now(const struct raft *raft);
enum raft_role raft_role(const struct raft *raft);
bool raft_is_leader(const struct raft *raft);
peer_id raft_leader(const struct raft *raft); /* 0: unknown */
/* Leads, and an entry of its own term is committed: before that, the commit index may be behind what clients were told.
 */
bool raft_is_leader_ready(const struct raft *raft);
/* Leads, is ready, and nothing suspends leases: no transfer was begun in this term, no conf change is pending, not
 * joint, and we are a voter. False must be asked at the moment of the read, not remembered. */
bool raft_lease_allowed(const struct raft *raft);
bool raft_is_lone(const struct raft *raft);             /* this peer alone is a quorum: it needs no lease */
uint64_t raft_round(const struct raft *raft);           /* newest sent */
uint64_t raft_confirmed_round(const struct raft *raft); /* newest that a quorum has answered, in this term; 0: none */
raft_index raft_commit_index(const struct raft *raft);
raft_index raft_applied_index(const struct raft *raft);
raft_index raft_last_index(const struct raft *raft);
struct raft_position raft_truncated(const struct raft *raft);
/* Least index that every tracked peer has: what retention may cut without snapshots. Own last if alone. Leader only,
 * else the applied index. */
raft_index raft_replicated_index(const struct raft *raft);
/* What more than half of the voters have: retention that keeps nothing for who lags must stop here. A change of members
 * can put it below the commit index; who is needed for the next commit then gets entries, not a snapshot that only this peer could
 * make. Leader only, else the applied index. */
raft_index raft_majority_index(const struct raft *raft);
/* 0 if unknown: past the last, truncated, or neither in memory nor at an edge. */
raft_term raft_term_at(const struct raft *raft, raft_index index);
void raft_get_conf(const struct raft *raft, struct raft_conf *ret_conf);
/* NULL: not in memory (all that is not applied is). Lent until anything else is called. */
const struct raft_entry *raft_log_entry(const struct raft *raft, raft_index index);
/* Nothing is under way, not joint, and (leader) every peer has everything or (follower) leader known and all committed:
 * ticks may stop on all peers together, until raft_step, raft_propose or raft_leader_lost brings work; then raft_wake
 * comes first. Stopping alone is not safe for liveness. */
bool raft_may_sleep(const struct raft *raft);

enum raft_progress_state { RAFT_PROBE = 0, RAFT_REPLICATE = 1, RAFT_SNAPSHOTTING = 2 };
struct raft_peer_status {
    peer_id id;
    uint8_t roles;
    enum raft_progress_state state;
    raft_index match, next, pending_snapshot;
    uint32_t inflight_count;
    bool inflight_full, paused, recent_active, fetching;
    uint64_t acked_round;
};
struct raft_status {
    peer_id id, leader, transfer_to;
    enum raft_role role;
    struct raft_hard_state hard;
    raft_index applied, last;
    struct raft_position truncated, base;
    uint64_t uncommitted_size;
    struct raft_conf conf;
    uint32_t peer_count; /* 0 unless leader */
    struct raft_peer_status peers[RAFT_MEMBER_COUNT_MAX];
};
void raft_get_status(const struct raft *raft, struct raft_status *ret_status);

/* Asserts every invariant that can be seen from inside. */
void raft_check(const struct raft *raft);

#endif
