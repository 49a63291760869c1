// Hello is the least program that answers on a socket of packets: what "make bench" compares the daemon's start with.
package main

import (
	"net"
	"os"
)

func main() {
	l, err := net.Listen("unixpacket", os.Args[1])
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		var packet [2048]byte
		if n, _ := conn.Read(packet[:]); n > 0 {
			conn.Write([]byte("allow 200\n"))
		}
		conn.Close()
	}
}
