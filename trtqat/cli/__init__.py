"""The command line: each command parses, calls one function, and renders its result.

main.py           the entry point; app.py: the list of the commands, each a file
option_groups.py  options as frozen dataclasses, which a command takes as its parameters
shared_options.py what several commands have in common
quantize_options.py, export_options.py, build_options.py, evaluate_options.py: what belongs to one
console.py        the frame of every command: its log, errors, exit codes
named_files.py    whether files can be read and written, before anything is computed
output.py         standard output; progress.py: standard error
process.py        standard streams, and Ctrl-C
"""
