"""Sessions under random faults, while a client writes to their share: docs/harness.md.

- draws.py: what happens in a round, drawn from its seed and from nothing else
- deeds.py: how each fault is done to a real session, and the record of what was done
- ground.py: the folder that a session lives in, or the small disk
- client.py: the guest's stand-in, which writes files over SMB and remembers what was acknowledged
- ready.py, stand_in.py: a guest that is ready, where there is none
- world.py, frozen.py: what all rounds share, and what sessions go on from
- rounds.py: one round, and what must be true at its end
- playing.py: rounds beside each other
- summing.py: what rounds came to, and what met whom
- __main__.py: many rounds, and the report
"""
