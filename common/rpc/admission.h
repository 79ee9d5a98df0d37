/* admission: how many bytes of requests may be inside a process at the same time, from one connection and in all.
 *
 * Mailboxes are bounded by count; a message can be 32 MiB. So what enters is charged with its bytes, decoded structs
 * included, and the charge ends when the last message that holds those bytes is freed. What finds no room is refused at
 * the door: nothing was promised, nothing is kept.
 *
 * Connections share ADMISSION_BUCKET_COUNT counters by their number: two that meet in one share its limit, and that is
 * all the harm; in exchange nothing is looked up under a lock, or left behind when a connection ends.
 *
 * Threads: any. Lives until its owner and the last charge have let go: messages of a node that died may be freed late. */
#ifndef RPC_ADMISSION_H
#define RPC_ADMISSION_H

#include "env/transport.h"

struct admission;
struct admission_charge; /* the bytes of one frame, inside; counted */

/* In all, and of one connection. What finds nothing of its own inside gets in at any size. */
struct admission *admission_new(uint64_t size_max, uint64_t connection_size_max);
void admission_unref(struct admission *admission); /* NULL is fine */
uint64_t admission_size(const struct admission *admission);
uint64_t admission_refused_count(const struct admission *admission);

/* NULL: no room (counted). */
struct admission_charge *admission_charge(struct admission *admission, conn_id conn, uint64_t size);
struct admission_charge *admission_charge_ref(struct admission_charge *charge);
void admission_charge_unref(struct admission_charge *take_charge); /* NULL is fine */

#endif
