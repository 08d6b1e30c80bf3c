"""5 record: the only SQL. Tables, the group-commit writer, the spool, ledger, outbox, registry, queries.

Everything that this process writes goes through `writer.Writer`, what providers send by way of `intake.Intake`;
everybody else reads. The corners of the room:

| corner              | files                                                                                        |
| ------------------- | -------------------------------------------------------------------------------------------- |
| the ground          | `tables` `schema` `database` `sessions` `wires` `away` `moments` `ids` `sets` `partitions`   |
| a batch             | `writer` `job` `batch` `keys` `known` `standings`; long messages: `pieces` `joining` `shelves` |
| PostgreSQL is away  | `intake` `shelter` `spool` `spooled` `held` `drain` `draining` `last_known`                  |
| what leaves         | `outbox`                                                                                     |
| what is registered  | `registry` `registrations` `registered` `vault` `tokens` `listening` `profiles`               |
| what is asked       | `queries` `diagnosis` `export` `dossier` `facts`                                             |
| what did not work   | `dead_letters` `again` `parked` `resend` `settle`                                            |
| what is proved      | `seals` `settled` `audit` `evidence_key`                                                     |
| what is forgotten   | `housekeeping` `erasure` `people` `searching` `traces` `overwriting`                         |
| what is saved       | `backup` `backup_sqlite` `backup_postgresql` `programs` `drift`                              |
"""
