"""What must survive: the rows of CONTRIBUTING's reliability table, one module each."""
