"""covary's benchmarks: what is measured, how, and the scripts that made the committed results."""
