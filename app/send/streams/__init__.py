"""Streams: what is recorded, told to others in its order, and none of it skipped."""
