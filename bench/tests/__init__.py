"""Tests of what can be wrong without a measurement: `python3 -m unittest` in the folder above."""
