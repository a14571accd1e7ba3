from __future__ import annotations

from _work import WORKERS, answer, one_more, true
from distributed import Client


def main() -> None:
    with Client(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as client:

        def bag(size: int) -> int:
            futures = client.map(one_more, range(size), pure=False)
            return len(client.gather(futures))

        def chain(size: int) -> int:
            last = client.submit(one_more, 0, pure=False)
            for _ in range(size - 1):
                last = client.submit(one_more, last, pure=False)
            return int(last.result())

        def executables(size: int) -> int:
            futures = [client.submit(true, pure=False) for _ in range(size)]
            return len(client.gather(futures))

        answer("distributed", {"bag": bag, "chain": chain, "executables": executables})


if __name__ == "__main__":
    main()
