/* report.h - delivers records, and makes known what could not be reported. */
#ifndef PCM_REPORT_H
#define PCM_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "state.h"
#include "wire.h"

/* Why a report could not be made. */
typedef enum {
    PCM_LOST_SPILL,
    PCM_LOST_PATH,
    PCM_LOST_SANDBOX,
    PCM_LOST_MEMORY,
    PCM_LOST_RING,
    PCM_LOST_PROGRAM,
    PCM_LOST_NAMESPACE,
} pcm_loss_t;

void
pcm_identify(void);
bool
pcm_report(pcm_record_t *record, const char *path, size_t size, pcm_batch_t *batch);
void
pcm_batch_send(pcm_batch_t *batch);
void
pcm_mark_lost(pcm_loss_t loss);
void
pcm_mark_lost_at_start(pcm_loss_t loss);
bool
pcm_refuse_foreign(void);

#endif
