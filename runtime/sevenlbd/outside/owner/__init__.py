"""The owner of a machine that is lent: who is logged in, and when others' work may be on it.

One policy for all who borrow a machine: HTCondor's nodes ask it through `advertise`. It is asked outside, before any
wall: /proc in a user namespace hides whose a process is.

- hours: hours of a week as the site writes them, and when they end, in local time
- lending: the decision: from who is logged in, load, memory and time to yes or no, until when, and why
- logind: sessions as systemd-logind tells of them: ssh, X, Wayland, consoles
- utmp: the older register of the same
- logged_in: both together, and how long each has been idle
- advertised: what a pool is told of it
"""
