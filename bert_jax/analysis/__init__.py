"""Statistics, tables and figures, as functions of rows."""
