// Echo datagrams with Go's net: a goroutine, a buffer, and addresses that need no memory of their own.
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
		if err == nil { // an error is about an earlier datagram, and ends nothing; so is one of sending
			conn.WriteToUDPAddrPort(buffer[:n], peer)
		}
	}
}
