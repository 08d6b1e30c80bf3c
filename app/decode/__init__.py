"""3 decode: what does it say? A provider file, or an operator's inverse template, and a raw request -> our events.

Compiled once per webhook into a plain function; pure, and it never raises. What it cannot read becomes a trouble (an
item) or an undecoded request, and loses none of its neighbours.
"""

from app.decode.compile import decoder
from app.decode.explained import Explained, explained_json
from app.decode.handshake import Shaken, handshaker
from app.decode.reading import explain_reading
from app.decode.sample import check_sample

__all__ = ["Explained", "Shaken", "check_sample", "decoder", "explain_reading", "explained_json", "handshaker"]
