"""Services: what applications start from."""
