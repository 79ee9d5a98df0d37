/* view: a cluster at a glance, as pd and its heartbeats tell it; for `polder status`, `polder up` and waiting. */
#ifndef TOOLS_VIEW_H
#define TOOLS_VIEW_H

#include <stdbool.h>
#include <stdint.h>

struct polder;
struct polder_result;
struct cJSON;

enum view_health { VIEW_HEALTHY = 0, VIEW_DEGRADED = 1, VIEW_DOWN = 2 };
enum { VIEW_LEADERLESS_MAX = 16 };

struct view {
    struct polder_result *info;   /* owned; never NULL after view_load */
    struct polder_result *stores; /* owned; NULL if pd did not answer */
    uint32_t *region_counts;      /* owned; per store, in the order of `stores` */
    uint32_t *leader_counts;      /* owned */
    uint64_t region_count;        /* counted in the routes */
    uint64_t leaderless_count;
    uint64_t leaderless[VIEW_LEADERLESS_MAX]; /* the first ids */
    uint32_t up_count;
    bool covers; /* regions follow each other without hole or overlap from the first key to the last */
    enum view_health health;
    char reason[256]; /* why it is not healthy */
};

/* Asks pd; takes up to `deadline_ms` per question. Never fails: what cannot be told is VIEW_DOWN with the reason. */
void view_load(struct polder *polder, uint32_t deadline_ms, struct view *view);
void view_fini(struct view *view);

const char *view_health_name(enum view_health health);
void view_print(const struct view *view);
struct cJSON *view_json(const struct view *view);

#endif
