"""Where the files are that come along with the code: `config/` (providers, keywords, examples) and `migrations/`."""

import sysconfig
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent
#: where a wheel puts them, beneath the environment's prefix (pyproject.toml, data-files)
_SHARED = Path("share") / "textback"


def is_checkout() -> bool:
    """Whether the code runs out of its repository."""
    return (_CHECKOUT / "migrations" / "env.py").exists() and (_CHECKOUT / "config" / "providers").is_dir()


def shipped(folder: str) -> Path:
    """`config` or `migrations`: of the repository, else as installed. Raises FileNotFoundError where missing."""
    if is_checkout():
        return _CHECKOUT / folder
    # the environment's prefix; beside the package where pip was told a --target
    places = [Path(sysconfig.get_path("data")) / _SHARED / folder, _CHECKOUT / _SHARED / folder]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise FileNotFoundError(f"textback's {folder}/ is missing; it should be at {places[0]}: install textback anew")
    return found
