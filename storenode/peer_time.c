#include "peer_time.h"

#include "base/log.h"
#include "env/clock.h"
#include "storenode/peer.h"
#include "storenode/region_worker.h"

static uint64_t clock_of(struct peer *peer)
{
    return clock_wall_ms(region_worker_store(peer->worker)->env->clock);
}

uint64_t peer_time_of(struct peer *peer, const struct wire_log_command *command)
{
    bool matters = region_fsm_time(peer->fsm).last_expiry_ms > 0;
    for (uint32_t i = 0; i < command->writes_count && !matters; i++)
        matters = command->writes[i].ttl_ms > 0;
    return matters ? clock_of(peer) : 0;
}

static void let_time_pass(struct peer *peer, uint64_t time_ms)
{
    enum { EMPTY_SIZE_MAX = 1024 };
    struct wire_log_command command = {.kind = WIRE_COMMAND_KIND_WRITE,
                                       .epoch_conf = peer->region->epoch_conf,
                                       .epoch_version = peer->region->epoch_version,
                                       .time_ms = time_ms};
    struct buf encoded;
    buf_init(&encoded, EMPTY_SIZE_MAX);
    raft_index index;
    raft_term term;
    if (wire_encode_log_command(&command, &encoded) == ERR_OK &&
        raft_propose(peer->group->raft, buf_bytes(&encoded), &index, &term) == ERR_OK) {
        peer->time_asked_ms = time_ms;
        peer->time_asked_term = term;
    }
    buf_fini(&encoded);
    region_worker_touch(peer->worker, peer);
}

/* One at a time: until the entry is applied, or another term makes it doubtful that it ever will be. Who met a row that is
 * due only since then asks again. */
static bool is_on_its_way(struct peer *peer)
{
    return peer->time_asked_ms > region_fsm_time(peer->fsm).now_ms &&
           peer->time_asked_term == raft_term_now(peer->group->raft);
}

void peer_time_wish(struct peer *peer, uint64_t time_ms)
{
    if (region_fsm_time(peer->fsm).now_ms >= time_ms || !raft_is_leader(peer->group->raft))
        return;
    peer_wake(peer, WAKE_REQUEST);
    peer_sleep_note_work(peer);
    if (!is_on_its_way(peer))
        let_time_pass(peer, time_ms);
}

void peer_time_look(struct peer *peer)
{
    struct region_time time = region_fsm_time(peer->fsm);
    uint64_t now_ms = clock_of(peer);
    if (time.last_expiry_ms > 0 && time.now_ms < time.last_expiry_ms && time.last_expiry_ms <= now_ms)
        peer_time_wish(peer, now_ms);
}
