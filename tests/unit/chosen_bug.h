/* chosen_bug: in a build with -Dbugs=true a unit test runs with the deliberate mistake that POLDER_BUG names, so that
 * tests/mutants/run can see it fail. */
#ifndef UNIT_CHOSEN_BUG_H
#define UNIT_CHOSEN_BUG_H

#include <stdio.h>
#include <stdlib.h>

#include "base/bug.h"

static inline void choose_bug(void)
{
#ifdef POLDER_BUGS
    const char *name = getenv("POLDER_BUG");
    if (name && !bug_choose(name)) {
        fprintf(stderr, "no such bug: %s\n", name);
        exit(9);
    }
#endif
}

#endif
