/* libc_files.c - files that libc opens, by names that the application gave. */
#include <err.h>
#include <libintl.h>
#include <locale.h>
#include <mntent.h>
#include <nl_types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utmp.h>

int
main(void)
{
    struct utmp entry = {.ut_type = USER_PROCESS, .ut_line = "tty9", .ut_id = "9"};
    struct mntent mount = {"device", "directory", "type", "options", 0, 0};
    FILE *table = setmntent("added", "a");

    if (table == NULL || addmntent(table, &mount) != 0)
        err(1, "added");
    fputs("# the end\n", table);
    endmntent(table);
    table = setmntent("table", "r");
    if (table == NULL || getmntent(table) == NULL)
        err(1, "table");
    endmntent(table);

    utmpname("logins");
    setutent();
    if (pututline(&entry) == NULL)
        err(1, "logins");
    endutent();
    utmpname("old-logins");
    setutent();
    if (getutent() == NULL)
        err(1, "old-logins");
    endutent();
    updwtmp("login-log", &entry);

    bindtextdomain("app", "catalogs");
    textdomain("app");
    if (setlocale(LC_ALL, "C.UTF-8") == NULL || strcmp(gettext("word"), "Wort") != 0)
        errx(1, "no catalog");
    time_t zero = 0;
    if (localtime(&zero)->tm_hour != 5)
        errx(1, "no time zone");
    return 0;
}
