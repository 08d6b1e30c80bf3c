"""`make bench`: requests per second against a bare and a hand-written server, in one alternating run."""
