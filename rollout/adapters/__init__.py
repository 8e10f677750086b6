"""One file per outside system, its settings class included."""
