"""docs/operations.md on a machine made for it: Debian with a real systemd in a container, nothing of ours on it."""
