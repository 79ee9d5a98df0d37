/* os_private: what the os_*.c files share. Nobody else includes it. */
#ifndef ENV_OS_PRIVATE_H
#define ENV_OS_PRIVATE_H

#include "env/os.h"

/* Sets `what subject: strerror(number)` with the code that fits the number, and returns the code. */
enum err os_failed(struct error *err, int number, const char *what, const char *subject);
/* Never NULL: what is copied is bounded. */
char *os_duplicate(const char *text);
/* Milliseconds left until `deadline_us` as poll(2) wants them; rounds up, so that a wait is never short. */
int os_poll_timeout(uint64_t deadline_us);
uint64_t os_deadline_us(uint64_t timeout_ms);

#endif
