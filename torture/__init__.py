"""Long runs that try to wear the daemon out: `make torture`."""
