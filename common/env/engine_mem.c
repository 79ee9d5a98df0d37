#include "env/engine_mem.h"

#include <stdlib.h>
#include <xxhash.h>

#include "base/bug.h"
#include "base/check.h"
#include "env/engine_batch.h"
#include "env/engine_mem_tables.h"

enum { PENDING_COUNT_MAX = 4096 };

/* --- rows and the treap. A node or row is changed in place only while nobody else refers to it. --- */

struct row {
    uint32_t count;
    uint32_t key_size;
    size_t value_size;
    bool damaged;
    uint8_t data[]; /* key, value */
};

struct node {
    uint32_t count;
    uint32_t row_count; /* of the subtree, as the next */
    uint64_t row_size;
    uint64_t priority;
    struct row *row;
    struct node *left, *right;
};

static struct bytes row_key(const struct row *row)
{
    return bytes_of(row->data, row->key_size);
}

static struct bytes row_value(const struct row *row)
{
    return bytes_of(row->data + row->key_size, row->value_size);
}

static struct row *row_new(struct bytes key, struct bytes value)
{
    struct row *row = malloc(sizeof *row + key.size + value.size);
    CHECK(row && key.size <= UINT32_MAX);
    *row = (struct row){.count = 1, .key_size = (uint32_t)key.size, .value_size = value.size};
    if (key.size > 0)
        memcpy(row->data, key.data, key.size);
    if (value.size > 0)
        memcpy(row->data + key.size, value.data, value.size);
    return row;
}

static void row_unref(struct row *row)
{
    if (--row->count == 0)
        free(row);
}

static struct node *node_ref(struct node *node)
{
    if (node)
        node->count++;
    return node;
}

static void node_unref(struct node *node)
{
    while (node && --node->count == 0) {
        struct node *right = node->right;
        node_unref(node->left);
        row_unref(node->row);
        free(node);
        node = right;
    }
}

/* The node as one that may be changed: itself, or a copy that takes over the caller's reference. */
static struct node *node_own(struct node *node)
{
    if (node->count == 1)
        return node;
    struct node *copy = malloc(sizeof *copy);
    CHECK(copy);
    *copy = *node;
    copy->count = 1;
    copy->row->count++;
    node_ref(copy->left);
    node_ref(copy->right);
    node->count--;
    return copy;
}

static void node_update(struct node *node)
{
    node->row_count = 1;
    node->row_size = node->row->key_size + node->row->value_size;
    const struct node *const children[] = {node->left, node->right};
    for (int i = 0; i < 2; i++)
        if (children[i]) {
            node->row_count += children[i]->row_count;
            node->row_size += children[i]->row_size;
        }
}

/* Which of two rows is nearer to the root. Depends on their keys alone, so the shape depends on the contents alone. */
static bool is_above(uint64_t a_priority, struct bytes a, const struct node *b)
{
    return a_priority != b->priority ? a_priority > b->priority : bytes_compare(a, row_key(b->row)) < 0;
}

/* Into keys < `key` and keys >= `key`. Takes `node`. */
static void split(struct node *node, struct bytes key, struct node **ret_left, struct node **ret_right)
{
    if (!node) {
        *ret_left = *ret_right = NULL;
        return;
    }
    node = node_own(node);
    if (bytes_compare(row_key(node->row), key) < 0) {
        split(node->right, key, &node->right, ret_right);
        *ret_left = node;
    } else {
        split(node->left, key, ret_left, &node->left);
        *ret_right = node;
    }
    node_update(node);
}

/* All keys of `left` are below those of `right`. Takes both. */
static struct node *merge(struct node *left, struct node *right)
{
    if (!left)
        return right;
    if (!right)
        return left;
    struct node *top;
    if (is_above(left->priority, row_key(left->row), right)) {
        top = node_own(left);
        top->right = merge(top->right, right);
    } else {
        top = node_own(right);
        top->left = merge(left, top->left);
    }
    node_update(top);
    return top;
}

