// Command hello is the least that a daemon in Go does: it opens a socket, and whoever connects gets a byte. Its start
// is what the start of nmos-authd is compared with.
package main

import (
	"fmt"
	"net"
	"os"
)

func main() {
	l, err := net.Listen("unix", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		c.Write([]byte("x"))
		c.Close()
	}
}
