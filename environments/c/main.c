// A program whose `main` is in C, and which has the library linked in.
int environments_checks(const char *name);

int main(int argc, char **argv) { return environments_checks(argc > 1 ? argv[1] : ""); }
