from __future__ import annotations

from _work import WORKERS, answer
from executorlib import SingleNodeExecutor


def main() -> None:
    # Workers that stay, as in the other engines; by default it starts one for each task.
    with SingleNodeExecutor(max_workers=WORKERS, block_allocation=True) as pool:
        answer("executorlib", pool.submit, lambda futures: [future.result() for future in futures])


if __name__ == "__main__":
    main()
