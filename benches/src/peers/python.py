"""Python's multiprocessing, as a peer: for each line `method count`, so many processes one after another; answers with microseconds for one."""

import multiprocessing
import sys
import time


def noop():
    pass


def main():
    for line in sys.stdin:
        method, count = line.split()
        context = multiprocessing.get_context(method)
        start = time.perf_counter()
        for _ in range(int(count)):
            process = context.Process(target=noop)
            process.start()
            process.join()
        print((time.perf_counter() - start) * 1e6 / int(count), flush=True)


if __name__ == "__main__":
    main()
