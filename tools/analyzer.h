/* analyzer: what clang-tidy cannot see across files; .ci/run puts it in front of every file that it checks.
 *
 * error_set returns the code it is given: without knowing this the analyzer follows paths on which a failure is ERR_OK.
 * HASH_DEL of the last item frees the table, which the analyzer takes for the item. */
#ifndef TOOLS_ANALYZER_H
#define TOOLS_ANALYZER_H

#include <uthash.h>

#include "base/error.h"

#define error_set(err, code, ...) (error_set(err, code, __VA_ARGS__), (code))

#undef HASH_DEL
#define HASH_DEL(head, item) ((head) = (item) == (head) ? NULL : (head))

#endif
