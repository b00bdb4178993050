/* cases.c - what programs may do that a library inside them could stumble over, one case per name.
 *
 * Every case does the same with and without the monitor: exits 0, and says nothing of its own. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <err.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static volatile int stop;

static int
create(const char *name)
{
    return open(name, O_WRONLY | O_CREAT | O_APPEND, 0600);
}

static void
write_bytes(int fd, int count)
{
    for (int i = 0; i < count; i++)
        if (write(fd, "x", 1) != 1)
            _exit(9);
}

static void
run_threads(int count, void *(*work)(void *))
{
    pthread_t threads[64];

    for (long i = 0; i < count; i++)
        pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

/* New files while other threads take every descriptor's number in turn. */
static void *
make_files(void *argument)
{
    char name[64];

    for (int i = 0; !stop; i++) {
        snprintf(name, sizeof(name), "made-%ld-%d", (long)argument, i % 3000);
        int fd = create(name);
        write_bytes(fd, 1);
        close(fd);
    }
    return NULL;
}

static void *
take_numbers(void *argument)
{
    int victim = create("victim");

    for (int i = 0; i < 5 * 3100; i++) {
        int number = 900 + i % 3100;
        dup2(victim, number);
        close(number - 5);
    }
    stop = 1;
    return argument;
}

static void *
take_or_make(void *argument)
{
    return argument == NULL ? take_numbers(NULL) : make_files(argument);
}

static int
numbers(void)
{
    struct rlimit limit = {8192, 8192};
    struct stat status;

    setrlimit(RLIMIT_NOFILE, &limit);
    run_threads(3, take_or_make);
    return stat("victim", &status) != 0 || status.st_size != 0;
}

/* Two threads fork while two others write. */
static void *
fork_or_write(void *argument)
{
    char name[] = "forked-?";

    name[7] = (char)('0' + (long)argument);
    int fd = create(name);
    for (int i = 0; i < 300; i++) {
        pid_t pid = (long)argument < 2 ? fork() : 1;
        if (pid == 0)
            _exit(0);
        if ((long)argument < 2)
            waitpid(pid, NULL, 0);
        write_bytes(fd, 1);
        usleep(100);
    }
    return NULL;
}

static int
forks(void)
{
    run_threads(4, fork_or_write);
    return 0;
}

/* fork is safe in a signal handler. */
static void
on_alarm(int number)
{
    pid_t pid = fork();

    (void)number;
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
}

static int
handler(void)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    int fd = create("interrupted");

    sigaction(SIGALRM, &action, NULL);
    for (int i = 0; i < 300; i++) {
        struct itimerval soon = {.it_value = {.tv_usec = 50 + i % 100}};
        setitimer(ITIMER_REAL, &soon, NULL);
        for (int j = 0; j < 100; j++)
            write_bytes(fd, 1);
    }
    return 0;
}

/* fflush(NULL) walks a list that other threads change. */
static void *
change_streams(void *argument)
{
    while (!stop) {
        FILE *stream = fopen("/dev/null", "w");
        void *other;
        if (stream == NULL)
            continue;
        fclose(stream);
        other = malloc(0x1d8);
        memset(other, 'A', 0x1d8);
        free(other);
    }
    return argument;
}

static void *
flush_or_change(void *argument)
{
    if (argument != NULL)
        return change_streams(argument);
    for (int i = 0; i < 300000; i++)
        fflush(NULL);
    stop = 1;
    return NULL;
}

static int
streams(void)
{
    run_threads(3, flush_or_change);
    return 0;
}

/* Shells started by several threads of a program that took our variables out of its environment. */
static void *
start_shells(void *argument)
{
    char command[64];

    for (int i = 0; i < 10; i++) {
        snprintf(command, sizeof(command), "echo \"it's\" > shell-%ld-%d", (long)argument, i);
        FILE *stream = i % 2 == 0 ? popen(command, "r") : NULL;
        if (stream != NULL ? pclose(stream) != 0 : system(command) != 0)
            _exit(3);
    }
    return NULL;
}

static int
shells(void)
{
    char **before;

    unsetenv("LD_PRELOAD");
    unsetenv("PRECOPY_LIVE");
    before = environ;
    run_threads(4, start_shells);
    return environ != before || getenv("LD_PRELOAD") != NULL;
}

/* No file may grow: the signal that says so would kill the program. */
static int
no_growth(void)
{
    struct rlimit limit = {0, 0};
    char name[256];

    memset(name, 'n', 200);
    name[200] = '\0';
    setrlimit(RLIMIT_FSIZE, &limit);
    for (int i = 0; i < 21; i++)
        if (mkdir(name, 0700) != 0 || chdir(name) != 0)
            return 1;
    return create("deep") < 0;
}

