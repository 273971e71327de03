"""The verbs that belong to no other room.

- advertising: advertise
- connecting: connect
- node_verbs: doctor, config, gc, version
- saved_verbs: saved list, show, check, rm
- session_verbs: status, stop
- suspend_verb: suspend
"""
