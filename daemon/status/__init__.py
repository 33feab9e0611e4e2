"""What goes on, for whoever shows it: one page a folder, STATUS.txt, estimates.

It may import ``base``, ``host`` and ``inbox``. It changes nothing but the files in status/.
"""
