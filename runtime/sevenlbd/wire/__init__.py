"""What crosses the wall. Both sides load it, so it holds no more than what is said, and how it is written down.

- messages: plan, events, orders, fronts and forwards: what is said across the wall
- shared_files: the files that both sides touch
- state: a session's phases, and `session.json`
- tls: the certificates' files, and fingerprints
"""
