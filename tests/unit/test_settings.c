#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "config/address.h"
#include "config/nearest.h"
#include "config/setting_value.h"
#include "config/settings.h"
#include "pd/pd_config.h"
#include "storenode/store_config.h"

struct target {
    char *name;
    bool fast;
    uint32_t count;
    uint64_t total;
    uint64_t size;
    uint64_t wait_ms;
    char *hosts[3];
    uint32_t host_count;
};

static const struct setting rows[] = {
    {.key = "name",
     .env = "POLDER_NAME",
     .letter = 'n',
     .type = SETTING_STRING,
     SETTING_FIELD(struct target, name),
     .help = "a name"},
    {.key = "fast",
     .env = "POLDER_FAST",
     .type = SETTING_BOOL,
     SETTING_FIELD(struct target, fast),
     .default_text = "false",
     .help = "be fast"},
    {.key = "count",
     .env = "POLDER_COUNT",
     .type = SETTING_U32,
     SETTING_FIELD(struct target, count),
     .default_text = "7",
     .min = 1,
     .max = 100,
     .help = "how many"},
    {.key = "total", .type = SETTING_U64, SETTING_FIELD(struct target, total), .default_text = "0", .help = "all"},
    {.key = "size",
     .env = "POLDER_SIZE",
     .type = SETTING_SIZE,
     SETTING_FIELD(struct target, size),
     .default_text = "4KiB",
     .advanced = true,
     .help = "how big"},
    {.key = "wait",
     .env = "POLDER_WAIT",
     .type = SETTING_DURATION,
     SETTING_FIELD(struct target, wait_ms),
     .default_text = "1s",
     .advanced = true,
     .max = 60000,
     .help = "how long"},
    {.key = "hosts",
     .env = "POLDER_HOSTS",
     .type = SETTING_STRINGS,
     SETTING_FIELD(struct target, hosts),
     .count_offset = offsetof(struct target, host_count),
     .list_max = 3,
     .default_text = "a:1",
     .help = "where"},
};
enum { ROW_COUNT = sizeof rows / sizeof rows[0] };

static enum err read_yaml(struct settings *settings, const char *text, struct error *err)
{
    return settings_read_yaml(settings, "x.yaml", bytes_of_string(text), err);
}

static void assert_yaml_refused(const char *text, const char *want)
{
    struct settings *settings = settings_new(rows, ROW_COUNT);
    struct error err = {0};
    assert_int_equal(read_yaml(settings, text, &err), ERR_INVALID);
    assert_string_equal(err.text, want);
    settings_free(settings);
}

static void assert_flag_refused(const char *flag, const char *value, const char *want)
{
    struct settings *settings = settings_new(rows, ROW_COUNT);
    struct error err = {0};
    char *argv[] = {(char *)"x", (char *)flag, (char *)value, NULL};
    assert_int_equal(settings_read_flags(settings, value ? 3 : 2, argv, &err), ERR_INVALID);
    assert_string_equal(err.text, want);
    settings_free(settings);
}

static void defaults_fill_the_target(void **state)
{
    (void)state;
    struct settings *settings = settings_new(rows, ROW_COUNT);
    struct target target;
    settings_fill(settings, &target);
    assert_null(target.name);
    assert_false(target.fast);
    assert_int_equal(target.count, 7);
    assert_int_equal(target.size, 4096);
    assert_int_equal(target.wait_ms, 1000);
    assert_int_equal(target.host_count, 1);
    assert_string_equal(target.hosts[0], "a:1");
    settings_fini_target(rows, ROW_COUNT, &target);
    assert_int_equal(target.host_count, 0);
    settings_free(settings);
}

