/* detours.c - files that are reached by another way than by their name, by processes that began in
 * another way than by fork and exec.  Whatever is in a file in the end was written by this program,
 * and seen to be written.
 *
 * detours: every way but one.  detours elsewhere: a name relative to where a child will have gone. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utmp.h>

#define CHECK(condition)                                                                           \
    do                                                                                             \
        if (!(condition)) {                                                                        \
            perror(#condition);                                                                    \
            exit(1);                                                                               \
        }                                                                                          \
    while (0)

static void
put(int fd, size_t size)
{
    static const char bytes[10000];

    CHECK(write(fd, bytes, size) == (ssize_t)size);
}

static int
make(const char *name)
{
    int fd = open(name, O_CREAT | O_RDWR, 0644);

    CHECK(fd >= 0);
    return fd;
}

static void
make_of(const char *name, size_t size)
{
    int fd = make(name);

    put(fd, size);
    close(fd);
}

static void
shell(const char *script)
{
    char *arguments[] = {"sh", "-c", (char *)script, NULL};

    execve("/bin/sh", arguments, environ);
    _exit(1);
}

static void
shell_of(int program, const char *script)
{
    char *arguments[] = {"sh", "-c", (char *)script, NULL};

    execveat(program, "", arguments, environ, AT_EMPTY_PATH);
    _exit(1);
}

static void
await(pid_t child)
{
    int status;

    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void
spawn(posix_spawn_file_actions_t *actions, const char *script)
{
    char *arguments[] = {"sh", "-c", (char *)script, NULL};
    pid_t child;

    CHECK(posix_spawn(&child, "/bin/sh", actions, NULL, arguments, environ) == 0);
    await(child);
    posix_spawn_file_actions_destroy(actions);
}

static void
spawned(void)
{
    posix_spawn_file_actions_t actions;

    close(make("spawned"));
    CHECK(symlink("spawned", "link") == 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "link", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 9, "spawned-9", O_WRONLY | O_CREAT, 0644);
    posix_spawn_file_actions_adddup2(&actions, 9, 8);
    posix_spawn_file_actions_addclose(&actions, 9);
    spawn(&actions, "/bin/echo text; echo text >&8");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    spawn(&actions, "echo text > closed-from");
}

static void
elsewhere(void)
{
    posix_spawn_file_actions_t actions;

    CHECK(mkdir("there", 0755) == 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, "there");
    posix_spawn_file_actions_addopen(&actions, 1, "relative", O_WRONLY | O_CREAT, 0644);
    spawn(&actions, "/bin/echo text");
}

static void *
shell_in_thread(void *script)
{
    shell(script);
    return NULL;
}

static void
executed(void)
{
    pthread_t thread;
    pid_t child;

    if ((child = fork()) == 0) {
        int program = memfd_create("program", MFD_CLOEXEC), from = open("/bin/sh", O_RDONLY);
        CHECK(sendfile(program, from, NULL, 1 << 30) > 0);
        shell_of(program, "echo text > memfd");
    }
    await(child);
    if ((child = fork()) == 0)
        shell_of(open("/bin/sh", O_PATH | O_CLOEXEC), "echo text > path-only");
    await(child);
    if ((child = vfork()) == 0) {
        syscall(SYS_close_range, 3, ~0u, 0);
        shell("echo text > vfork");
    }
    await(child);
    if ((child = fork()) == 0) {
        pthread_create(&thread, NULL, shell_in_thread, "echo text > thread");
        pause();
    }
    await(child);
}

static void
forked(void)
{
    struct clone_args arguments = {.exit_signal = SIGCHLD};
    int terminal, other;
    char said[100];
    pid_t child;

    if ((child = (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments))) == 0) {
        make_of("clone3", 7);
        _exit(0);
    }
    await(child);
    if ((child = _Fork()) == 0) {
        make_of("_Fork", 7);
        _exit(0);
    }
    await(child);
    if ((child = forkpty(&terminal, NULL, NULL, NULL)) == 0) {
        dup2(make("forkpty"), 1);
        puts("text");
        exit(0);
    }
    while (read(terminal, said, sizeof(said)) > 0)
        ;
    await(child);
    if ((child = fork()) == 0) {
        dup2(make("login_tty"), 1);
        put(1, 5);
        CHECK(openpty(&terminal, &other, NULL, NULL, NULL) == 0);
        setsid();
        CHECK(login_tty(other) == 0);
        put(1, 50);
        exit(0);
    }
    await(child);
    if ((child = fork()) == 0) {
        CHECK(daemon(1, 1) == 0);
        make_of("daemon", 3);
        exit(0);
    }
    await(child);
}

static void
reopened(void)
{
    char name[5000];
    int fd;

    close(make("reopened"));
    fd = open("reopened", O_PATH);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    put(open(name, O_WRONLY), 9);
    snprintf(name, sizeof(name), "/dev/fd/%d", fd);
    put(open(name, O_WRONLY | O_APPEND), 9);
    snprintf(name, sizeof(name), "/proc/%d/cwd/by-proc", getpid());
    make_of(name, 4);
    snprintf(name, sizeof(name), "/proc/self/root%s/by-root", get_current_dir_name());
    make_of(name, 4);
    dup2(make("standard-input"), 0);
    put(open("/dev/stdin", O_WRONLY), 11);
}

static void
renamed(void)
{
    make_of("one", 1);
    make_of("two", 1);
    CHECK(renameat2(AT_FDCWD, "one", AT_FDCWD, "two", RENAME_EXCHANGE) == 0);
    int fd = open(".", O_TMPFILE | O_RDWR, 0644);
    CHECK(linkat(fd, "", AT_FDCWD, "nameless", AT_EMPTY_PATH) == 0);
    put(fd, 10);
}

static void
copied(void)
{
    int from = make("source"), ends[2];

    put(from, 5000);
    lseek(from, 0, SEEK_SET);
    CHECK(copy_file_range(from, NULL, make("copied"), NULL, 5000, 0) == 5000);
    lseek(from, 0, SEEK_SET);
    CHECK(sendfile(make("sent"), from, NULL, 5000) == 5000);
    lseek(from, 0, SEEK_SET);
    CHECK(pipe(ends) == 0 && splice(from, NULL, ends[1], NULL, 4000, 0) == 4000);
    CHECK(splice(ends[0], NULL, make("spliced"), NULL, 4000, 0) == 4000);
}

static void
far_away(void)
{
    char name[201];

    memset(name, 'd', 200);
    name[200] = '\0';
    for (int i = 0; i < 4; i++)
        CHECK(mkdir(name, 0755) == 0 && chdir(name) == 0);
    make_of("far", 3);
    CHECK(mkdir("gone", 0755) == 0 && chdir("gone") == 0 && rmdir("../gone") == 0);
    make_of("../from-gone", 3);
}

int
main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1) {
        elsewhere();
        return 0;
    }
    spawned();
    executed();
    forked();
    reopened();
    renamed();
    copied();
    far_away();
    return 0;
}
