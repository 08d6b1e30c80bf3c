"""Crashes and outages on purpose: is everything that was acknowledged there, once, and was everybody answered? See README.md."""
