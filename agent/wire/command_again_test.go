package wire_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

// A command is read as it stands, whatever those before it have in common with it; and the one that it is said to be
// like has its class and its method.
func TestCommandBehindOthers(t *testing.T) {
	spec.Rules(t, "CTL-81")
	r := rand.New(rand.NewPCG(1, 2))
	some := func(of ...string) string { return of[r.IntN(len(of))] }
	alike := 0
	read := func(lines ...string) (shown []string, good bool) {
		var request wire.Request
		fault := request.Parse([]byte("control 1\napi=control\n"+strings.Join(lines, "")), wire.DefaultPacketLimit)
		if fault != wire.Undecided {
			return []string{fault.String()}, false
		}
		for i := range request.Commands {
			c := &request.Commands[i]
			shown = append(shown, fmt.Sprintf("%q %q %q %d %d %q %t",
				c.Handle(), c.Class(), c.Method(), c.Level(), c.Index(), c.RolePath(), c.Subscribes()))
			switch like := &request.Commands[c.Like()]; {
			case c.Like() == i:
			case c.Like() > i || c.Subscribes() || like.Subscribes() ||
				string(c.Class()) != string(like.Class()) || string(c.Method()) != string(like.Method()):
				t.Fatalf("%q: got that command %d is like command %d", lines, i, c.Like())
			default:
				alike++
			}
		}
		return shown, true
	}
	line := func() string {
		if r.IntN(8) == 0 {
			return "subscribe=" + some("root", "1.2 4m1 root", "", "1.2.2.1 4m1 root") + "\n"
		}
		return "command=" + some("1", "12", "1234567890", "12", "1", "") + " " +
			some("1", "1.2", "1.2.2", "1.2.2.1", "1.2.2.11", "-", "1.-2", "1.2.2.-1", "1.") + " " +
			some("4m1", "4m12", "4m1 4m1", "4m", "1m1", "4m1", "1m1") + some(" ", " ", " ", " ", " ", "") +
			some("root", "root.a b", "root.gain", " root", "2 4m1 r") + "\n"
	}
	good := 0
	for range 100_000 {
		// Those that are good are read as each alone; else the fault is that of the first that is not.
		var lines, want []string
		all := true
		for range 2 + r.IntN(4) {
			lines = append(lines, line())
			if alone, ok := read(lines[len(lines)-1]); !all {
			} else if ok {
				want = append(want, alone...)
			} else {
				all, want = false, alone
			}
		}
		if all {
			good++
		}
		if got, _ := read(lines...); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("%q: got\n%s\nwant\n%s", lines, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if good < 10_000 || alike < 1_000 {
		t.Errorf("of 100000 packets %d are good, and %d commands are like another: the test says little", good, alike)
	}
}
