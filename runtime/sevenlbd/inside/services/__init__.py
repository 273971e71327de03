"""The helpers that serve the guest, each started again when it dies.

- filenames: names that Windows forbids
- helpers: what is started again when it dies
- native_rdp: stunnel before the guest's RDP: its command, socket and certificates
- native_service: stunnel while it runs
- openvpn: the client of a project's network: its command and configuration
- project_service: that client while it runs
- samba: smbd, as the user
- trimming: the logs' size
- umask: a umask that a program cannot change
"""
