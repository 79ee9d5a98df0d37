#include <stdio.h>
#include <string.h>

#include "bench.h"

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* The finalizer of splitmix64: one to one. */
static uint64_t mix(uint64_t number)
{
    number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9ULL;
    number = (number ^ (number >> 27)) * 0x94d049bb133111ebULL;
    return number ^ (number >> 31);
}

void bench_data_key(uint64_t index, char key[static BENCH_KEY_SIZE])
{
    uint64_t number = mix(index + 0x9e3779b97f4a7c15ULL);
    /* 11 digits hold 64 bits, the least one first: so the first characters are even, and the key is unique. */
    for (int i = 0; i < 11; i++, number /= 62)
        key[i] = digits[number % 62];
    number = mix(index ^ 0xd1b54a32d192ed03ULL);
    for (int i = 11; i < BENCH_KEY_SIZE; i++, number /= 62)
        key[i] = digits[number % 62];
}

void bench_data_value(uint64_t id, size_t size, uint8_t *value)
{
    char head[32];
    snprintf(head, sizeof head, "v%016llx", (unsigned long long)id);
    for (size_t i = 0; i < size && i < BENCH_VALUE_ID_SIZE; i++)
        value[i] = (uint8_t)head[i];
    /* Six bits a character: text for people, and nothing that a compressor could get far with. */
    uint64_t state = mix(id);
    for (size_t i = BENCH_VALUE_ID_SIZE; i < size;) {
        state = mix(state + 0x9e3779b97f4a7c15ULL);
        for (uint64_t word = state, n = 0; n < 10 && i < size; n++, word >>= 6)
            value[i++] = (uint8_t)digits[(word & 63) % 62];
    }
}

bool bench_data_value_id(struct bytes value, uint64_t *ret_id)
{
    if (value.size < BENCH_VALUE_ID_SIZE || value.data[0] != 'v')
        return false;
    uint64_t id = 0;
    for (size_t i = 1; i < BENCH_VALUE_ID_SIZE; i++) {
        uint8_t c = value.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        id = id << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *ret_id = id;
    return true;
}
