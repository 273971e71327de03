"""The grid: borrowed machines that run research VMs, and the pool's service that tells them what is wanted.

- join_record: the pool that a guest joins, as `run --join` is given it
- protocol: what a machine and the pool's service say to each other
- machine_report: of that, what a machine tells of itself
- record_limits: what any of it may hold
- https_exchange: one request to one server that is known by its key, with an end to everything
- grid_folders: what these are called, for whoever keeps guests from them
- membership: the pool that this machine belongs to, and its token
- client: the service, asked by such a machine
- enrolment: `grid enrol`
- coordinator/: what lends a machine, and is gone when its owner returns
- pool/: `grid pool`
- image_key: the key of encrypted images, made, wrapped, changed
- tpm_key: what wraps it, sealed by the machine's TPM
- pool_key: or kept by the pool
- enrolled_key: what becomes of it when the machine enrols
- key_sources: which key a session or a coordinator has
- rekeying: `grid rekey`
"""
