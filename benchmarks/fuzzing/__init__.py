"""What `benchmarks/fuzz.py` tries: random calls, hostile files, and the processes that they run in."""
