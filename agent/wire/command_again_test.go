package wire_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"nmosauthd/agent/wire"
)

// A command is read as it stands, whatever the one before it has in common with it.
func TestCommandBehindAnother_CTL81(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	some := func(of ...string) string { return of[r.IntN(len(of))] }
	read := func(lines ...string) (shown []string) {
		var request wire.Request
		fault := request.Parse([]byte("control 1\napi=control\n"+strings.Join(lines, "")), wire.DefaultPacketLimit)
		if fault != wire.Undecided {
			return []string{fault.String()}
		}
		for i := range request.Commands {
			c := &request.Commands[i]
			shown = append(shown, fmt.Sprintf("%q %q %q %d %d %q %t",
				c.Handle(), c.Class(), c.Method(), c.Level(), c.Index(), c.RolePath(), c.Subscribes()))
		}
		return shown
	}
	line := func() string {
		if r.IntN(8) == 0 {
			return "subscribe=" + some("root", "1.2 4m1 root", "") + "\n"
		}
		return "command=" + some("1", "12", "1234567890", "") + " " + some("1", "1.2", "1.2.2", "-", "1.-2", "1.") + " " +
			some("4m1", "4m12", "4m1 4m1", "4m", "1m1") + some(" ", " ", " ", "") + some("root", "root.a b", " root", "2 4m1 r", "") + "\n"
	}
	good := 0
	for range 100_000 {
		first, second := line(), line()
		// Two that are good are read as each alone; else the fault is that of the first that is not.
		alone, next, behind := read(first), read(second), read(first, second)
		switch isFault := func(shown []string) bool { return shown[0][0] != '"' }; {
		case isFault(alone):
		case isFault(next):
			alone = next
		default:
			alone = append(alone, next...)
			good++
		}
		if got, want := strings.Join(behind, "\n"), strings.Join(alone, "\n"); got != want {
			t.Fatalf("%q: got\n%s\nwant\n%s", first+second, got, want)
		}
	}
	if good < 10_000 {
		t.Errorf("only %d of 100000 pairs are good: the test says little", good)
	}
}