static void flag_beats_environment_beats_file_in_any_order(void **state)
{
    (void)state;
    struct settings *settings = settings_new(rows, ROW_COUNT);
    struct error err;
    char *argv[] = {(char *)"x", (char *)"--count", (char *)"3", NULL};
    char *environment[] = {(char *)"POLDER_COUNT=4", (char *)"POLDER_SIZE=2MiB", (char *)"POLDER_SIZES=nonsense", NULL};
    assert_int_equal(settings_read_flags(settings, 3, argv, &err), ERR_OK);
    assert_int_equal(settings_read_env(settings, environment, &err), ERR_OK);
    assert_int_equal(read_yaml(settings, "count: 5\ntotal: 9\nadvanced:\n  size: 1GiB\n  wait: 5 min\n", &err),
                     ERR_INVALID);
    assert_string_equal(err.text, "x.yaml:5: wait: \"5 min\" is too large (at most 1min)");
    assert_int_equal(read_yaml(settings, "advanced:\n  wait: 50 s\n", &err), ERR_OK);
    struct target target;
    settings_fill(settings, &target);
    assert_int_equal(target.count, 3);
    assert_int_equal(target.total, 9);
    assert_int_equal(target.size, 2 << 20);
    assert_int_equal(target.wait_ms, 50000);
    assert_int_equal(settings_origin(settings, 2), ORIGIN_FLAG);
    assert_string_equal(settings_place(settings, 2), "--count");
    assert_string_equal(settings_place(settings, 3), "x.yaml:2");
    assert_string_equal(settings_place(settings, 4), "POLDER_SIZE");
    assert_string_equal(settings_place(settings, 0), "default");
    settings_fini_target(rows, ROW_COUNT, &target);
    settings_free(settings);
}

static void a_list_grows_within_an_origin_and_is_replaced_by_a_higher_one(void **state)
{
    (void)state;
    struct settings *settings = settings_new(rows, ROW_COUNT);
    struct error err;
    struct target target;
    assert_int_equal(read_yaml(settings, "hosts: [b:1, \"c:2\"]", &err), ERR_OK);
    settings_fill(settings, &target);
    assert_int_equal(target.host_count, 2);
    assert_string_equal(target.hosts[1], "c:2");
    settings_fini_target(rows, ROW_COUNT, &target);
    char *argv[] = {(char *)"x", (char *)"--hosts", (char *)"d:1", (char *)"--hosts=e:1,f:1", NULL};
    assert_int_equal(settings_read_flags(settings, 4, argv, &err), ERR_OK);
    settings_fill(settings, &target);
    assert_int_equal(target.host_count, 3);
    assert_string_equal(target.hosts[0], "d:1");
    assert_string_equal(target.hosts[2], "f:1");
    settings_fini_target(rows, ROW_COUNT, &target);
    settings_free(settings);
    assert_flag_refused("--hosts", "a,b,c,d", "--hosts: more than 3 items");
    assert_yaml_refused("hosts:\n - a\n - b\n - c\n - d\n", "x.yaml:5: hosts: more than 3 items");
}

