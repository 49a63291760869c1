package fire_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// What tells this test's program that it plays a role: its name, and what it needs to know.
const (
	roleVariable = "NMOS_FIRE_ROLE"
	partVariable = "NMOS_FIRE_PART"
)

// part is what a role needs to know.
type part struct {
	Socket      string
	HTTP        bool
	Token       string        // that is asked with, or that the forged ones are made from
	Connections int           // flood, load
	Probes      []probe       // load
	Pause       time.Duration // load: between two questions
	Lasts       time.Duration // controller
}

// report is what a role prints at its end.
type report struct {
	Answers map[string]int  // by status and reason, such as "200 ok"; "error: …" is not an answer
	Times   []time.Duration // controller: of each question
}

func play(role string) error {
	var p part
	if err := json.Unmarshal([]byte(os.Getenv(partVariable)), &p); err != nil {
		return err
	}
	switch role {
	case "echo":
		return echo(p)
	case "flood":
		return json.NewEncoder(os.Stdout).Encode(flood(p))
	case "load":
		return json.NewEncoder(os.Stdout).Encode(load(p))
	case "controller":
		return json.NewEncoder(os.Stdout).Encode(control(p))
	}
	return fmt.Errorf("an unknown role")
}

const asked = "/x-nmos/connection/v1.1/single/senders"

// question is what is written for a token, and the place in it where the forged ones differ.
func (p part) question() (packet []byte, differs int) {
	text := "decide 1\nmethod=GET\ntarget=" + asked + "\nauthorization=Bearer " + p.Token + "\n"
	if p.HTTP {
		text = "GET /authorize HTTP/1.1\r\nHost: daemon\r\nX-Original-Method: GET\r\nX-Original-URI: " + asked +
			"\r\nAuthorization: Bearer " + p.Token + "\r\n\r\n"
	}
	// Not in its first bytes: the number stays below any modulus, so that the check is made to its end.
	return []byte(text), strings.LastIndexByte(text, '.') + 24
}

// peer is one connection to a socket.
type peer struct {
	http bool
	conn net.Conn
	from *bufio.Reader
	buf  []byte
}

func (p part) dial() (*peer, error) {
	network := "unixpacket"
	if p.HTTP {
		network = "unix"
	}
	conn, err := dialOnly(network, p.Socket)
	if err != nil {
		return nil, err
	}
	return &peer{http: p.HTTP, conn: conn, from: bufio.NewReader(conn), buf: make([]byte, 8<<10)}, nil
}

// ask returns the answer as "200 ok".
func (c *peer) ask(question []byte) (string, error) {
	c.conn.SetDeadline(time.Now().Add(patience))
	if _, err := c.conn.Write(question); err != nil {
		return "", err
	}
	if c.http {
		return c.response()
	}
	n, err := c.conn.Read(c.buf)
	if err != nil {
		return "", err
	}
	line, rest, _ := bytes.Cut(c.buf[:n], []byte("\n"))
	_, status, _ := bytes.Cut(line, []byte(" "))
	reason, _, _ := bytes.Cut(rest, []byte("\n"))
	return string(status) + " " + string(bytes.TrimPrefix(reason, []byte("reason="))), nil
}

func (c *peer) response() (string, error) {
	status, reason, length := "", "", 0
	for {
		line, err := c.from.ReadSlice('\n')
		if err != nil {
			return "", err
		}
		line = bytes.TrimRight(line, "\r\n")
		name, value, found := bytes.Cut(line, []byte(": "))
		switch {
		case status == "" && len(line) > 12:
			status = string(line[9:12])
		case found && string(name) == "X-Auth-Reason":
			reason = string(value)
		case found && string(name) == "Content-Length":
			if length, err = strconv.Atoi(string(value)); err != nil {
				return "", err
			}
		case len(line) == 0:
			_, err = c.from.Discard(length)
			return status + " " + reason, err
		}
	}
}

