"""Files that a kill at any moment leaves readable: JSON lines, tables of any form, folders and their owners."""
