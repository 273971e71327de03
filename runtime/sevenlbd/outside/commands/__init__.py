"""The verbs that belong to no other room.

- connecting: connect
- node_verbs: doctor, config, gc, version
- session_verbs: status, stop
"""
