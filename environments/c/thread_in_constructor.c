// A library whose constructor starts a thread, as OpenBLAS and jemalloc can: loaded by LD_PRELOAD.
#include <pthread.h>
#include <unistd.h>

static void *wait_for_ever(void *unused) {
    for (;;)
        pause();
    return unused;
}

__attribute__((constructor)) static void start(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, wait_for_ever, NULL);
}
