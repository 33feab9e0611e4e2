"""The image without Docker: its stages are built in plain folders, step by step, and a container is run in one."""
