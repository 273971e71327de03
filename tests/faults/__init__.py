"""Sessions under random faults, while a client writes to their share: docs/harness.md.

- draws.py: what happens in a round, drawn from its seed and from nothing else
- deeds.py: how each fault is done to a real session
- client.py: the guest's stand-in, which writes files over SMB and remembers what was acknowledged
- rounds.py: one round, and what must be true at its end
- __main__.py: many rounds, and the report
"""
