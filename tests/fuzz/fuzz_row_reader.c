/* fuzz_row_reader: hostile files of rows (`polder kv load`). First byte: the format (bit 0) and raw (bit 1).
 *
 * A reader that goes on at any row's end gives the same rows as one that never stopped. */
#include "fuzz.h"
#include "../../tools/row_reader.h"

static uint64_t hash(struct bytes bytes, uint64_t seed)
{
    for (size_t i = 0; i < bytes.size; i++)
        seed = (seed ^ bytes.data[i]) * 0x100000001b3u;
    return seed ^ bytes.size;
}

/* Rows from `position` on; `*ret_stop` is where the first of them ends. */
static uint64_t read_all(const char *path, enum row_format format, bool raw, uint64_t position, uint64_t line,
                         uint64_t *ret_position, uint64_t *ret_line, uint64_t *ret_first)
{
    struct error error = {0};
    struct row_reader *reader;
    struct bytes key, value;
    uint64_t sum = 0, count = 0;
    CHECK(row_reader_open(path, format, raw, &reader, &error) == ERR_OK);
    CHECK(position == 0 || row_reader_skip(reader, position, line, &error) == ERR_OK);
    enum err code;
    while ((code = row_reader_next(reader, &key, &value, &error)) == ERR_OK) {
        sum += hash(key, 1) * 31 + hash(value, 2);
        CHECK(row_reader_position(reader) > position && row_reader_position(reader) <= row_reader_size(reader));
        if (count++ == 0) {
            *ret_position = row_reader_position(reader);
            *ret_line = row_reader_line(reader);
            *ret_first = sum;
        }
    }
    CHECK(code == ERR_NOT_FOUND || (code != ERR_OK && error.text[0] != 0));
    row_reader_close(reader);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    enum row_format format = data[0] & 1 ? ROW_DPKG : ROW_TSV;
    bool raw = data[0] & 2;
    char path[32];
    int fd = fuzz_file(bytes_of(data + 1, size - 1), path, "rows");
    uint64_t position = 0, line = 0, first = 0, ignored;
    uint64_t sum = read_all(path, format, raw, 0, 0, &position, &line, &first);
    if (position > 0)
        CHECK(read_all(path, format, raw, position, line, &ignored, &ignored, &ignored) == sum - first);
    close(fd);
    return 0;
}

void fuzz_seeds(fuzz_write_seed *write, void *context)
{
    static const char tsv[] = "\0key\tvalue\nk\\x00\\t\tv\\n\\\\\n\tempty key\nno tab\n";
    static const char dpkg[] = "\001Package: a\nStatus: install ok\nMulti-Arch: same\nArchitecture: amd64\n"
                               "Description: x\n .\n y\n\nPackage: b\n\n\n";
    write(context, "tsv", tsv, sizeof tsv - 1);
    write(context, "dpkg", dpkg, sizeof dpkg - 1);
}
