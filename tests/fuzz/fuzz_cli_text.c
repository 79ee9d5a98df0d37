/* fuzz_cli_text: hostile bytes as text on a command line, and as keys and values to be shown.
 *
 * Whatever is shown is plain UTF-8 without control characters, and reads back as the bytes that it stands for. */
#include <cjson/cJSON.h>
#include <stdlib.h>

#include "fuzz.h"
#include "../../tools/cli.h"

enum { OUT_SIZE_MAX = 8 * 1024 * 1024 };

static void must_be_plain(struct bytes text)
{
    CHECK(cli_is_utf8(text));
    for (size_t i = 0; i < text.size; i++)
        CHECK(text.data[i] >= 0x20 && text.data[i] != 0x7f);
}

static void must_go_into_json(struct bytes bytes)
{
    cJSON *object = cJSON_CreateObject();
    cli_json_bytes(object, "key", bytes);
    char *text = cJSON_PrintUnformatted(object);
    CHECK(text && cli_is_utf8(bytes_of_string(text)));
    cJSON *again = cJSON_Parse(text);
    CHECK(again && cJSON_Compare(object, again, true));
    cJSON_Delete(again);
    cJSON_free(text);
    cJSON_Delete(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error error = {0};
    struct bytes input = bytes_of(data, size);
    struct buf shown, back;
    buf_init(&shown, OUT_SIZE_MAX);
    buf_init(&back, OUT_SIZE_MAX);
    cli_escape(input, &shown);
    must_be_plain(buf_bytes(&shown));
    CHECK(cli_unescape(buf_bytes(&shown), &back, &error) == ERR_OK && bytes_equal(buf_bytes(&back), input));
    must_go_into_json(input);
    buf_reset(&back);
    enum err code = cli_unescape(input, &back, &error);
    CHECK(code == ERR_OK || (code == ERR_INVALID && error.text[0] != 0));
    struct buf small;
    buf_init(&small, 4);
    (void)cli_unescape(input, &small, &error);
    CHECK(small.size <= 4);
    buf_fini(&small);
    buf_fini(&shown);
    buf_fini(&back);
    return 0;
}

void fuzz_seeds(fuzz_write_seed *write, void *context)
{
    static const char escapes[] = "a\\n\\t\\\\\\x00\\xfF",
                      bytes[] = "\0\t\n\\\x7f\xc2\x80\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80\xed\xa0\x80\xff";
    write(context, "escapes", escapes, sizeof escapes - 1);
    write(context, "bytes", bytes, sizeof bytes - 1);
}
