/* fuzz_cluster_file: hostile bytes as DIR/cluster.json of `polder up`. What is read can be written and read again. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "../../tools/cluster_file.h"

static char directory[64];

static void remove_directory(void)
{
    char *path = cluster_file_path(directory);
    unlink(path);
    free(path);
    rmdir(directory);
}

static void put_file(const uint8_t *data, size_t size)
{
    if (!directory[0]) {
        strcpy(directory, "/tmp/fuzz-cluster-XXXXXX");
        CHECK(mkdtemp(directory));
        atexit(remove_directory);
    }
    char *path = cluster_file_path(directory);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size && close(fd) == 0);
    free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error error = {0};
    struct cluster_file file = {0}, again = {0};
    put_file(data, size);
    enum err code = cluster_file_read(directory, &file, &error);
    CHECK(code == ERR_OK || (code == ERR_CORRUPT && error.text[0] != 0));
    if (code != ERR_OK)
        return 0;
    CHECK(cluster_file_write(directory, &file, &error) == ERR_OK);
    CHECK(cluster_file_read(directory, &again, &error) == ERR_OK);
    CHECK(again.process_count == file.process_count && strcmp(again.pd, file.pd) == 0);
    for (uint32_t i = 0; i < file.process_count; i++)
        CHECK(strcmp(again.processes[i].address, file.processes[i].address) == 0 &&
              again.processes[i].id == file.processes[i].id);
    cluster_file_fini(&again);
    cluster_file_fini(&file);
    return 0;
}

void fuzz_seeds(fuzz_write_seed *write, void *context)
{
    static const char seed[] =
        "{\"version\":\"0.1.0\",\"pd\":\"tcp://"
        "127.0.0.1:2379\",\"options\":{\"stores\":3,\"regions\":16,\"replicas\":3,"
        "\"port_offset\":0},\"processes\":[{\"role\":\"pd\",\"id\":1,\"pid\":4711,\"start_time\":123456,\"address\":"
        "\"tcp://127.0.0.1:2379\",\"data_dir\":\"/x\",\"log\":\"/y\",\"args\":[\"pd\",\"--data-dir\",\"/x\"]}]}";
    write(context, "pd", seed, sizeof seed - 1);
}
