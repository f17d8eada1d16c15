"""What instructions are and mean.

Nothing is imported here: the tools' `--help` need not wait for NumPy.
"""
