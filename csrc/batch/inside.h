/* inside.h - what a batch consists of. */
#ifndef PCB_INSIDE_H
#define PCB_INSIDE_H

#include "batch.h"
#include "rows.h"

#define EXPORT __attribute__((visibility("default")))

struct pcb_batch {
    pcb_rows_t rows[PCB_KINDS];
    char *text;
    size_t text_size, text_capacity;
    uint64_t bucket_ns, records, damaged, foreign, lost;
};

#endif
