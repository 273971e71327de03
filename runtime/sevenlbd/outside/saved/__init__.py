"""Desktops that were suspended: the file, its keys, and the processes that write and read it.

- abroad: where they are written elsewhere than into the user's folder
- layers: the image's files with their digests
- claims: who goes on from one
- chunks: what a file of the session's holds beyond nothing and beyond the image's warm memory
- estimate: how long it takes
- facts: what a saved desktop is, for people and for whoever resumes it
- keys: the user's own key, and those of others
- messages: between the supervisor and the two processes
- passphrases: a passphrase instead of a key
- places: where saved desktops are
- reader: the process that takes a file apart
- reading: a file read, whoever wrote it
- saved_format: the file: header, records, limits
- saving: the supervisor's end of both processes
- unlocking: what opens a file, asked for when needed
- worker: what both processes do alike
- writer: the process that writes a file
- writing: a file written, whole or not at all
"""
