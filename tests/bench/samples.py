"""Where textback's time goes: py-spy's samples, counted by function."""

import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.bench.processes import BenchError

RATE = 250
SHOWN = 20


def begin(pid: int, seconds: int, file: Path) -> subprocess.Popen[str]:
    """Sample every thread that is at work, until `seconds` are over. It slows the process."""
    command = ["py-spy", "record", "--pid", str(pid), "--duration", str(seconds), "--rate", str(RATE)]
    return subprocess.Popen(
        [*command, "--format", "raw", "--output", file], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def end(spy: subprocess.Popen[str], file: Path) -> str:
    """The collapsed stacks, `outer;…;inner COUNT` in a line. Raises BenchError when py-spy could not sample."""
    _, complaint = spy.communicate(timeout=30)
    if spy.returncode or not file.exists():
        raise BenchError(f"py-spy failed (it needs the right to trace, as root has it): {complaint.strip()}")
    return file.read_text()


def report(stacks: Iterable[str]) -> str:
    """The functions with the most samples: in themselves, and with all that they call."""
    alone: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in "\n".join(stacks).splitlines():
        stack, _, count = line.rpartition(" ")
        functions = [frame.rpartition(":")[0] for frame in stack.split(";")]
        alone[functions[-1]] += int(count)
        for function in set(functions):
            whole[function] += int(count)
    own = Counter({function: count for function, count in whole.items() if "(app/" in function})
    return f"in themselves\n{_list(alone, alone.total())}\nwith all that they call\n{_list(own, alone.total())}"


def _list(counted: Counter[str], total: int) -> str:
    return "\n".join(f"{100 * count / total:5.1f} %  {function})" for function, count in counted.most_common(SHOWN))
