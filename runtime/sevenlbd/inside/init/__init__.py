"""The place itself: namespaces and the inner root. Everything else inside stands on it.

- mounts: what is mounted in a tree
- namespace: the wall: the namespaces
- process_limit: how many processes a session may have
- root: the inner root, and the paths in it
"""
