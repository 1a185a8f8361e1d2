"""All recorded runs as one page, tables and figures."""