/* Takes `node` and `take_row`. */
static struct node *put(struct node *node, struct row *take_row, uint64_t priority)
{
    struct bytes key = row_key(take_row);
    if (!node || is_above(priority, key, node)) { /* then the key is not below `node`: it would have this priority */
        struct node *top = malloc(sizeof *top);
        CHECK(top);
        *top = (struct node){.count = 1, .priority = priority, .row = take_row};
        split(node, key, &top->left, &top->right);
        node_update(top);
        return top;
    }
    node = node_own(node);
    int order = bytes_compare(key, row_key(node->row));
    if (order == 0) {
        row_unref(node->row);
        node->row = take_row;
    } else if (order < 0) {
        node->left = put(node->left, take_row, priority);
    } else {
        node->right = put(node->right, take_row, priority);
    }
    node_update(node);
    return node;
}

static struct node *find(struct node *node, struct bytes key)
{
    while (node) {
        int order = bytes_compare(key, row_key(node->row));
        if (order == 0)
            break;
        node = order < 0 ? node->left : node->right;
    }
    return node;
}

/* Takes `node`; the key is in it. */
static struct node *delete_found(struct node *node, struct bytes key)
{
    node = node_own(node);
    int order = bytes_compare(key, row_key(node->row));
    if (order == 0) {
        struct node *rest = merge(node->left, node->right);
        node->left = node->right = NULL;
        node_unref(node);
        return rest;
    }
    if (order < 0)
        node->left = delete_found(node->left, key);
    else
        node->right = delete_found(node->right, key);
    node_update(node);
    return node;
}

static struct node *delete_range(struct node *node, struct bytes start, struct bytes end)
{
    struct node *left, *middle, *right;
    split(node, start, &left, &middle);
    split(middle, end, &middle, &right);
    node_unref(middle);
    return merge(left, right);
}

/* The first row with a key >= `key` (or > `key`). */
static struct node *find_from(struct node *node, struct bytes key, bool is_strict)
{
    struct node *best = NULL;
    while (node) {
        int order = bytes_compare(row_key(node->row), key);
        if (is_strict ? order > 0 : order >= 0) {
            best = node;
            node = node->left;
        } else {
            node = node->right;
        }
    }
    return best;
}

/* The last row with a key < `key`. */
static struct node *find_before(struct node *node, struct bytes key)
{
    struct node *best = NULL;
    while (node) {
        if (bytes_compare(row_key(node->row), key) < 0) {
            best = node;
            node = node->right;
        } else {
            node = node->left;
        }
    }
    return best;
}

static struct node *find_last(struct node *node)
{
    while (node && node->right)
        node = node->right;
    return node;
}

/* --- the engine --- */

struct version {
    struct node *roots[ENGINE_CF_COUNT];
};

/* A batch that a crash may still take back. */
struct pending {
    struct version before;
    uint64_t written_us;           /* by an actor that may be ahead of the world */
    uint64_t durable_us;           /* UINT64_MAX: not synced by itself */
    struct engine_batch *ingested; /* owned, or NULL; not a batch of the log: it stays when those before it are lost */
};

struct engine_iter {
    struct engine_mem *engine;
    struct engine_iter *next, *previous;
    uint64_t generation;
    struct node *root;    /* counted */
    struct node *current; /* in root; NULL: not valid */
    bool failed, damaged;
    struct bytes lower, upper; /* owned */
};

struct engine_mem {
    struct engine engine; /* must be first */
    struct version version;
    struct pending pending[PENDING_COUNT_MAX]; /* a ring, oldest at first */
    size_t pending_first, pending_count;
    size_t tail_count;      /* of the pending: those behind the newest sync */
    size_t doubtful_count;  /* of the tail: nothing says what a failed sync did to them */
    size_t unsynced_size;   /* of batches written since the last sync began */
    uint64_t busy_until_us; /* the disk's */
    uint64_t generation;    /* of the node: grows with each crash */
    bool is_broken;
    bool has_disk;
    struct engine_mem_disk disk;
    engine_mem_fault *fault;
    void *fault_context;
    struct engine_batch *batches; /* all that are alive */
    struct engine_iter *iters;
    uint64_t write_count, sync_count;
    uint64_t expired_count;
};

