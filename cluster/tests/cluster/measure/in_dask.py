"""The tasks of mod.rs, by Dask's distributed scheduler: its argument is the counts, as JSON; it prints the figures, as JSON."""

import json
import sys
import time

from distributed import Client, LocalCluster, as_completed


def double(n):
    return 2 * n


def works(milliseconds):
    end = time.perf_counter() + milliseconds / 1e3
    while time.perf_counter() < end:
        pass


def a_second(client, task, inputs):
    begun = time.perf_counter()
    # `pure=False`: equal inputs are not one task.
    for _, result in as_completed(client.map(task, inputs, pure=False), with_results=True):
        pass
    return len(inputs) / (time.perf_counter() - begun)


def main():
    counts = json.loads(sys.argv[1])
    cluster = LocalCluster(
        n_workers=counts["workers"], threads_per_worker=1, processes=True, dashboard_address=None
    )
    with cluster, Client(cluster) as client:
        for n in range(2 * counts["workers"]):
            client.submit(double, n, pure=False).result()
        figures = {
            "null": a_second(client, double, range(counts["null"])),
            "milliseconds": a_second(client, works, [1] * counts["milliseconds"]),
            "mebibytes": a_second(client, len, [bytes([n]) * (1 << 20) for n in range(counts["mebibytes"])]),
            "one_at_a_time": [],
        }
        for n in range(counts["one_at_a_time"]):
            begun = time.perf_counter()
            assert client.submit(double, n, pure=False).result() == 2 * n
            figures["one_at_a_time"].append(time.perf_counter() - begun)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
