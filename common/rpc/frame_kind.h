/* frame_kind: what a frame's payload is. Numbers are never reused.
 *
 * Every payload but ping is one FlatBuffer, root table in the right column (proto/ .fbs). */
#ifndef RPC_FRAME_KIND_H
#define RPC_FRAME_KIND_H

enum frame_kind {
    FRAME_PING = 0,      /* nothing: the transport's own */
    FRAME_HELLO = 1,     /* Hello: first frame of each side */
    FRAME_KV_REQUEST = 2, /* KvRequestBatch: client -> storenode */
    FRAME_KV_REPLY = 3,   /* KvReplyBatch: storenode -> client, any order, matched by id */
    FRAME_RAFT = 4,       /* RaftBatch: storenode -> storenode, pd -> pd */
    FRAME_PD_REQUEST = 5, /* PdRequest: anyone -> pd */
    FRAME_PD_REPLY = 6,   /* PdReply: pd -> asker, matched by id */
    FRAME_SNAPSHOT = 7,   /* SnapshotChunk: storenode -> storenode, on a connection of its own */
    FRAME_SNAPSHOT_ACK = 8, /* SnapshotAck: the answer */
    FRAME_HTTP_CALL = 9,    /* HttpCall: pd -> pd that leads */
    FRAME_HTTP_ANSWER = 10, /* HttpAnswer: the answer */
};

/* A process speaks versions PROTOCOL_VERSION_MIN..PROTOCOL_VERSION and uses the lower of both sides' newest. New fields are
 * added to tables without a new version (readers ignore what they do not know); a new version is for new meanings. */
enum { PROTOCOL_VERSION = 1, PROTOCOL_VERSION_MIN = 1 };

#endif
