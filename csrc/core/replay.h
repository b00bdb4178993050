/*
 * replay.h -- the rows of a recording: what must hold of them, and going through them again and again.
 */
#ifndef PC_REPLAY_H
#define PC_REPLAY_H

#include "precopy.h"

/* What a run must know of a recording as a whole. */
typedef struct {
    int64_t largest_bytes; /* of a file at any time */
    int64_t updates;       /* of all rows together */
} pc_recording_totals_t;

/* Check a recording and add it up; 0, or an error. */
int
pc_recording_add_up(pc_recording_totals_t *self, const pc_recording_t *recording,
                    const pc_files_t *files);

/* How many updates the cycles of a plan make at most, or -1 if the plan is not sound on a recording. */
int64_t
pc_recording_updates(const pc_recording_totals_t *self, const pc_recording_t *recording,
                     const pc_plan_t *plan);

/* Where a run is. */
typedef struct {
    const pc_recording_t *recording;
    bool back;   /* in the rows that lead back */
    int64_t row; /* the next one */
} pc_cursor_t;

/* The next rows that lie side by side, at most `most`: returns how many, and which. */
static inline int64_t
pc_cursor_next(pc_cursor_t *self, int64_t most, const pc_rows_t **rows, int64_t *first)
{
    *rows = self->back ? &self->recording->back : &self->recording->rows;
    while (most > 0 && self->row == (*rows)->count) {
        self->back = !self->back;
        self->row = 0;
        *rows = self->back ? &self->recording->back : &self->recording->rows;
    }
    int64_t left = (*rows)->count - self->row, count = most < left ? most : left;
    *first = self->row;
    self->row += count;
    return count;
}

#endif
