/* readable.c - memory that the application points to, and that may not be there.
 *
 * Invariant: what the kernel would refuse with an error is not touched by us, who would be killed
 * for it.  The question is put by a call that every filter lets through: it reads a signal mask and
 * then refuses what it is asked to do with it. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "readable.h"
#include "sys.h"

#include "rules.h"

#define PAGE 4096u
#define WORD 8u /* bytes of a signal mask */

static bool
word_is_readable(uintptr_t at)
{
    return pcm_sys(SYS_rt_sigprocmask, -1, (long)(at & ~(uintptr_t)(WORD - 1)), 0, WORD, 0, 0) !=
           -EFAULT;
}

/* Whether a byte may be read; `*page` is the last page of which that is known. */
static bool
is_readable(uintptr_t at, uintptr_t *page)
{
    if (at / PAGE == *page)
        return true;
    if (at < PAGE || !word_is_readable(at))
        return false;
    *page = at / PAGE;
    return true;
}

static bool
text_is_readable(const char *text, uintptr_t *page)
{
    do
        if (!is_readable((uintptr_t)text, page))
            return false;
    while (*text++ != '\0');
    return true;
}

bool
pcm_text_is_readable(const char *text)
{
    uintptr_t page = UINTPTR_MAX;

    return text_is_readable(text, &page);
}

/* Whether a list of texts, which ends with NULL, may be read, and all its texts. */
bool
pcm_list_is_readable(char *const list[])
{
    uintptr_t page = UINTPTR_MAX, text_page = UINTPTR_MAX;

    for (;; list++) {
        if (!is_readable((uintptr_t)list, &page) || !is_readable((uintptr_t)(list + 1) - 1, &page))
            return false;
        if (*list == NULL)
            return true;
        if (!text_is_readable(*list, &text_page))
            return false;
    }
}

/* Copy what may be read; false: it may not, and nothing was copied. */
bool
pcm_copy_in(void *to, const void *from, size_t size)
{
    uintptr_t at = (uintptr_t)from, page = UINTPTR_MAX;

    for (uintptr_t end = at + size; at < end; at = (at / PAGE + 1) * PAGE)
        if (!is_readable(at, &page))
            return false;
    memcpy(to, from, size);
    return true;
}
