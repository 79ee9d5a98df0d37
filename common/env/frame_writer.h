/* frame_writer: frames that wait to be written, so laid out that one write takes all of them.
 *
 * Small frames are copied behind one another into chunks; a large one is only referred to, its header standing in the
 * chunk before it. A copy of a small frame costs far less than an entry of its own in the list that goes to the kernel.
 *
 * Owner: one connection, under its lock. Bytes that gather() has given out stay where they are until sent() takes them,
 * whatever is put in the meantime. */
#ifndef ENV_FRAME_WRITER_H
#define ENV_FRAME_WRITER_H

#include <stdbool.h>

#include "env/frame_wire.h"

struct frame_chunk;

struct frame_piece {
    const uint8_t *data;
    size_t size;
};

enum { FRAME_PIECES_MAX = 8 }; /* what nng takes in one operation */

struct frame_writer {
    struct frame_chunk *first, *last; /* owned */
    size_t pending_size;              /* bytes not sent yet */
};

void frame_writer_init(struct frame_writer *writer);
void frame_writer_fini(struct frame_writer *writer);

/* A frame that is put by reference, and whose checksum is better computed before taking a lock. */
bool frame_writer_is_large(const struct frame *frame);
/* Puts a frame behind all others. `checksum` is used for large frames only. */
void frame_writer_put(struct frame_writer *writer, uint16_t version, struct frame *take_frame, uint32_t checksum);
/* The checksum of a large frame. */
uint32_t frame_writer_checksum(uint16_t version, const struct frame *frame);
/* In front of all others: the hello. Nothing may have been gathered yet. */
void frame_writer_put_first(struct frame_writer *writer, uint16_t version, struct frame *take_frame);
/* Returns how many of `pieces` are filled in; 0: nothing waits. */
uint32_t frame_writer_gather(const struct frame_writer *writer, struct frame_piece pieces[FRAME_PIECES_MAX]);
/* The first `size` bytes of what was gathered have left. */
void frame_writer_sent(struct frame_writer *writer, size_t size);
/* Gives back memory that only a busy connection needs. */
void frame_writer_trim(struct frame_writer *writer);

#endif
