"""Folders on this node: a session's own, and those that its guest is given.

- bases: where a user's session folders are
- job_folder: of one command, held by a descriptor
- folder_lock: a living session told from what a dead one left
- session_folders: made, found, told alive, removed
- shares: what the guest is given, checked
"""
