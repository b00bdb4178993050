/*
 * open.h -- a regular file, opened for reading without any effect on it.
 */
#ifndef PCS_OPEN_H
#define PCS_OPEN_H

#include <stdint.h>

/* Return a descriptor of the regular file (dev, ino) that `path` names, or a negative errno; -ESTALE
 * if the name leads to anything else now.  Only a file that proved to be the right one is opened for
 * reading: opening a FIFO would let its writer go on, opening a device may do anything. */
int
pcs_open(const char *path, uint64_t dev, uint64_t ino);

#endif
