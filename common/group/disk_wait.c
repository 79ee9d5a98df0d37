#include "disk_wait.h"

#include <stdlib.h>

#include "base/check.h"

enum { RETRY_US = 100000 };

static void free_retry(struct message *message)
{
    free(message);
}

void disk_wait_post(struct env *env, struct actor *actor, uint32_t kind)
{
    struct message *message = calloc(1, sizeof *message);
    CHECK(message);
    *message = (struct message){.kind = kind, .free = free_retry};
    actor_post_after(env->executor, actor, RETRY_US, message);
}
