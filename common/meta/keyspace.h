/* keyspace: how user keys become encoded keys.
 *
 * The first byte is the mode: 'r' raw, 'x' transactional. Region boundaries are encoded keys. */
#ifndef META_KEYSPACE_H
#define META_KEYSPACE_H

enum { KEYSPACE_RAW = 'r', KEYSPACE_TRANSACTIONAL = 'x', KEYSPACE_PREFIX_SIZE = 1 };

#endif
