"""What every room of the service stands on: settings, places, file operations, errors, the lock, the record.

It imports no other room. It knows nothing of captures that are looked at and jobs that are under way.
"""
