"""The command line: verbs, options, and what every verb is given. It parses and does nothing else.

- command: what every verb works with, and what it says of itself
- command_line: the parsers of the table of verbs
- completion: `render completion`
- dispatch: one call of a verb
- misplaced: Apptainer's own words, behind the SIF
- parser: a parser that refuses, and settings as its options
- run_options: what `run` takes
- verbs: the verbs' names
"""
