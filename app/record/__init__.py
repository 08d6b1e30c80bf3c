"""5 record: the only SQL. Tables, the group-commit writer, the spool, ledger, outbox, registry, queries.

Everything that this process writes goes through `writer.Writer`, what providers send by way of `intake.Intake`;
everybody else reads.
"""
