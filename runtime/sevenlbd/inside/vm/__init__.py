"""The virtual machine: composed, launched, watched, stopped, and asked through its agent.

- agent: the guest agent
- machine: the machine's life over QMP
- migration: freezing and thawing
- qemu: QEMU's command line
- readiness: when the desktop is ready
- stall: a boot that stands still is begun anew
- tpm: swtpm
"""
