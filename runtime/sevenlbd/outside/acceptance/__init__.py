"""`image accept`: a real session of an image, examined from inside and outside.

First evidence is gathered from sessions that are like those of any user; then each check looks at the evidence alone.
So what a check says of an odd guest can be tried without one.

- accept: the verb
- check: what a check is, and what it says
- evidence: all that is gathered
- course: which sessions are started, and what is asked of each
- examined_session: one session, started as `run` does
- probe: what a guest says of itself, by scripts (probes/)
- rdp_certificate: what the guest's RDP server shows
- node_facts: the node itself
- checks/: what is checked, a module a group
- report: the record beside the image, and what people read
- scrubbing: nothing of a user or a node gets into either
"""
