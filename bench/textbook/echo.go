// Echo as Go's users write it: echo PORT loop|copy|udp.
package main

import (
	"io"
	"net"
	"os"
)

func loop(c net.Conn) {
	defer c.Close()
	buffer := make([]byte, 65536)
	for {
		n, err := c.Read(buffer)
		if _, failed := c.Write(buffer[:n]); err != nil || failed != nil {
			return
		}
	}
}

func main() {
	place := "127.0.0.1:" + os.Args[1]
	if os.Args[2] == "udp" {
		c, _ := net.ListenPacket("udp", place)
		buffer := make([]byte, 65536)
		for {
			if n, peer, err := c.ReadFrom(buffer); err == nil {
				c.WriteTo(buffer[:n], peer)
			}
		}
	}
	listener, err := net.Listen("tcp", place)
	if err != nil {
		panic(err)
	}
	for {
		c, err := listener.Accept()
		if err != nil {
			continue
		}
		if os.Args[2] == "copy" {
			go func() { io.Copy(c, c); c.Close() }()
		} else {
			go loop(c)
		}
	}
}
