#include "check_linear.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/list.h"

/* A known operation is two entries of the list, in order of time; doing it lifts both out, undoing puts them back. */
struct entry {
    struct list link;
    uint64_t time;
    uint32_t op;
    bool is_call;
};

struct op {
    struct history_op told;
    size_t index;  /* in the history */
    uint32_t twin; /* unknown ones: the one before that does the same; NO_OP */
    uint32_t next; /* unknown ones, by start: the next cas that expects the same, the next one that is no cas; NO_OP */
    struct entry call, end; /* known ones */
    bool done;              /* unknown ones */
    uint64_t word[2];       /* Zobrist */
};

enum {
    NO_OP = UINT32_MAX,
    JUNK = UINT32_MAX - 1 /* any value that nobody was ever shown: one is as good as another */
};

/* One choice point: what has been tried here. */
struct frame {
    uint32_t state;
    size_t order_count;       /* operations done before the choice */
    uint32_t forced_count;    /* done without a choice, before it */
    struct list *next_known;  /* entry to try next; NULL: go on with the unknown ones */
    uint32_t next_unknown[2]; /* to try next, or NO_OP: of those that are no cas, of the cas that expect the value */
};

struct configuration {
    uint64_t word[2];
};

/* What is known of one value: whether anybody was shown it or could tell it apart; how many known operations that are
 * not done yet need it to be there; how many that are not done could bring it. */
struct value {
    bool shown;
    uint32_t needed, writers;
    uint32_t wanted;  /* by unknown cas, which may turn it into something that is needed */
    uint32_t avoided; /* by known cas that did not swap, and were not told what they met: this it was not */
    uint32_t cas;     /* the first unknown one that expects it, plus one; 0: none */
};

struct search {
    struct history *history;
    struct value *values; /* by number */
    bool appends;         /* then values are made of values: all of them matter, and nothing is known of them */
    bool not_told;        /* a cas met some other value and was not told which: junk matters, too */
    struct op *ops;
    uint32_t known_count, unknown_count; /* known first, then unknown by start */
    uint32_t first_other;                /* unknown one that is no cas; NO_OP */
    struct list entries;
    uint32_t known_left;
    uint64_t word[2]; /* of the set of operations done */
    uint32_t *order;  /* operations done */
    size_t order_count;
    struct frame *frames;
    size_t frame_count;
    struct configuration *seen; /* open addressing, a power of two; zero words: free */
    size_t seen_count, seen_capacity;
    uint64_t steps, steps_max;
    size_t best_count;
    size_t stuck_index;
    uint32_t stuck_state;
};

static uint64_t scramble(uint64_t value)
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

/* ---- what an operation does to a register */

static uint32_t append_value(struct history *history, uint32_t state, uint32_t value)
{
    struct bytes a = history_value(history, state), b = history_value(history, value);
    if (a.size + b.size == 0)
        return HISTORY_NO_VALUE;
    uint8_t *joined = malloc(a.size + b.size);
    CHECK(joined);
    if (a.size > 0)
        memcpy(joined, a.data, a.size);
    if (b.size > 0)
        memcpy(joined + a.size, b.data, b.size);
    uint32_t number = history_intern(history, bytes_of(joined, a.size + b.size));
    free(joined);
    return number;
}

static bool apply_cas(const struct history_op *op, uint32_t state, uint32_t *ret_state)
{
    bool equal = state == op->expected;
    if (op->outcome == HISTORY_OK && equal != op->swapped)
        return false;
    if (op->outcome == HISTORY_OK && !op->swapped && op->result != HISTORY_NOT_TOLD && op->result != state)
        return false;
    *ret_state = equal ? op->value : state;
    return true;
}