static void what_a_file_says_wrongly_is_named_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"nmae: x", "x.yaml:1: unknown key \"nmae\"; did you mean \"name\"?"},
        {"\n\nzzzzzzzz: x", "x.yaml:3: unknown key \"zzzzzzzz\""},
        {"wait: 1s", "x.yaml:1: key \"wait\" is an advanced one; put it under \"advanced:\""},
        {"advanced:\n  count: 1", "x.yaml:2: key \"count\" is a basic one; move it out of \"advanced:\""},
        {"advnced:\n  count: 1", "x.yaml:1: unknown key \"advnced\"; did you mean \"advanced\"?"},
        {"advanced: 3", "x.yaml:1: advanced: wants keys below it, indented"},
        {"advanced: {}\nadvanced: {}", "x.yaml:2: advanced: given twice"},
        {"advanced:\n  advanced:\n    wait: 1s", "x.yaml:2: unknown key \"advanced\""},
        {"advanced:\n  wait: 200",
         "x.yaml:2: wait: \"200\" has no unit; write for example 200ms (units: ms, s, min, h)"},
        {"advanced:\n  size: 64MB",
         "x.yaml:2: size: \"64MB\" has an unknown unit \"MB\" (units: B, KiB, MiB, GiB, TiB)"},
        {"advanced:\n  size: 99999999999TiB", "x.yaml:2: size: \"99999999999TiB\" is too large a number"},
        {"count: 99999999999999999999999", "x.yaml:1: count: \"99999999999999999999999\" is too large a number"},
        {"count: -1", "x.yaml:1: count: \"-1\" is not a number"},
        {"count: 0x10", "x.yaml:1: count: \"0x10\" is not a number"},
        {"count: 0", "x.yaml:1: count: \"0\" is too small (at least 1)"},
        {"count: 101", "x.yaml:1: count: \"101\" is too large (at most 100)"},
        {"fast: yes", "x.yaml:1: fast: \"yes\" is neither true nor false"},
        {"count: 1\ncount: 2", "x.yaml:2: count: given twice (first at x.yaml:1)"},
        {"count: [1]", "x.yaml:1: count: wants one value, not a list"},
        {"count: {a: 1}", "x.yaml:1: count: wants a value, not keys of its own"},
        {"hosts: [[a]]", "x.yaml:1: hosts: wants a list of plain values"},
        {"name:", "x.yaml:1: name: has no value"},
        {"name: ~", "x.yaml:1: name: has no value"},
        {"name: \"a\\0b\"", "x.yaml:1: name: a zero byte is not accepted"},
        {"name: &a x", "x.yaml:1: anchors (&name) and tags (!type) are not accepted here"},
        {"name: *a", "x.yaml:1: aliases (*name) are not accepted here"},
        {"hosts: &a [x]", "x.yaml:1: anchors (&name) and tags (!type) are not accepted here"},
        {"name: !!str x", "x.yaml:1: anchors (&name) and tags (!type) are not accepted here"},
        {"- a\n- b", "x.yaml:1: wants lines of the form \"key: value\""},
        {"just text", "x.yaml:1: wants lines of the form \"key: value\""},
        {"[a, b]: c", "x.yaml:1: a key must be plain text"},
        {"hosts: []", "x.yaml:1: hosts: has no value"},
        {"name: a\n---\nname: b", "x.yaml:2: a second document (---) is not accepted"},
        {"name: \"a", "x.yaml:1: found unexpected end of stream"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_yaml_refused(cases[i].text, cases[i].want);
}

static void an_alias_bomb_and_a_deep_nest_are_refused_at_once(void **state)
{
    (void)state;
    assert_yaml_refused("name: &a [x,x,x]\nhosts: [*a,*a,*a,*a]",
                        "x.yaml:1: anchors (&name) and tags (!type) are not accepted here");
    size_t size = 500000;
    char *deep = malloc(size + 1);
    assert_non_null(deep);
    memset(deep, '[', size);
    deep[size] = '\0';
    struct settings *settings = settings_new(rows, ROW_COUNT);
    struct error err;
    assert_int_equal(read_yaml(settings, deep, &err), ERR_INVALID);
    settings_free(settings);
    free(deep);
}

static void a_file_over_1_MiB_is_refused_and_an_empty_one_says_nothing(void **state)
{
    (void)state;
    char *big = calloc(1, SETTINGS_FILE_SIZE_MAX + 2);
    assert_non_null(big);
    memset(big, '\n', SETTINGS_FILE_SIZE_MAX + 1);
    assert_yaml_refused(big, "x.yaml: larger than 1MiB, surely not a configuration");
    free(big);
    struct settings *settings = settings_new(rows, ROW_COUNT);
    struct error err;
    assert_int_equal(read_yaml(settings, "", &err), ERR_OK);
    assert_int_equal(read_yaml(settings, "# only a comment\n", &err), ERR_OK);
    assert_int_equal(read_yaml(settings, "---\n...\n", &err), ERR_OK);
    settings_free(settings);
}

static void bytes_that_are_no_text_are_refused(void **state)
{
    (void)state;
    struct settings *settings = settings_new(rows, ROW_COUNT);
    struct error err;
    static const unsigned char junk[] = {0xff, 0xfe, 0x00, 0xd8, 0x80, 0x01};
    assert_int_equal(settings_read_yaml(settings, "x.yaml", bytes_of(junk, sizeof junk), &err), ERR_INVALID);
    static const char control[] = "name: a\x01z";
    assert_int_equal(settings_read_yaml(settings, "x.yaml", bytes_of(control, sizeof control - 1), &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "x.yaml"));
    settings_free(settings);
}

