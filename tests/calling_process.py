"""`textback send` with a third party of the tests, dying by SIGKILL at a step: `python -m tests.calling_process URL STEP`."""

import asyncio
import os
import signal
import sys

from app import main, settings, steps
from tests.third_party import Posting


def _die_at(step: str) -> None:
    def reached(name: str) -> None:
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)

    steps.reached = reached


def run(url: str, step: str) -> None:
    if step:
        _die_at(step)
    configured = settings.load()
    main.configure_logs(configured)
    parts = main.build(configured, hear=False, actions=Posting(url))
    asyncio.run(main._send_until_told(parts))


if __name__ == "__main__":
    run(*sys.argv[1:])
