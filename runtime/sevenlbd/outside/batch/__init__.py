"""`exec`: one command of the user's in the guest, as a job.

- windows_words: a list of arguments as the one line that Windows' programs take apart
- order: what is to run, as it lies on the share `job`
- pieces: a stream as numbered files on that share
- verdict: how it ended, and which exit code says so
- running: streams, time and signals while it runs
- outputs: which files came back
"""
