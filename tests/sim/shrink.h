/* shrink: the least that still fails.
 *
 * From a seed that failed: fault classes are left out one by one, then there are fewer clients, stores, regions and
 * seconds, as long as the same checker still objects. Leaving something out changes all that is drawn afterwards, so a
 * candidate may fail with one of the next seeds instead. */
#ifndef SIM_SHRINK_H
#define SIM_SHRINK_H

#include "batch.h"

/* Says on standard error what it tries, and on standard output the command that it ends with. */
void shrink(const struct batch_settings *settings, uint64_t seed, const struct batch_outcome *failure);

#endif
