/* A library as one has to live with: it crashes, hangs and leaks. */
#include <stdlib.h>
#include <string.h>

/* Counts the words of a text. */
int bad_count(const char *text) {
    int words = 0, within = 0;
    if (strstr(text, "crash")) *(volatile int *)0 = 1;
    if (strstr(text, "hang")) for (volatile int forever = 1; forever;) {}
    if (strstr(text, "leak")) memset(malloc(32 << 20), 1, 32 << 20);
    for (; *text; text++) {
        if (*text != ' ' && !within) words++;
        within = *text != ' ';
    }
    return words;
}
