/* loads.c - opens libraries by every kind of name; g() is in a library that it is linked with.
 *
 * With arguments it opens these, looks at something, and kills itself: what was loaded must have been
 * reported by then. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int
g(void);

static void
load_and_die(char **names)
{
    for (; *names != NULL; names++)
        if (strcmp(*names, "look") == 0 ? access("lib", F_OK) : dlopen(*names, RTLD_NOW) == NULL)
            return;
    kill(getpid(), SIGKILL);
}

int
main(int count, char **values)
{
    static const char *const names[] = {"./relative.so", "libversion.so", "libfound.so",
                                        "$ORIGIN/lib/origin.so", "libdirect.so"};

    if (count > 1) {
        load_and_die(values + 1);
        return 3;
    }
    for (int i = 0; i < 5; i++)
        if (dlopen(names[i], RTLD_NOW) == NULL) {
            fprintf(stderr, "%s\n", dlerror());
            return 1;
        }
    if (dlmopen(LM_ID_NEWLM, "./apart.so", RTLD_NOW) == NULL)
        return 2;
    return g() != 8 || dlopen("./absent.so", RTLD_NOW) != NULL;
}
