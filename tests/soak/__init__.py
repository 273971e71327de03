"""Hours of sessions that come and go beside one that lasts, with viewers and copies: nothing may grow: docs/harness.md.

- slope.py: whether a row of samples grows, by a stated test
- sampling.py: memory, descriptors, processes and files, as they are now
- visits.py: what goes on meanwhile: pages, viewers, copies, sessions that come and go
- crowd.py: visitors of every kind that break off
- gateway_alone.py: thousands of them at one gateway, in the SIF; hours in minutes
- __main__.py: a piece of a run, and pieces added up
"""
