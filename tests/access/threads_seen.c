/* threads_seen.c - a program that counts its threads where that matters. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

static int
threads(void)
{
    DIR *directory = opendir("/proc/self/task");
    int count = -2; /* . and .. */

    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

int
main(void)
{
    int fd = open("f", O_WRONLY | O_CREAT, 0600);

    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 10; i++)
            if (write(fd, "x", 1) != 1)
                return 1;
        pid_t pid = fork();
        if (pid == 0)
            _exit(threads() == 1 ? 0 : 2);
        if (threads() != 1)
            return 3;
        int status;
        waitpid(pid, &status, 0);
        if (status != 0)
            return 4;
    }
    if (geteuid() == 0 && unshare(CLONE_NEWNS) != 0)
        return 5;
    return 0;
}
