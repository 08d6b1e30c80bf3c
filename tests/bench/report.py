"""What a run says: a table of medians with their spread, the demands, and the same as JSON."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from rich.box import SIMPLE
from rich.table import Table

from tests.bench.contenders import Contender
from tests.bench.measure import Measurement

#: by contender and kind, one measurement for each round
Results = Mapping[tuple[Contender, str], Sequence[Measurement]]

BARE = Contender("bare")
#: what textback shall reach of the bare server's rate
SHARES = {
    ("sqlite", "inbound"): 0.30,
    ("sqlite", "receipts"): 0.50,
    ("postgresql", "inbound"): 0.40,
    ("postgresql", "receipts"): 0.55,
}
#: and what shall be left of its own with millions of messages stored
LEFT = {"sqlite": 0.65, "postgresql": 0.85}


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of the rounds, and the lowest and highest of them."""

    middle: float
    low: float
    high: float

    def text(self, form: str = ",.0f") -> str:
        """`median (low–high)`."""
        return f"{self.middle:{form}} ({self.low:{form}}–{self.high:{form}})"


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of textback: `value` at least (or, `at_most`, below) `bound`."""

    what: str
    value: Spread
    bound: float
    at_most: bool = False
    form: str = ".2f"

    @property
    def met(self) -> bool:
        """The median decides."""
        return self.value.middle < self.bound if self.at_most else self.value.middle >= self.bound

    def text(self) -> str:
        """One line: met or not, what, how much, of how much."""
        sign = "<" if self.at_most else "≥"
        word = "met    " if self.met else "NOT MET"
        return f"{word}  {self.what}: {self.value.text(self.form)}, wanted {sign} {self.bound:{self.form}}"


def spread(values: Sequence[float]) -> Spread:
    """Median, lowest and highest of the rounds."""
    return Spread(median(values), min(values), max(values))


def ratio(results: Results, one: Contender, other: Contender, kind: str) -> Spread | None:
    """How many times the rate of `other` `one` had, each round by itself; None when one of them was not measured."""
    pairs = list(zip(results.get((one, kind), ()), results.get((other, kind), ()), strict=False))
    return spread([a.load.rate / b.load.rate for a, b in pairs]) if pairs else None


def table(results: Results, kind: str) -> Table:
    """One row per contender: medians, with the lowest and highest round in brackets where they matter."""
    grid = Table(title=f"{kind}: median of the rounds (lowest–highest)", title_justify="left", box=SIMPLE)
    grid.add_column("server", no_wrap=True)
    for heading in ("requests/s", "× bare", "× baseline", "p50 ms", "p99 ms", "replies/s", "CPU µs", "database µs"):
        grid.add_column(heading, justify="right", no_wrap=True)
    grid.add_column("events stored")
    for (contender, its_kind), rounds in results.items():
        if its_kind == kind and rounds:
            grid.add_row(contender.name, *_cells(results, contender, kind, rounds))
    return grid


def _cells(results: Results, contender: Contender, kind: str, rounds: Sequence[Measurement]) -> list[str]:
    def middle(value: Callable[[Measurement], float], form: str = ",.0f") -> str:
        return f"{median(map(value, rounds)):{form}}"

    bare, baseline = (ratio(results, contender, other, kind) for other in (BARE, _baseline(contender)))
    sends = contender.family == "textback" and kind == "inbound"
    return [
        spread([m.load.rate for m in rounds]).text(),
        bare.text(".2f") if bare and contender != BARE else "",
        baseline.text(".1f") if baseline and contender.family == "textback" else "",
        middle(lambda m: m.load.p50, ".1f"),
        middle(lambda m: m.load.p99, ".1f"),
        middle(lambda m: m.replies) if sends else "",
        middle(lambda m: m.cpu),
        middle(lambda m: m.database_cpu) if contender.database == "postgresql" else "",
        _stored(rounds),
    ]


def _stored(rounds: Sequence[Measurement]) -> str:
    problems = [m.problem for m in rounds if m.problem]
    if problems:
        return f"WRONG: {problems[0]}"
    return "" if rounds[0].stored is None else f"{sum(m.stored.found for m in rounds if m.stored):,}, once each"


def _baseline(contender: Contender) -> Contender:
    return Contender("baseline", contender.database)


def demands(results: Results, database: str) -> list[Demand]:
    """What textback is asked for on a database, as far as it was measured."""
    ours = Contender("textback", database)
    of_bare = {kind: ratio(results, ours, BARE, kind) for kind in ("inbound", "receipts")}
    of_baseline = ratio(results, ours, _baseline(ours), "inbound")
    inbound = results.get((ours, "inbound"), ())
    asked = [
        *(
            ratio and Demand(f"{kind} on {database}, × bare", ratio, SHARES[database, kind])
            for kind, ratio in of_bare.items()
        ),
        of_baseline and Demand(f"inbound on {database}, × baseline", of_baseline, 15, form=".1f"),
        inbound and Demand(f"replies/s on {database}", spread([m.replies for m in inbound]), 3000, form=",.0f"),
    ]
    return [demand for demand in asked if demand] + _quickness(results, ours) + _endurance(results, ours)


def _endurance(results: Results, ours: Contender) -> list[Demand]:
    """How much of its rate is left in large tables."""
    large = {one for one, _ in results if one.stored and one.database == ours.database}
    found = [(one, kind, ratio(results, one, ours, kind)) for one in large for kind in ("inbound", "receipts")]
    return [
        Demand(f"{kind} on {ours.database} with {one.stored:,} stored, × with none", share, LEFT[ours.database])
        for one, kind, share in found
        if share
    ]


def _quickness(results: Results, ours: Contender) -> list[Demand]:
    return [
        Demand(f"{kind} on {ours.database}, p99 ms", spread([m.load.p99 for m in rounds]), 25, at_most=True, form=".1f")
        for kind in ("inbound", "receipts")
        if (rounds := results.get((ours, kind), ()))
    ]


def as_json(results: Results) -> list[dict[str, object]]:
    """Every measurement, in plain values."""
    return [
        {
            "server": contender.family,
            "database": contender.database,
            "stored_before": contender.stored,
            "kind": kind,
            "round": number,
            "requests_per_second": done.load.rate,
            "p50_ms": done.load.p50,
            "p99_ms": done.load.p99,
            "replies_per_second": done.replies,
            f"{contender.family}_cpu_us_per_request": done.cpu,
            "database_cpu_us_per_request": done.database_cpu,
            "stored": asdict(done.stored) if done.stored else None,
            "problem": done.problem,
        }
        for (contender, kind), rounds in results.items()
        for number, done in enumerate(rounds, 1)
    ]
