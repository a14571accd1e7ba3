from __future__ import annotations

import _work
import parsl
from _work import WORKERS, answer, kind
from parsl.config import Config
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.providers import LocalProvider


def main() -> None:
    if kind() == "thread":
        executor = ThreadPoolExecutor(max_threads=WORKERS)
    else:
        executor = HighThroughputExecutor(
            address="127.0.0.1",
            max_workers_per_node=WORKERS,
            cores_per_worker=0.5,
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )
    one_more = parsl.python_app(_work.one_more)

    @parsl.bash_app
    def true(**_: object) -> str:
        return "/bin/true"

    def bag(size: int) -> int:
        return len([future.result() for future in [one_more(number) for number in range(size)]])

    def chain(size: int) -> int:
        last = one_more(0)
        for _ in range(size - 1):
            last = one_more(last)
        return int(last.result())

    def executables(size: int) -> int:
        return len([future.result() for future in [true() for _ in range(size)]])

    with parsl.load(Config(executors=[executor], strategy="none", initialize_logging=False)):
        answer("parsl", {"bag": bag, "chain": chain, "executables": executables})


if __name__ == "__main__":
    main()
