// Echo server with Go's net package: a goroutine and a buffer for each client.
package main

import (
	"fmt"
	"net"
	"time"
)

func echo(conn net.Conn) {
	defer conn.Close()
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		if n > 0 {
			if _, failed := conn.Write(buffer[:n]); failed != nil {
				return
			}
		}
		if err != nil {
			return
		}
		if n == len(buffer) && n < 256*1024 { // a stream: the buffer grows for busy clients only
			buffer = make([]byte, 2*n)
		}
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("listening on tcp://%s\n", listener.Addr())
	for {
		conn, err := listener.Accept()
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		go echo(conn)
	}
}
