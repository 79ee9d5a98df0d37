/* report: what `polder sim` says about seeds, for people and as JSON. */
#ifndef SIM_REPORT_H
#define SIM_REPORT_H

#include "batch.h"

/* A line about a seed, or two. */
void report_seed(const struct batch_settings *settings, const struct run_result *result, uint64_t seed);
/* To standard error: once a second on a terminal, every ten seconds elsewhere, and never for a single seed. `end`: the
 * line is given back. */
void report_progress(const struct batch_settings *settings, const struct batch_totals *totals, bool end);
void report_totals(const struct batch_settings *settings, const struct batch_totals *totals);
/* All in one object; `failures` are those of report_json_failure. */
struct cJSON;
struct cJSON *report_json_failure(const struct batch_settings *settings, const struct batch_outcome *outcome,
                                  uint64_t seed);
void report_json(const struct batch_settings *settings, const struct batch_totals *totals, struct cJSON *take_failures);

#endif
