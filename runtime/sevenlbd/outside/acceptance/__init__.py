"""`image accept`: a real session of an image, examined from inside and outside.

First evidence is gathered from sessions that are like those of any user; then each check looks at the evidence alone.
So what a check says of an odd guest can be tried without one.

- accept: the verb
- course: which sessions are started, and what is asked of each
- examined_session: one session, started as `run` does
- guest_scripts: what a guest says of itself, by scripts (scripts/)
- rdp_certificate: what the guest's RDP server shows
- gatherers: what more is asked of the first cold session, in this order:
- desktop_visits: log-ins, right and wrong, by the page's own client
- overlay_growth: what the overlay takes when, and whether trim gives it back
- share_files: files each way, as the guest sees the share
- exec_trial: a command as a job, in a machine of its own
- idle_network: open ports, and what the guest sends while nobody uses it
- inside_look: a process of its own that looks at the guest from inside the wall
- criteria/: what is checked, a module a group
- report: the record beside the image, and what people read
- scrubbing: nothing of a user or a node gets into either
"""