/* Can the operation happen now, with the answer that was given? */
static bool apply(struct history *history, const struct history_op *op, uint32_t state, uint32_t *ret_state)
{
    *ret_state = state;
    switch (op->kind) {
    case HISTORY_PUT:
        *ret_state = op->value;
        return true;
    case HISTORY_DELETE:
        *ret_state = HISTORY_NO_VALUE;
        return true;
    case HISTORY_GET:
        return op->result == HISTORY_NOT_TOLD || op->result == state;
    case HISTORY_CAS:
        return apply_cas(op, state, ret_state);
    case HISTORY_APPEND:
        *ret_state = append_value(history, state, op->value);
        return true;
    }
    return false;
}

/* ---- configurations seen */

static bool seen_insert(struct configuration *table, size_t capacity, struct configuration configuration)
{
    size_t mask = capacity - 1;
    for (size_t i = configuration.word[0] & mask;; i = (i + 1) & mask) {
        if (table[i].word[0] == 0 && table[i].word[1] == 0) {
            table[i] = configuration;
            return true;
        }
        if (table[i].word[0] == configuration.word[0] && table[i].word[1] == configuration.word[1])
            return false;
    }
}

/* False: was there before. */
static bool remember(struct search *search, uint32_t state)
{
    if ((search->seen_count + 1) * 2 > search->seen_capacity) {
        size_t capacity = search->seen_capacity ? search->seen_capacity * 2 : 256;
        struct configuration *table = calloc(capacity, sizeof *table);
        CHECK(table);
        for (size_t i = 0; i < search->seen_capacity; i++)
            if (search->seen[i].word[0] || search->seen[i].word[1])
                seen_insert(table, capacity, search->seen[i]);
        free(search->seen);
        search->seen = table;
        search->seen_capacity = capacity;
    }
    struct configuration configuration = {
        {search->word[0] ^ scramble(state + 0x51ed270b27u), search->word[1] ^ scramble(state + 0xa24baed4963ee407u)}};
    if (!seen_insert(search->seen, search->seen_capacity, configuration))
        return false;
    search->seen_count++;
    return true;
}

/* ---- what an operation needs, and what it leaves */

static uint32_t written_value(const struct history_op *op)
{
    return op->kind == HISTORY_DELETE ? HISTORY_NO_VALUE : op->value;
}

/* The value that must be there for the answer that was given; HISTORY_NOT_TOLD: any. */
static uint32_t needed_value(const struct history_op *op)
{
    if (op->outcome != HISTORY_OK)
        return HISTORY_NOT_TOLD;
    if (op->kind == HISTORY_GET || (op->kind == HISTORY_CAS && !op->swapped))
        return op->result;
    return op->kind == HISTORY_CAS ? op->expected : HISTORY_NOT_TOLD;
}

/* An answer about the value that leaves it alone, whenever it happens. (A put of the present value does not count: an
 * order may need it later, to bring the value back.) */
static bool only_looks(const struct history_op *op)
{
    return op->kind == HISTORY_GET || (op->kind == HISTORY_CAS && op->outcome == HISTORY_OK && !op->swapped);
}

static void count_op(struct search *search, const struct history_op *op, uint32_t change)
{
    if (search->appends)
        return;
    uint32_t needed = needed_value(op);
    if (needed != HISTORY_NOT_TOLD)
        search->values[needed].needed += change;
    if (op->kind == HISTORY_CAS && op->outcome == HISTORY_UNKNOWN)
        search->values[op->expected].wanted += change;
    if (op->kind == HISTORY_CAS && op->outcome == HISTORY_OK && !op->swapped && op->result == HISTORY_NOT_TOLD)
        search->values[op->expected].avoided += change;
    if (!only_looks(op) && written_value(op) != JUNK)
        search->values[written_value(op)].writers += change;
}

/* Would something that must still be seen be lost for ever if `op` replaced the value? */
static bool loses_value(const struct search *search, uint32_t state, const struct history_op *op)
{
    if (search->appends || state == JUNK)
        return false;
    const struct value *value = &search->values[state];
    return value->writers == 0 && value->needed > (needed_value(op) == state);
}

/* ---- doing and undoing */

