"""The protocol checked by machine: real modules, virtual processes that stop and die at any file operation."""
