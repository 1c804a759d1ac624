// What a library that is loaded by LD_PRELOAD does in the program itself, and in no start of it as a fork server, which never comes to `main`.
#define _GNU_SOURCE
#include <dlfcn.h>

typedef int (*main_of)(int, char **, char **);
typedef int (*starter)(main_of, int, char **, void (*)(void), void (*)(void), void (*)(void), void *);

static void before_main(void);

static main_of real_main;

static int main_afterwards(int argc, char **argv, char **envp) {
    before_main();
    return real_main(argc, argv, envp);
}

int __libc_start_main(main_of program, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*loader_fini)(void), void *stack_end) {
    starter real = (starter)dlsym(RTLD_NEXT, "__libc_start_main");
    real_main = program;
    return real(main_afterwards, argc, argv, init, fini, loader_fini, stack_end);
}
