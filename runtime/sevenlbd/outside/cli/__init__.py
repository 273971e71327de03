"""The command line: verbs, options, and what every verb is given. It parses and does nothing else.

- command: what every verb works with, and what it says of itself
- command_line: the command line, derived from the settings
- completion: `render completion`
- dispatch: one call of a verb
- run_options: what `run` takes
- verbs: the verbs' names
"""
