/* fuzz: what all fuzz targets share. A target is one file fuzz_X.c with the two functions below; it is built twice:
 *
 *   with libFuzzer (clang, -Dfuzz=true): tests/fuzz/run looks for inputs that nobody thought of;
 *   with fuzz_replay.c (always): the committed corpus, every truncation of it and some damage to it, as a test.
 *
 * A target fails by CHECK, by a sanitizer, or by what libFuzzer limits (time and memory per input). */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/error.h"

/* One input; always 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Gives inputs that reach deep; the same every time. They are the corpus, together with what was found later. */
typedef void fuzz_write_seed(void *context, const char *name, const void *data, size_t size);
void fuzz_seeds(fuzz_write_seed *write, void *context);

/* The input as a source of choices. When it is used up, everything is 0. */
struct fuzz_input {
    const uint8_t *data;
    size_t size;
};

static inline uint8_t fuzz_u8(struct fuzz_input *input)
{
    if (input->size == 0)
        return 0;
    input->size--;
    return *input->data++;
}

static inline uint64_t fuzz_number(struct fuzz_input *input, uint32_t size)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < size; i++)
        value = value << 8 | fuzz_u8(input);
    return value;
}

static inline struct bytes fuzz_take(struct fuzz_input *input, size_t size)
{
    struct bytes bytes = bytes_of(input->data, size < input->size ? size : input->size);
    input->data += bytes.size;
    input->size -= bytes.size;
    return bytes;
}

/* A file that holds `bytes`, for readers that want a path: "/proc/self/fd/N", good until the returned N is closed. */
static inline int fuzz_file(struct bytes bytes, char path[static 32], const char *name)
{
    int fd = memfd_create(name, 0);
    CHECK(fd >= 0);
    for (size_t at = 0; at < bytes.size;) {
        ssize_t written = write(fd, bytes.data + at, bytes.size - at);
        CHECK(written > 0);
        at += (size_t)written;
    }
    snprintf(path, 32, "/proc/self/fd/%d", fd);
    return fd;
}

#endif
