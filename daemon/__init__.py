"""The service: watches the inbox, keeps the record, runs the models in worker processes, publishes results.

Nothing in here decodes a pixel or imports a numerical library; that is the worker processes' work.
"""
