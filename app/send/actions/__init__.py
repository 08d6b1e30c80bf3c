"""Custom actions: a field's path into a URL, one call within its time, and the reply that waited for it."""
