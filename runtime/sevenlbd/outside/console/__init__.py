"""What a user reads on the terminal: progress, links, lines to paste.

- display: how `run` tells its progress
- instructions: links and lines to paste
- invocation: how the user calls us
- progress_bar: how far something long has come
- terminal: the one place that writes for people
"""
