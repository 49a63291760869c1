//go:build linux

// Command peers puts nmos-authd beside what a user would pick to check tokens: the Open Policy Agent, Envoy's
// jwt_authn, nginx with a sidecar, oauth2-proxy, and three libraries. "make peers" runs it; README.md says what it
// shows.
//
// All get the same key, the same tokens and the same requests, over Unix sockets on this machine, in rounds that take
// turns. First each is asked what it allows, since a peer that does not check does not count. Times are printed and
// decide nothing; a wrong answer to what a peer was configured to check fails.
//
// It is a module of its own, so that nmos-authd is built from none of what the peers are built from.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/load"
	"nmosauthd/tinytest/mint"
)

func main() {
	load.EchoIfAsked()
	if what := os.Getenv(checkVariable); what != "" {
		if err := answerRunner(what); err != nil {
			fmt.Fprintln(os.Stderr, "peers:", err)
			os.Exit(1)
		}
		return
	}
	rounds := flag.Int("rounds", 15, "how many rounds the median is taken of")
	each := flag.Duration("each", 150*time.Millisecond, "how long each round takes")
	build := flag.String("build", "build", "folder for what is built here")
	page := flag.String("vectors", "", "put the test vectors to the peers instead, and write this `file`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *build, *page, *rounds, *each); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, build, page string, rounds int, each time.Duration) error {
	w, err := newWorld(ctx, build)
	if w != nil {
		defer w.close()
	}
	if err != nil {
		return err
	}
	if page != "" {
		s, err := readSetting()
		if err != nil {
			return err
		}
		if w.issuer, w.jwks = s.Issuer, []byte(s.JWKS); s.Names[0] != device {
			return fmt.Errorf("the vectors' device is %q, want %q", s.Names[0], device)
		}
		if err = os.WriteFile(w.file("jwks.json"), w.jwks, 0o644); err != nil {
			return err
		}
		servers, err := w.startAll(starters[firstPeer:])
		if err != nil {
			return err
		}
		return w.checkVectors(servers, page)
	}
	if err = w.libraries(rounds, each); err != nil {
		return err
	}
	servers, err := w.startAll(starters)
	if err != nil {
		return err
	}
	return w.compare(servers, rounds, each)
}

// world is what all share: one authorization server, its tokens, and a folder.
type world struct {
	ctx    context.Context
	dir    string // for configurations and sockets
	build  string // for programs
	auth   *authserver.Server
	issuer string
	jwks   []byte
	tokens []string // of as many controllers, all good
	fresh  []string // more than anybody remembers
	ends   []func()
}

// device is the name of the device that all of them check audiences by.
const device = "node-1.example.com"

func newWorld(ctx context.Context, build string) (w *world, err error) {
	w = &world{ctx: ctx}
	if w.build, err = filepath.Abs(build); err != nil {
		return nil, err
	}
	if w.dir, err = os.MkdirTemp("", "peers-"); err != nil { // a socket's path must be short
		return nil, err
	}
	w.ends = append(w.ends, func() { os.RemoveAll(w.dir) })
	if w.auth, err = authserver.Start(authserver.Options{Key: mint.CachedKey("key-1", 2048)}); err != nil {
		return w, err
	}
	w.ends = append(w.ends, func() { w.auth.Close() })
	w.issuer, w.jwks = w.auth.Issuer(), mint.JWKSOf(w.auth.Signer().JWK())
	if err = os.WriteFile(w.file("jwks.json"), w.jwks, 0o644); err != nil {
		return w, err
	}
	for n := range 8 {
		w.tokens = append(w.tokens, w.token(mint.Options{Client: fmt.Sprintf("controller-%03d", n)}))
	}
	for n := range 256 {
		w.fresh = append(w.fresh, w.token(mint.Options{Client: fmt.Sprintf("stranger-%03d", n)}))
	}
	return w, nil
}

// token is one that may look at senders and change receivers, for a day.
func (w *world) token(o mint.Options) string {
	o.Device = device
	if o.Life == 0 {
		o.Life = 24 * time.Hour
	}
	o.Scope = "connection"
	o.Permissions = map[string]mint.Permission{"connection": {
		Read: []string{"single/senders/*", "single/receivers/*"}, Write: []string{"single/receivers/*"},
	}}
	return w.auth.Token(o).Sign()
}

func (w *world) file(name string) string { return filepath.Join(w.dir, name) }

func (w *world) close() {
	for i := len(w.ends) - 1; i >= 0; i-- {
		w.ends[i]()
	}
}

// program builds a Go program of this module's, once.
func (w *world) program(name, pkg string) (string, error) {
	path := filepath.Join(w.build, name)
	cmd := exec.CommandContext(w.ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, pkg)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}

// daemon starts nmos-authd as it is shipped.
func (w *world) daemon() (*daemon.Daemon, error) {
	program := filepath.Join(w.build, "..", "nmos-authd")
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("%w: make builds it", err)
	}
	dir, err := daemon.NewDir()
	if err != nil {
		return nil, err
	}
	w.ends = append(w.ends, func() { dir.Remove() })
	config := daemon.Config{Names: []string{device}, CAPEM: w.auth.CAPEM(), Servers: []string{w.auth.Issuer()}}
	if err = dir.Write(config); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	d, err := daemon.Start(ctx, program, dir)
	if err == nil {
		w.ends = append(w.ends, d.Kill)
	}
	return d, err
}

// patience is how long a program may take to start.
const patience = time.Minute
