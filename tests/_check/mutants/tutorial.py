"""The client of many tutorials: one recv() per message, no error handling."""

import socket
import sys

s = socket.socket()
s.connect((sys.argv[1], int(sys.argv[2])))
while line := input("Send:"):
    s.send(line.encode())
    data = s.recv(1024)
    print("Received", repr(data.decode()))
s.close()