static void lift(struct search *search, uint32_t number)
{
    struct op *op = &search->ops[number];
    if (number < search->known_count) {
        /* Not list_remove: the links are left as they are, to be put back in reverse order. */
        op->call.link.previous->next = op->call.link.next;
        op->call.link.next->previous = op->call.link.previous;
        op->end.link.previous->next = op->end.link.next;
        op->end.link.next->previous = op->end.link.previous;
        search->known_left--;
    } else {
        op->done = true;
    }
    count_op(search, &op->told, UINT32_MAX); /* one less */
    search->word[0] ^= op->word[0];
    search->word[1] ^= op->word[1];
    search->order[search->order_count++] = number;
}

static void unlift(struct search *search)
{
    uint32_t number = search->order[--search->order_count];
    struct op *op = &search->ops[number];
    if (number < search->known_count) {
        op->end.link.previous->next = &op->end.link;
        op->end.link.next->previous = &op->end.link;
        op->call.link.previous->next = &op->call.link;
        op->call.link.next->previous = &op->call.link;
        search->known_left++;
    } else {
        op->done = false;
    }
    count_op(search, &op->told, 1);
    search->word[0] ^= op->word[0];
    search->word[1] ^= op->word[1];
}

/* A write that nobody was shown, over a value that nobody needs any more. */
static bool is_of_no_account(const struct search *search, const struct history_op *op, uint32_t state)
{
    if (search->appends || search->not_told || op->kind != HISTORY_PUT || op->value != JUNK)
        return false; /* a cas that was not told what it met may need this one later, to have met something */
    return state == JUNK || (search->values[state].needed == 0 && search->values[state].wanted == 0);
}

/* Does at once what can as well be done now as later: what only looks and fits, and writes of no account. Returns the
 * value after it. */
static uint32_t do_forced(struct search *search, uint32_t state)
{
    for (struct list *link = search->entries.next; link != &search->entries;) {
        struct entry *entry = LIST_ENTRY(link, struct entry, link);
        if (!entry->is_call)
            break;
        struct list *following = link->next;
        uint32_t after = state;
        const struct history_op *told = &search->ops[entry->op].told;
        bool looks = only_looks(told) && apply(search->history, told, state, &after);
        if (looks || is_of_no_account(search, told, state)) {
            state = looks ? state : JUNK;
            lift(search, entry->op);
            following =
                search->entries.next; /* an end has gone, so more may be in reach; and the value may be another */
        }
        link = following;
    }
    return state;
}

static const struct entry *first_end(const struct search *search)
{
    LIST_FOR_EACH (link, &search->entries) {
        const struct entry *entry = LIST_ENTRY(link, struct entry, link);
        if (!entry->is_call)
            return entry;
    }
    return NULL;
}

static uint32_t first_cas(const struct search *search, uint32_t state)
{
    if (search->appends || state == JUNK || search->values[state].cas == 0)
        return NO_OP;
    return search->values[state].cas - 1;
}

static void push_frame(struct search *search, uint32_t state)
{
    struct frame *frame = &search->frames[search->frame_count++];
    size_t before = search->order_count;
    state = do_forced(search, state);
    *frame = (struct frame){.state = state,
                            .order_count = search->order_count,
                            .forced_count = (uint32_t)(search->order_count - before),
                            .next_known = search->entries.next,
                            .next_unknown = {search->first_other, first_cas(search, state)}};
    if (search->order_count >= search->best_count && search->known_left > 0) {
        search->best_count = search->order_count;
        search->stuck_index = search->ops[first_end(search)->op].index;
        search->stuck_state = state;
    }
    if (search->known_left > 0 && !remember(search, state)) { /* seen: nothing to try here */
        frame->next_known = NULL;
        frame->next_unknown[0] = frame->next_unknown[1] = NO_OP;
    }
}

static void pop_frame(struct search *search)
{
    struct frame *frame = &search->frames[--search->frame_count];
    for (uint32_t i = 0; i < frame->forced_count; i++)
        unlift(search);
}

