/* ring.c - makes a ring with liburing, by its name or by the general one. */
#include <liburing.h>
#include <string.h>

int
main(int count, char **values)
{
    struct io_uring_params parameters;
    struct io_uring ring;

    memset(&parameters, 0, sizeof(parameters));
    (void)values;
    return count > 1 ? io_uring_queue_init_params(8, &ring, &parameters) != 0
                     : io_uring_queue_init(8, &ring, 0) != 0;
}
