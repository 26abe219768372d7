"""Tests that need no measurement. Run `python3 -m unittest` in `bench`."""
