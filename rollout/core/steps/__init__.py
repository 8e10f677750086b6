"""One file per step of a procedure."""
