// Datagram echo server with Go's net package: one goroutine, one buffer, and addresses without allocation.
package main

import (
	"fmt"
	"net"
)

func main() {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		panic(err)
	}
	fmt.Printf("listening on udp://%s\n", conn.LocalAddr())
	buffer := make([]byte, 65536)
	for {
		n, peer, err := conn.ReadFromUDPAddrPort(buffer)
		if err == nil { // errors, of sending too, concern an earlier datagram and do not end the server
			conn.WriteToUDPAddrPort(buffer[:n], peer)
		}
	}
}
