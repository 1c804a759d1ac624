// A library by which a program is not dumpable when its `main` is called, as one that holds secrets makes itself: loaded by LD_PRELOAD.
#include "before_main.h"
#include <stdlib.h>
#include <sys/prctl.h>

static void before_main(void) {
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        abort();
}
