"""How every script reads its command line, fails, is stopped, and keeps others out of its folders."""