static struct engine_mem *self_of(struct engine *engine)
{
    return (struct engine_mem *)engine;
}

static struct version version_ref(const struct version *version)
{
    struct version copy;
    for (int cf = 0; cf < ENGINE_CF_COUNT; cf++)
        copy.roots[cf] = node_ref(version->roots[cf]);
    return copy;
}

static void version_unref(struct version *version)
{
    for (int cf = 0; cf < ENGINE_CF_COUNT; cf++) {
        node_unref(version->roots[cf]);
        version->roots[cf] = NULL;
    }
}

static struct pending *pending_at(struct engine_mem *self, size_t index)
{
    return &self->pending[(self->pending_first + index) % PENDING_COUNT_MAX];
}

static void ingested_free(struct pending *pending)
{
    if (pending->ingested) {
        engine_batch_fini(pending->ingested);
        free(pending->ingested);
    }
    pending->ingested = NULL;
}

/* The oldest `count` batches are durable from now on. */
static void pending_forget(struct engine_mem *self, size_t count)
{
    CHECK(count <= self->pending_count);
    for (size_t i = 0; i < count; i++) {
        version_unref(&pending_at(self, i)->before);
        ingested_free(pending_at(self, i));
    }
    self->pending_first = (self->pending_first + count) % PENDING_COUNT_MAX;
    self->pending_count -= count;
    if (self->tail_count > self->pending_count)
        self->tail_count = self->pending_count;
    if (self->doubtful_count > self->pending_count)
        self->doubtful_count = self->pending_count;
}

/* A sync covers all batches before it too: one log, in order. Syncs end in the order in which they began. */
static void pending_settle(struct engine_mem *self, uint64_t now_us)
{
    size_t durable_count = 0;
    for (size_t i = 0; i < self->pending_count - self->tail_count; i++) {
        uint64_t durable_us = pending_at(self, i)->durable_us;
        if (durable_us <= now_us)
            durable_count = i + 1;
        else if (durable_us != UINT64_MAX)
            break;
    }
    pending_forget(self, durable_count);
}

static struct pending *pending_push(struct engine_mem *self, uint64_t now_us)
{
    if (self->pending_count == PENDING_COUNT_MAX)
        pending_forget(self, 1);
    struct pending *pending = pending_at(self, self->pending_count++);
    self->tail_count++;
    *pending = (struct pending){.before = version_ref(&self->version), .written_us = now_us, .durable_us = UINT64_MAX};
    return pending;
}

static uint64_t world_us(struct engine_mem *self)
{
    return self->disk.world_us ? self->disk.world_us(self->disk.context) : self->disk.now_us(self->disk.context);
}

static void apply(struct engine_mem *self, const struct engine_batch *batch)
{
    struct engine_batch_operation operation;
    for (size_t position = 0; engine_batch_next(batch, &position, &operation);) {
        struct node **root = &self->version.roots[operation.cf];
        switch (operation.kind) {
        case ENGINE_BATCH_PUT:
            *root = put(*root, row_new(operation.key, operation.value),
                        XXH3_64bits(operation.key.size ? operation.key.data : (const uint8_t *)"", operation.key.size));
            break;
        case ENGINE_BATCH_DELETE:
            if (find(*root, operation.key))
                *root = delete_found(*root, operation.key);
            break;
        case ENGINE_BATCH_DELETE_RANGE:
            *root = delete_range(*root, operation.key, operation.value);
            break;
        }
    }
}

static enum err write_refused(struct engine_mem *self, const struct engine_batch *batch, bool sync, struct error *err)
{
    if (batch->generation != self->generation)
        return error_set(err, ERR_CLOSED, "the batch belongs to a node that crashed");
    if (self->is_broken)
        return error_set(err, ERR_IO, "an earlier write failed");
    if (!self->fault)
        return ERR_OK;
    enum err code = self->fault(self->fault_context, sync, engine_batch_data_size(batch));
    CHECK(code == ERR_OK || code == ERR_IO || code == ERR_DISK_FULL);
    if (code == ERR_IO)
        self->is_broken = true;
    return code == ERR_OK ? ERR_OK : error_set(err, code, "injected fault: %s", err_name(code));
}

