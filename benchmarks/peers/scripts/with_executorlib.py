from __future__ import annotations

from _work import WORKERS, answer, one_more, true
from executorlib import SingleNodeExecutor


def main() -> None:
    # Workers that stay, as with everybody else; by default it starts one for each task.
    with SingleNodeExecutor(max_workers=WORKERS, block_allocation=True) as pool:

        def bag(size: int) -> int:
            futures = [pool.submit(one_more, number) for number in range(size)]
            return len([future.result() for future in futures])

        def chain(size: int) -> int:
            last = pool.submit(one_more, 0)
            for _ in range(size - 1):
                last = pool.submit(one_more, last)
            return int(last.result())

        def executables(size: int) -> int:
            futures = [pool.submit(true) for _ in range(size)]
            return len([future.result() for future in futures])

        answer("executorlib", {"bag": bag, "chain": chain, "executables": executables})


if __name__ == "__main__":
    main()
