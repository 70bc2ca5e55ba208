"""The parts of services, over HTTP."""
