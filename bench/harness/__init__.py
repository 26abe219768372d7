"""The benchmark harness: `main` has the sequence of a run, `cases` the workloads."""
