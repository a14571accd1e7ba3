from __future__ import annotations

from functools import partial

from _work import WORKERS, answer
from distributed import Client


def main() -> None:
    with Client(n_workers=WORKERS, threads_per_worker=1, dashboard_address=":0") as client:
        answer("distributed", partial(client.submit, pure=False), client.gather)


if __name__ == "__main__":
    main()
