//go:build linux

// Bench prints what a decision costs beside the floors that it is built on: within a process beside crypto/rsa, over
// the sockets beside a bare echo of the same kind and sizes, and through nginx beside nginx without it. What is
// compared takes turns in short rounds of one run; the figures are medians of rounds, and those of one run alone belong
// together.
//
// It fails if anything is answered wrongly. How fast the answers are decides nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/load"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/rows"
)

func main() {
	load.EchoIfAsked()
	b := bench{}
	flag.StringVar(&b.program, "daemon", "build/nmos-authd", "the daemon's `program`")
	flag.StringVar(&b.hello, "hello", "build/hello",
		"tinytest/cmd/hello, with which the daemon's start is compared: its `program`")
	flag.StringVar(&b.before, "before", "", "another build of the daemon, shown beside over authz.sock: its `program`")
	flag.StringVar(&b.only, "only", "",
		"of the parts process, start, authz, http and nginx these alone, as in `authz,http`")
	flag.IntVar(&b.rounds, "rounds", 15, "how many rounds the median is taken of")
	flag.DurationVar(&b.each, "each", 100*time.Millisecond, "how long each round takes")
	flag.Parse()
	if err := b.run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// patience is how long a server may take to start.
const patience = time.Minute

// bench is one run.
type bench struct {
	program, hello, before, only string
	rounds                       int
	each                         time.Duration

	dir    string
	server *authserver.Server
	tokens []string // the first is remembered; all of them are too many to be remembered
}

// fresh is how many tokens are asked with in turn so that none is remembered.
const fresh = 3 * 128

func (b *bench) part(name string) bool {
	return b.only == "" || strings.Contains(","+b.only+",", ","+name+",")
}

func (b *bench) run() (err error) {
	if b.dir, err = os.MkdirTemp("", "nmos-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err = os.Chmod(b.dir, 0o755); err != nil { // for nginx
		return err
	}
	if b.server, err = authserver.Start(authserver.Options{}); err != nil {
		return err
	}
	defer b.server.Close()
	for n := range fresh {
		b.tokens = append(b.tokens, b.server.Token(mint.Options{
			Client: fmt.Sprintf("controller-%04d", n),
			Permissions: map[string]mint.Permission{
				"connection": {Read: []string{"single/senders", "single/receivers/*"}}},
		}).Sign())
	}
	if b.part("process") {
		if err = b.withinProcess(); err != nil {
			return err
		}
	}
	if b.part("start") {
		if err = b.starts(); err != nil {
			return err
		}
	}
	for _, processors := range []int{1, 2} {
		if load.Processors() < processors {
			fmt.Printf("\nSKIP two processors: there is one\n")
			break
		}
		if err = errors.Join(load.Pin(processors), b.overSockets(processors)); err != nil {
			return err
		}
	}
	return nil
}

// question is the packet that asks for a GET with a token.
func question(token string) string {
	return "decide 1\nmethod=GET\ntarget=" + rows.Senders + "\nauthorization=Bearer " + token + "\n"
}

// asHTTP is the same as a web server asks it.
func asHTTP(token string) string {
	return "GET /authorize HTTP/1.1\r\nHost: nmos-authd\r\nX-Original-Method: GET\r\nX-Original-URI: " + rows.Senders +
		"\r\nAuthorization: Bearer " + token + "\r\n\r\n"
}

func all(tokens []string, form func(string) string) (questions []string) {
	for _, t := range tokens {
		questions = append(questions, form(t))
	}
	return questions
}

// start runs a daemon with this audit.
func (b *bench) start(program, audit string) (*daemon.Daemon, error) {
	dir, err := daemon.NewDir()
	if err != nil {
		return nil, err
	}
	c := daemon.Config{CAPEM: b.server.CA().PEM(), Servers: []string{b.server.Issuer()}, More: audit}
	if err = dir.Write(c); err != nil {
		return nil, err
	}
	return b.startIn(program, dir)
}

// startIn runs a daemon by the configuration in a folder, and waits until it allows.
func (b *bench) startIn(program string, dir daemon.Dir) (*daemon.Daemon, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	d, err := daemon.Start(ctx, program, dir)
	if err != nil {
		return nil, err
	}
	one := load.Target{Name: "the daemon", Network: "unixpacket", Address: d.Authz(),
		Questions: []string{question(b.tokens[0])}}
	for one.Want = "allow 200\n"; ; time.Sleep(10 * time.Millisecond) { // until it has the keys
		_, err = load.Compare(load.Options{Rounds: 1, Each: time.Millisecond}, one)
		if err == nil || ctx.Err() != nil {
			return d, err
		}
	}
}

func stop(d *daemon.Daemon) {
	d.Stop()
	d.Remove()
}

// overSockets compares over authz.sock, http.sock and through nginx, clients and servers on so many processors.
func (b *bench) overSockets(processors int) error {
	shipped, err := b.start(b.program, "")
	if err != nil {
		return err
	}
	defer stop(shipped)
	title := "one core"
	if processors == 2 {
		title = "two cores"
	}
	compare := func(what string, clients []int, targets ...load.Target) error {
		for _, n := range clients {
			results, err := load.Compare(load.Options{Clients: n, Rounds: b.rounds, Each: b.each}, targets...)
			if err != nil {
				return err
			}
			load.Print(os.Stdout, fmt.Sprintf("%s, %s, %d", what, title, n), results)
		}
		return nil
	}
	if b.part("authz") {
		if err = b.overAuthz(shipped, compare); err != nil {
			return err
		}
	}
	if b.part("http") {
		echo, err := load.StartEcho("unix", filepath.Join(b.dir, fmt.Sprintf("http-%d", processors)), 200)
		if err != nil {
			return err
		}
		defer echo.Stop()
		floor := echo.Target(asHTTP(b.tokens[0]))
		floor.Name = "echo by net/http"
		known := load.Target{
			Name: "known token", Network: "unix", Address: shipped.HTTP(), HTTP: true,
			Questions: []string{asHTTP(b.tokens[0])}, Want: "HTTP/1.1 200 ", Processes: []int{shipped.PID()},
		}
		if err = compare("http", []int{1, 4, 16}, floor, known); err != nil {
			return err
		}
	}
	if b.part("nginx") {
		return b.throughNginx(shipped, processors, compare)
	}
	return nil
}

// comparer compares targets for each of some numbers of clients, and prints the tables.
type comparer func(what string, clients []int, targets ...load.Target) error

func (b *bench) overAuthz(shipped *daemon.Daemon, compare comparer) error {
	silent, err := b.start(b.program, "[audit]\nsinks = []\n")
	if err != nil {
		return err
	}
	defer stop(silent)
	path := filepath.Join(b.dir, "packets")
	os.Remove(path)
	echo, err := load.StartEcho("unixpacket", path, answerBytes)
	if err != nil {
		return err
	}
	defer echo.Stop()
	known := []string{question(b.tokens[0])}
	target := func(name string, d *daemon.Daemon, questions []string, want string) load.Target {
		return load.Target{
			Name: name, Network: "unixpacket", Address: d.Authz(), Questions: questions, Want: want,
			Processes: []int{d.PID()},
		}
	}
	targets := []load.Target{
		echo.Target(known...),
		target("ping", shipped, []string{"ping 1\n"}, "pong 1\n"),
		target("known token", shipped, known, "allow 200\n"),
		target("known, no sinks", silent, known, "allow 200\n"),
		target("new token", shipped, all(b.tokens, question), "allow 200\n"),
	}
	if b.before != "" {
		before, err := b.start(b.before, "")
		if err != nil {
			return err
		}
		defer stop(before)
		targets = append(targets, target("known, before", before, known, "allow 200\n"))
	}
	return compare("authz", []int{1, 4, 16}, targets...)
}

// answerBytes is about the length of an answer that allows.
const answerBytes = 200
