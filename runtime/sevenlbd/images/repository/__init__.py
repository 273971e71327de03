"""The repository on its disk: versions, which of them is current, who uses them, and what may go.

- acceptances: what an acceptance of a version came to
- exclusive: one at a time
- gc: which versions may go
- history: what was published when
- inventory: what is there, for people and programs
- leases: who uses which version
- leftovers: what an interrupted piece of work left
- maintenance: the writable disk on top of a version that is being maintained
- readonly: folders that nobody writes to any more
- sign_version: a version gets its manifest and signature
- usage: everybody who uses a version
- versions: the layout: versions, and the current one
"""
