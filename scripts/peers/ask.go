//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"nmosauthd/tinytest/load"
)

// askOnce asks over a connection of its own.
func askOnce(s *server, q question) ([]byte, error) {
	conn, err := net.Dial(s.network, s.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err = conn.Write(s.ask(q)); err != nil {
		return nil, err
	}
	buf, n := make([]byte, 64<<10), 0
	for {
		more, err := conn.Read(buf[n:])
		if n += more; err != nil {
			return buf[:n], err
		}
		if s.network == "unixpacket" {
			return buf[:n], nil
		}
		if whole, err := complete(buf[:n]); whole || err != nil {
			return buf[:n], err
		}
	}
}

// complete reports whether an HTTP answer has come to its end.
func complete(b []byte) (bool, error) {
	head := bytes.Index(b, []byte("\r\n\r\n")) + 4
	if head < 4 {
		return false, nil
	}
	for line := range bytes.SplitSeq(b[:head], []byte("\r\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			n, err := strconv.Atoi(string(bytes.TrimSpace(value)))
			return len(b) >= head+n, err
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			return bytes.HasSuffix(b, []byte("0\r\n\r\n")), nil
		}
	}
	return true, nil
}

// senders is what all ask for.
const senders = "/x-nmos/connection/v1.1/single/senders/6f3a0000-0000-4000-8000-000000000001/active"

// target is the server as package load asks it: for what is allowed.
func (w *world) target(s *server) load.Target {
	t := load.Target{
		Name: s.name, Network: s.network, Address: s.address, HTTP: s.network == "unix", Processes: s.pids(),
		Want: s.want, Holds: s.holds,
	}
	tokens := w.tokens
	if s.fresh {
		tokens = w.fresh
	}
	for _, token := range tokens {
		t.Questions = append(t.Questions, string(s.ask(question{"GET", senders, token})))
	}
	return t
}

// allows reports whether an answer lets the request through.
func (s *server) allows(reply []byte) bool {
	return bytes.HasPrefix(reply, []byte(s.want)) && bytes.Contains(reply, []byte(s.holds))
}

// residentOf returns the resident memory of processes, in bytes. Of the second process of one program only what is its
// own counts.
func residentOf(pids []int) (sum int64) {
	seen := map[string]bool{}
	for _, pid := range pids {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		program, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		name := "\nVmRSS:"
		if seen[program] {
			name = "\nRssAnon:"
		}
		seen[program] = true
		_, after, _ := strings.Cut(string(text), name)
		if fields := strings.Fields(after); len(fields) > 0 {
			n, _ := strconv.ParseInt(fields[0], 10, 64)
			sum += n << 10
		}
	}
	return sum
}

func children(pid int) (pids []int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, field := range strings.Fields(string(text)) {
		n, _ := strconv.Atoi(field)
		pids = append(pids, n)
	}
	return pids
}

// quoted is a JSON string.
func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}
