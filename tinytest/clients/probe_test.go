package clients_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What enum nmos_authz_error says; TestHeaderConstants compares.
const (
	answered = iota
	badCall
	badValue
	tooLong
	refused
	unreachable
	connectionLost
	timedOut
	badReply
)

// probe is a running test program, one handle in it.
type probe struct {
	t      *testing.T
	in     io.WriteCloser
	out    *bufio.Reader
	errors bytes.Buffer
	pid    int
	init   int // what nmos_authz_init returned
}

// startProbe runs a program made from probe.c and checks in the end that no sanitizer complained.
func startProbe(t *testing.T, program, socket string, timeout time.Duration) *probe {
	t.Helper()
	return startCommand(t, []string{program}, socket, timeout)
}

// startCommand is startProbe for a program that does what probe.c does with another client.
func startCommand(t *testing.T, command []string, socket string, timeout time.Duration) *probe {
	t.Helper()
	p := &probe{t: t}
	cmd := exec.Command(command[0], append(command[1:len(command):len(command)], socket,
		strconv.FormatInt(timeout.Milliseconds(), 10))...)
	cmd.Env = append(cmd.Environ(), "CLIENTS="+clientsDir)
	cmd.Stderr = &p.errors
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(3*time.Minute, func() { cmd.Process.Kill() })
	p.in, p.out, p.pid = in, bufio.NewReader(out), cmd.Process.Pid
	t.Cleanup(func() {
		p.in.Close()
		err := cmd.Wait()
		stuck.Stop()
		if err != nil || p.errors.Len() > 0 {
			t.Errorf("the probe ended with %v and said:\n%s", err, &p.errors)
		}
	})
	p.init = number(t, p.read().text["init"])
	return p
}

// answer is what the probe printed after one command.
type answer struct {
	decision       string
	status, err    int
	expires, retry int64
	text           map[string]string
	denied         []string
	took           time.Duration
}

func (p *probe) read() answer {
	p.t.Helper()
	a := answer{text: map[string]string{}}
	for {
		line, err := p.out.ReadString('\n')
		if err != nil {
			p.t.Fatalf("the probe printed no answer: %v", err)
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			return a
		}
		name, value, _ := strings.Cut(line, "=")
		if name == "denied" {
			a.denied = append(a.denied, value)
			continue
		}
		a.text[name] = value
	}
}

// tell sends one command and returns what came of it.
func (p *probe) tell(words ...string) answer {
	p.t.Helper()
	start := time.Now()
	if _, err := io.WriteString(p.in, strings.Join(words, " ")+"\n"); err != nil {
		p.t.Fatal(err)
	}
	a := p.read()
	a.took = time.Since(start)
	if e, ok := a.text["error"]; ok {
		a.err = number(p.t, e)
	}
	if d, ok := a.text["decision"]; ok {
		a.decision = d
		a.status = number(p.t, a.text["status"])
		a.expires = int64(number(p.t, a.text["expires-in"]))
		a.retry = int64(number(p.t, a.text["retry-after"]))
	}
	return a
}

// decide asks one question; an absent value is "-".
func (p *probe) decide(method, target string, rest ...string) answer {
	p.t.Helper()
	return p.tell(append([]string{"decide", value(method), value(target)}, rest...)...)
}

// wantFailure checks that a could not be asked for the reason given, and so denies.
func (p *probe) wantFailure(a answer, err, status int) {
	p.t.Helper()
	retry := int64(-1)
	if status == 503 {
		retry = 1
	}
	if a.err != err || a.decision != "deny" || a.status != status || a.retry != retry || a.expires != -1 {
		p.t.Errorf("got %+v; want deny %d, error %d, retry after %d", a, status, err, retry)
	}
	if a.text["client-id"] != "" || a.text["reason"] != "" || len(a.denied) > 0 {
		p.t.Errorf("got %+v; want nothing of the reply", a)
	}
}

func (p *probe) wantAllowed(a answer) {
	p.t.Helper()
	if a.decision != "allow" || a.status != 200 || a.err != answered {
		p.t.Errorf("got %+v; want allow 200", a)
	}
}

// value writes a value as the probe reads it.
func value(s string) string { return "x" + hex.EncodeToString([]byte(s)) }

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(fmt.Errorf("the probe printed no number: %w", err))
	}
	return n
}
