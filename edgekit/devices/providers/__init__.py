"""Execution providers: the catalogue, what of it is usable here, how a session asks for one."""
