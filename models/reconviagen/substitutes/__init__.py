"""What stands in for packages that upstream's code asks for, and what is relied on in that code.

It imports no other room. Plain torch, and nothing of a job.
"""