static void what_a_flag_says_wrongly_is_named(void **state)
{
    (void)state;
    assert_flag_refused("--cuont", "1", "unknown flag --cuont; did you mean --count?");
    assert_flag_refused("--hepl", NULL, "unknown flag --hepl; did you mean --help?");
    assert_flag_refused("--zzzzzz", "1", "unknown flag --zzzzzz; --help lists them");
    assert_flag_refused("-q", NULL, "unknown flag -q; --help lists them");
    assert_flag_refused("--count", NULL, "--count wants a value (N)");
    assert_flag_refused("--count", "x", "--count: \"x\" is not a number");
    assert_flag_refused("--wait=3", NULL, "--wait: \"3\" has no unit; write for example 3ms (units: ms, s, min, h)");
    assert_flag_refused("--hosts", ",,", "--hosts: has no value");
    assert_flag_refused("--count=", NULL, "--count: \"\" is not a number");
    struct settings *settings = settings_new(rows, ROW_COUNT);
    struct error err;
    char *twice[] = {(char *)"x", (char *)"--count=1", (char *)"--count=1", NULL};
    assert_int_equal(settings_read_flags(settings, 3, twice, &err), ERR_INVALID);
    assert_string_equal(err.text, "--count: given twice (first at --count)");
    settings_free(settings);
}

static void operands_and_flags_mix_until_two_dashes(void **state)
{
    (void)state;
    struct settings *settings = settings_new(rows, ROW_COUNT);
    struct error err;
    char *argv[] = {(char *)"x", (char *)"one", (char *)"--fast",  (char *)"-n", (char *)"N",
                    (char *)"-", (char *)"--",  (char *)"--count", NULL};
    assert_int_equal(settings_read_flags(settings, 8, argv, &err), ERR_OK);
    assert_int_equal(settings_operand_count(settings), 3);
    assert_string_equal(settings_operand(settings, 0), "one");
    assert_string_equal(settings_operand(settings, 1), "-");
    assert_string_equal(settings_operand(settings, 2), "--count");
    assert_string_equal(settings_value(settings, 0), "N");
    assert_string_equal(settings_value(settings, 1), "true");
    assert_false(settings_wants_help(settings));
    settings_free(settings);
}

static void environment_errors_name_the_variable(void **state)
{
    (void)state;
    struct settings *settings = settings_new(rows, ROW_COUNT);
    struct error err;
    char *environment[] = {(char *)"POLDER_FAST=1", NULL};
    assert_int_equal(settings_read_env(settings, environment, &err), ERR_INVALID);
    assert_string_equal(err.text, "POLDER_FAST: \"1\" is neither true nor false");
    settings_free(settings);
}

static void what_is_shown_and_generated_can_be_read_again(void **state)
{
    (void)state;
    struct settings *first = settings_new(rows, ROW_COUNT), *second = settings_new(rows, ROW_COUNT);
    struct error err;
    struct buf shown, again, generated;
    buf_init(&shown, 1 << 20);
    buf_init(&again, 1 << 20);
    buf_init(&generated, 1 << 20);
    char *argv[] = {(char *)"x",
                    (char *)"--name",
                    (char *)"a \"b\": #c\\",
                    (char *)"--hosts",
                    (char *)"[::1]:5,b",
                    (char *)"--wait=5s",
                    NULL};
    assert_int_equal(settings_read_flags(first, 6, argv, &err), ERR_OK);
    settings_show(first, true, &shown);
    assert_int_equal(settings_read_yaml(second, "shown", buf_bytes(&shown), &err), ERR_OK);
    settings_show(first, false, &shown);
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (settings_value(first, i))
            assert_string_equal(settings_value(first, i), settings_value(second, i)[0] == ','
                                                              ? settings_value(second, i) + 1
                                                              : settings_value(second, i));
    settings_generate(rows, ROW_COUNT, &generated);
    settings_free(second);
    second = settings_new(rows, ROW_COUNT);
    assert_int_equal(settings_read_yaml(second, "generated", buf_bytes(&generated), &err), ERR_OK);
    settings_free(first);
    settings_free(second);
    buf_fini(&shown);
    buf_fini(&again);
    buf_fini(&generated);
}

