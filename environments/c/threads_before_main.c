// A library that has 500 threads when `main` is called, and none in constructors: loaded by LD_PRELOAD.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

typedef int (*main_of)(int, char **, char **);
typedef int (*starter)(main_of, int, char **, void (*)(void), void (*)(void), void (*)(void), void *);

static main_of real_main;

static void *wait_for_ever(void *unused) {
    for (;;)
        pause();
    return unused;
}

static int main_with_threads(int argc, char **argv, char **envp) {
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 * 1024);
    for (int i = 0; i < 500; i++) {
        pthread_t thread;
        if (pthread_create(&thread, &small, wait_for_ever, NULL) != 0)
            abort();
    }
    return real_main(argc, argv, envp);
}

int __libc_start_main(main_of program, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*loader_fini)(void), void *stack_end) {
    starter real = (starter)dlsym(RTLD_NEXT, "__libc_start_main");
    real_main = program;
    return real(main_with_threads, argc, argv, init, fini, loader_fini, stack_end);
}
