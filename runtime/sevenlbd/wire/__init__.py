"""What crosses the wall, one module a wire. Both sides load it: it holds what is said and how it is written, no more.

- codec: messages as JSON and back, whoever wrote them
- packets: how messages are carried
- plan: what goes in once
- keeper: its events come out, its orders go in
- gateway: fronts and the session's state go in, what it asks for comes out
- forwards: what leads out
- job_files: names on the shares of a session that runs commands
- private_network: a project's private network
- worker_words: a guest that joins a pool
- shared_files: the files that both sides touch
- inner_files: the files by which the processes inside find each other
- state: a session's phases, and `session.json`
- rdp_hello: the first words of an RDP connection
- tls: the certificates' files, and fingerprints
"""
