/* store_keys: a storenode's own rows in column family `raft`, beside those of group/group_keys.h.
 *
 *   'g' | region id | 0x10               table RegionState | checksum u32 (region_row.h)
 *   'g' | region id | 0x11 | client id   tokens of one client (tokens.h)
 *   'g' | region id | 0x12               newest evicted token, index of the last save (tokens.h)
 *   'g' | region id | 0x13               this replica is damaged, and why (peer_heal.h)
 *   's' | region id | 0x01               marker: a snapshot that must be installed (snapshot_stage.h)
 *   's' | region id | 0x02 | sequence    a chunk of a snapshot that came (snapshot_stage.h)
 *   'i'                                  table StoreIdent | checksum u32 (suffix 'i'): which cluster and store this
 *                                        directory belongs to
 *   'p'                                  u8 role ('s' storenode, 'd' pd): written first, so that a foreign directory is
 * known */
#ifndef STORENODE_STORE_KEYS_H
#define STORENODE_STORE_KEYS_H

enum { STORE_REGION_STATE = 0x10, STORE_TOKENS = 0x11, STORE_TOKENS_EDGE = 0x12, STORE_DAMAGE = 0x13 };

#endif
