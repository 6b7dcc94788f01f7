"""What a device offers: memory, cores, preferred executor. One file per device."""
