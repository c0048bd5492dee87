"""One window's way through the score role: windows, model, outputs."""
