/* stdio.c - everything that reaches a file through a stream only. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

int
main(void)
{
    static char block[100000];
    FILE *file = fopen("printf", "w");

    for (int i = 0; i < 5000; i++)
        fprintf(file, "line %d\n", i);
    fclose(file);
    file = fopen("putc", "w");
    for (int i = 0; i < 20000; i++)
        putc_unlocked('x', file);
    for (int i = 0; i < 20000; i++)
        putc('y', file);
    fclose(file);
    memset(block, 'b', sizeof(block));
    file = fopen("fwrite", "w");
    for (int i = 0; i < 300; i++)
        fwrite(block, 1, 100, file);
    fclose(file);
    file = fopen("big", "w");
    fwrite(block, 1, 10, file);
    fwrite(block, 1, sizeof(block), file);
    fclose(file);
    file = fopen("fputs", "w");
    for (int i = 0; i < 3000; i++)
        fputs("a line of text\n", file);
    fflush(file);
    fputs("and one more\n", file);
    fclose(file);
    file = fopen("seek", "w+");
    fputs("0123456789", file);
    fseek(file, 2, SEEK_SET);
    fputs("ab", file);
    rewind(file);
    fclose(file);
    file = fopen("wide", "w");
    for (int i = 0; i < 3000; i++)
        fputws(L"wide characters\n", file);
    fclose(file);
    file = fopen("exit", "w"); /* never closed */
    fputs("written by exit\n", file);
    return 0;
}
