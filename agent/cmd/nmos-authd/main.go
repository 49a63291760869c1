// Nmos-authd answers one question for the software of an NMOS device: may this request be served? It holds the Authorization
// Server's keys and validates access tokens as AMWA IS-10 and BCP-003-02 have it.
//
// This folder is flags and wiring, a file a subcommand; what the daemon does is in package agent and below it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"nmosauthd/agent/audit"
)

const defaultConfig = "/etc/nmos-authd/nmos-authd.toml"

// Exit statuses.
const (
	exitOK   = 0
	exitDeny = 1 // ask, explain: the answer was no. Others: it went wrong.
	exitFail = 2 // it could not be asked, or the command line is wrong

	exitUnchecked = 3 // explain: allowed if the token's signature is good, which could not be checked
)

// command is a subcommand. run gets the arguments after its name.
type command struct {
	name, args, about string
	run               func(args []string) int
}

func commands() []command {
	return []command{
		{"run", "[flags]", "run the daemon in the foreground", runDaemon},
		{"check-config", "[flags]", "read the configuration and say what is wrong with it", runCheckConfig},
		{"ask", "[flags] METHOD TARGET", "put one question to the running daemon and print its reply", runAsk},
		{"explain", "[flags] [METHOD TARGET]", "say rule by rule what a token permits, and why not", runExplain},
		{"observe", "report | reset [flags]", "which controllers enforce would deny, and the claims that they lack", runObserve},
		{"status", "[flags]", "say how the daemon is: exit status 0 well, 1 degraded, 2 not running", runStatus},
		{"watch", "[flags]", "show decisions as they are made", runWatch},
		{"audit", "verify [flags] FILE ...", "check that no record is altered or missing", runAudit},
		{"discover", "[flags]", "look for authorization servers, step by step, and try each", runDiscover},
		{"forget", "[flags] ISSUER", "drop an issuer that discovery has found, or a token brought, with its keys", runForget},
		{"version", "[flags]", "print the version", runVersion},
	}
}

func main() {
	if len(os.Args) < 2 {
		usage(os.Stderr)
		os.Exit(exitFail)
	}
	name := os.Args[1]
	switch name {
	case "help", "-h", "-help", "--help":
		usage(os.Stdout)
		return
	}
	for _, c := range commands() {
		if c.name == name {
			os.Exit(c.run(os.Args[2:]))
		}
	}
	complain(fmt.Errorf("unknown command %q; \"nmos-authd help\" lists them", name))
	os.Exit(exitFail)
}

func usage(w io.Writer) {
	fmt.Fprint(w, "nmos-authd: AMWA IS-10 authorization for a networked audio device\n\nUsage:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  nmos-authd %-32s %s\n", c.name+" "+c.args, c.about)
	}
	fmt.Fprintf(w, "\n\"nmos-authd COMMAND -h\" lists a command's flags. Each takes --config FILE, by default\n%s.\n", defaultConfig)
}

// complain prints an error, a line for each part of a joined one.
func complain(err error) { complainTo(os.Stderr, err) }

func complainTo(w io.Writer, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			complainTo(w, e)
		}
		return
	}
	fmt.Fprintf(w, "nmos-authd: %s\n", audit.Clean([]byte(err.Error()))) // whatever an argument that is echoed holds
}

// cleaned writes without the tokens that an argument in the wrong place would bring.
type cleaned struct{ io.Writer }

func (c cleaned) Write(p []byte) (int, error) {
	_, err := c.Writer.Write(audit.Clean(p))
	return len(p), err
}

// flags returns the flag set of a subcommand, with --config.
func flags(name, args string) (set *flag.FlagSet, config *string) {
	set = flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(cleaned{os.Stderr})
	set.Usage = func() {
		fmt.Fprintf(set.Output(), "Usage: nmos-authd %s [flags] %s\n", name, args)
		set.PrintDefaults()
	}
	return set, set.String("config", defaultConfig, "configuration `file`")
}

// parse parses a subcommand's arguments. done is true where the subcommand has nothing left to do.
func parse(set *flag.FlagSet, args []string, least, most int) (status int, done bool) {
	switch err := set.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK, true
	case err != nil:
		return exitFail, true
	case set.NArg() < least || set.NArg() > most:
		complain(fmt.Errorf("%s: too few or too many arguments: %q", set.Name(), set.Args()))
		set.Usage()
		return exitFail, true
	}
	for _, arg := range set.Args() {
		if strings.HasPrefix(arg, "-") { // package flag stops at the first argument, and this would be taken for one more
			complain(fmt.Errorf("%s: flags stand before the arguments, so %q is none", set.Name(), arg))
			return exitFail, true
		}
	}
	return exitOK, false
}
