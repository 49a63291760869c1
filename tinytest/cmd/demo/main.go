// Demo starts an authorization server, the daemon and a pretend device on loopback, and plays a short story: what was
// asked, with which token, what the daemon answered and why, and how long asking took, first and again.
//
// It ends by itself, with exit status 0 if every answer is the one the story expects. With -keep it stays up and says
// what to try.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/mint"
)

// device is the pretend device's name in the tokens.
const device = "stagebox-1.studio.example"

func main() {
	program := flag.String("daemon", "build/nmos-authd", "the daemon's `program`")
	keep := flag.Bool("keep", false, "stay up after the story")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *program, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// stage is everything that runs.
type stage struct {
	server  *authserver.Server
	admin   string // the daemon's admin socket
	daemon  *daemon.Daemon
	device  *firmware.Device
	decided chan decision
}

// decision is one reply that the device got, and how long it waited for it.
type decision struct {
	reply firmware.Reply
	took  time.Duration
}

func run(ctx context.Context, program string, keep bool) error {
	s := &stage{decided: make(chan decision, 1)}
	var err error
	if s.server, err = authserver.Start(authserver.Options{Host: "localhost"}); err != nil {
		return err
	}
	defer s.server.Close()
	dir, err := daemon.NewDir()
	if err != nil {
		return err
	}
	defer dir.Remove()
	s.admin = dir.Admin()
	err = dir.Write(daemon.Config{
		Names: []string{device}, Servers: []string{s.server.Issuer()}, CAPEM: s.server.CAPEM(), Admin: true,
		More: `retry = "1s"`,
	})
	if err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if s.daemon, err = daemon.Start(starting, program, dir); err != nil {
		return err
	}
	if err = s.daemon.WaitLog(starting, 0, "keys fetched"); err != nil {
		return errors.Join(err, s.daemon.Stop())
	}
	s.device, err = firmware.Start(firmware.Options{
		Socket: dir.Authz(),
		Decided: func(r firmware.Reply, took time.Duration) {
			select {
			case s.decided <- decision{r, took}:
			default: // the story is over
			}
		},
	})
	if err != nil {
		return errors.Join(err, s.daemon.Stop())
	}
	defer s.device.Close()

	fmt.Printf("authorization server  %s\n", s.server.Issuer())
	fmt.Printf("nmos-authd            %s\n", dir.Authz())
	fmt.Printf("pretend device        %s, called %s\n\n", s.device.URL(), device)
	err = s.play(ctx)
	if err == nil && keep {
		err = s.stay(ctx, program, dir)
	}
	return errors.Join(err, s.daemon.Stop())
}

// stay keeps everything up until a signal comes, and says what to try.
func (s *stage) stay(ctx context.Context, program string, dir daemon.Dir) error {
	path := func(name string) string { return dir.File(name) }
	files := map[string]string{
		"good.jwt":     s.server.Token(controller).Sign(),
		"readonly.jwt": s.server.Token(readOnly).Sign(),
		"meters.jwt":   s.server.Token(meters).Sign(),
		"jwks.json":    string(mint.JWKS(s.server.Keys()...)),
	}
	for name, text := range files {
		if err := os.WriteFile(path(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	config := dir.ConfigFile()
	fmt.Printf(`
Everything stays up until you press Ctrl-C. Try, from another terminal:

  C=%[2]s
  %[1]s ask --config $C \
    --token %[3]s \
    GET %[5]s
  %[1]s ask --config $C \
    --token %[4]s \
    PATCH %[6]s
  %[1]s explain --config $C --jwks %[7]s \
    --token %[4]s \
    PATCH %[6]s
  %[1]s ask --config $C \
    --token %[10]s \
    --resource meter stage-left read
  curl -i -H "Authorization: Bearer $(cat %[3]s)" \
    %[8]s%[5]s
  curl --unix-socket %[11]s \
    http://localhost/inventory
  kill -HUP %[9]d    # after a change of $C
`, program, config, path("good.jwt"), path("readonly.jwt"), senders, staged, path("jwks.json"), s.device.URL(), s.daemon.PID(),
		path("meters.jwt"), s.admin)
	select {
	case <-ctx.Done():
		return nil
	case <-s.daemon.Ended():
		return fmt.Errorf("the daemon ended by itself:\n%s", s.daemon.Log())
	}
}
