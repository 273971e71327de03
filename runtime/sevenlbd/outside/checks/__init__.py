"""`doctor`: a node, and a whole site file against it, as sessions, jobs and the portal would meet them.

- checked_site: what the site's checks work with
- doctor: every precondition of a session
- jobs: what portal and scheduler make of it
- lent: whether a borrowed machine is lent now
- plausibility: what a site cannot have meant
- projects: private networks
- provided: images and shares that the site's file gives
- reachability: the ways in and out
- servers: the servers of the ways out, tried from here
- site_check: `doctor --site`: the checks in their order
- surroundings: folders, and the container's view of them
"""