/* YAML can say any character, but not any byte. */
static void any_text_is_shown_so_that_it_reads_back(void **state)
{
    (void)state;
    static const char *const good[] = {"\x7f",         "a\nb\tc",      "\xc2\x85x", "\xe2\x80\xa8", "\xef\xbb\xbf",
                                       "\xef\xbf\xbf", "\xf0\x9f\x98\x80", "\xc3\xbc",  "'\"\\",       " # x: "};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct settings *first = settings_new(rows, ROW_COUNT), *second = settings_new(rows, ROW_COUNT);
        struct error err;
        struct buf shown;
        buf_init(&shown, 1 << 20);
        assert_int_equal(settings_set(first, "name", ORIGIN_FLAG, "--name", good[i], &err), ERR_OK);
        settings_show(first, true, &shown);
        assert_int_equal(settings_read_yaml(second, "shown", buf_bytes(&shown), &err), ERR_OK);
        assert_string_equal(settings_value(second, 0), good[i]);
        buf_fini(&shown);
        settings_free(first);
        settings_free(second);
    }
    static const char *const bad[] = {"\xff", "x\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xe2\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_flag_refused("--name", bad[i], "--name: is not UTF-8");
}

static void the_nearest_word_is_found_and_far_ones_are_not(void **state)
{
    (void)state;
    assert_int_equal(nearest_distance("", ""), 0);
    assert_int_equal(nearest_distance("abc", ""), 3);
    assert_int_equal(nearest_distance("kitten", "sitting"), 3);
    assert_int_equal(nearest_distance("ab", "ba"), 1);
    assert_int_equal(nearest_distance("data_dir", "data-dir"), 0);
    assert_int_equal(nearest_distance("Tick", "tick"), 0);
    struct nearest nearest;
    nearest_init(&nearest, "statsu");
    nearest_offer(&nearest, "storenode");
    nearest_offer(&nearest, "status");
    assert_string_equal(nearest.best, "status");
    nearest_init(&nearest, "xyz");
    nearest_offer(&nearest, "status");
    assert_null(nearest.best);
}

static void units_are_printed_exactly(void **state)
{
    (void)state;
    char text[32];
    setting_value_print_size(9 << 20, text);
    assert_string_equal(text, "9MiB");
    setting_value_print_size(1025, text);
    assert_string_equal(text, "1025B");
    setting_value_print_duration(90000, text);
    assert_string_equal(text, "90s");
    setting_value_print_duration(0, text);
    assert_string_equal(text, "0ms");
}

