"""Statistics, tables and figures: functions of rows."""
