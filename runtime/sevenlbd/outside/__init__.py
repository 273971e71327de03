"""The node's side of the wall: whatever needs the user's terminal, files or the node's network.

- acceptance/: `image accept`
- access/: Who may come in and by which way
- batch/: `exec`
- checks/: `doctor`
- cli/: The command line
- commands/: The verbs that belong to no other room
- console/: What a user reads on the terminal
- egress/: The way out
- folders/: Folders on this node
- grid/: Borrowed machines and the pool's service
- imaging/: The verb `image`
- job/: A scheduler's job
- node/: What this node is and has
- ondemand/: Open OnDemand
- owner/: The owner of a machine that is lent
- presence/: Sessions as other nodes see them
- project/: A project's private network
- rdp_client/: a desktop's client without a browser, and what it is sent
- saved/: Suspended desktops as files
- schedulers/: Schedulers, one module each
- session/: The supervisor's part
- site/: The site's file
"""
