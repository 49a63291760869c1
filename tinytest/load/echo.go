//go:build linux

package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// The echo is the floor: a Go program that takes a question and answers with as many bytes as the server does that it
// is compared with, and does nothing in between. It is written as anybody would, with package net and, for HTTP,
// net/http.

// echoVariable is the environment variable that makes a process an echo: network, address, bytes of an answer.
const echoVariable = "NMOS_LOAD_ECHO"

// EchoIfAsked is the echo in a process that StartEcho started, and returns in any other. It is the first thing that
// main does, or TestMain.
func EchoIfAsked() {
	network, rest, asked := strings.Cut(os.Getenv(echoVariable), " ")
	if !asked {
		return
	}
	bytes, address, _ := strings.Cut(rest, " ")
	err := serveEcho(network, address, bytes)
	fmt.Fprintln(os.Stderr, "echo:", err)
	os.Exit(1)
}

func serveEcho(network, address, bytes string) error {
	n, err := strconv.Atoi(bytes)
	if err != nil {
		return err
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	go func() { // it ends with who started it
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	answer := make([]byte, n)
	for i := range answer {
		answer[i] = 'e'
	}
	if network != "unixpacket" {
		text := string(answer)
		return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Echo", text)
			w.WriteHeader(http.StatusOK)
		}))
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			buf := make([]byte, 32<<10)
			for {
				if n, err := conn.Read(buf); n == 0 || err != nil {
					return
				}
				if _, err := conn.Write(answer); err != nil {
					return
				}
			}
		}()
	}
}

// Echo is an echo that runs.
type Echo struct {
	network, address string
	command          *exec.Cmd
	stdin            io.Closer
}

// StartEcho starts this program once more, as an echo: packets on "unixpacket", HTTP on "unix" and "tcp". bytes is the
// length of an answer, in HTTP what it has beside its status line and common headers.
func StartEcho(network, address string, bytes int) (*Echo, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	e := &Echo{network: network, address: address, command: exec.Command(program)}
	e.command.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", echoVariable, network, bytes, address))
	e.command.Stderr = os.Stderr
	stdin, err1 := e.command.StdinPipe()
	stdout, err2 := e.command.StdoutPipe()
	if err = errors.Join(err1, err2, e.command.Start()); err != nil {
		return nil, err
	}
	e.stdin = stdin
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	defer context.AfterFunc(ctx, func() { e.command.Process.Kill() })()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		e.Stop()
		return nil, fmt.Errorf("the echo said %q: %w", line, err)
	}
	return e, nil
}

// PID is the echo's process id.
func (e *Echo) PID() int { return e.command.Process.Pid }

// Target is the echo, asked these questions.
func (e *Echo) Target(questions ...string) Target {
	t := Target{
		Name: "echo", Network: e.network, Address: e.address, Questions: questions, Want: "e",
		Processes: []int{e.PID()},
	}
	if e.network != "unixpacket" {
		t.HTTP, t.Want = true, "HTTP/1.1 200 "
	}
	return t
}

// Stop ends the echo.
func (e *Echo) Stop() {
	e.stdin.Close()
	e.command.Wait()
}
