"""The walls around a worker.

It imports no other room. Standard library only: nothing else may be imported before they stand.
"""
