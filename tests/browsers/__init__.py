"""Real browsers for the tests of report.html, driven through their own debugging interfaces and nothing else.

``chromium.Chromium`` and ``firefox.Firefox`` keep the contract of ``session.Session``. Neither needs a driver program
or a Python package: Chromium speaks JSON over two pipes, Firefox over a local socket.
"""
