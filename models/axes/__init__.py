"""Which way is up: directions and their names, what each format's world has up, and the turn that brings it to +Y.

It imports no other room. It knows neither files nor captures.
"""
