/*
 * status.c -- what a status means, in one table.
 */
#include "precopy.h"

#include <stddef.h>

static const struct {
    int status;
    const char *message;
} messages[] = {
    {PC_ERROR_INTERRUPTED, "the run was interrupted"},
    {PC_ERROR_TRACE, "the trace names a file that cannot be written, or is too short"},
    {PC_ERROR_SHARE, "the shares are not finite, not positive, or name a read-only file"},
    {PC_ERROR_ARGUMENT, "an argument is out of its range"},
    {PC_ERROR_MEMORY, "out of memory"},
    {PC_STOP_CYCLES, "all cycles have run"},
    {PC_STOP_THRESHOLD, "the final copy fits under the threshold"},
    {PC_STOP_ROUNDS, "all rounds are complete"},
    {PC_STOP_CLEAN, "nothing was left to send"},
};

const char *
pc_status_message(int status)
{
    for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++) {
        if (messages[i].status == status)
            return messages[i].message;
    }
    return "unknown status";
}
