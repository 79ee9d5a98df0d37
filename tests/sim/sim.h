/* sim: `polder sim`: whole clusters in one thread, one per seed; see sim_main's --help. */
#ifndef SIM_SIM_H
#define SIM_SIM_H

/* The subcommand; `argv[0]` is its name. Returns the exit code: 0 all seeds kept all promises, 1 one did not, 2 usage.
 */
int sim_main(int argc, char **argv);

#endif
