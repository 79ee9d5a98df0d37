/* cmd_sim: `polder sim` is a program of its own behind the same name: flags, help and exit codes are the simulator's.
 */
#include "commands.h"
#include "tests/sim/sim.h"

static int run(const struct command *command, int argc, char **argv)
{
    (void)command;
    return sim_main(argc, argv);
}

const struct command command_sim = {
    .name = "sim",
    .operands = "",
    .summary = "a whole cluster in one thread, from a seed, with faults",
    .text = "",
    .run = run,
};
