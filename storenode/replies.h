/* replies: the answers of one round, a frame per connection.
 *
 * Each actor that answers clients (region worker: refusals; apply worker: writes; read worker: reads) has one. Replies
 * are kept as they are given, bytes borrowed, until the flush at the end of the round, or until a frame's worth has
 * gathered. A connection whose replies cannot be sent (too much is pending there) is closed: an answer never just
 * stays away.
 *
 * Owner: one actor. */
#ifndef STORENODE_REPLIES_H
#define STORENODE_REPLIES_H

#include "base/arena.h"
#include "env/env.h"
#include "env/transport.h"
#include "proto/wire.h"

/* Who is owed an answer: a request of a client on a connection. */
struct reply_to {
    conn_id conn;
    uint64_t request_id;
};

struct replies;

struct replies *replies_new(struct env *env);
void replies_free(struct replies *replies); /* NULL is fine */
/* `reply` is copied, what it points to must live until the next replies_flush (put it into replies_arena). May flush
 * the connection at once when much has gathered. */
void replies_add(struct replies *replies, struct reply_to to, const struct wire_kv_reply *reply);
/* An error without details: code, its action, and how long to wait (0: does not help). */
void replies_add_error(struct replies *replies, struct reply_to to, enum err code, uint32_t wait_ms);
struct arena *replies_arena(struct replies *replies); /* ends with replies_flush */
void replies_flush(struct replies *replies);
/* So much has gathered since the last flush that memory asks for one before the round ends. */
bool replies_are_many(const struct replies *replies);

#endif
