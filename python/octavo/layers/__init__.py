"""The layers that decoders are wired from. They call `Ops` and never torch; each loads its own weights as it is built."""
