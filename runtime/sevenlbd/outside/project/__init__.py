"""A project's private network, on the node's side: whether a session may join it, its keys, and how it stands.

- client_keys: the files of keys: read, and held by one session at a time
- joined: what the checks leave
- joining: what the site says, checked; who may join
- standing: whether it is up, and since when
"""
