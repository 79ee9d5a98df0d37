#include "core_batch.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "raft_world.h"

enum { SEED_REAL_S_MAX = 60, WORDS_SIZE = 400 };

struct core_child {
    pid_t pid;
    int words; /* what it says when it breaks */
    uint64_t seed;
};

static void start(struct core_child *child, uint64_t seed)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    fflush(stdout);
    child->seed = seed;
    child->pid = fork();
    CHECK(child->pid >= 0);
    if (child->pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        alarm(SEED_REAL_S_MAX);
        raft_world_run(seed);
        _exit(0);
    }
    close(ends[1]);
    child->words = ends[0];
}

/* True if it kept its promises. */
static bool end(const struct core_child *child, const struct batch_settings *settings)
{
    char words[WORDS_SIZE] = "";
    size_t used = 0;
    int status;
    for (ssize_t size;
         used < sizeof words - 1 && (size = read(child->words, words + used, sizeof words - 1 - used)) > 0;)
        used += (size_t)size;
    close(child->words);
    waitpid(child->pid, &status, 0);
    if (status == 0)
        return true;
    words[strcspn(words, "\n")] = '\0';
    printf("FAILED seed %llu: core: %s\n", (unsigned long long)child->seed,
           words[0] ? words : strsignal(WTERMSIG(status)));
    printf("  replay: polder sim --core --seed %llu%s%s\n", (unsigned long long)child->seed,
           settings->bug ? " --bug " : "", settings->bug ? settings->bug : "");
    fflush(stdout);
    return false;
}

int core_batch_run(const struct batch_settings *settings)
{
    struct core_child children[BATCH_JOBS_MAX];
    uint64_t failed = 0, next = settings->first;
    while (next <= settings->last) {
        uint32_t count = 0;
        for (; count < settings->jobs && next <= settings->last; count++)
            start(&children[count], next++);
        for (uint32_t i = 0; i < count; i++)
            failed += !end(&children[i], settings);
    }
    printf("%llu worlds of the core, %llu failed\n", (unsigned long long)(settings->last - settings->first + 1),
           (unsigned long long)failed);
    return failed > 0;
}
