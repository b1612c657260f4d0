"""The cases of servers of datagrams."""

from halloo.check.udp import abuse, datagrams, load

ROOMS = (datagrams, abuse, load)
