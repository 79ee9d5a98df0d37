/* docs/openapi.yaml names each route that there is, and no other. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "env/os.h"
#include "pd/pd_api.h"
#include "storenode/store_status.h"

enum { ROUTES_MAX = 256 };

struct found {
    char method[8], path[128];
};

static const char *file_path;
static struct found found[ROUTES_MAX];
static uint32_t found_count;

/* Paths stand two blanks deep, methods four. */
static void take_line(const char *line, char *path)
{
    char method[8] = "";
    if (strncmp(line, "  /", 3) == 0) {
        snprintf(path, 128, "%.*s", (int)strcspn(line + 2, ":"), line + 2);
    } else if (path[0] && sscanf(line, "    %7[a-z]:", method) == 1 && line[4] != ' ' &&
               line[4 + strlen(method)] == ':') {
        assert_in_range(found_count, 0, ROUTES_MAX - 1);
        struct found *one = &found[found_count++];
        snprintf(one->path, sizeof one->path, "%s", path);
        for (size_t i = 0; i <= strlen(method); i++)
            one->method[i] = (char)toupper((unsigned char)method[i]);
    }
}

static int read_file(void **state)
{
    (void)state;
    struct os_lines *lines;
    struct bytes line;
    struct error err;
    char path[128] = "", text[1024];
    bool in_paths = false;
    if (os_lines_open(file_path, 4096, &lines, &err) != ERR_OK)
        fail_msg("%s", err.text);
    while (os_lines_next(lines, &line, &err) == ERR_OK) {
        snprintf(text, sizeof text, "%.*s", (int)line.size, (const char *)line.data);
        if (text[0] && text[0] != ' ' && text[0] != '#')
            in_paths = strcmp(text, "paths:") == 0;
        else if (in_paths)
            take_line(text, path);
    }
    os_lines_close(lines);
    return 0;
}

static bool has_route(const struct api_route *routes, size_t count, const struct found *one)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(routes[i].method, one->method) == 0 && strcmp(routes[i].pattern, one->path) == 0)
            return true;
    return false;
}

static void expect_in_file(const struct api_route *routes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool is = false;
        for (uint32_t j = 0; j < found_count; j++)
            is =
                is || (strcmp(routes[i].method, found[j].method) == 0 && strcmp(routes[i].pattern, found[j].path) == 0);
        if (!is)
            fail_msg("%s %s is not in the file", routes[i].method, routes[i].pattern);
    }
}

static void every_route_is_in_the_file(void **state)
{
    (void)state;
    size_t count;
    const struct api_route *routes = pd_api_routes(&count);
    expect_in_file(routes, count);
    routes = store_status_routes(&count);
    expect_in_file(routes, count);
}

static void the_file_names_no_other_route(void **state)
{
    (void)state;
    size_t pd_count, store_count;
    const struct api_route *pd = pd_api_routes(&pd_count), *store = store_status_routes(&store_count);
    assert_true(found_count > 20);
    for (uint32_t i = 0; i < found_count; i++)
        if (!has_route(pd, pd_count, &found[i]) && !has_route(store, store_count, &found[i]))
            fail_msg("there is no %s %s", found[i].method, found[i].path);
}

int main(int argc, char **argv)
{
    file_path = argc > 1 ? argv[1] : "docs/openapi.yaml";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_route_is_in_the_file),
        cmocka_unit_test(the_file_names_no_other_route),
    };
    return cmocka_run_group_tests(tests, read_file, NULL);
}
