"""The virtual machine: composed, launched, watched, stopped, and asked through its agent.

- adoption: what the agent does so that a guest is this session's
- agent: the guest agent
- checkpoint: saved while it runs
- first_logon: the account's log-on before a machine is frozen
- machine: the machine's life over QMP
- migration: freezing and thawing, suspending and going on
- qemu: QEMU's command line
- qmp_link: the connection to QEMU's monitor, made and left
- rdp_probe: whether RDP answers, and its certificate
- readiness: the order in which a desktop becomes ready
- ready_line: the port that a guest says on that it is up
- stall: a boot that stands still is begun anew
- tpm: swtpm
"""
