"""Tasks that are not judged by top-1: their data, their models, and one command for each."""
