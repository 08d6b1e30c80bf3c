"""textback, but it dies at a step, or its clock jumps: `python -m tests.torture.failing WHAT serve …`.

WHAT is a step's name, which kills the process the first time it is reached; `STEP:3` the third time; or `clock:FILE`:
when FILE comes into being, the process believes that it is so many seconds later (or earlier) as FILE says.
"""

import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import time_machine

from app import steps
from app.__main__ import cli


def die_at(step: str, count: int) -> None:
    """Have the process killed, as `kill -9` does it, when it reaches `step` the `count`th time."""
    if step not in {known.name for known in steps.STEPS}:
        sys.exit(f"there is no step {step}; app/steps.py has: {', '.join(known.name for known in steps.STEPS)}")
    left = count
    lock = threading.Lock()

    def reached(name: str) -> None:
        nonlocal left
        if name == step:
            with lock:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

    steps.reached = reached


def jump_when_told(file: Path) -> None:
    """Shift the clock of this process, not of the machine, by the seconds that `file` will hold."""

    def watch() -> None:
        while not file.exists():
            time.sleep(0.05)
        there = datetime.now(UTC) + timedelta(seconds=float(file.read_text()))
        time_machine.travel(there, tick=True).start()

    threading.Thread(target=watch, name="clock", daemon=True).start()


def main() -> None:
    """Prepare the misfortune, then do what the command line says."""
    what, _, detail = sys.argv[1].partition(":")
    if what == "clock":
        jump_when_told(Path(detail))
    else:
        die_at(what, int(detail or 1))
    cli(sys.argv[2:], prog_name="textback")


if __name__ == "__main__":
    main()
