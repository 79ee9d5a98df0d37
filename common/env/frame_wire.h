/* frame_wire: a frame as it looks on the wire (drawn in transport.h), for the fillings of the transport.
 *
 * Threads: any; nothing here keeps state. */
#ifndef ENV_FRAME_WIRE_H
#define ENV_FRAME_WIRE_H

#include "env/transport.h"

enum {
    FRAME_HEADER_SIZE = 16,
    FRAME_WIRE_PING = 0, /* the two kinds that belong to the transport */
    FRAME_WIRE_HELLO = 1,
};

struct frame_header {
    uint32_t size; /* of the payload */
    uint32_t checksum;
    uint16_t version;
    uint16_t kind;
    uint32_t zero;
};

void frame_header_encode(const struct frame_header *header, uint8_t out[FRAME_HEADER_SIZE]);
struct frame_header frame_header_decode(const uint8_t in[FRAME_HEADER_SIZE]);

/* The checksum when bytes 8..15 of the header stand right in front of the payload. */
uint32_t frame_checksum(const uint8_t *header, size_t payload_size);
/* The same when they do not. */
uint32_t frame_checksum_apart(const uint8_t header[FRAME_HEADER_SIZE], struct bytes payload);

/* Moves a frame that nobody else holds to memory for `size` payload bytes; what is in it stays, as far as it fits. */
struct frame *frame_resize(struct frame *take_frame, size_t size);

#endif
