"""The record: every job, model run and event, in one SQLite file. Knows nothing of folders, meshes or processes."""
