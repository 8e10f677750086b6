"""Decisions. No clock, no log, no I/O: everything here can be run again and gives the same answer."""
