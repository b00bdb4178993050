/* loads.c - opens libraries by every kind of name; g() is in a library that it is linked with.
 *
 * With an argument it looks at nothing more: what is loaded by a bare name must be reported when
 * the program ends, if not before. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>

int
g(void);

int
main(void)
{
    static const char *const names[] = {"./relative.so", "libversion.so", "libfound.so",
                                        "$ORIGIN/lib/origin.so", "libdirect.so"};

    for (int i = 0; i < 5; i++)
        if (dlopen(names[i], RTLD_NOW) == NULL) {
            fprintf(stderr, "%s\n", dlerror());
            return 1;
        }
    if (dlmopen(LM_ID_NEWLM, "./apart.so", RTLD_NOW) == NULL)
        return 2;
    return g() != 8 || dlopen("./absent.so", RTLD_NOW) != NULL;
}
