"""What a user reads on the terminal: progress, links, lines to paste.

- display: what `run` tells its progress by, of three
- instructions: links and lines to paste
- invocation: how the user calls us
- json_lines: progress for programs
- live_table: progress on a terminal
- output: the one output of all of these
- passphrase: one from its user
- plain_lines: progress in a job's log
- printed_events: what a session of our own prints for programs, read
- progress_bar: how far something long has come
- progress_notes: the same among a session's notes
- terminal: the one place that writes for people
- words: what a session's steps are called
"""