/* Can an unknown operation help anybody: by a value that somebody still needs, or by taking one away that somebody did
 * not meet? If not it may as well never have happened: what comes between it and the next write has nothing to do with it. */
static bool is_worth_trying(const struct search *search, const struct history_op *op, uint32_t state)
{
    if (search->appends || (state != JUNK && search->values[state].avoided > 0))
        return true;
    uint32_t written = written_value(op);
    return written != JUNK && (search->values[written].needed > 0 || search->values[written].wanted > 0);
}

static bool next_unknown(struct search *search, struct frame *frame, uint32_t *ret_op, uint32_t *ret_state)
{
    uint64_t limit = search->known_left > 0 ? first_end(search)->time : 0;
    for (int kind = 0; kind < 2; kind++)
        while (frame->next_unknown[kind] != NO_OP) {
            uint32_t number = frame->next_unknown[kind];
            const struct op *op = &search->ops[number];
            if (op->told.start > limit)
                break;
            frame->next_unknown[kind] = op->next;
            *ret_op = number;
            if (op->done || !is_worth_trying(search, &op->told, frame->state) ||
                (op->twin != NO_OP && !search->ops[op->twin].done)) /* of two that do the same, the earlier first */
                continue;
            if (apply(search->history, &op->told, frame->state, ret_state) && *ret_state != frame->state &&
                !loses_value(search, frame->state, &op->told))
                return true;
        }
    return false;
}

/* The next operation that can come at this choice point, and the value after it. */
static bool next_choice(struct search *search, struct frame *frame, uint32_t *ret_op, uint32_t *ret_state)
{
    while (frame->next_known && frame->next_known != &search->entries) {
        struct entry *entry = LIST_ENTRY(frame->next_known, struct entry, link);
        if (!entry->is_call)
            break;
        frame->next_known = entry->link.next;
        *ret_op = entry->op;
        const struct history_op *told = &search->ops[entry->op].told;
        if (apply(search->history, told, frame->state, ret_state) &&
            (*ret_state == frame->state || !loses_value(search, frame->state, told)))
            return true;
    }
    frame->next_known = NULL;
    return next_unknown(search, frame, ret_op, ret_state);
}

static enum linear_verdict run_search(struct search *search)
{
    push_frame(search, HISTORY_NO_VALUE);
    while (search->frame_count > 0) {
        if (search->known_left == 0)
            return LINEAR_OK;
        if (++search->steps > search->steps_max)
            return LINEAR_UNDECIDED;
        struct frame *frame = &search->frames[search->frame_count - 1];
        uint32_t number, state;
        if (next_choice(search, frame, &number, &state)) {
            lift(search, number);
            push_frame(search, state);
        } else {
            pop_frame(search);
            if (search->frame_count > 0)
                unlift(search); /* the choice that led here */
        }
    }
    return LINEAR_ILLEGAL;
}

/* ---- setting up one key */

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
    if (x->time != y->time)
        return x->time < y->time ? -1 : 1;
    if (x->is_call != y->is_call) /* what ends as another begins may overlap it */
        return x->is_call ? -1 : 1;
    return x->op < y->op ? -1 : x->op > y->op;
}

