"""An exported folder behind HTTP: for trying it, and for one machine."""
