from __future__ import annotations

import parsl
from _work import BODIES, WORKERS, answer, kind
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
    apps = {body: parsl.python_app(body) for body in BODIES}

    @parsl.bash_app  # type: ignore[untyped-decorator]
    def true(**_: object) -> str:
        return "/bin/true"  # the function is sent without its globals

    with parsl.load(Config(executors=[executor], strategy="none", initialize_logging=False)):
        answer(
            "parsl",
            lambda body, *args: apps[body](*args),
            lambda futures: [future.result() for future in futures],
            true,
        )


if __name__ == "__main__":
    main()