/* The disk does one sync after the other. Waiting comes last: nothing here may depend on what is after it. */
static enum err sync_pending(struct engine_mem *self, struct pending *pending, uint64_t now_us, struct error *err)
{
    self->sync_count++;
    size_t size = self->unsynced_size;
    self->unsynced_size = 0;
    if (!self->has_disk) {
        pending_forget(self, self->pending_count);
        return ERR_OK;
    }
    uint64_t begin_us = self->busy_until_us > now_us ? self->busy_until_us : now_us;
    self->busy_until_us = begin_us + self->disk.sync_cost_us(self->disk.context, size);
    bool failed = self->disk.sync_fails && self->disk.sync_fails(self->disk.context);
    if (failed) {
        self->is_broken = true;
        self->doubtful_count = self->tail_count;
    } else {
        pending->durable_us = self->busy_until_us;
        self->tail_count = 0;
    }
    self->disk.wait_us(self->disk.context, self->busy_until_us - now_us);
    return failed ? error_set(err, ERR_IO, "injected fault: a sync failed") : ERR_OK;
}

static enum err engine_mem_write(struct engine *engine, struct engine_batch *batch, bool sync, struct error *err)
{
    struct engine_mem *self = self_of(engine);
    CHECK(batch->engine == engine);
    enum err code = write_refused(self, batch, sync, err);
    if (code != ERR_OK)
        return code;
    uint64_t now_us = self->has_disk ? self->disk.now_us(self->disk.context) : 0;
    if (self->has_disk)
        pending_settle(self, world_us(self));
    struct pending *pending = pending_push(self, now_us);
    apply(self, batch);
    self->write_count++;
    self->unsynced_size += batch->data.size;
    if (sync)
        return sync_pending(self, pending, now_us, err);
    if (self->has_disk && self->disk.writes_wait && self->busy_until_us > now_us)
        self->disk.wait_us(self->disk.context, self->busy_until_us - now_us);
    return ERR_OK;
}

enum err engine_mem_ask(struct engine *engine, uint64_t generation, bool sync, size_t size, struct error *err)
{
    struct engine_mem *self = self_of(engine);
    if (generation != self->generation)
        return error_set(err, ERR_CLOSED, "the table belongs to a node that crashed");
    if (self->is_broken)
        return error_set(err, ERR_IO, "an earlier write failed");
    enum err code = self->fault ? self->fault(self->fault_context, sync, size) : ERR_OK;
    if (code != ERR_OK)
        return error_set(err, code, "injected fault: %s", err_name(code));
    if (sync && self->has_disk) {
        uint64_t now_us = self->disk.now_us(self->disk.context);
        uint64_t begin_us = self->busy_until_us > now_us ? self->busy_until_us : now_us;
        self->busy_until_us = begin_us + self->disk.sync_cost_us(self->disk.context, size);
        bool failed = self->disk.sync_fails && self->disk.sync_fails(self->disk.context);
        self->disk.wait_us(self->disk.context, self->busy_until_us - now_us);
        if (failed)
            return error_set(err, ERR_IO, "injected fault: a sync failed");
    }
    return ERR_OK;
}

uint64_t engine_mem_generation(struct engine *engine)
{
    return self_of(engine)->generation;
}

uint64_t engine_mem_now_us(struct engine *engine)
{
    const struct engine_mem *self = self_of(engine);
    return self->has_disk ? self->disk.now_us(self->disk.context) : 0;
}

bool engine_mem_table_rots(struct engine *engine)
{
    const struct engine_mem *self = self_of(engine);
    return self->has_disk && self->disk.table_rots && self->disk.table_rots(self->disk.context);
}

bool engine_mem_read_fails(struct engine *engine)
{
    const struct engine_mem *self = self_of(engine);
    return self->disk.read_fails && self->disk.read_fails(self->disk.context);
}

