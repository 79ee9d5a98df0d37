/* engine_mem_tables: engine_tables of the simulator: files that are there when they were finished, whatever else a crash
 * takes away. Inner header of engine_mem.
 *
 * Owner: engine_mem. */
#ifndef ENV_ENGINE_MEM_TABLES_H
#define ENV_ENGINE_MEM_TABLES_H

#include "base/rng.h"
#include "env/engine_tables.h"

struct engine_tables *mem_tables_new(struct engine *engine);
void mem_tables_free(struct engine_tables *tables);
uint64_t mem_tables_count(const struct engine_tables *tables);
/* What was done after `now_us` was not done; files that were removed come back, or not. */
void mem_tables_crash(struct engine_tables *tables, uint64_t now_us, struct rng *rng);

/* ---- engine_mem's side */
/* May `size` bytes be written now? With `sync` it takes the time of one. A failure is not final. */
enum err engine_mem_ask(struct engine *engine, uint64_t generation, bool sync, size_t size, struct error *err);
uint64_t engine_mem_generation(struct engine *engine);
uint64_t engine_mem_now_us(struct engine *engine);
bool engine_mem_table_rots(struct engine *engine);
bool engine_mem_read_fails(struct engine *engine);
/* Takes the batch, heap-allocated, in any case. */
enum err engine_mem_ingest(struct engine *engine, struct engine_batch *take_batch, struct error *err);

#endif
