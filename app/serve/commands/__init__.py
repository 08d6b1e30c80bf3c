"""The command line's acts, a file for each command."""
