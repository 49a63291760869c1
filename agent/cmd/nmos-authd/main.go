// Nmos-authd answers one question for the software of an NMOS device: may this request be served? It holds the
// Authorization Server's keys and validates access tokens as AMWA IS-10 and BCP-003-02 have it.
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
	"unicode/utf8"

	"nmosauthd/agent/audit"
)

const defaultConfig = "/etc/nmos-authd/nmos-authd.toml"

// Exit statuses.
const (
	exitOK   = 0
	exitDeny = 1 // ask, token, explain: denied. Others: failed.
	exitFail = 2 // the daemon did not answer, or the command line is wrong

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
		{"check-config", "[flags]", "check the configuration", runCheckConfig},
		{"ask", "[flags] METHOD TARGET", "ask the daemon, print its reply", runAsk},
		{"token", "[flags] --scope SCOPE", "print a token of the device's own", runToken},
		{"explain", "[flags] [METHOD TARGET]", "what a token permits, and why not", runExplain},
		{"may", "[flags] --token FILE", "everything that a token permits", runMay},
		{"observe", "report | reset | start | stop [flags]", "what enforce mode would deny", runObserve},
		{"status", "[flags]", "print the daemon's health", runStatus},
		{"watch", "[flags]", "show decisions as they are made", runWatch},
		{"audit", "verify [flags] FILE ...", "find altered or missing records", runAudit},
		{"discover", "[flags]", "look for servers, and try each", runDiscover},
		{"client", "status | register | rotate | forget [flags]", "the device as a client", runClient},
		{"certs", "status | enrol | renew [flags]", "the device's certificates", runCerts},
		{"refresh", "[flags] [ISSUER]", "fetch keys now, print what changed", runRefresh},
		{"forget", "[flags] ISSUER", "drop a found issuer and its keys", runForget},
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
		const column = 32
		what := c.name + " " + c.args
		if len(what) > column {
			fmt.Fprintf(w, "  nmos-authd %s\n  %*s %s\n", what, len("nmos-authd ")+column, "", c.about)
			continue
		}
		fmt.Fprintf(w, "  nmos-authd %-*s %s\n", column, what, c.about)
	}
	fmt.Fprintf(w, "\n\"nmos-authd COMMAND -h\" lists a command's flags. Each takes\n--config FILE, by default %s.\n",
		defaultConfig)
}

// complain prints an error, a line for each part of a joined one.
//
//go:noinline
func complain(err error) { complainTo(os.Stderr, err) }

func complainTo(w io.Writer, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			complainTo(w, e)
		}
		return
	}
	fmt.Fprintf(w, "nmos-authd: %s\n", audit.Clean([]byte(err.Error()))) // err may echo an argument with a token
}

// cleaned removes tokens, which an argument in the wrong place may contain.
type cleaned struct{ io.Writer }

func (c cleaned) Write(p []byte) (int, error) {
	_, err := c.Writer.Write(audit.Clean(p))
	return len(p), err
}

// helpWidth is the width of help texts: a serial console has 80 columns.
const helpWidth = 80

// flags returns the flag set of a subcommand, with --config.
func flags(name, args string) (set *flag.FlagSet, config *string) {
	set = flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(cleaned{os.Stderr})
	set.Usage = func() {
		out := set.Output()
		fmt.Fprintf(out, "Usage: nmos-authd %s [flags] %s\n", name, args)
		set.VisitAll(func(f *flag.Flag) {
			value, usage := flag.UnquoteUsage(f)
			if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" {
				usage += " (default " + f.DefValue + ")"
			}
			fmt.Fprintf(out, "  %s\n%s", strings.TrimSpace("-"+f.Name+" "+value), indented(usage, helpWidth))
		})
	}
	return set, set.String("config", defaultConfig, "configuration `file`")
}

// indented breaks a text between words into lines of at most width columns, indented by six.
func indented(text string, width int) string {
	const indent = "      "
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case column == 0:
			b.WriteString(indent)
			column = len(indent)
		case column+1+n > width:
			b.WriteString("\n" + indent)
			column = len(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	b.WriteByte('\n')
	return b.String()
}

// parse parses a subcommand's arguments. done reports that the subcommand has nothing left to do.
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
		if strings.HasPrefix(arg, "-") { // package flag stops at the first argument and takes this for another one
			complain(fmt.Errorf("%s: flags must come before arguments: %q", set.Name(), arg))
			return exitFail, true
		}
	}
	return exitOK, false
}
