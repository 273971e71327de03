"""What a site and a user can set: declared once, read from every source, checked in one place.

- settings: every setting, declared once
- value_kinds: how sizes, durations and lists are written
- merging: whose value counts, and what is locked
- sources: where settings come from: environment, the user's file, the site's file
- stale_variables: variables of another job, which are told and not obeyed
- tables: kinds of keys in the site file's tables, and how a wrong one is refused
"""
