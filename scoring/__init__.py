"""From songs to scores: systems, BSS_EVAL, tables, the listening page."""
