"""5 record: the only SQL. Tables, the group-commit writer, ledger, outbox, registry, queries.

Everything that this process writes goes through `writer.Writer`; everybody else reads.
"""
