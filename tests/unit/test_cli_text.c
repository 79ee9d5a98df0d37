#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <cjson/cJSON.h>
#include <string.h>

#include "base/rng.h"
#include "tools/cli.h"

static void assert_escaped(struct bytes bytes, const char *want)
{
    struct buf text;
    buf_init(&text, 1 << 16);
    cli_escape(bytes, &text);
    assert_int_equal(text.size, strlen(want));
    assert_memory_equal(text.data, want, text.size);
    buf_fini(&text);
}

static void what_is_not_printable_is_escaped_and_utf8_stays(void **state)
{
    (void)state;
    assert_escaped(bytes_of_string("plain text"), "plain text");
    assert_escaped(bytes_of("a\0b\x7f\x1b", 5), "a\\x00b\\x7f\\x1b");
    assert_escaped(bytes_of_string("tab\there\nand \\"), "tab\\there\\nand \\\\");
    assert_escaped(bytes_of_string("grün \xe2\x82\xac \xf0\x9f\x8c\xb7"), "grün \xe2\x82\xac \xf0\x9f\x8c\xb7");
    assert_escaped(bytes_of_string("\xc3"), "\\xc3");
    assert_escaped(bytes_of_string("\xc0\x80"), "\\xc0\\x80");
    assert_escaped(bytes_of_string("\xed\xa0\x80"), "\\xed\\xa0\\x80");
    assert_escaped(bytes_of_string("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
    assert_escaped(bytes_of_string("\xc2\x9b"), "\\xc2\\x9b");
}

static void any_bytes_come_back_from_their_escapes(void **state)
{
    (void)state;
    struct rng rng;
    struct buf text, back;
    rng_init(&rng, 7, "escape");
    buf_init(&text, 1 << 16);
    buf_init(&back, 1 << 16);
    for (int round = 0; round < 2000; round++) {
        uint8_t bytes[64];
        size_t size = rng_below(&rng, sizeof bytes);
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)(rng_chance(&rng, 1, 2) ? rng_next(&rng)
                                                        : (uint64_t) "\\xnt\t\n a\xc3\xa9"[rng_below(&rng, 10)]);
        buf_reset(&text);
        buf_reset(&back);
        cli_escape(bytes_of(bytes, size), &text);
        assert_true(cli_is_utf8(buf_bytes(&text)));
        assert_int_equal(cli_unescape(buf_bytes(&text), &back, NULL), ERR_OK);
        assert_true(bytes_equal(buf_bytes(&back), bytes_of(bytes, size)));
    }
    buf_fini(&text);
    buf_fini(&back);
}

static void a_bad_escape_is_named_with_its_place(void **state)
{
    (void)state;
    static const char *const bad[] = {"ab\\", "ab\\q", "ab\\x1", "ab\\xg0", "ab\\x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct buf out;
        struct error err;
        buf_init(&out, 100);
        assert_int_equal(cli_unescape(bytes_of_string(bad[i]), &out, &err), ERR_INVALID);
        assert_string_equal(err.text, "bad escape at byte 3; known are \\n, \\t, \\\\ and \\xNN (or use --raw)");
        buf_fini(&out);
    }
}

static void json_holds_text_as_text_and_other_bytes_as_base64(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *want;
    } cases[] = {{"text", 4, "{\"v\":\"text\"}"},        {"", 0, "{\"v\":\"\"}"},
                 {"\xff", 1, "{\"v_base64\":\"/w==\"}"}, {"\xff\xfe", 2, "{\"v_base64\":\"//4=\"}"},
                 {"a\0b", 3, "{\"v_base64\":\"YQBi\"}"}, {"\x00\x10\x83\x10", 4, "{\"v_base64\":\"ABCDEA==\"}"},
                 {"q\"\n", 3, "{\"v\":\"q\\\"\\n\"}"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cJSON *json = cJSON_CreateObject();
        cli_json_bytes(json, "v", bytes_of(cases[i].bytes, cases[i].size));
        char *text = cJSON_PrintUnformatted(json);
        assert_string_equal(text, cases[i].want);
        cJSON_free(text);
        cJSON_Delete(json);
    }
}

static void sizes_and_durations_read_well(void **state)
{
    (void)state;
    char text[32];
    cli_print_size(0, text);
    assert_string_equal(text, "0 B");
    cli_print_size(1536, text);
    assert_string_equal(text, "1.5 KiB");
    cli_print_size(UINT64_MAX, text);
    assert_string_equal(text, "16384 PiB");
    cli_print_duration(61000, text);
    assert_string_equal(text, "1 min 1 s");
    cli_print_duration(UINT64_MAX, text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_printable_is_escaped_and_utf8_stays),
        cmocka_unit_test(any_bytes_come_back_from_their_escapes),
        cmocka_unit_test(a_bad_escape_is_named_with_its_place),
        cmocka_unit_test(json_holds_text_as_text_and_other_bytes_as_base64),
        cmocka_unit_test(sizes_and_durations_read_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
