#include "env/http_client.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

struct http_client {
    CURL *curl;
};

enum err http_client_new(struct http_client **ret_client, struct error *err)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        return error_set(err, ERR_IO, "libcurl does not start");
    struct http_client *client = calloc(1, sizeof *client);
    CHECK(client);
    client->curl = curl_easy_init();
    if (!client->curl) {
        free(client);
        return error_set(err, ERR_IO, "libcurl does not start");
    }
    *ret_client = client;
    return ERR_OK;
}

void http_client_free(struct http_client *client)
{
    if (!client)
        return;
    curl_easy_cleanup(client->curl);
    free(client);
    curl_global_cleanup();
}

static size_t on_data(char *data, size_t size, size_t count, void *context)
{
    return buf_append(context, data, size * count) == ERR_OK ? size * count : 0;
}

static enum err judge(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return ERR_OK;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return ERR_INVALID;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
        return ERR_UNAVAILABLE;
    case CURLE_WRITE_ERROR:
        return ERR_ENTRY_TOO_LARGE;
    default:
        return ERR_MAYBE;
    }
}

enum err http_client_fetch(struct http_client *client, const struct http_fetch *fetch, unsigned *ret_status,
                           struct buf *body, struct error *err)
{
    CURL *curl = client->curl;
    char text[CURL_ERROR_SIZE] = "";
    long status = 0;
    curl_easy_reset(curl);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    CHECK(headers);
    curl_easy_setopt(curl, CURLOPT_URL, fetch->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)fetch->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, text);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (strcmp(fetch->method, "GET") != 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)fetch->body.size);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, fetch->body.size ? (const char *)fetch->body.data : "");
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, fetch->method);
    }
    CURLcode result = curl_easy_perform(curl);
    curl_slist_free_all(headers);
    enum err code = judge(result);
    if (code != ERR_OK)
        return error_set(err, code, "%s: %s", fetch->url, text[0] ? text : curl_easy_strerror(result));
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    *ret_status = (unsigned)status;
    return ERR_OK;
}
