/* forks.c - pending counts of a parent must not be reported by its children, too. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static void
write_bytes(int fd, int count)
{
    for (int i = 0; i < count; i++)
        if (write(fd, "x", 1) != 1)
            _exit(9);
}

int
main(void)
{
    int fd = open("shared", O_WRONLY | O_CREAT | O_APPEND, 0600);

    write_bytes(fd, 5);
    for (int way = 0; way < 3; way++) {
        pid_t pid = way == 0   ? fork()
                    : way == 1 ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)
                               : _Fork();
        if (pid == 0) {
            write_bytes(fd, 4);
            _exit(0);
        }
        waitpid(pid, NULL, 0);
    }
    return 0;
}
