#include "admission.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/check.h"

enum { ADMISSION_BUCKET_COUNT = 4096 };

struct admission {
    uint64_t size_max, connection_size_max;
    _Atomic uint32_t count; /* the owner, and each charge */
    _Atomic uint64_t size, refused_count;
    _Atomic uint64_t buckets[ADMISSION_BUCKET_COUNT];
};

struct admission_charge {
    struct admission *admission; /* counted */
    _Atomic uint32_t count;
    uint32_t bucket;
    uint64_t size;
};

struct admission *admission_new(uint64_t size_max, uint64_t connection_size_max)
{
    struct admission *admission = calloc(1, sizeof *admission);
    CHECK(admission);
    admission->size_max = size_max;
    admission->connection_size_max = connection_size_max;
    atomic_init(&admission->count, 1);
    return admission;
}

void admission_unref(struct admission *admission)
{
    if (admission && atomic_fetch_sub(&admission->count, 1) == 1)
        free(admission);
}

uint64_t admission_size(const struct admission *admission)
{
    return atomic_load(&admission->size);
}

uint64_t admission_refused_count(const struct admission *admission)
{
    return atomic_load(&admission->refused_count);
}

/* Adds, unless something is there already and it would become more than `max`. */
static bool add_within(_Atomic uint64_t *counter, uint64_t size, uint64_t max)
{
    uint64_t now = atomic_load(counter);
    do {
        if (now > 0 && (size > max || now > max - size))
            return false;
    } while (!atomic_compare_exchange_weak(counter, &now, now + size));
    return true;
}

static uint32_t bucket_of(conn_id conn)
{
    return (uint32_t)(conn * 0x9e3779b97f4a7c15u >> 52) % ADMISSION_BUCKET_COUNT;
}

struct admission_charge *admission_charge(struct admission *admission, conn_id conn, uint64_t size)
{
    uint32_t bucket = bucket_of(conn);
    bool fits = add_within(&admission->buckets[bucket], size, admission->connection_size_max);
    if (fits && !add_within(&admission->size, size, admission->size_max)) {
        atomic_fetch_sub(&admission->buckets[bucket], size);
        fits = false;
    }
    if (!fits) {
        atomic_fetch_add(&admission->refused_count, 1);
        return NULL;
    }
    struct admission_charge *charge = malloc(sizeof *charge);
    CHECK(charge);
    atomic_fetch_add(&admission->count, 1);
    charge->admission = admission;
    charge->bucket = bucket;
    charge->size = size;
    atomic_init(&charge->count, 1);
    return charge;
}

struct admission_charge *admission_charge_ref(struct admission_charge *charge)
{
    atomic_fetch_add(&charge->count, 1);
    return charge;
}

void admission_charge_unref(struct admission_charge *charge)
{
    if (!charge || atomic_fetch_sub(&charge->count, 1) > 1)
        return;
    atomic_fetch_sub(&charge->admission->buckets[charge->bucket], charge->size);
    atomic_fetch_sub(&charge->admission->size, charge->size);
    admission_unref(charge->admission);
    free(charge);
}
