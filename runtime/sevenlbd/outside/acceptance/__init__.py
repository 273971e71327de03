"""`image accept`: a real session of an image, examined from inside and outside.

First evidence is gathered from sessions that are like those of any user; then each check looks at the evidence alone.
So what a check says of an odd guest can be tried without one.

- accept: the verb
- course: which sessions are started, and what is asked of each
- examined_session: one session, started as `run` does
- guest_scripts: what a guest says of itself, by scripts (scripts/)
- rdp_certificate: what the guest's RDP server shows
- criteria/: what is checked, a module a group
- report: the record beside the image, and what people read
- scrubbing: nothing of a user or a node gets into either
"""
