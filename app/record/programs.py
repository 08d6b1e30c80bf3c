"""PostgreSQL's own programs: where they are, whether they fit the server, and what they complain about."""

import io
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from app.errors import BadInput

_MAJOR = re.compile(r"\(PostgreSQL\) (\d+)")
#: what a program says of an error may quote a row
_NUMBER = re.compile(r"\d{6,}")


class Tools(NamedTuple):
    """PostgreSQL's programs: those of a folder, or of the PATH."""

    folder: Path | None = None

    def named(self, name: str) -> str:
        """Where a program is. Raises BadInput."""
        found = shutil.which(name, path=str(self.folder) if self.folder else None)
        if found is None:
            where = f"in {self.folder}" if self.folder else "on the PATH"
            raise BadInput(
                f"There is no {name} {where}; it comes with PostgreSQL's client (Debian: postgresql-client)."
                " Install it, or name its folder with --bin."
            )
        return found

    def fitting(self, name: str, server: int) -> str:
        """The same, not older than the server. Raises BadInput."""
        path = self.named(name)
        told = _MAJOR.search(run([path, "--version"]))
        if told and int(told[1]) < server:
            raise BadInput(
                f"{path} is of PostgreSQL {told[1]} and the server of {server}: too old to read it."
                f" Install postgresql-client-{server}, or name its folder with --bin."
            )
        return path


def run(words: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """What the program prints. Raises BadInput with its complaint."""
    done = subprocess.run(  # noqa: S603 - our own words, no shell
        words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode:
        raise BadInput(f"{Path(words[0]).name} failed: {complaint_in(io.BytesIO(done.stderr))}")
    return done.stdout.decode(errors="replace")


def complaint_in(told: IO[bytes]) -> str:
    """Its first complaint, without the row that it may be about."""
    told.seek(0)
    lines = told.read().decode(errors="replace").splitlines()
    first = next((line for line in lines if "error" in line.lower() or "fatal" in line.lower()), "it does not say why")
    mend = "; that backup is of a newer PostgreSQL: name the folder of its programs with --bin"
    return _NUMBER.sub("•••", first) + (mend if "unsupported version" in first else "")
