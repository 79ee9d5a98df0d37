/* clock_os: the two clocks of the machine, CLOCK_MONOTONIC and CLOCK_REALTIME. Stateless; threads: any. */
#ifndef ENV_CLOCK_OS_H
#define ENV_CLOCK_OS_H

#include "env/clock.h"

struct clock *clock_os(void); /* lives as long as the process; never freed */

#endif
