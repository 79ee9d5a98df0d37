/* spread: the regions of a cluster, one JSON line each, with how many keys each holds.
 *
 *   spread PD
 *
 * Bounds are in hex and without the prefix of the raw key space, so they compare with user keys; "" is open. Exit code
 * 0: all regions were counted, 1: not. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/polder.h"

enum { RAW_PREFIX = 'r', PAGE = 10000 };

static int complain(const char *what, struct polder_result *take_result)
{
    fprintf(stderr, "spread: %s: %s: %s\n", what, take_result->name, take_result->text);
    polder_result_free(take_result);
    return -1;
}

/* Encoded bound to user key: what lies before or behind the raw key space has no user key. */
static struct polder_bytes user_key(struct polder_bytes encoded)
{
    const uint8_t *data = encoded.data;
    if (encoded.size == 0 || data[0] != RAW_PREFIX)
        return polder_bytes(NULL, 0);
    return polder_bytes(data + 1, encoded.size - 1);
}

/* -1: the scan failed. */
static int64_t count_keys(struct polder *polder, struct polder_bytes start, struct polder_bytes end)
{
    struct polder_scan scan = {.size = sizeof scan, .start = start, .end = end, .limit = PAGE, .keys_only = true};
    struct polder_result *page = NULL;
    int64_t count = 0;
    for (bool more = true; more;) {
        struct polder_result *next = polder_scan(polder, &scan, NULL);
        polder_result_free(page); /* the token points into it */
        page = next;
        if (page->outcome != POLDER_DONE)
            return complain("scan", page);
        count += (int64_t)page->row_count;
        more = page->more;
        scan.token = page->next;
    }
    polder_result_free(page);
    return count;
}

static void print_hex(const char *name, struct polder_bytes bytes)
{
    const uint8_t *data = bytes.data;
    printf("\"%s\":\"", name);
    for (size_t i = 0; i < bytes.size; i++)
        printf("%02x", data[i]);
    printf("\",");
}

static int print_region(struct polder *polder, const struct polder_region *region)
{
    struct polder_bytes start = user_key(region->start_key), end = user_key(region->end_key);
    int64_t keys = count_keys(polder, start, end);
    if (keys < 0)
        return -1;
    printf("{\"id\":%" PRIu64 ",", region->id);
    print_hex("start", start);
    print_hex("end", end);
    printf("\"peers\":%zu,\"leader_store\":%" PRIu64 ",\"keys\":%" PRId64 "}\n", region->peer_count,
           region->leader_store, keys);
    return 0;
}

static int print_regions(struct polder *polder)
{
    struct polder_result *page = NULL;
    struct polder_bytes at = polder_bytes(NULL, 0);
    int code = 0;
    do {
        struct polder_result *next = polder_cluster_regions(polder, at, 256, NULL);
        polder_result_free(page); /* `at` points into it */
        page = next;
        if (page->outcome != POLDER_DONE)
            return complain("regions", page);
        size_t count = page->cluster->region_page_count;
        for (size_t i = 0; i < count && code == 0; i++)
            code = print_region(polder, &page->cluster->regions[i]);
        at = count > 0 ? page->cluster->regions[count - 1].end_key : polder_bytes(NULL, 0);
    } while (at.size > 0 && code == 0);
    polder_result_free(page);
    return code;
}

int main(int argc, char **argv)
{
    struct polder *polder;
    char text[256];
    if (argc != 2) {
        fprintf(stderr, "usage: spread PD\n");
        return 2;
    }
    struct polder_options options = {.size = sizeof options, .pd = argv[1]};
    if (polder_open(&options, &polder, text, sizeof text) != POLDER_OK) {
        fprintf(stderr, "spread: %s\n", text);
        return 2;
    }
    int code = print_regions(polder);
    polder_close(polder);
    return code == 0 ? 0 : 1;
}
