/* writes.c - a library that writes a file when it is told to, and one before anybody asks. */
#include <fcntl.h>
#include <unistd.h>

void
write_it(const char *name)
{
    int fd = open(name, O_WRONLY | O_CREAT, 0600);

    if (write(fd, "abc", 3) == 3)
        close(fd);
}

__attribute__((constructor)) static void
on_load(void)
{
    write_it("loaded");
}
