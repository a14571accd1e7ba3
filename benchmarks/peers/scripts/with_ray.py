from __future__ import annotations

import logging

import ray
from _work import BODIES, WORKERS, answer


def main() -> None:
    ray.init(
        address="local",
        num_cpus=WORKERS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    tasks = {body: ray.remote(body) for body in BODIES}
    answer("ray", lambda body, *args: tasks[body].remote(*args), ray.get)
    ray.shutdown()


if __name__ == "__main__":
    main()
