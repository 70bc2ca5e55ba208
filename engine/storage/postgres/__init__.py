"""The PostgreSQL storage: any number of engines over one database."""
