"""4 interpret: what does it mean, and what follows? The rules: keywords, consent, receipts, replies, evidence.

Events and what is known of their people come in, rows to write go out. Nothing here reads a clock, a file or a
database; randomness (ids, salts) is handed in. The way: `normal`, `classify`, `consent`, `answer`, `evidence`.
"""

from app.interpret.consent import effective, may_send
from app.interpret.decide import decide
from app.interpret.evidence import commitment
from app.interpret.explain import Explanation, explain
from app.interpret.guard import Policy
from app.interpret.keywords import unreachable
from app.interpret.replies import may_leave
from app.interpret.rules import Rules, rules
from app.interpret.sayings import opts_out, sayings

__all__ = [
    "Explanation",
    "Policy",
    "Rules",
    "commitment",
    "decide",
    "effective",
    "explain",
    "may_leave",
    "may_send",
    "opts_out",
    "rules",
    "sayings",
    "unreachable",
]
