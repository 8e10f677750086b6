"""The shell: it looks, lets the core decide, commits and acts."""
