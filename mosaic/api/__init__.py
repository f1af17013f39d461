"""The public verbs of Python, as :mod:`mosaic` has them: what they take, and what that means."""
