"""A moment of `make fuzz`."""

from tests.fuzz import fuzz


def test_no_spoilt_sample_breaks_anything() -> None:
    told: list[str] = []

    findings = fuzz(seconds=3, first=2026_11_22_000_000, tell=told.append)

    assert findings == 0, "\n".join(told)