static void addresses_are_told_from_nonsense(void **state)
{
    (void)state;
    struct address address;
    struct error err;
    assert_int_equal(address_parse("tcp://127.0.0.1:2379", &address, &err), ERR_OK);
    assert_int_equal(address.port, 2379);
    assert_true(address_is_local(&address));
    assert_int_equal(address_parse("tls+tcp://db-1.example:1", &address, &err), ERR_OK);
    assert_true(address.tls);
    assert_false(address_is_local(&address));
    assert_int_equal(address_parse("tcp://[::1]:65535", &address, &err), ERR_OK);
    assert_string_equal(address.host, "::1");
    assert_true(address_is_local(&address));
    assert_int_equal(address_parse("tcp://0.0.0.0:1", &address, &err), ERR_OK);
    assert_true(address_is_wildcard(&address));
    assert_int_equal(address_parse("tcp://127.example.com:1", &address, &err), ERR_OK);
    assert_false(address_is_local(&address));
    assert_int_equal(address_parse("ipc:///tmp/x", &address, &err), ERR_OK);
    static const char *const bad[] = {"",           "2379",        "localhost:2379", "http://a:1",  "tcp://",
                                      "tcp://:1",   "tcp://a",     "tcp://a:",       "tcp://a:0",   "tcp://a:65536",
                                      "tcp://a:1x", "tcp://a b:1", "tcp://[::1:1",   "tcp://[::1]", "tcp://::1:1",
                                      "ipc://x",    "tcp://a:-1",  "tcp://a/b:1",    "tcp://\x01:1",
                                      "tcp://[fe80::1%eth0]:1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        err.text[0] = '\0';
        assert_int_equal(address_parse(bad[i], &address, &err), ERR_INVALID);
        assert_non_null(strstr(err.text, "bad address \""));
    }
    char full[ADDRESS_TEXT_SIZE_MAX];
    assert_int_equal(address_normalize("localhost:2379", full, &err), ERR_OK);
    assert_string_equal(full, "tcp://localhost:2379");
    char endless[1000];
    memset(endless, 'a', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    assert_int_equal(address_normalize(endless, full, &err), ERR_INVALID);
}

static void assert_store_refused(const char *yaml, const char *want)
{
    size_t count;
    const struct setting *table = store_config_table(&count);
    struct settings *settings = settings_new(table, count);
    struct error err = {0};
    enum err code = settings_read_yaml(settings, "s.yaml", bytes_of_string(yaml), &err);
    if (code == ERR_OK) {
        struct store_config config;
        settings_fill(settings, &config);
        code = store_config_finish(&config, &err);
        store_config_fini(&config);
    }
    assert_int_equal(code, want ? ERR_INVALID : ERR_OK);
    if (want)
        assert_string_equal(err.text, want);
    settings_free(settings);
}

static void a_storenode_says_what_cannot_work(void **state)
{
    (void)state;
    assert_store_refused("data-dir: /d\n", NULL);
    assert_store_refused("", "data-dir: must be given");
    assert_store_refused("data-dir: /d\naddress: nonsense",
                         "address: bad address \"tcp://nonsense\": no port; write for example tcp://127.0.0.1:2379");
    assert_store_refused("data-dir: /d\naddress: tcp://10.0.0.1:20160",
                         "address: tcp://10.0.0.1:20160 can be reached from other machines without TLS; use tls+tcp:// "
                         "or say insecure: true");
    assert_store_refused("data-dir: /d\naddress: tcp://10.0.0.1:20160\ninsecure: true", NULL);
    assert_store_refused("data-dir: /d\naddress: 0.0.0.0:20160\ninsecure: true",
                         "advertise-address: must be given, since nobody can dial tcp://0.0.0.0:20160");
    assert_store_refused("data-dir: /d\naddress: tls+tcp://10.0.0.1:20160",
                         "tls-cert: must be given to listen on tls+tcp://10.0.0.1:20160");
    assert_store_refused("data-dir: /d\nadvanced:\n  lease: 810ms",
                         "lease: 810ms is too long for election-ticks 10 and tick 100ms: it must stay below 810ms");
    assert_store_refused("data-dir: /d\nadvanced:\n  lease: 809ms", NULL);
    assert_store_refused("data-dir: /d\nadvanced:\n  lease: 5s\n  lease-read: false", NULL);
    assert_store_refused("data-dir: /d\nadvanced:\n  heartbeat-ticks: 6",
                         "election-ticks: 10 is less than twice heartbeat-ticks (6)");
    assert_store_refused("data-dir: /d\npd: [nowhere]", "pd: bad address \"tcp://nowhere\": no port; write for example tcp://127.0.0.1:2379");
}

static void assert_pd_refused(const char *yaml, const char *want)
{
    size_t count;
    const struct setting *table = pd_config_table(&count);
    struct settings *settings = settings_new(table, count);
    struct error err = {0};
    enum err code = settings_read_yaml(settings, "p.yaml", bytes_of_string(yaml), &err);
    if (code == ERR_OK) {
        struct pd_config config;
        settings_fill(settings, &config);
        code = pd_config_finish(&config, &err);
        pd_config_fini(&config);
    }
    assert_int_equal(code, want ? ERR_INVALID : ERR_OK);
    if (want)
        assert_string_equal(err.text, want);
    settings_free(settings);
}

static void the_founders_of_pd_must_make_sense(void **state)
{
    (void)state;
    assert_pd_refused("data-dir: /d\n", NULL);
    assert_pd_refused("data-dir: /d\ninitial-cluster: [pd-1=127.0.0.1:2379, b=127.0.0.1:1, c=tcp://127.0.0.1:2]", NULL);
    assert_pd_refused("data-dir: /d\ninitial-cluster: [pd-1=127.0.0.1:2379, b=127.0.0.1:1]",
                      "initial-cluster: 2 members; 1, 3 or 5 can lose 0, 1 or 2");
    assert_pd_refused("data-dir: /d\ninitial-cluster: [a=127.0.0.1:2379, b=127.0.0.1:1, c=127.0.0.1:2]",
                      "initial-cluster: pd-1=tcp://127.0.0.1:2379, this member, is not in it");
    assert_pd_refused("data-dir: /d\ninitial-cluster: [pd-1=127.0.0.1:9, b=127.0.0.1:1, c=127.0.0.1:2]",
                      "initial-cluster: pd-1=tcp://127.0.0.1:2379, this member, is not in it");
    assert_pd_refused("data-dir: /d\ninitial-cluster: [pd-1=127.0.0.1:2379, b=127.0.0.1:1, b=127.0.0.1:2]",
                      "initial-cluster: b=tcp://127.0.0.1:1 and b=tcp://127.0.0.1:2 have the same name or address");
    assert_pd_refused("data-dir: /d\ninitial-cluster: [pd-1=127.0.0.1:2379, b=127.0.0.1:1, c=127.0.0.1:1]",
                      "initial-cluster: b=tcp://127.0.0.1:1 and c=tcp://127.0.0.1:1 have the same name or address");
    assert_pd_refused("data-dir: /d\ninitial-cluster: [127.0.0.1:2379]",
                      "initial-cluster: '127.0.0.1:2379' is not NAME=ADDRESS");
    assert_pd_refused("data-dir: /d\njoin: true\ninitial-cluster: [pd-1=127.0.0.1:2379]",
                      "join: a member that joins learns from the others who they are; leave initial-cluster out");
    assert_pd_refused("data-dir: /d\njoin: true", NULL);
}

static void the_documented_defaults_hold(void **state)
{
    (void)state;
    struct store_config store;
    store_config_init(&store);
    assert_int_equal(store.tick_ms, 100);
    assert_int_equal(store.lease_ms, 750);
    assert_int_equal(store.proposal_size_max, 9 << 20);
    assert_int_equal(store.block_cache_size, 256 << 20);
    assert_true(store.lease_read);
    assert_int_equal(store.pd_count, 1);
    store_config_fini(&store);
    struct pd_config pd;
    pd_config_init(&pd);
    assert_string_equal(pd.name, "pd-1");
    assert_int_equal(pd.store_down_ms, 30 * 60 * 1000);
    assert_int_equal(pd.replicas, 3);
    pd_config_fini(&pd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_fill_the_target),
        cmocka_unit_test(flag_beats_environment_beats_file_in_any_order),
        cmocka_unit_test(a_list_grows_within_an_origin_and_is_replaced_by_a_higher_one),
        cmocka_unit_test(what_a_file_says_wrongly_is_named_with_its_line),
        cmocka_unit_test(an_alias_bomb_and_a_deep_nest_are_refused_at_once),
        cmocka_unit_test(a_file_over_1_MiB_is_refused_and_an_empty_one_says_nothing),
        cmocka_unit_test(bytes_that_are_no_text_are_refused),
        cmocka_unit_test(what_a_flag_says_wrongly_is_named),
        cmocka_unit_test(operands_and_flags_mix_until_two_dashes),
        cmocka_unit_test(environment_errors_name_the_variable),
        cmocka_unit_test(what_is_shown_and_generated_can_be_read_again),
        cmocka_unit_test(any_text_is_shown_so_that_it_reads_back),
        cmocka_unit_test(the_nearest_word_is_found_and_far_ones_are_not),
        cmocka_unit_test(units_are_printed_exactly),
        cmocka_unit_test(addresses_are_told_from_nonsense),
        cmocka_unit_test(a_storenode_says_what_cannot_work),
        cmocka_unit_test(the_founders_of_pd_must_make_sense),
        cmocka_unit_test(the_documented_defaults_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
