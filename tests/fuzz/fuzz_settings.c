/* fuzz_settings: hostile YAML, environment and flags against the tables of pd and storenode.
 *
 * First byte: whose table (bit 0), and how the rest is read (bits 1 and 2): YAML, flags, environment; the two latter
 * are words that end with a zero or a newline. What is accepted is shown as YAML; that must be accepted too, and mean
 * the same. */
#include <stdlib.h>
#include <string.h>

#include "config/settings.h"
#include "fuzz.h"
#include "pd/pd_config.h"
#include "storenode/store_config.h"

enum { WORDS_MAX = 32, SHOWN_SIZE_MAX = 4 * 1024 * 1024 };

static uint32_t split(char *text, size_t size, char **words)
{
    uint32_t count = 0;
    for (size_t at = 0; at < size && count < WORDS_MAX;) {
        words[count++] = text + at;
        while (at < size && text[at] != 0 && text[at] != '\n')
            at++;
        text[at++] = 0; /* text has room for one more */
    }
    words[count] = NULL;
    return count;
}

static enum err read_some(struct settings *settings, uint8_t how, char *text, size_t size, struct error *err)
{
    char name[] = "polder", *words[WORDS_MAX + 2] = {name};
    if (how == 0)
        return settings_read_yaml(settings, "fuzz.yaml", bytes_of(text, size), err);
    uint32_t count = split(text, size, words + 1);
    return how == 1 ? settings_read_env(settings, words + 1, err)
                    : settings_read_flags(settings, (int)count + 1, words, err);
}

static void must_show_what_it_reads(const struct settings *settings, const struct setting *table, size_t count)
{
    struct error error = {0};
    struct buf shown, again;
    buf_init(&shown, SHOWN_SIZE_MAX);
    buf_init(&again, SHOWN_SIZE_MAX);
    settings_show(settings, false, &shown);
    struct settings *second = settings_new(table, count);
    enum err code = settings_read_yaml(second, "shown.yaml", buf_bytes(&shown), &error);
    if (code != ERR_OK)
        fprintf(stderr, "%s\n%.*s\n", error.text, (int)shown.size, (const char *)shown.data);
    CHECK(code == ERR_OK);
    settings_show(second, false, &again);
    CHECK(bytes_equal(buf_bytes(&shown), buf_bytes(&again)));
    buf_reset(&again);
    settings_show(settings, true, &again);
    settings_free(second);
    buf_fini(&again);
    buf_fini(&shown);
}

static void finish(const struct settings *settings, const struct setting *table, size_t count, bool pd)
{
    struct error error = {0};
    union {
        struct pd_config pd;
        struct store_config store;
    } config;
    memset(&config, 0, sizeof config);
    settings_fill(settings, &config);
    enum err code = pd ? pd_config_finish(&config.pd, &error) : store_config_finish(&config.store, &error);
    CHECK(code == ERR_OK || (code == ERR_INVALID && error.text[0] != 0));
    settings_fini_target(table, count, &config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error error = {0};
    if (size == 0)
        return 0;
    bool pd = data[0] & 1;
    uint8_t how = (uint8_t)((data[0] >> 1) % 3);
    size_t count;
    const struct setting *table = pd ? pd_config_table(&count) : store_config_table(&count);
    char *text = malloc(size + 1);
    CHECK(text);
    memcpy(text, data + 1, size - 1);
    struct settings *settings = settings_new(table, count);
    enum err code = read_some(settings, how, text, size - 1, &error);
    CHECK(code == ERR_OK || (code == ERR_INVALID && error.text[0] != 0));
    if (code == ERR_OK) {
        must_show_what_it_reads(settings, table, count);
        finish(settings, table, count, pd);
    }
    settings_free(settings);
    free(text);
    return 0;
}

void fuzz_seeds(fuzz_write_seed *write, void *context)
{
    static const struct {
        const char *name, *text;
    } seeds[] = {
        {"yaml_pd", "\001name: pd-1\ndata-dir: /tmp/x\naddress: tcp://127.0.0.1:2379\nlog-level: debug\n"
                    "advanced:\n  tick: 100ms\n  election-ticks: 10\n  block-cache-size: 32MiB\n"},
        {"yaml_store", "\006data-dir: \"a b\"\npd:\n  - 127.0.0.1:1\n  - tcp://[::1]:2\ninsecure: true # why\n"
                       "advanced:\n  lease: 750ms\n  scan-limit-max: 10\n"},
        {"flags_pd", "\005--name=x\n--tick\n50ms\n--insecure\n--\noperand"},
        {"flags_store", "\004--pd\na:1,b:2\n--lease-read=false\n--config\nf"},
        {"env_pd", "\003POLDER_NAME=x\nPOLDER_DATA_DIR=y\nPATH=z\n"},
    };
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++)
        write(context, seeds[i].name, seeds[i].text, strlen(seeds[i].text));
}
