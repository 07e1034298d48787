"""An old cell: the service of another project, played from the facts and the recordings.

A program of its own over oslo.messaging, without any module of ours. It plays clients, parents,
children and cells in the middle, and is as strict, as forgetful and as clumsy as those are:
what it does not know of an envelope or a context is lost, what it cannot decode is lost
with its whole message, and nothing is acknowledged, repeated or confirmed.
"""