enum err engine_mem_ingest(struct engine *engine, struct engine_batch *take_batch, struct error *err)
{
    struct engine_mem *self = self_of(engine);
    uint64_t now_us = engine_mem_now_us(engine);
    enum err code = engine_mem_ask(engine, self->generation, true, engine_batch_data_size(take_batch), err);
    if (code != ERR_OK) {
        self->is_broken |= code == ERR_IO;
        engine_batch_fini(take_batch);
        free(take_batch);
        return code;
    }
    if (self->has_disk)
        pending_settle(self, world_us(self));
    struct pending *pending = pending_push(self, now_us);
    pending->ingested = take_batch;
    apply(self, take_batch);
    return ERR_OK;
}

/* How many of the pending batches are left after a crash that could lose all of them. */
static size_t draw_kept(struct engine_mem *self, uint64_t now_us, struct rng *rng, enum engine_mem_loss loss)
{
    size_t written_count = 0; /* an actor ahead of the world has not written yet */
    while (written_count < self->pending_count &&
           (!self->has_disk || pending_at(self, written_count)->written_us <= now_us))
        written_count++;
    size_t kept_count = 0;
    switch (loss) {
    case ENGINE_MEM_TORN:
        return (size_t)rng_below(rng, written_count + 1);
    case ENGINE_MEM_KEEP:
        return written_count;
    case ENGINE_MEM_HOLES:
        while (kept_count < written_count && rng_chance(rng, 3, 4))
            kept_count++;
        return kept_count;
    case ENGINE_MEM_LOSE:
        break;
    }
    return 0;
}

static inline void swap_roots(struct node **a, struct node **b)
{
    struct node *old = *a;
    *a = *b;
    *b = old;
}

size_t engine_mem_crash_as(struct engine *engine, uint64_t now_us, struct rng *rng, enum engine_mem_loss loss)
{
    struct engine_mem *self = self_of(engine);
    if (self->has_disk)
        pending_settle(self, now_us);
    size_t kept_count = draw_kept(self, now_us, rng, loss), lost_count = self->pending_count - kept_count;
    /* The kernel forgot that the pages of a failed sync were to be written, and they are what they were, or not. */
    if (self->doubtful_count > lost_count && rng_chance(rng, 1, 2))
        lost_count = self->doubtful_count;
    if (lost_count > 0) {
        struct version lost = self->version;
        self->version = version_ref(&pending_at(self, self->pending_count - lost_count)->before);
        if (BUG(torn_batch_accepted))
            swap_roots(&self->version.roots[ENGINE_RAFT], &lost.roots[ENGINE_RAFT]);
        version_unref(&lost);
        for (size_t i = self->pending_count - lost_count; i < self->pending_count; i++) {
            const struct pending *pending = pending_at(self, i);
            if (pending->ingested && (!self->has_disk || pending->written_us <= now_us))
                apply(self, pending->ingested);
        }
    }
    mem_tables_crash(self->engine.tables, self->has_disk ? now_us : UINT64_MAX, rng);
    pending_forget(self, self->pending_count);
    self->unsynced_size = 0;
    self->busy_until_us = 0;
    self->is_broken = false;
    self->generation++;
    return lost_count;
}

void engine_mem_crash(struct engine *engine, uint64_t now_us, struct rng *rng)
{
    engine_mem_crash_as(engine, now_us, rng, ENGINE_MEM_TORN);
}

static enum err get_from(struct node *root, struct bytes key, struct buf *value, struct error *err)
{
    const struct node *node = find(root, key);
    if (!node)
        return ERR_NOT_FOUND;
    if (node->row->damaged)
        return error_set(err, ERR_CORRUPT, "injected fault: a row is damaged");
    enum err code = buf_assign(value, row_value(node->row));
    if (code != ERR_OK)
        return error_set(err, code, "a value of %zu bytes does not fit into %zu", node->row->value_size,
                         value->size_max);
    return ERR_OK;
}

bool engine_mem_damage(struct engine *engine, enum engine_cf cf, struct bytes key)
{
    struct node *node = find(self_of(engine)->version.roots[cf], key);
    if (node)
        node->row->damaged = true;
    return node != NULL;
}

