"""The command line, one small module a job; ``covary.cli`` is its entry point.

Nothing here imports torch when it is imported itself: ``covary list`` and ``covary show`` must
start at once. Data goes to stdout, remarks and progress to stderr.
"""
