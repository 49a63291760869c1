// Demo starts a pretend facility on loopback: a name server, an authorization server, an IS-04 registry and a stage
// box, the latter two each with the real daemon, and controllers before which people sit. It plays a story with them,
// and shows what each asked, what it was answered and why, and how long asking the daemon took.
//
// It ends by itself, with exit status 0 if everything went as the story tells it. With -keep it stays up and says what
// to try.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/studio"
)

func main() {
	program := flag.String("daemon", "build/nmos-authd", "the daemon's `program`")
	keep := flag.Bool("keep", false, "stay up after the story")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *program, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo: not as told:", err)
		os.Exit(1)
	}
}

// patience is how long the story, and anything in it, may take on a machine that is busy; on others it takes a quarter
// of a minute.
const patience = 3 * time.Minute

// stage is everything that runs.
type stage struct {
	*studio.Studio
	program   string
	decided   chan decision
	announced chan struct{} // once for each time that the stage box has announced everything
	replaced  chan struct{} // once for each token that the registry refused and the stage box replaced
}

// decision is one reply that the device got, and how long it waited for it.
type decision struct {
	reply firmware.Reply
	took  time.Duration
}

func run(ctx context.Context, program string, keep bool) (err error) {
	began := time.Now()
	s := &stage{
		program: program, decided: make(chan decision, 1),
		announced: make(chan struct{}, 1), replaced: make(chan struct{}, 1),
	}
	playing, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.Studio, err = studio.Start(playing, program, studio.Options{
		Timeout: patience, Announced: notify(s.announced), Replaced: notify(s.replaced),
		Decided: func(r firmware.Reply, took time.Duration) {
			if strings.HasPrefix(r.Reason, "own-token") {
				return // the stage box's affair, at any time
			}
			select {
			case s.decided <- decision{r, took}:
			default: // nobody wants to know
			}
		},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.play(playing); err != nil {
		return err
	}
	if len(wide) > 0 {
		return fmt.Errorf("lines of more than %d columns: %q", width, wide)
	}
	try, closePanel, err := s.ready()
	if err != nil {
		return err
	}
	defer closePanel()
	fmt.Printf("\nAll of it went as told, in %.0f s.\n", time.Since(began).Seconds())
	if keep {
		return s.stay(ctx, try)
	}
	return nil
}

// notify returns a hook that does not wait.
func notify(c chan<- struct{}) func() {
	return func() {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// ready writes the files for what there is to try, starts the page, and returns the text that names them.
func (s *stage) ready() (try string, closePanel func() error, err error) {
	g := s.DeviceDaemon
	files := map[string]string{
		"good.jwt":     s.Server.Token(routing).Sign(),
		"readonly.jwt": s.Server.Token(readOnly).Sign(),
		"meters.jwt":   s.Server.Token(meters).Sign(),
		"jwks.json":    string(mint.JWKS(s.Server.Keys()...)),
	}
	for name, text := range files {
		if err := os.WriteFile(g.File(name), []byte(text), 0o600); err != nil {
			return "", nil, err
		}
	}
	panel, closePanel, err := servePanel(g.View())
	if err != nil {
		return "", nil, err
	}
	port := s.Device.URL()[strings.LastIndexByte(s.Device.URL(), ':')+1:]
	try = fmt.Sprintf(`
Everything stays up until you press Ctrl-C. The stage box's page is at

  %[8]s

Try, from another terminal:

  D=%[2]s
  C=$D/nmos-authd.toml
  S=%[3]s
  R=%[4]s
  H=%[6]s:%[5]s
  %[1]s status --config $C
  %[1]s client status --config $C
  %[1]s token --scope registration --config $C
  %[1]s ask --config $C --token $D/good.jwt GET $S
  %[1]s ask --config $C --token $D/readonly.jwt PATCH $R
  %[1]s explain --config $C --jwks $D/jwks.json \
    --token $D/readonly.jwt PATCH $R
  %[1]s ask --config $C --token $D/meters.jwt \
    --resource meter stage-left read
  curl -i --cacert $D/certs/roots.pem --resolve $H:127.0.0.1 \
    -H "Authorization: Bearer $(cat $D/good.jwt)" https://$H$S
  curl --unix-socket $D/run/admin.sock http://localhost/inventory
  kill -HUP %[7]d    # after a change of $C
`, s.program, g.Path(), senders, staged, port, device, g.PID(), panel)
	for _, m := range regexp.MustCompile(`\$D/([\w./-]+)`).FindAllStringSubmatch(try, -1) {
		if _, err := os.Stat(g.File(m[1])); err != nil {
			return "", nil, errors.Join(fmt.Errorf("what there is to try: %w", err), closePanel())
		}
	}
	return try, closePanel, nil
}

// stay keeps everything up until a signal comes, and says what to try.
func (s *stage) stay(ctx context.Context, try string) error {
	fmt.Print(try)
	select {
	case <-ctx.Done():
		return nil
	case <-s.DeviceDaemon.Ended():
		return fmt.Errorf("the stage box's daemon ended by itself:\n%s", s.DeviceDaemon.Log())
	case <-s.RegistryDaemon.Ended():
		return fmt.Errorf("the registry's daemon ended by itself:\n%s", s.RegistryDaemon.Log())
	}
}
