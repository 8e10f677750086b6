"""The database: tables, codec, and the Store port on SQL and in memory."""
