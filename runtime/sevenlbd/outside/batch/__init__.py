"""`exec`: one command of the user's in the guest, as a job.

- entry: the verb, where it starts its machine
- exec_verb: its options
- in_session: the verb in a machine that was kept
- many: a list of commands, in several machines
- command_list: the list
- machine_words: what each of the machines is started with
- kept_machine: one of them
- results: what became of it all
- planned: the session of a command, checked
- request: what is wanted of one command
- job_display: what its session tells, and when the command begins
- attached: one command in a machine that is there
- transfer: files that are brought to it, and what comes back
- sinks: where its output goes
- outlet: our standard output and error, whose reader may stall
- windows_words: a list of arguments as the one line that Windows' programs take apart
- order: what is to run, as it lies on the share `job`
- pieces: a stream as numbered files on that share
- verdict: how it ended, and which exit code says so
- running: streams, time and signals while it runs
- outputs: which files came back
"""
