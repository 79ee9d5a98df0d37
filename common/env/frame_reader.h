/* frame_reader: cuts frames out of a stream of hostile bytes.
 *
 * The owner asks where the next bytes may go (room), says how many came (added), and takes frames until there are none.
 *
 * Memory: a buffer of 4 KiB, which grows up to 64 KiB with what arrives, and one large frame (over 64 KiB) that arrives
 * straight in its own memory. That memory doubles from 256 KiB as bytes come: a header that claims 32 MiB costs no more
 * than what was really sent, twice, or 256 KiB.
 *
 * Owner: the receiving side of one connection. Invariants:
 *   R1 begin <= end <= capacity;  R2 while a large frame is arriving and is not whole, the buffer is empty. */
#ifndef ENV_FRAME_READER_H
#define ENV_FRAME_READER_H

#include <stdbool.h>

#include "env/frame_wire.h"

struct frame_room {
    uint8_t *data;
    size_t size;
};

enum { FRAME_ROOMS_MAX = 2 };

struct frame_reader {
    uint8_t *data; /* owned */
    size_t capacity, begin, end;
    bool was_full;       /* the last read filled the buffer: more comes at a time than it holds */
    struct frame *large;               /* owned: on its way; its header bytes are filled */
    size_t large_size;                 /* payload bytes that it will have */
    size_t large_received;             /* payload bytes that came */
    uint32_t payload_size_max;         /* the owner may change it between calls: hellos are small */
    uint16_t version_min, version_max; /* a hello may be newer: its sender will come down to us */
    uint16_t version;                  /* of the last frame */
    const char *fault;                 /* static text: what was wrong, once next() has said so */
};

void frame_reader_init(struct frame_reader *reader, uint16_t version_min, uint16_t version_max);
void frame_reader_fini(struct frame_reader *reader);

/* Returns how many of `rooms` are filled in, at least 1. All frames must have been taken with next() before. */
uint32_t frame_reader_room(struct frame_reader *reader, struct frame_room rooms[FRAME_ROOMS_MAX]);
void frame_reader_added(struct frame_reader *reader, size_t size);
/* ERR_OK and a frame; ERR_NOT_READY: more bytes are needed; ERR_CORRUPT, ERR_VERSION: `fault` says what is wrong, and
 * the stream cannot be read any further. */
enum err frame_reader_next(struct frame_reader *reader, struct frame **ret_frame);

#endif