// flood asks with one forged token after another until standard input ends.
func flood(p part) report {
	var stop atomic.Bool
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop.Store(true)
	}()
	all := report{Answers: map[string]int{}}
	var mu sync.Mutex
	var connections sync.WaitGroup
	for range p.Connections {
		connections.Go(func() {
			mine := map[string]int{}
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				for answer, n := range mine {
					all.Answers[answer] += n
				}
			}()
			c, err := p.dial()
			if err != nil {
				mine["error: "+err.Error()]++
				return
			}
			defer c.conn.Close()
			question, at := p.question()
			for n := rand.Uint64(); !stop.Load(); n++ {
				copy(question[at:], fmt.Sprintf("%016x", n))
				answer, err := c.ask(question)
				if err != nil {
					mine["error: "+err.Error()]++
					return
				}
				mine[answer]++
			}
		})
	}
	connections.Wait()
	return all
}

// control asks with a known token, as a controller does that polls: a thousand times a second at most.
func control(p part) report {
	r := report{Answers: map[string]int{}}
	question, _ := p.question()
	c, err := p.dial()
	for end := time.Now().Add(p.Lasts); err == nil && (len(r.Times) == 0 || time.Now().Before(end)); {
		var answer string
		began := time.Now()
		answer, err = c.ask(question)
		r.Times = append(r.Times, time.Since(began))
		r.Answers[answer]++
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		r.Answers["error: "+err.Error()]++
	}
	return r
}

// echo answers everything with an allowance of the usual length, without a look at it.
func echo(p part) error {
	if p.HTTP {
		listener, err := net.Listen("unix", p.Socket)
		if err != nil {
			return err
		}
		return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h.Set("Cache-Control", "no-store")
			h.Set("X-Auth-Reason", "ok")
			h.Set("X-Auth-Client-Id", "controller-1")
			h.Set("X-Auth-Subject", "operator@example.com")
			h.Set("X-Auth-Path", asked)
			h.Set("X-Auth-Expires-In", "3600")
		}))
	}
	listener, err := net.Listen("unixpacket", p.Socket)
	if err != nil {
		return err
	}
	answer := []byte("allow 200\nreason=ok\nclient_id=controller-1\nsubject=operator@example.com\n" +
		"expires_in=3600\npath=" + asked + "\nissuer=https://127.0.0.1:40000\n")
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			buf := make([]byte, 32<<10)
			for {
				if _, err := conn.Read(buf); err != nil {
					return
				}
				if _, err := conn.Write(answer); err != nil {
					return
				}
			}
		}()
	}
}

// actor is a process that plays a role.
type actor struct {
	t     *testing.T
	role  string
	cmd   *exec.Cmd
	input io.Closer
	out   bytes.Buffer
	err   bytes.Buffer
}

// pinned is a command on these processors, such as "0"; "" is all.
func pinned(cpus, name string, args ...string) *exec.Cmd {
	if cpus == "" {
		return exec.Command(name, args...)
	}
	return exec.Command("taskset", append([]string{"-c", cpus, name}, args...)...)
}

// act starts a role.
func act(t *testing.T, cpus, role string, p part) *actor {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	a := &actor{t: t, role: role, cmd: pinned(cpus, os.Args[0])}
	a.cmd.Env = append(os.Environ(), roleVariable+"="+role, partVariable+"="+string(text))
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	a.cmd.Stdout, a.cmd.Stderr = &a.out, &a.err
	if a.input, err = a.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.kill)
	return a
}

func (a *actor) kill() {
	if a.cmd.ProcessState == nil {
		a.cmd.Process.Kill()
		a.cmd.Wait()
	}
}

// end closes the standard input and reads what the role has to say.
func (a *actor) end(into any) {
	a.t.Helper()
	a.input.Close()
	if err := errors.Join(a.cmd.Wait(), json.Unmarshal(a.out.Bytes(), into)); err != nil {
		a.t.Fatalf("%s: %v\n%s", a.role, err, a.err.String())
	}
}

func (a *actor) signal(s syscall.Signal) {
	a.t.Helper()
	if err := a.cmd.Process.Signal(s); err != nil {
		a.t.Fatal(err)
	}
}
