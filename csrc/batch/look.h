/* look.h - how large a file is now. */
#ifndef PCB_LOOK_H
#define PCB_LOOK_H

#include "batch.h"

void
pcb_look_at(pcb_access_t *row, const char *path);

#endif
