"""The comparison: see `main` for the order of things and `cases` for what is measured."""
