/* fuzz_replay: runs a fuzz target without libFuzzer.
 *
 *   replay_X PATH...            each file, or each file of a folder: as it is, cut short everywhere, and damaged
 *   replay_X --write FOLDER     writes the target's own seeds there */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/rng.h"
#include "fuzz.h"

enum { PATH_SIZE_MAX = 4096, FILE_SIZE_MAX = 1024 * 1024, CUTS_MAX = 256, DAMAGED_COUNT = 64 };

/* A block of its own, so that a sanitizer sees where it ends. */
static void run(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    CHECK(copy);
    if (size > 0)
        memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void run_damaged(struct rng *rng, const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size);
    CHECK(copy);
    memcpy(copy, data, size);
    for (uint64_t count = rng_between(rng, 1, 4); count > 0; count--) {
        uint8_t *at = &copy[rng_below(rng, size)];
        *at = (uint8_t)(rng_chance(rng, 1, 2) ? *at ^ 1u << rng_below(rng, 8) : rng_next(rng));
    }
    run(copy, size);
    free(copy);
}

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(FILE_SIZE_MAX);
    struct rng rng;
    CHECK(data);
    if (!file) {
        perror(path);
        free(data);
        return 1;
    }
    size_t size = fread(data, 1, FILE_SIZE_MAX, file);
    CHECK(!ferror(file));
    fclose(file);
    run(data, size);
    size_t step = size / CUTS_MAX + 1;
    for (size_t cut = 0; cut < size; cut += step)
        run(data, cut);
    rng_init(&rng, size, "damage");
    for (int i = 0; i < DAMAGED_COUNT && size > 0; i++)
        run_damaged(&rng, data, size);
    free(data);
    return 0;
}

static int replay(const char *path, int *count)
{
    DIR *dir = opendir(path);
    if (!dir) {
        ++*count;
        return replay_file(path);
    }
    int failed = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char full[PATH_SIZE_MAX];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(full, sizeof full, "%s/%s", path, entry->d_name);
        failed |= replay_file(full);
        ++*count;
    }
    closedir(dir);
    return failed;
}

static void write_seed(void *context, const char *name, const void *data, size_t size)
{
    char path[PATH_SIZE_MAX];
    snprintf(path, sizeof path, "%s/%s", (const char *)context, name);
    FILE *file = fopen(path, "wb");
    if (!file) {
        perror(path);
        exit(1);
    }
    CHECK(fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--write") == 0) {
        fuzz_seeds(write_seed, argv[2]);
        return 0;
    }
    int failed = 0, count = 0;
    for (int i = 1; i < argc; i++)
        failed |= replay(argv[i], &count);
    printf("%d inputs\n", count);
    return failed || count == 0;
}
