"""What is asked, as sessions: made, replayed from traces, or read from files. When it is asked is `load/`'s."""
