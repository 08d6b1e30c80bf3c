"""`textback send`, dying by SIGKILL at a step: `python -m tests.calling_process STEP`."""

import asyncio
import os
import signal
import sys

from app import main, settings, steps


def _die_at(step: str) -> None:
    def reached(name: str) -> None:
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)

    steps.reached = reached


def run(step: str) -> None:
    if step:
        _die_at(step)
    configured = settings.load()
    main.configure_logs(configured)
    parts = main.build(configured, hear=False)
    asyncio.run(main._send_until_told(parts))


if __name__ == "__main__":
    run(*sys.argv[1:])
