/* check: beliefs of the program.
 *
 * CHECK states something that can only be false if the program itself is wrong: then the process stops at once, before
 * it writes or sends anything. Bad bytes from wire, disk, configuration or command line are never a CHECK. */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

/* Prints `file:line: broken belief: text` to standard error and aborts. */
_Noreturn void check_failed(const char *file, int line, const char *text);

#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))

#endif
