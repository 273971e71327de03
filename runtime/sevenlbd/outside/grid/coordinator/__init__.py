"""The coordinator: an unprivileged service on a borrowed machine, and gone when its owner returns.

What it decides is a pure state machine: events in, acts out, no clock and no I/O of its own. What it does is apart.

- happenings: what is told to the machine
- acts: what it wants done
- terms: within which limits
- stages: one VM, and how far it is
- holdings: the images that it holds, and which may go
- state_machine: what follows from what
- decisions: what it has decided, and why
- stock: which image is fetched, and which goes
- leaving: which VM has to go, and what becomes of one that does not
- dirtied: what a VM would have to write for that
- change_log: every change with its reason
- own_report: what the pool is told of it
- own_files: where its files are, and that there is one coordinator only
- own_life: from one life of it to the next
- bandwidth: what a machine may move, shared out
- image_store: its own repository of images
- image_fetch: an image comes, piece by piece
- vm_sessions: VMs as sessions of our own
- owner_look: whether the machine is lent now
- pool_pace: when the pool is asked, and for how long its word counts
- pool_talk: what is asked of the pool's service, beside all else
- owner_socket: how the machine's owner is heard
- owner_asking: how she asks and orders, of every coordinator there
- overview: what she sees
- service: the loop: from acts to deeds
- unforeseen: a fault in one of its threads
- coordinator_verb: the verb
- owner_verbs: the owner's verbs
- unit_file: the same as a service of systemd's
"""
