// A library by which all memory of a program is kept from being swapped out, also what it maps later, when its `main` is called, as programs of real time do: loaded by
// LD_PRELOAD.
#include "before_main.h"
#include <stdlib.h>
#include <sys/mman.h>

static void before_main(void) {
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
        abort();
}
