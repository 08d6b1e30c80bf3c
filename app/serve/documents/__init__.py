"""A document system's door: its actions listed, and run once."""
