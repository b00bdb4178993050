/*
 * pending_replay.h -- the kind of pending set that a recording needs: it takes rows, not writes.
 */
#ifndef PC_PENDING_REPLAY_H
#define PC_PENDING_REPLAY_H

#include "pending.h"

extern const pc_pending_kind_t pc_pending_replay;

/* Some of the cycle's rows, in place of write(). */
void
pc_replay_rows(pc_pending_t *self, const pc_rows_t *rows, int64_t first, int64_t count);

#endif
