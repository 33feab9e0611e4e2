"""The promise under kills, power cuts, failing disks and full ones: ``python -m tests.torture --help``.

``subject`` starts the service under test, ``disks`` makes file systems and cuts their power, ``promise`` says what must
hold. The parts: ``points`` (kills and cuts at named points), ``calls`` (kills and errors at system calls), ``holds``
(full, read-only and absent disks), ``unsynced`` (a model of everything that a power cut may undo). ``mutations`` takes
load-bearing flushes away, to show that the tests would notice. docs/reliability.md has the results.
"""
