"""The ops that models are made of: `Ops` names them, and each implementation is one file.

`reference` runs them on torch tensors (any device; the definition of every op), `record` records them as a graph.
"""
