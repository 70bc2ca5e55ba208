"""The rules and the values of the engine: pure, no input or output, no event loop, no threads."""
