/* cmd_sim: `polder sim` is a program of its own behind the same name: flags, help and exit codes are the simulator's.
 */
#include "commands.h"

/* tests/sim. */
int sim_main(int argc, char **argv) __attribute__((weak));

static int run(const struct command *command, int argc, char **argv)
{
    if (!sim_main)
        return cli_usage(command, "is not part of this build");
    return sim_main(argc, argv);
}

const struct command command_sim = {
    .name = "sim",
    .operands = "",
    .summary = "a whole cluster in one thread, from a seed, with faults",
    .text = "",
    .run = run,
};
