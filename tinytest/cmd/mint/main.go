// Command mint makes access tokens for tests and demonstrations, good ones and bad ones.
//
//	mint --generate --key key-1.pem                      make a key
//	mint --key key-1.pem --jwks                          print its key set, for a server to publish
//	mint --key key-1.pem --iss https://auth.example.com --device node-1.example.com
//	mint --key key-1.pem --fault aud-other-device        the same token with a fault
//	mint --list-faults
//
// It exits 0 for a token, 1 if it could not make one, 2 for a wrong command line.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"nmosauthd/tinytest/mint"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// options are the command line.
type options struct {
	key, kid, fault, claims, without, out string
	audience                              string
	generate, jwks, list                  bool
	bits                                  int
	token                                 mint.Options
}

func run(args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("mint", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.key, "key", "", "`file` with the private RSA key in PEM")
	flags.StringVar(&o.kid, "kid", "", "the key's `name`; default: the key file's, without its ending")
	flags.BoolVar(&o.generate, "generate", false, "make the key file, which must not be there yet")
	flags.IntVar(&o.bits, "bits", 2048, "size of a key made by --generate")
	flags.BoolVar(&o.jwks, "jwks", false, "print the key set of the key instead of a token")
	flags.StringVar(&o.token.Issuer, "iss", mint.DefaultIssuer, "issuer `URL`")
	flags.StringVar(&o.token.Device, "device", mint.DefaultDevice, "host `name` of the device, which becomes aud")
	flags.StringVar(&o.audience, "aud", "", "aud, as a `list` separated by commas; default: the device")
	flags.StringVar(&o.token.Client, "client", mint.DefaultClient, "client_id")
	flags.StringVar(&o.token.Subject, "sub", mint.DefaultSubject, "sub")
	flags.StringVar(&o.token.Scope, "scope", mint.DefaultScope,
		"scope; each `API` in it may be read and written, unless --claims says otherwise")
	flags.DurationVar(&o.token.Life, "exp", mint.DefaultLife,
		"how long the token is good for; negative: it has expired")
	flags.StringVar(&o.claims, "claims", "", "more claims, a JSON `object`; they replace those of the same name")
	flags.StringVar(&o.without, "without", "", "claims to leave out, a `list` separated by commas")
	flags.StringVar(&o.fault, "fault", "", "`name` of a fault or variant")
	flags.BoolVar(&o.list, "list-faults", false, "print the faults and the variants, with the answer expected")
	flags.StringVar(&o.out, "out", "", "`file` to write to; default: standard output")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "mint: what is %q?\n", flags.Arg(0))
		return 2
	case o.key == "" && !o.list:
		fmt.Fprintln(stderr, "mint: --key is needed; --generate makes one")
		return 2
	}
	if err := o.do(stdout); err != nil {
		fmt.Fprintf(stderr, "mint: %s\n", strings.TrimPrefix(err.Error(), "mint: "))
		return 1
	}
	return 0
}

func (o *options) do(stdout io.Writer) error {
	if o.list {
		return list(stdout)
	}
	key, err := o.loadKey()
	if err != nil {
		return err
	}
	output := ""
	switch {
	case o.jwks:
		output = string(mint.JWKS(key))
	case o.generate:
		return nil
	default:
		if output, err = o.mint(key); err != nil {
			return err
		}
	}
	if o.out != "" {
		return os.WriteFile(o.out, []byte(output+"\n"), 0o600) // a token is a secret
	}
	_, err = fmt.Fprintln(stdout, output)
	return err
}

// loadKey reads the key file, or makes it.
func (o *options) loadKey() (*mint.Key, error) {
	kid := o.kid
	if kid == "" {
		kid = strings.TrimSuffix(filepath.Base(o.key), filepath.Ext(o.key))
	}
	if !o.generate {
		text, err := os.ReadFile(o.key)
		if err != nil {
			return nil, err
		}
		return mint.ParseKey(kid, text)
	}
	if o.bits < 1024 || o.bits > 8192 {
		return nil, fmt.Errorf("--bits %d: 1024 to 8192 can be made", o.bits)
	}
	f, err := os.OpenFile(o.key, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	key := mint.GenerateKey(kid, o.bits)
	_, err = f.Write(key.PEM())
	return key, errors.Join(err, f.Close())
}

// mint makes the token.
func (o *options) mint(key *mint.Key) (string, error) {
	o.token.Key = key
	t := mint.New(o.token)
	if o.audience != "" {
		t.Claims.Set("aud", strings.Split(o.audience, ","))
	}
	if o.claims != "" {
		var claims map[string]json.RawMessage
		if err := json.Unmarshal([]byte(o.claims), &claims); err != nil {
			return "", fmt.Errorf("--claims: %w", err)
		}
		for _, name := range slices.Sorted(maps.Keys(claims)) {
			t.Claims.SetRaw(name, string(claims[name]))
		}
	}
	if o.without != "" {
		for name := range strings.SplitSeq(o.without, ",") {
			t.Claims.Delete(name)
		}
	}
	if o.fault == "" {
		return t.Sign(), nil
	}
	c, ok := mint.Lookup(o.fault)
	switch {
	case !ok:
		return "", fmt.Errorf("no fault is called %q; --list-faults prints them", o.fault)
	case strings.Count(o.token.Device, ".") < 2:
		return "", fmt.Errorf("a fault needs a --device of at least three labels, not %q", o.token.Device)
	case key.Private.Size()%3 == 0:
		return "", fmt.Errorf("a fault needs a key of 2048 or 4096 bits, not %d", key.Private.N.BitLen())
	}
	return c.Make(t), nil
}

// list prints both tables.
func list(stdout io.Writer) error {
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tRULE\tSTATUS\tREASON\tNOTE")
	for _, c := range slices.Concat(mint.Faults, mint.Variants) {
		reason := c.Want
		if c.Then != "" {
			reason += ", then " + c.Then
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\n", c.Name, c.Rule, c.Status, reason, c.Note)
	}
	return table.Flush()
}
