"""``covary bench clusterers``: every discovered clusterer on the same data, each in a process."""
