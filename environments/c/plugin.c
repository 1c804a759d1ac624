// A program in C that loads the library as a plugin: `plugin NAME LIBRARY`.
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv) {
    void *library = argc > 2 ? dlopen(argv[2], RTLD_NOW) : NULL;
    int (*checks)(const char *) = library ? (int (*)(const char *))dlsym(library, "environments_checks") : NULL;
    if (!checks) {
        fprintf(stderr, "no such plugin: %s\n", dlerror());
        return 1;
    }
    return checks(argv[1]);
}