enum err engine_mem_get_durable(struct engine *engine, enum engine_cf cf, struct bytes key, struct buf *value)
{
    CHECK((unsigned)cf < ENGINE_CF_COUNT);
    struct engine_mem *self = self_of(engine);
    if (self->has_disk)
        pending_settle(self, world_us(self));
    for (size_t i = self->pending_count; i-- > 0;) { /* the newest word of an ingest */
        const struct pending *pending = pending_at(self, i);
        struct bytes found;
        bool present;
        if (pending->ingested && engine_batch_data_find(pending->ingested, cf, key, &present, &found))
            return present ? buf_assign(value, found) : ERR_NOT_FOUND;
    }
    struct version *version = self->pending_count > 0 ? &pending_at(self, 0)->before : &self->version;
    return get_from(version->roots[cf], key, value, NULL);
}

static bool read_fails(const struct engine_mem *self)
{
    return self->disk.read_fails && self->disk.read_fails(self->disk.context);
}

static enum err engine_mem_get(struct engine *engine, enum engine_cf cf, struct bytes key, struct buf *value,
                               struct error *err)
{
    CHECK((unsigned)cf < ENGINE_CF_COUNT);
    struct engine_mem *self = self_of(engine);
    if (read_fails(self))
        return error_set(err, ERR_IO, "injected fault: a read failed");
    return get_from(self->version.roots[cf], key, value, err);
}

/* --- handles --- */

static struct engine_batch *engine_mem_batch_new(struct engine *engine)
{
    struct engine_mem *self = self_of(engine);
    struct engine_batch *batch = malloc(sizeof *batch);
    CHECK(batch);
    engine_batch_init(batch, engine);
    batch->generation = self->generation;
    batch->next = self->batches;
    if (self->batches)
        self->batches->previous = batch;
    self->batches = batch;
    return batch;
}

static void engine_mem_batch_free(struct engine_batch *batch)
{
    if (!batch)
        return;
    struct engine_mem *self = self_of(batch->engine);
    if (batch->next)
        batch->next->previous = batch->previous;
    if (batch->previous)
        batch->previous->next = batch->next;
    else
        self->batches = batch->next;
    engine_batch_fini(batch);
    free(batch);
}

static struct bytes bytes_duplicate(struct bytes bytes)
{
    if (bytes.size == 0)
        return bytes_empty();
    uint8_t *data = malloc(bytes.size);
    CHECK(data);
    memcpy(data, bytes.data, bytes.size);
    return bytes_of(data, bytes.size);
}

static struct engine_iter *engine_mem_iter_new(struct engine *engine, enum engine_cf cf, struct bytes lower,
                                               struct bytes upper)
{
    CHECK((unsigned)cf < ENGINE_CF_COUNT);
    struct engine_mem *self = self_of(engine);
    struct engine_iter *iter = malloc(sizeof *iter);
    CHECK(iter);
    *iter = (struct engine_iter){
        .engine = self,
        .next = self->iters,
        .generation = self->generation,
        .root = node_ref(self->version.roots[cf]),
        .lower = bytes_duplicate(lower),
        .upper = bytes_duplicate(upper),
    };
    if (self->iters)
        self->iters->previous = iter;
    self->iters = iter;
    return iter;
}

static void engine_mem_iter_free(struct engine_iter *iter)
{
    if (!iter)
        return;
    if (iter->next)
        iter->next->previous = iter->previous;
    if (iter->previous)
        iter->previous->next = iter->next;
    else
        iter->engine->iters = iter->next;
    node_unref(iter->root);
    free((void *)iter->lower.data);
    free((void *)iter->upper.data);
    free(iter);
}

static void iter_set(struct engine_iter *iter, struct node *node)
{
    iter->failed = read_fails(iter->engine);
    bool is_inside = node && bytes_compare(row_key(node->row), iter->lower) >= 0 &&
                     (iter->upper.size == 0 || bytes_compare(row_key(node->row), iter->upper) < 0);
    iter->damaged = is_inside && node->row->damaged;
    iter->current = is_inside && !iter->failed && !iter->damaged ? node : NULL;
}

static void engine_mem_iter_seek(struct engine_iter *iter, struct bytes key)
{
    struct bytes from = bytes_compare(key, iter->lower) < 0 ? iter->lower : key;
    iter_set(iter, find_from(iter->root, from, false));
}

