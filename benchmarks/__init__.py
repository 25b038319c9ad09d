"""Each headline figure: gradir and its peers on the same work. `python -m benchmarks.NAME [--quick] [--json FILE]`."""
