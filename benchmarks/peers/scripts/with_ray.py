from __future__ import annotations

import logging

import _work
import ray
from _work import WORKERS, answer


def main() -> None:
    ray.init(
        address="local",
        num_cpus=WORKERS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    one_more = ray.remote(_work.one_more)
    true = ray.remote(_work.true)

    def bag(size: int) -> int:
        return len(ray.get([one_more.remote(number) for number in range(size)]))

    def chain(size: int) -> int:
        last = one_more.remote(0)
        for _ in range(size - 1):
            last = one_more.remote(last)
        return int(ray.get(last))

    def executables(size: int) -> int:
        return len(ray.get([true.remote() for _ in range(size)]))

    answer("ray", {"bag": bag, "chain": chain, "executables": executables})
    ray.shutdown()


if __name__ == "__main__":
    main()
