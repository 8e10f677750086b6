"""The database: SQLite by default, PostgreSQL where several daemons run, memory for tests. Start at sql.py and tables.py."""
