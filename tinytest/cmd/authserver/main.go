// Command authserver runs the authorization server for tests on its own, for demonstrations and for trying a device.
//
//	authserver --dir /tmp/auth --client controller=secret
//	curl --cacert /tmp/auth/ca.pem -u controller:secret -d grant_type=client_credentials https://127.0.0.1:PORT/token
//	curl --cacert /tmp/auth/ca.pem -X POST https://127.0.0.1:PORT/admin/rotate
//	curl --cacert /tmp/auth/ca.pem -X POST 'https://127.0.0.1:PORT/admin/misbehave?path=/jwks&fault=hang'
//
// It prints issuer=URL first, writes ca.pem and every private key into the directory, rotates on SIGUSR1 too, and stops
// on SIGINT and SIGTERM. It gives away its private keys: never run it where anybody relies on it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/mint"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	rotate := make(chan os.Signal, 1)
	signal.Notify(rotate, syscall.SIGUSR1)
	code := run(ctx, os.Args[1:], rotate, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// clients are the pairs of the command line, id=secret or name=password.
type clients map[string]string

// String is for package flag.
func (c clients) String() string { return "" }

// Set takes one pair.
func (c clients) Set(pair string) error {
	id, secret, ok := strings.Cut(pair, "=")
	if !ok || id == "" || secret == "" {
		return errors.New("must be two words joined by =")
	}
	c[id] = secret
	return nil
}

// names is a list separated by commas.
type names []string

// String is for package flag.
func (n *names) String() string { return strings.Join(*n, ",") }

// Set adds the names of one flag.
func (n *names) Set(list string) error {
	*n = append(*n, strings.Split(list, ",")...)
	return nil
}

func run(ctx context.Context, args []string, rotate <-chan os.Signal, stdout, stderr io.Writer) int {
	o := authserver.Options{Admin: true, Clients: clients{}, Users: clients{}}
	var dir string
	var list, quiet bool
	var extra, audience names
	flags := flag.NewFlagSet("authserver", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.Addr, "addr", "127.0.0.1:0", "`address` to listen on")
	flags.StringVar(&o.Host, "host", "127.0.0.1", "host `name` in the issuer's URL")
	flags.StringVar(&o.IssuerPath, "issuer-path", "", "`path` of the issuer's URL, such as /realms/studio")
	flags.Var(&extra, "name", "more host `names` for the certificate, separated by commas")
	flags.Var(clients(o.Clients), "client", "a client, `id=secret`, that may fetch tokens; can be repeated")
	flags.Var(clients(o.Users), "user", "a person, `name=password`, who may sign in at /authorize; can be repeated")
	flags.Var(&audience, "aud", "aud of the tokens, a `list` separated by commas; default: *")
	flags.DurationVar(&o.Life, "exp", mint.DefaultLife, "how long the tokens are good for")
	flags.StringVar(&dir, "dir", "",
		"`directory` for ca.pem and the private keys; default: a new one under the temporary directory")
	flags.BoolVar(&list, "list-faults", false, "print the names that /admin/misbehave knows")
	flags.BoolVar(&quiet, "quiet", false, "do not log requests")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "authserver: what is %q?\n", flags.Arg(0))
		return 2
	}
	if list {
		for _, f := range slices.Concat(authserver.Faults, authserver.ClientFaults) {
			fmt.Fprintln(stdout, f.Fault)
		}
		return 0
	}
	o.Names, o.Audience = extra, audience
	if !quiet {
		o.Logf = func(format string, a ...any) { fmt.Fprintf(stderr, format+"\n", a...) }
	}
	if err := serve(ctx, o, dir, rotate, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "authserver: %s\n", strings.TrimPrefix(err.Error(), "authserver: "))
		return 1
	}
	return 0
}

// serve runs the server until the context ends.
func serve(
	ctx context.Context,
	o authserver.Options,
	dir string,
	rotate <-chan os.Signal,
	stdout, stderr io.Writer,
) error {
	var err error
	if dir == "" {
		dir, err = os.MkdirTemp("", "authserver-")
	} else {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return err
	}
	o.Rotated = func(k *mint.Key) {
		if err := replace(filepath.Join(dir, k.KID+".pem"), k.PEM(), 0o600); err != nil {
			fmt.Fprintf(stderr, "authserver: %v\n", err)
		}
	}
	s, err := authserver.Start(o)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := replace(filepath.Join(dir, "ca.pem"), s.CAPEM(), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "issuer=%s\nca=%s\nkey=%s\nmetadata=%s\n", s.Issuer(), filepath.Join(dir, "ca.pem"),
		filepath.Join(dir, s.Signer().KID+".pem"), s.MetadataURL())
	for {
		select {
		case <-rotate:
			fmt.Fprintf(stdout, "key=%s\n", filepath.Join(dir, s.Rotate().KID+".pem"))
		case <-ctx.Done():
			return nil
		}
	}
}

// replace writes a file whole or not at all, since a daemon may be watching it.
func replace(name string, content []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
