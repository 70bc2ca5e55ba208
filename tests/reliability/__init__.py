"""What must survive: the rows of the reliability table, one module each."""
