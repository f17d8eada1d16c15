"""Our models beside published measurements: one module per chip, with its figures at the top.

    python -m benchmarks.validate [NAME...] [--write docs/validation.md]
    python -m benchmarks.validate vgg16 [--mapping m.toml]

Nothing is fitted: what misses its tolerance is printed as a MISS, with the most likely reason.
"""
