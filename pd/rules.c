#include "pd/rules.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

void rules_init(struct rules *rules)
{
    rules->count = 0;
}

static void free_keys(struct rule *rule)
{
    free((void *)(uintptr_t)rule->start_key.data);
    free((void *)(uintptr_t)rule->end_key.data);
}

void rules_fini(struct rules *rules)
{
    for (uint32_t i = 0; i < rules->count; i++)
        free_keys(&rules->list[i]);
    rules->count = 0;
}

static struct bytes copy_key(struct bytes key)
{
    if (key.size == 0)
        return bytes_empty();
    uint8_t *copy = malloc(key.size);
    CHECK(copy);
    memcpy(copy, key.data, key.size);
    return bytes_of(copy, key.size);
}

static int compare_rules(const struct rule *a, const struct rule *b)
{
    if (a->group_index != b->group_index)
        return a->group_index < b->group_index ? -1 : 1;
    int order = strcmp(a->group, b->group);
    if (order != 0)
        return order;
    if (a->index != b->index)
        return a->index < b->index ? -1 : 1;
    return strcmp(a->name, b->name);
}

static enum err check_rule(const struct rule *rule, struct error *err)
{
    if (rule->group[0] == '\0' || rule->name[0] == '\0')
        return error_set(err, ERR_INVALID, "a rule needs a group and a name");
    if (rule->count == 0 || rule->count > RULE_PEERS_MAX)
        return error_set(err, ERR_INVALID, "rule %s/%s wants %u peers: 1 to %d are possible", rule->group, rule->name,
                         rule->count, RULE_PEERS_MAX);
    if (rule->role == RULE_LEADER && rule->count > 1)
        return error_set(err, ERR_INVALID, "rule %s/%s wants %u leaders", rule->group, rule->name, rule->count);
    if (rule->end_key.size > 0 && bytes_compare(rule->start_key, rule->end_key) >= 0)
        return error_set(err, ERR_INVALID, "rule %s/%s ends before it starts", rule->group, rule->name);
    if (rule->location_count > RULE_LOCATIONS_MAX || rule->isolation_level > rule->location_count)
        return error_set(err, ERR_INVALID, "rule %s/%s isolates at a location that it does not have", rule->group,
                         rule->name);
    if (rule->constraint_count > RULE_CONSTRAINTS_MAX)
        return error_set(err, ERR_INVALID, "rule %s/%s has too many constraints", rule->group, rule->name);
    return ERR_OK;
}

enum err rules_remove(struct rules *rules, const char *group, const char *name)
{
    for (uint32_t i = 0; i < rules->count; i++) {
        if (strcmp(rules->list[i].group, group) != 0 || strcmp(rules->list[i].name, name) != 0)
            continue;
        free_keys(&rules->list[i]);
        rules->count--;
        memmove(&rules->list[i], &rules->list[i + 1], (rules->count - i) * sizeof(struct rule));
        return ERR_OK;
    }
    return ERR_NOT_FOUND;
}

enum err rules_put(struct rules *rules, const struct rule *rule, struct error *err)
{
    if (check_rule(rule, err) != ERR_OK)
        return ERR_INVALID;
    struct rule copy = *rule;
    copy.start_key = copy_key(rule->start_key);
    copy.end_key = copy_key(rule->end_key);
    if (rules_remove(rules, rule->group, rule->name) != ERR_OK && rules->count == RULES_MAX) {
        free_keys(&copy);
        return error_set(err, ERR_BUSY, "there are %d rules already", RULES_MAX);
    }
    uint32_t i = rules->count++;
    for (; i > 0 && compare_rules(&rules->list[i - 1], &copy) > 0; i--)
        rules->list[i] = rules->list[i - 1];
    rules->list[i] = copy;
    return ERR_OK;
}

/* end keys: an empty one is behind all keys */
static bool key_inside(struct bytes key, struct bytes start, struct bytes end)
{
    return key.size > 0 && bytes_compare(key, start) > 0 && (end.size == 0 || bytes_compare(key, end) < 0);
}

static bool covers(const struct rule *rule, struct bytes start)
{
    return bytes_compare(rule->start_key, start) <= 0 &&
           (rule->end_key.size == 0 || bytes_compare(start, rule->end_key) < 0);
}

/* Drops those of the list that this one takes the place of. */
static uint32_t override(const struct rule *rule, const struct rule **list, uint32_t count)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool same = strcmp(list[i]->group, rule->group) == 0;
        if ((rule->overrides && same) || (rule->group_overrides && !same))
            continue;
        list[kept++] = list[i];
    }
    return kept;
}

uint32_t rules_of(const struct rules *rules, struct bytes start, struct bytes end, const struct rule **list,
                  struct bytes *ret_cut)
{
    uint32_t count = 0;
    *ret_cut = bytes_empty();
    for (uint32_t i = 0; i < rules->count; i++) {
        const struct rule *rule = &rules->list[i];
        bool starts_inside = key_inside(rule->start_key, start, end),
             ends_inside = key_inside(rule->end_key, start, end);
        if (starts_inside || ends_inside) {
            *ret_cut = starts_inside ? rule->start_key : rule->end_key;
            return 0;
        }
        if (!covers(rule, start))
            continue;
        count = override(rule, list, count);
        if (count < RULES_PER_REGION_MAX)
            list[count++] = rule;
    }
    return count;
}

static bool meets(const struct rule_constraint *constraint, const struct store_entry *store)
{
    uint16_t value = store_label_value(store, constraint->name);
    bool in = false;
    for (uint32_t i = 0; i < constraint->value_count; i++)
        in |= value != 0 && constraint->values[i] == value;
    switch (constraint->test) {
    case RULE_IN:
        return in;
    case RULE_NOT_IN:
        return !in;
    case RULE_EXISTS:
        return value != 0;
    case RULE_NOT_EXISTS:
        return value == 0;
    }
    return false;
}

bool rule_takes_store(const struct rule *rule, const struct store_entry *store)
{
    for (uint32_t i = 0; i < rule->constraint_count; i++)
        if (!meets(&rule->constraints[i], store))
            return false;
    return true;
}

uint32_t rule_distance(const struct rule *rule, const struct store_entry *a, const struct store_entry *b)
{
    for (uint32_t i = 0; i < rule->location_count; i++) {
        uint16_t value = store_label_value(a, rule->locations[i]);
        if (value != 0 && store_label_value(b, rule->locations[i]) != 0 &&
            value != store_label_value(b, rule->locations[i]))
            return rule->location_count - i;
    }
    return 0;
}

bool rule_isolates(const struct rule *rule, const struct store_entry *a, const struct store_entry *b)
{
    return rule->isolation_level == 0 || rule_distance(rule, a, b) > rule->location_count - rule->isolation_level;
}

const char *rule_role_name(enum rule_role role)
{
    static const char *const names[] = {"voter", "leader", "follower", "learner"};
    return names[role];
}
