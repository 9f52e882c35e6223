"""The neural model: an encoder, what reads it out, and how both are loaded."""