/* Nobody keeps the rights that the program gave up. */
static int
rights(void)
{
    char name[64], line[256];
    int bad = 0;

    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "before-%d", i);
        write_bytes(create(name), 3);
    }
    if (setgid(65534) != 0 || setuid(65534) != 0)
        return 1;
    snprintf(name, sizeof(name), "cat /proc/%d/task/*/status", getpid());
    FILE *tasks = popen(name, "r");
    while (fgets(line, sizeof(line), tasks) != NULL)
        bad |= strncmp(line, "Uid:", 4) == 0 && strstr(line, "\t0") != NULL;
    return pclose(tasks) != 0 || bad;
}

/* A program started from a sandbox in which our system calls are deadly. */
static int
sandbox(void)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_readlinkat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof(rules) / sizeof(rules[0]), rules};

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        return 1;
    return execl("/bin/true", "true", NULL);
}

/* To ask whether there are sandboxes is not to be in one. */
static int
probe(void)
{
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL);
    write_bytes(create("probed"), 3);
    return 0;
}

/* A large environment and a small stack. */
static void *
spawn_small(void *argument)
{
    static char *many[3001];
    char *arguments[] = {"sh", "-c", "echo > spawned", NULL};
    int status = 1;
    pid_t pid;

    for (int i = 0; i < 3000; i++)
        many[i] = "A=b";
    if (posix_spawn(&pid, "/bin/sh", NULL, NULL, arguments, many) == 0)
        waitpid(pid, &status, 0);
    if (status != 0)
        _exit(4);
    return argument;
}

static int
small_stack(void)
{
    pthread_attr_t attributes;
    pthread_t thread;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN);
    pthread_create(&thread, &attributes, spawn_small, NULL);
    return pthread_join(thread, NULL);
}

/* The process goes on when its first thread has ended. */
static void *
outlive(void *argument)
{
    usleep(50000);
    write_bytes(create("outlived"), 10);
    rename("outlived", "renamed");
    exit(0);
    return argument;
}

static int
headless(void)
{
    pthread_t thread;

    pthread_create(&thread, NULL, outlive, NULL);
    pthread_exit(NULL);
}

/* Streams into memory have no descriptor, and a reopened one none that is left. */
static int
odd_streams(void)
{
    char *text = NULL;
    size_t size;
    uint64_t one = 1;
    FILE *stream;

    memset(malloc(1000), 0, 1000);
    for (int i = 0; i < 3; i++) {
        stream = open_memstream(&text, &size);
        fputs("hello", stream);
        fclose(stream);
    }
    stream = fopen("reopened", "w");
    fputs("abc", stream);
    if (freopen("/nonexistent/x", "w", stream) != NULL)
        return 1;
    int event = eventfd(0, 0);
    for (int i = 0; i < 10; i++)
        if (write(event, &one, sizeof(one)) != sizeof(one))
            return 1;
    return 0;
}

/* Many threads that open files nobody knows yet. */
static void *
open_new(void *argument)
{
    char name[64];

    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof(name), "new-%ld-%d", (long)argument, i);
        int fd = create(name);
        write_bytes(fd, 2);
        close(fd);
    }
    return NULL;
}

static int
many_opens(void)
{
    run_threads(48, open_new);
    return 0;
}

static int
semaphore(void)
{
    sem_t *opened = sem_open("/precopy-test", O_CREAT, 0600, 1);

    return opened == SEM_FAILED || sem_close(opened) != 0 || sem_unlink("/precopy-test") != 0;
}

/* What libc itself says on standard error. */
static int
complaints(void)
{
    if (freopen("complaints", "w", stderr) == NULL)
        return 1;
    perror("perror");
    warnx("warned");
    errx(0, "done");
}

/* A library that insists on its own symbols. */
static int
deep_bind(void)
{
    void *library = dlopen("./libwrites.so", RTLD_NOW | RTLD_DEEPBIND);
    void (*write_it)(const char *) = NULL;

    if (library != NULL)
        *(void **)&write_it = dlsym(library, "write_it");
    if (write_it == NULL)
        return 1;
    write_it("deep");
    return 0;
}

static int
exchange(void)
{
    if (mkdir("xa", 0700) != 0 || mkdir("xb", 0700) != 0)
        return 1;
    write_bytes(create("xa/fa"), 1);
    write_bytes(create("xb/fb"), 1);
    return renameat2(AT_FDCWD, "xa", AT_FDCWD, "xb", RENAME_EXCHANGE);
}

static int
quick(void)
{
    write_bytes(create("quick"), 100);
    quick_exit(0);
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(void);
    } cases[] = {
        {"numbers", numbers},         {"forks", forks},         {"handler", handler},
        {"streams", streams},         {"shells", shells},       {"no-growth", no_growth},
        {"rights", rights},           {"sandbox", sandbox},     {"probe", probe},
        {"small-stack", small_stack}, {"headless", headless},   {"odd-streams", odd_streams},
        {"many-opens", many_opens},   {"semaphore", semaphore}, {"complaints", complaints},
        {"deep-bind", deep_bind},     {"exchange", exchange},   {"quick", quick},
    };

    for (size_t i = 0; argc == 2 && i < sizeof(cases) / sizeof(cases[0]); i++)
        if (strcmp(cases[i].name, argv[1]) == 0)
            return cases[i].run();
    return 2;
}
