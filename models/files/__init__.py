"""Reaching, listing and judging files that strangers wrote; what can be wrong, and how much is allowed.

It imports no other room. Standard library only, and no pixel is decoded.
"""
