"""How every script fails, is stopped, and keeps others out of its folders."""
