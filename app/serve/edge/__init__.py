"""Profile look-ups, as the Web SDK and a company's servers make them: `/ee/v1/interact` and `/ee/v2/interact`.

The way of one: `door`, `coming`, `asking`, `lookup`, `person`, `gathering`; then `answering`, with what `datastreams`
has made ready. `identity` is who a browser is.
"""
