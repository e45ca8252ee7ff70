"""Sounds that are asked for now and made later: the table of jobs, the store of sounds, the process that makes them."""
