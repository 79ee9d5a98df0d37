/* fuzz_address: hostile text as an address: what the configuration accepts the transport must understand, and the same
 * way; what is made complete stays what it is. */
#include <stdlib.h>
#include <string.h>

#include "config/address.h"
#include "env/net_address.h"
#include "fuzz.h"

static void must_agree(const char *text)
{
    struct error error = {0};
    struct address address;
    struct net_address net;
    enum err code = address_parse(text, &address, &error);
    CHECK(code == ERR_OK || (code == ERR_INVALID && error.text[0] != 0));
    enum err listen_code = net_address_parse(text, true, &net, &error);
    enum err dial_code = net_address_parse(text, false, &net, &error);
    CHECK(dial_code != ERR_OK || listen_code == ERR_OK);
    if (code != ERR_OK)
        return;
    CHECK(net_address_parse(text, true, &net, &error) == ERR_OK);
    CHECK(net.port == address.port && strcmp(net.host, address.host) == 0);
    CHECK((net.scheme == NET_TLS) == address.tls && (net.scheme == NET_IPC) == address.ipc);
    (void)(address_is_local(&address) && address_is_wildcard(&address));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error error = {0};
    char *text = malloc(size + 1), full[ADDRESS_TEXT_SIZE_MAX], again[ADDRESS_TEXT_SIZE_MAX];
    CHECK(text);
    memcpy(text, data, size);
    text[size] = 0;
    must_agree(text);
    enum err code = address_normalize(text, full, &error);
    CHECK(code == ERR_OK || (code == ERR_INVALID && error.text[0] != 0));
    if (code == ERR_OK) {
        struct address address;
        CHECK(address_parse(full, &address, &error) == ERR_OK);
        CHECK(address_normalize(full, again, &error) == ERR_OK && strcmp(full, again) == 0);
        must_agree(full);
        code = address_check_listen(full, size % 2 ? text : NULL, size % 3 == 0, size % 5 ? "cert" : NULL, &error);
        CHECK(code == ERR_OK || code == ERR_INVALID);
    }
    free(text);
    return 0;
}

void fuzz_seeds(fuzz_write_seed *write, void *context)
{
    static const char *const seeds[][2] = {
        {"tcp", "tcp://127.0.0.1:2379"}, {"tls", "tls+tcp://db-1.example:20160"},
        {"ipc", "ipc:///run/polder/pd"}, {"ip6", "tcp://[fe80::1]:80"},
        {"plain", "localhost:65535"},    {"all", "tcp://*:0"},
    };
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++)
        write(context, seeds[i][0], seeds[i][1], strlen(seeds[i][1]));
}
