/* many_threads.c - threads that open, write and close at once, and signals meanwhile. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void
on_signal(int number)
{
    int fd = open("signalled", O_WRONLY | O_CREAT | O_APPEND, 0600);

    (void)number;
    if (fd >= 0 && write(fd, "s", 1) == 1)
        close(fd);
}

static void *
work(void *argument)
{
    char name[32], data[64];

    memset(data, 'x', sizeof(data));
    snprintf(name, sizeof(name), "thread%d", (int)(size_t)argument);
    for (int i = 0; i < 10; i++) {
        int fd = open(name, O_WRONLY | O_CREAT | O_APPEND, 0600);
        for (int j = 0; j < 100; j++)
            if (write(fd, data, sizeof(data)) != sizeof(data))
                return argument;
        close(fd);
        raise(SIGUSR1);
    }
    return NULL;
}

int
main(void)
{
    pthread_t threads[8];
    void *failed;

    signal(SIGUSR1, on_signal);
    for (size_t i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, work, (void *)i);
    for (size_t i = 0; i < 8; i++) {
        pthread_join(threads[i], &failed);
        if (failed != NULL)
            return 1;
    }
    puts("done");
    return 0;
}
