"""Sessions as other nodes see them: records with a heartbeat, in a folder that all nodes share.

- announcer: writes a session's records, from a thread of its own
- elsewhere: sessions on other nodes, found and reached
- records: what sessions say of themselves where all nodes see it
"""
