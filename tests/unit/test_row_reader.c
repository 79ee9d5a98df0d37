#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/row_reader.h"

static char path[64];

static void write_file(const char *text)
{
    snprintf(path, sizeof path, "/tmp/row_reader_%d", (int)getpid());
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static struct row_reader *open_rows(const char *text, enum row_format format)
{
    struct row_reader *reader;
    struct error err;
    write_file(text);
    assert_int_equal(row_reader_open(path, format, false, &reader, &err), ERR_OK);
    return reader;
}

static void close_rows(struct row_reader *reader)
{
    row_reader_close(reader);
    unlink(path);
}

static void assert_row(struct row_reader *reader, const char *key, const char *value)
{
    struct bytes found_key, found_value;
    struct error err;
    assert_int_equal(row_reader_next(reader, &found_key, &found_value, &err), ERR_OK);
    assert_true(bytes_equal(found_key, bytes_of_string(key)));
    assert_true(bytes_equal(found_value, bytes_of_string(value)));
}

static void assert_end(struct row_reader *reader)
{
    struct bytes key, value;
    struct error err;
    assert_int_equal(row_reader_next(reader, &key, &value, &err), ERR_NOT_FOUND);
}

static void lines_are_key_tab_value(void **state)
{
    (void)state;
    struct row_reader *reader = open_rows("a\t1\n\nb\\n\t\\t2\tand more\nc\t", ROW_TSV);
    assert_row(reader, "a", "1");
    assert_row(reader, "b\n", "\t2\tand more");
    assert_int_equal(row_reader_line(reader), 3);
    assert_row(reader, "c", "");
    assert_end(reader);
    close_rows(reader);
}

static void a_line_that_is_none_is_named(void **state)
{
    (void)state;
    struct row_reader *reader = open_rows("a\t1\nno tab here\n", ROW_TSV);
    struct bytes key, value;
    struct error err;
    char want[128];
    assert_row(reader, "a", "1");
    assert_int_equal(row_reader_next(reader, &key, &value, &err), ERR_INVALID);
    snprintf(want, sizeof want, "%s:2: no tab between key and value", path);
    assert_string_equal(err.text, want);
    close_rows(reader);
    reader = open_rows("a\\q\t1\n", ROW_TSV);
    assert_int_equal(row_reader_next(reader, &key, &value, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, ":1: bad escape at byte 2"));
    close_rows(reader);
}

static void reading_goes_on_from_any_row(void **state)
{
    (void)state;
    const char *text = "a\t1\nb\t2\nc\t3\n";
    struct row_reader *reader = open_rows(text, ROW_TSV);
    assert_row(reader, "a", "1");
    assert_row(reader, "b", "2");
    uint64_t position = row_reader_position(reader), line = row_reader_line(reader);
    assert_int_equal(row_reader_size(reader), strlen(text));
    close_rows(reader);
    reader = open_rows(text, ROW_TSV);
    struct error err;
    assert_int_equal(row_reader_skip(reader, position, line, &err), ERR_OK);
    assert_row(reader, "c", "3");
    assert_int_equal(row_reader_line(reader), 3);
    assert_end(reader);
    close_rows(reader);
}

static void stanzas_become_rows(void **state)
{
    (void)state;
    struct row_reader *reader =
        open_rows("Package: one\nStatus: ok\n more\n\n\nPackage: two\nMulti-Arch: same\nArchitecture: amd64\n\n"
                  "Package: three\nMulti-Arch: foreign\nArchitecture: all",
                  ROW_DPKG);
    assert_row(reader, "one", "Package: one\nStatus: ok\n more");
    assert_row(reader, "two:amd64", "Package: two\nMulti-Arch: same\nArchitecture: amd64");
    assert_row(reader, "three", "Package: three\nMulti-Arch: foreign\nArchitecture: all");
    assert_end(reader);
    close_rows(reader);
    reader = open_rows("Status: ok\n", ROW_DPKG);
    struct bytes key, value;
    struct error err;
    assert_int_equal(row_reader_next(reader, &key, &value, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "a stanza without \"Package:\""));
    close_rows(reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_key_tab_value),
        cmocka_unit_test(a_line_that_is_none_is_named),
        cmocka_unit_test(reading_goes_on_from_any_row),
        cmocka_unit_test(stanzas_become_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
