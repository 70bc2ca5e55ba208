"""A disk that fails as disks do: for the promises about power, I/O errors and room.

SQLite's own code runs on it, as apsw brings it, over real files. `vfs` writes down what is done to
the files and lets operations fail when a test says so; `recording` makes of it what a disk would
hold after a power loss at any moment; `connection` makes it look like the standard library's
`sqlite3`; `account` knows what callers were told, and finds what does not agree with it.
"""