static int compare_starts(const void *a, const void *b)
{
    const struct op *x = a, *y = b;
    if (x->told.start != y->told.start)
        return x->told.start < y->told.start ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Which values matter: those that an answer mentions, and those that an unknown cas needs to write one that matters. */
static void find_shown(struct search *search, const struct op *ops, size_t count)
{
    bool changed = true;
    for (size_t i = 0; i < count; i++) {
        const struct history_op *op = &ops[i].told;
        if (op->kind == HISTORY_APPEND)
            search->appends = true;
        if (op->outcome != HISTORY_OK)
            continue;
        if ((op->kind == HISTORY_GET || op->kind == HISTORY_CAS) && op->result != HISTORY_NOT_TOLD)
            search->values[op->result].shown = true;
        if (op->kind == HISTORY_CAS)
            search->values[op->expected].shown = true;
        if (op->kind == HISTORY_CAS && !op->swapped && op->result == HISTORY_NOT_TOLD)
            search->not_told = search->values[HISTORY_NO_VALUE].shown = true;
    }
    while (changed) {
        changed = false;
        for (size_t i = 0; i < count; i++) {
            const struct history_op *op = &ops[i].told;
            if (op->kind == HISTORY_CAS && op->outcome == HISTORY_UNKNOWN && search->values[op->value].shown &&
                !search->values[op->expected].shown)
                changed = search->values[op->expected].shown = true;
        }
    }
}

static bool is_needed(const struct search *search, const struct history_op *op)
{
    if (op->outcome == HISTORY_OK)
        return true;
    if (op->kind == HISTORY_GET || op->outcome == HISTORY_FAIL)
        return false;
    return search->appends || search->not_told || search->values[written_value(op)].shown;
}

static bool is_twin(const struct history_op *a, const struct history_op *b)
{
    if (a->kind == HISTORY_APPEND || b->kind == HISTORY_APPEND)
        return false;
    bool cas = a->kind == HISTORY_CAS;
    return cas == (b->kind == HISTORY_CAS) && written_value(a) == written_value(b) &&
           (!cas || a->expected == b->expected);
}

static void link_twins(struct op *unknown, uint32_t count, uint32_t first_number)
{
    for (uint32_t i = 0; i < count; i++) {
        unknown[i].twin = NO_OP;
        for (uint32_t j = i; j > 0 && unknown[i].twin == NO_OP; j--)
            if (is_twin(&unknown[j - 1].told, &unknown[i].told))
                unknown[i].twin = first_number + j - 1;
    }
}

/* From the last to the first, so that each chain is in order. */
static void link_unknown(struct search *search)
{
    search->first_other = NO_OP;
    for (uint32_t number = search->known_count + search->unknown_count; number-- > search->known_count;) {
        struct op *op = &search->ops[number];
        bool cas = !search->appends && op->told.kind == HISTORY_CAS && op->told.expected != JUNK;
        uint32_t *first = cas ? &search->values[op->told.expected].cas : NULL;
        op->next = !cas ? search->first_other : *first ? *first - 1 : NO_OP;
        if (cas)
            *first = number + 1;
        else
            search->first_other = number;
    }
}

static size_t keep_needed(struct search *search, struct op *ops, size_t count)
{
    find_shown(search, ops, count);
    struct op *unknown = malloc((count + 1) * sizeof *unknown);
    CHECK(unknown);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        struct history_op *told = &ops[i].told;
        if (!is_needed(search, told))
            continue;
        if (!search->appends && (told->kind == HISTORY_PUT || told->kind == HISTORY_CAS) &&
            !search->values[told->value].shown)
            told->value = JUNK;
        if (told->outcome == HISTORY_OK)
            ops[kept++] = ops[i];
        else
            unknown[search->unknown_count++] = ops[i];
    }
    search->known_count = search->known_left = (uint32_t)kept;
    qsort(unknown, search->unknown_count, sizeof *unknown, compare_starts);
    link_twins(unknown, search->unknown_count, (uint32_t)kept);
    memcpy(ops + kept, unknown, search->unknown_count * sizeof *unknown);
    free(unknown);
    return kept + search->unknown_count;
}

static void link_entries(struct search *search)
{
    struct entry **sorted = malloc((2 * (size_t)search->known_count + 1) * sizeof(struct entry *));
    CHECK(sorted);
    list_init(&search->entries);
    for (uint32_t i = 0; i < search->known_count; i++) {
        struct op *op = &search->ops[i];
        op->call = (struct entry){.time = op->told.start, .op = i, .is_call = true};
        op->end = (struct entry){.time = op->told.end, .op = i, .is_call = false};
        sorted[2 * i] = &op->call;
        sorted[2 * i + 1] = &op->end;
    }
    qsort(sorted, 2 * (size_t)search->known_count, sizeof(struct entry *), compare_entries);
    for (uint32_t i = 0; i < 2 * search->known_count; i++)
        list_push_back(&search->entries, &sorted[i]->link);
    free(sorted);
}

