"""`grid pool`: beside the pool's queue, a service that tells borrowed machines what is wanted, and gives them images.

It is in nobody's way: while it is down, machines keep their VMs and jobs go on.

- pool_folder: where it keeps what it must not forget
- codes: enrolment codes, each good once
- members: the machines and their tokens: renewal, theft, revocation
- machine_keys: what opens machines' encrypted disks, given to those that are ours
- queue_demand: what waits in the queue, by the names of images
- offers: the images of a repository, looked up
- throttle: how fast images leave
- worker_tokens: tokens of HTCondor's for VMs
- vm_claims: which jobs nobody starts a VM for yet
- fleet: what the machines have said, and sums of it
- machine_api: what machines ask, record for record
- service_answers: refusals, and the headers that every answer has
- file_answers: a piece of an image on its way
- pool_app: the HTTP application
- front_line: the listening socket, and how long a stranger may take
- pool_overview: what the page shows
- pool_metrics: OpenMetrics
- admin_pages: the page, its token, its files
- serving: the process
- pool_verbs: `grid pool` and what is below it
- pool_unit: `render grid-pool-unit`
"""
