/* test_raft_cluster: a group keeps its promises in every random world (sim/raft_world.c says which).
 *
 * RAFT_SEEDS=first..last runs those seeds instead of the usual ones; a failure prints its seed. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

/* As a part of this file, so that the test needs nothing but common/raft and common/base. */
#include "../sim/raft_world.c"

static void a_group_keeps_its_promises_in_every_random_world(void **state)
{
    unsigned long long first = 1, last = 60;
    (void)state;
    if (getenv("RAFT_SEEDS"))
        sscanf(getenv("RAFT_SEEDS"), "%llu..%llu", &first, &last);
    for (unsigned long long seed = first; seed <= last; seed++)
        raft_world_run(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_group_keeps_its_promises_in_every_random_world)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