static void engine_mem_iter_seek_for_previous(struct engine_iter *iter, struct bytes key)
{
    struct bytes before = key;
    if (before.size == 0 || (iter->upper.size > 0 && bytes_compare(iter->upper, before) < 0))
        before = iter->upper;
    iter_set(iter, before.size == 0 ? find_last(iter->root) : find_before(iter->root, before));
}

static bool engine_mem_iter_valid(const struct engine_iter *iter)
{
    return iter->current != NULL;
}

static void engine_mem_iter_next(struct engine_iter *iter)
{
    CHECK(iter->current);
    iter_set(iter, find_from(iter->root, row_key(iter->current->row), true));
}

static void engine_mem_iter_previous(struct engine_iter *iter)
{
    CHECK(iter->current);
    iter_set(iter, find_before(iter->root, row_key(iter->current->row)));
}

static struct bytes engine_mem_iter_key(const struct engine_iter *iter)
{
    CHECK(iter->current);
    return row_key(iter->current->row);
}

static struct bytes engine_mem_iter_value(const struct engine_iter *iter)
{
    CHECK(iter->current);
    return row_value(iter->current->row);
}

static enum err engine_mem_iter_error(const struct engine_iter *iter, struct error *err)
{
    if (iter->damaged)
        return error_set(err, ERR_CORRUPT, "injected fault: a row is damaged");
    return iter->failed ? error_set(err, ERR_IO, "injected fault: a read failed") : ERR_OK;
}

/* --- what compactions would drop --- */

/* The compaction that the next moment brings: it drops some of what it may, and that is on the disk. */
static void choose_expired(struct engine_mem *self, const struct engine_expiry *expiry, const struct engine_span *span,
                           struct engine_batch *batch)
{
    for (struct node *node = find_from(self->version.roots[ENGINE_DEFAULT], span->start, false); node;
         node = find_from(self->version.roots[ENGINE_DEFAULT], row_key(node->row), true)) {
        struct bytes key = row_key(node->row);
        if (span->end.size > 0 && bytes_compare(key, span->end) >= 0)
            break;
        bool chosen = XXH3_64bits_withSeed(key.data, key.size, self->sync_count) & 1;
        if (chosen && expiry->is_expired(row_value(node->row), span->time_ms))
            engine_batch_data_delete(batch, ENGINE_DEFAULT, key);
    }
}

/* As if nothing had to be durable first: whatever a crash goes back to has lost these rows as well. */
static void drop_from_all_versions(struct engine_mem *self, const struct engine_batch *batch)
{
    struct engine_batch_operation operation;
    for (size_t position = 0; engine_batch_next(batch, &position, &operation);)
        for (size_t i = 0; i < self->pending_count; i++) {
            struct node **root = &pending_at(self, i)->before.roots[ENGINE_DEFAULT];
            if (find(*root, operation.key))
                *root = delete_found(*root, operation.key);
        }
}

static enum err engine_mem_set_expiry(struct engine *engine, const struct engine_expiry *expiry, struct error *err)
{
    struct engine_mem *self = self_of(engine);
    struct engine_batch *batch = engine_batch_new(engine);
    for (size_t i = 0; i < expiry->count; i++)
        choose_expired(self, expiry, &expiry->spans[i], batch);
    if (BUG(expiry_before_sync))
        drop_from_all_versions(self, batch);
    self->expired_count += engine_batch_data_count(batch);
    enum err code = engine_mem_write(engine, batch, !BUG(expiry_before_sync), err);
    engine_batch_free(engine, batch);
    return code;
}

static void engine_mem_space(struct engine *engine, struct engine_space *ret_space)
{
    const struct engine_mem *self = self_of(engine);
    *ret_space = self->has_disk && self->disk.space ? self->disk.space(self->disk.context)
                                                    : (struct engine_space){0}; /* memory: nobody counts */
}

