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

	"nmosauthd/agent/ascii"
	"nmosauthd/agent/audit"
	"nmosauthd/agent/daemon"
)

const defaultConfig = "/etc/nmos-authd/nmos-authd.toml"

// exit is a status to exit with. As an error it is one that was told already, or none.
type exit int

func (exit) Error() string { return "" }

// Exit statuses.
const (
	exitOK   exit = 0
	exitDeny exit = 1 // ask, token, explain: denied. Others: failed.
	exitFail exit = 2 // the daemon did not answer, or the command line is wrong

	exitUnchecked exit = 3 // explain: allowed if the token's signature is good, which could not be checked
)

// command is a subcommand, or one of a subcommand's own. run gets the arguments after its name. args and about are for
// usage.
type command struct {
	name, args, about string
	run               func(args []string) error
}

var commands = []command{
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
	{"certs", "status | enrol | renew | install | remove [flags]", "the device's certificates", runCerts},
	{"refresh", "[flags] [ISSUER]", "fetch keys now, print what changed", runRefresh},
	{"forget", "[flags] ISSUER", "drop a found issuer and its keys", runForget},
	{"version", "[flags]", "print the version", runVersion},
}

func main() {
	if len(os.Args) < 2 {
		usage(os.Stderr)
		os.Exit(int(exitFail))
	}
	args := os.Args[1:]
	if args[0] == "help" && len(args) > 1 {
		args = append(args[1:], "-h")
	}
	if args[0] == "help" || isHelp(args[0]) {
		usage(os.Stdout)
		return
	}
	c := find(commands, args[0])
	if c == nil {
		complain(fmt.Errorf("unknown command %q; \"nmos-authd help\" lists them", args[0]))
		os.Exit(int(exitFail))
	}
	os.Exit(int(tell(c.run(args[1:]))))
}

func isHelp(arg string) bool { return arg == "-h" || arg == "-help" || arg == "--help" }

func find(all []command, name string) *command {
	for i := range all {
		if all[i].name == name {
			return &all[i]
		}
	}
	return nil
}

// tell complains of an error, and returns the status to exit with.
func tell(err error) exit {
	status := exitFail
	switch e := err.(type) {
	case nil:
		return exitOK
	case exit:
		return e
	case daemon.Denied:
		status, err = exitDeny, e.Err
	}
	complain(err)
	return status
}

// runPart runs what the first argument names of a subcommand's own, which usage lists and help explains.
func runPart(args []string, parts []command, usage, help string) error {
	if len(args) > 0 {
		if c := find(parts, args[0]); c != nil {
			return c.run(args[1:])
		}
		if isHelp(args[0]) {
			fmt.Println("Usage: " + help)
			return nil
		}
	}
	return errors.New("usage: nmos-authd " + usage)
}

func usage(w io.Writer) {
	fmt.Fprint(w, "nmos-authd: AMWA IS-10 authorization for a networked audio device\n\nUsage:\n")
	for _, c := range commands {
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
func complain(err error) { complainTo(stderr(), err) }

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
			fmt.Fprintf(out, "  %s\n%s\n", strings.TrimSpace("-"+f.Name+" "+value),
				ascii.Fold(nil, []byte("      "+usage), helpWidth))
		})
	}
	return set, set.String("config", defaultConfig, "configuration `file`")
}

// parse parses a subcommand's arguments. What is wrong with them it tells itself.
func parse(set *flag.FlagSet, args []string, least, most int) error {
	switch err := set.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitFail
	case set.NArg() < least || set.NArg() > most:
		complain(fmt.Errorf("%s: too few or too many arguments: %q", set.Name(), set.Args()))
		set.Usage()
		return exitFail
	}
	for _, arg := range set.Args() {
		if strings.HasPrefix(arg, "-") { // package flag stops at the first argument and takes this for another one
			return fmt.Errorf("%s: flags must come before arguments: %q", set.Name(), arg)
		}
	}
	return nil
}