/* `values`: one for each number that is mentioned anywhere, all zero; left so. */
static enum linear_verdict check_key(struct history *history, uint32_t key, struct op *ops, size_t count,
                                     struct value *values, size_t value_count, uint64_t steps_max,
                                     struct linear_result *result)
{
    struct search search = {.history = history, .ops = ops, .values = values, .steps_max = steps_max};
    count = keep_needed(&search, ops, count);
    link_unknown(&search);
    for (size_t i = 0; i < count; i++)
        count_op(&search, &ops[i].told, 1);
    for (size_t i = 0; i < count; i++) {
        ops[i].word[0] = scramble(2 * i + 0x9e3779b97f4a7c15u);
        ops[i].word[1] = scramble(2 * i + 0x3c6ef372fe94f82bu);
    }
    link_entries(&search);
    search.order = malloc((count + 1) * sizeof *search.order);
    search.frames = malloc((count + 2) * sizeof *search.frames);
    CHECK(search.order && search.frames);
    enum linear_verdict verdict = run_search(&search);
    result->steps += search.steps;
    if (verdict != LINEAR_OK && result->verdict != LINEAR_ILLEGAL) {
        result->verdict = verdict;
        result->key = key;
        result->stuck_index = search.stuck_index;
        result->stuck_value = search.stuck_state == JUNK ? HISTORY_NOT_TOLD : search.stuck_state;
        result->done_count = search.best_count;
    }
    memset(values, 0, value_count * sizeof *values);
    free(search.order);
    free(search.frames);
    free(search.seen);
    return verdict;
}

static uint32_t count_values(struct history *history)
{
    uint32_t most = 0;
    for (size_t i = 0; i < history_count(history); i++) {
        const struct history_op *op = history_at(history, i);
        const uint32_t mentioned[] = {op->value, op->expected, op->result};
        for (int j = 0; j < 3; j++)
            if (mentioned[j] != HISTORY_NOT_TOLD && mentioned[j] > most)
                most = mentioned[j];
    }
    return most + 1;
}

void check_linear(struct history *history, uint64_t steps_max, struct linear_result *ret_result)
{
    enum { STEPS_MAX = 10 * 1000 * 1000 };
    *ret_result = (struct linear_result){.verdict = LINEAR_OK};
    size_t count = history_count(history);
    uint32_t key_count = history_key_count(history);
    uint32_t value_count = count_values(history);
    struct value *values = calloc(value_count, sizeof *values);
    size_t *starts = calloc((size_t)key_count + 1, sizeof *starts);
    struct op *ops = calloc(count + 1, sizeof *ops);
    CHECK(starts && ops && values);
    for (size_t i = 0; i < count; i++)
        starts[history_at(history, i)->key + 1]++;
    for (uint32_t key = 0; key < key_count; key++)
        starts[key + 1] += starts[key];
    size_t *next = malloc(((size_t)key_count + 1) * sizeof *next);
    CHECK(next);
    memcpy(next, starts, ((size_t)key_count + 1) * sizeof *next);
    for (size_t i = 0; i < count; i++) {
        struct history_op *told = history_at(history, i);
        ops[next[told->key]++] = (struct op){.told = *told, .index = i};
    }
    for (uint32_t key = 0; key < key_count && ret_result->verdict != LINEAR_ILLEGAL; key++)
        check_key(history, key, ops + starts[key], starts[key + 1] - starts[key], values, value_count,
                  steps_max ? steps_max : STEPS_MAX, ret_result);
    free(values);
    free(next);
    free(starts);
    free(ops);
}
