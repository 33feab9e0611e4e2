"""The machine that the service runs on: processes, memory, GPUs, mounts, systemd.

It may import ``base``. Facts only, each from its source: judging them is the doctor's.
"""
