"""A disk that fails as disks do, to test the promises about power, I/O errors and room.

SQLite's own code runs on it, by apsw, with real files. `vfs` records the operations on the files,
and lets some fail when a test says so. `recording` computes the contents of the disk after a power
loss at any moment. `connection` makes it look like the standard library's `sqlite3`. `account`
records the answers of callers, and finds contradictions in a file.
"""
