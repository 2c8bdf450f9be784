"""Graph_file."""
