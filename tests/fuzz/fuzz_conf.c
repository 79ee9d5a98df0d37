/* fuzz_conf: hostile bytes as the payload of a conf-change entry, and as a configuration.
 *
 * Who decodes a change and applies it must come to a configuration that a group could be in, or say no; and a leader that
 * proposes what it decoded appends bytes that mean the same. */
#include "fuzz.h"
#include "raft/core.h"
#include "raft/membership.h"

/* From bytes, unchecked. */
static void draw_conf(struct fuzz_input *input, struct raft_conf *conf)
{
    *conf = (struct raft_conf){.count = fuzz_u8(input) % (RAFT_MEMBER_COUNT_MAX + 2), .auto_leave = fuzz_u8(input) % 2};
    for (uint32_t i = 0; i < conf->count && i < RAFT_MEMBER_COUNT_MAX; i++) {
        conf->members[i].id = fuzz_u8(input);
        conf->members[i].roles = fuzz_u8(input);
    }
}

/* The same members in any order, each role by itself: as they come from the wire. */
static enum err build_conf(const struct raft_conf *from, struct raft_conf *to)
{
    enum err code = ERR_OK;
    *to = (struct raft_conf){.auto_leave = from->auto_leave};
    for (uint32_t i = from->count; i-- > 0 && code == ERR_OK;)
        code = raft_conf_add(to, from->members[i].id, from->members[i].roles);
    return code == ERR_OK ? raft_conf_check(to) : code;
}

static void must_encode_to_the_same(const struct raft_conf_change *change)
{
    uint8_t data[1024];
    size_t size = membership_encoded_size(change);
    CHECK(size <= sizeof data);
    membership_encode(change, data);
    struct raft_entry entry = {.term = 1, .index = 1, .kind = change->entry_kind, .data = bytes_of(data, size)};
    struct raft_conf_change again;
    CHECK(raft_conf_change_decode(&entry, &again) == ERR_OK);
    CHECK(again.count == change->count && bytes_equal(again.context, change->context));
    CHECK(again.transition == change->transition || size == 0);
    for (uint32_t i = 0; i < change->count; i++)
        CHECK(again.changes[i].id == change->changes[i].id && again.changes[i].kind == change->changes[i].kind);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {.data = data, .size = size};
    struct raft_conf drawn, conf, next;
    draw_conf(&input, &drawn);
    bool good = raft_conf_check(&drawn) == ERR_OK;
    bool built = drawn.count <= RAFT_MEMBER_COUNT_MAX && build_conf(&drawn, &conf) == ERR_OK;
    CHECK(!good || built);
    struct raft_entry entry = {.term = 1, .index = 1, .kind = fuzz_u8(&input) % 4};
    entry.data = fuzz_take(&input, 512);
    struct raft_conf_change change;
    if (raft_conf_change_decode(&entry, &change) != ERR_OK)
        return 0;
    must_encode_to_the_same(&change);
    if (built && raft_conf_apply(&conf, &change, &next) == ERR_OK)
        CHECK(raft_conf_check(&next) == ERR_OK);
    return 0;
}

void fuzz_seeds(fuzz_write_seed *write, void *context)
{
    enum { SIMPLE = RAFT_ENTRY_CONF_CHANGE, JOINT = RAFT_ENTRY_CONF_CHANGE_V2 };
    static const uint8_t add[] = {3, 0, 1, 1, 2, 1, 3, 1, SIMPLE, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 4};
    static const uint8_t swap[] = {3, 0, 1, 1, 2, 1, 3, 1, JOINT, 1, 1, 2, 0, 0, 0,
                                   0, 0, 0, 0, 0, 5, 1, 0, 0,     0, 0, 0, 0, 0, 3};
    static const uint8_t leave[] = {3, 0, 1, 3, 2, 3, 3, 10, JOINT};
    static const uint8_t learn[] = {2, 0, 1, 1, 2, 4, JOINT, 1, 2, 1, 3, 0, 0, 0, 0, 0, 0, 0, 1, 'x', 'y'};
    write(context, "add", add, sizeof add);
    write(context, "swap", swap, sizeof swap);
    write(context, "leave", leave, sizeof leave);
    write(context, "learn", learn, sizeof learn);
}
