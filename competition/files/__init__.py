"""How files are written and read: whole or not at all, with what they were made from."""
