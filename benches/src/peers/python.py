"""Python's multiprocessing and its pools of two processes, as peers.

For each line a request; answers with the microseconds for one:

- `fork COUNT`, `spawn COUNT`: processes, one after another
- `POOL one COUNT`: tasks that do nothing, one at a time
- `POOL many COUNT CHUNK`: the same through map; 0 is the pool's own choice of a chunk
- `POOL busy COUNT NANOSECONDS CHUNK`: tasks that take a while, through map
- `POOL size COUNT BYTES`: tasks with an input of that size, one at a time

where POOL is `executor`, a ProcessPoolExecutor, or `pool`, a multiprocessing.Pool.
"""

import concurrent.futures
import ctypes
import functools
import multiprocessing
import signal
import sys
import time

WORKERS = 2
PR_SET_PDEATHSIG = 1


def noop(_=None):
    pass


def busy(nanoseconds):
    end = time.perf_counter_ns() + nanoseconds
    while time.perf_counter_ns() < end:
        pass


def end_with_parent():
    # Otherwise they would stay when this is killed.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Executor:
    def __init__(self):
        context = multiprocessing.get_context("fork")
        self.pool = concurrent.futures.ProcessPoolExecutor(WORKERS, context, end_with_parent)

    def one(self, task, value):
        self.pool.submit(task, value).result()

    def many(self, task, values, chunk):
        for _ in self.pool.map(task, values, chunksize=chunk or 1):
            pass


class Pool:
    def __init__(self):
        self.pool = multiprocessing.get_context("fork").Pool(WORKERS, end_with_parent)

    def one(self, task, value):
        self.pool.apply(task, (value,))

    def many(self, task, values, chunk):
        self.pool.map(task, values, chunksize=chunk or None)


@functools.cache
def the(pool):
    return {"executor": Executor, "pool": Pool}[pool]()


def processes(method, count):
    context = multiprocessing.get_context(method)
    for _ in range(count):
        process = context.Process(target=noop)
        process.start()
        process.join()


def pooled(pool, what, count, *numbers):
    if what == "one":
        for _ in range(count):
            pool.one(noop, None)
    elif what == "many":
        (chunk,) = numbers
        pool.many(noop, range(count), chunk)
    elif what == "busy":
        nanoseconds, chunk = numbers
        pool.many(busy, [nanoseconds] * count, chunk)
    elif what == "size":
        (size,) = numbers
        value = bytes(size)
        for _ in range(count):
            pool.one(len, value)
    else:
        raise ValueError(what)


def main():
    for line in sys.stdin:
        first, *words = line.split()
        if first in ("fork", "spawn"):
            count = int(words[0])
            start = time.perf_counter()
            processes(first, count)
        else:
            pool, what, numbers = the(first), words[0], [int(word) for word in words[1:]]
            count = numbers[0]
            start = time.perf_counter()
            pooled(pool, what, *numbers)
        print((time.perf_counter() - start) * 1e6 / count, flush=True)


if __name__ == "__main__":
    main()
