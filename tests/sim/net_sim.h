/* net_sim: the network between simulated processes: connections that behave like TCP, until they are told not to.
 *
 * In good weather frames of a connection arrive in order, each after a random delay. Bad weather, all of it asked for
 * by faults.c:
 *   - net_block: what one node sends to another vanishes (one direction). As with TCP it is not lost at once: it is
 *     held, and delivered in order if the block ends soon enough; else the silent side's watchdog ends the connection,
 *     and both sides learn that at different times. A dial into a block hangs and then fails.
 *   - net_cut: connections between two nodes are reset; frames on the way are lost, a random part of them at each end.
 *   - net_clog: a path takes everything and delivers nothing, and no watchdog minds; when it opens, all comes at once.
 * As with a full buffer that a wedged middlebox keeps acknowledging;
 *   - delay spikes per direction of a pair of nodes;
 *   - single frames of kind FRAME_RAFT lost, repeated or overtaken (the protocol promises to bear it). Requests and
 *     replies are never treated so: TCP orders them, and repeats come from clients that retry.
 * A process that dies has its connections reset by its kernel; a machine that dies says nothing, and the others find
 * out by their watchdogs. A paused process still accepts connections and bytes (its kernel does), but answers nothing.
 *
 * Payloads are owned and copied as in production, so the real codecs run.
 *
 * Owner: the thread of the sim. */
#ifndef SIM_NET_SIM_H
#define SIM_NET_SIM_H

#include "env/transport.h"

struct sim;
struct sim_node;
struct net;

struct net_options {
    uint32_t delay_min_us, delay_max_us;     /* of one frame, in good weather */
    uint32_t spike_per_100000, spike_max_us; /* now and then a frame and all behind it is late */
    uint32_t raft_drop_per_10000;
    uint32_t raft_repeat_per_10000;
    uint32_t raft_reorder_per_10000, raft_reorder_max_us;
    uint32_t idle_limit_us;    /* a watchdog ends a connection that heard nothing for so long */
    uint32_t dial_timeout_us;  /* a dial that nobody answers */
    uint64_t pending_size_max; /* bytes on the way per direction; more is ERR_BUSY */
};

struct net_counts {
    uint64_t frames, bytes, dials, dials_failed, conns_lost, frames_lost, raft_dropped, raft_repeated, raft_reordered,
        busy_offers, busy_sends;
    uint64_t spikes;
    /* when the last one was */
    uint64_t raft_dropped_ns, raft_repeated_ns, raft_reordered_ns, spike_ns;
};

/* `sim` is borrowed, and freed before the net: its last events refer to connections. Options may be changed while
 * running. */
struct net *net_new(struct sim *sim);
void net_free(struct net *net);
struct net_options *net_options(struct net *net);
const struct net_counts *net_counts(const struct net *net);

/* The transport of a node; the same pointer in every life of it. */
struct transport *net_transport(struct net *net, struct sim_node *node);
/* Call it right after sim_node_start. */
void net_node_started(struct net *net, struct sim_node *node);
/* Call it right after sim_node_kill and before the program's memory is freed: on_close comes for each connection, as
 * when a transport is closed after its executor has stopped. `machine`: the kernel died too, nobody is told. */
void net_node_killed(struct net *net, struct sim_node *node, bool machine);

/* Sees every frame as it leaves its sender, before any weather. For checkers and traces. */
typedef void net_observer(void *context, struct sim_node *from, struct sim_node *to, const struct frame *frame);
void net_set_observer(struct net *net, net_observer *observer, void *context);

/* Frames from `from` to `to` get lost (true) or through (false). Either may be NULL: any node. Counted: two blocks need
 * two unblocks. */
void net_block(struct net *net, const struct sim_node *from, const struct sim_node *to, bool blocked);
/* The same for clogs. */
void net_clog(struct net *net, const struct sim_node *from, const struct sim_node *to, bool clogged);
void net_unblock_all(struct net *net); /* clogs, too */
/* Resets all connections between two nodes (NULL: any); returns how many. */
uint32_t net_cut(struct net *net, const struct sim_node *a, const struct sim_node *b);
/* What goes from `from` to `to` (NULL: any) takes so much longer, until set to 0. */
void net_slow(struct net *net, const struct sim_node *from, const struct sim_node *to, uint32_t extra_us);

#endif