/* Of the rows with keys < `key`. */
static uint64_t size_below(const struct node *node, struct bytes key)
{
    uint64_t size = 0;
    while (node) {
        if (bytes_compare(row_key(node->row), key) < 0) {
            size += node->row_size - (node->right ? node->right->row_size : 0);
            node = node->right;
        } else
            node = node->left;
    }
    return size;
}

static uint64_t engine_mem_approximate_size(struct engine *engine, enum engine_cf cf, struct bytes start,
                                            struct bytes end)
{
    const struct node *root = self_of(engine)->version.roots[cf];
    uint64_t to = end.size > 0 ? size_below(root, end) : root ? root->row_size : 0, from = size_below(root, start);
    return to > from ? to - from : 0;
}

static const struct engine_ops ops = {
    .space = engine_mem_space,
    .batch_new = engine_mem_batch_new,
    .batch_free = engine_mem_batch_free,
    .batch_clear = engine_batch_data_clear,
    .batch_put = engine_batch_data_put,
    .batch_delete = engine_batch_data_delete,
    .batch_delete_range = engine_batch_data_delete_range,
    .batch_append = engine_batch_data_append,
    .batch_find = engine_batch_data_find,
    .batch_count = engine_batch_data_count,
    .batch_size = engine_batch_data_size,
    .batch_cut = engine_batch_data_cut,
    .write = engine_mem_write,
    .get = engine_mem_get,
    .iter_new = engine_mem_iter_new,
    .iter_new_once = engine_mem_iter_new,
    .iter_free = engine_mem_iter_free,
    .iter_seek = engine_mem_iter_seek,
    .iter_seek_for_previous = engine_mem_iter_seek_for_previous,
    .iter_valid = engine_mem_iter_valid,
    .iter_next = engine_mem_iter_next,
    .iter_previous = engine_mem_iter_previous,
    .iter_key = engine_mem_iter_key,
    .iter_value = engine_mem_iter_value,
    .iter_error = engine_mem_iter_error,
    .set_expiry = engine_mem_set_expiry,
    .approximate_size = engine_mem_approximate_size,
};

enum err engine_mem_new(struct engine **ret_engine)
{
    struct engine_mem *self = calloc(1, sizeof *self);
    if (!self)
        return ERR_NO_MEMORY;
    self->engine.ops = &ops;
    self->engine.tables = mem_tables_new(&self->engine);
    *ret_engine = &self->engine;
    return ERR_OK;
}

void engine_mem_free(struct engine *engine)
{
    if (!engine)
        return;
    struct engine_mem *self = self_of(engine);
    while (self->batches)
        engine_mem_batch_free(self->batches);
    while (self->iters)
        engine_mem_iter_free(self->iters);
    pending_forget(self, self->pending_count);
    version_unref(&self->version);
    mem_tables_free(self->engine.tables);
    free(self);
}

void engine_mem_set_disk(struct engine *engine, const struct engine_mem_disk *disk)
{
    struct engine_mem *self = self_of(engine);
    self->has_disk = disk != NULL;
    self->disk = disk ? *disk : (struct engine_mem_disk){.context = NULL};
}

void engine_mem_set_fault(struct engine *engine, engine_mem_fault *fault, void *context)
{
    self_of(engine)->fault = fault;
    self_of(engine)->fault_context = context;
}

void engine_mem_stats(struct engine *engine, struct engine_mem_stats *ret_stats)
{
    struct engine_mem *self = self_of(engine);
    *ret_stats = (struct engine_mem_stats){
        .volatile_count = self->pending_count,
        .write_count = self->write_count,
        .sync_count = self->sync_count,
        .table_count = mem_tables_count(self->engine.tables),
        .expired_count = self->expired_count,
    };
    for (int cf = 0; cf < ENGINE_CF_COUNT; cf++)
        if (self->version.roots[cf]) {
            ret_stats->row_count[cf] = self->version.roots[cf]->row_count;
            ret_stats->row_size += self->version.roots[cf]->row_size;
        }
    for (struct engine_batch *batch = self->batches; batch; batch = batch->next)
        ret_stats->batch_count += batch->generation == self->generation;
    for (struct engine_iter *iter = self->iters; iter; iter = iter->next)
        ret_stats->iter_count += iter->generation == self->generation;
}
