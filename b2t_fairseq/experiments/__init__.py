"""From data to tables: the quickstart, its recipes, the processes it starts and the report it writes."""
