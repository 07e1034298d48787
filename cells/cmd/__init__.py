"""The programs. Only what is here chooses how a process does several things at once."""
