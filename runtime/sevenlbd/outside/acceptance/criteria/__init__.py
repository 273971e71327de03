"""What is checked, a module a group. Each criterion looks at the evidence alone.

- criterion: what one is, and what it says
- evidence: all that is gathered
- node_facts: the node itself
- node_criteria: the node and its CPU
- setup_criteria: Windows' installation
- boot_criteria: starts, devices, drivers, errors
- security_criteria: Secure Boot, TPM, BitLocker, power
- clock_criteria: the time
- account_criteria: the account and its groups
- certificate_criteria: the RDP server's certificate
- end_criteria: shut-down and notices
- exec_criteria: a command as a job
- warm_criteria: warm starts
- desktop_criteria: log-ins, and the picture
- files_criteria: the share
- disk_criteria: the overlay
- network_criteria: ports, and what is sent
- observations: what more is gathered of the first cold session
- licence_criteria: activation and evaluation
- hygiene_criteria: what an image must not hold
- listed: lists that must be empty
- every: all of them
"""
