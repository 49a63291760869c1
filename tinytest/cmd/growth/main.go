// Command growth counts the instructions of an answer while a device has more and more of something, as ARM processors
// run them, under qemu-user with a plugin that counts (plugin/count.c). It prints a table, draws growth.svg and fails
// if a curve has not the shape that it should have. "make growth" runs it; agent's TestGrowth is the short form, which
// counts on amd64 without an emulator.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"nmosauthd/tinytest/growth"
)

// test is the test of agent that answers, and the variable that tells it to answer everything.
const (
	test = "^TestGrowth$"
	all  = "NMOS_AUTHD_COUNTED=all"
)

var machines = []struct{ name, arch, qemu string }{{"arm64", "arm64", "qemu-aarch64"}, {"armv7", "arm", "qemu-arm"}}

func main() {
	out := flag.String("out", "build/growth.svg", "the plot's `file`")
	flags := flag.String("flags", "", "`flags` of go test, as the daemon is built")
	flag.Parse()
	if err := run(*out, strings.Fields(*flags)); err != nil {
		fmt.Fprintln(os.Stderr, "growth:", err)
		os.Exit(1)
	}
}

func run(out string, flags []string) error {
	dir, err := os.MkdirTemp("", "growth-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	plugin := filepath.Join(dir, "count.so")
	err = command("cc", "-O2", "-shared", "-fPIC", "-o", plugin, "tinytest/cmd/growth/plugin/count.c").run()
	if err != nil {
		return err
	}
	// Without an emulator first: under one it would take long to make the keys, and to sign a thousand tokens.
	if _, err = answers(dir, flags, ""); err != nil {
		return err
	}
	var drawn []growth.Machine
	var wrong error
	for _, m := range machines {
		qemu, err := exec.LookPath(m.qemu)
		if err != nil {
			if qemu, err = exec.LookPath(m.qemu + "-static"); err != nil {
				fmt.Printf("%s skipped: %v (apt-get install qemu-user)\n", m.name, err)
				continue
			}
		}
		text, err := answers(dir, flags, m.arch, qemu, "-plugin", plugin)
		if err != nil {
			return err
		}
		curves, err := parse(text)
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", m.name, err, text)
		}
		fmt.Printf("\n%s, instructions of one answer\n\n", m.name)
		for _, c := range curves {
			fmt.Printf("%-28s %s\n", c.Name, c.Shape())
			if err = c.Check(); err != nil {
				fmt.Println("  WRONG:", err)
				wrong = fmt.Errorf("%s, %w", m.name, err)
			}
		}
		drawn = append(drawn, growth.Machine{Name: m.name, Curves: curves})
	}
	if len(drawn) == 0 {
		return nil
	}
	var plot bytes.Buffer
	if err = growth.WritePlot(&plot, drawn); err == nil {
		err = os.WriteFile(out, plot.Bytes(), 0o644)
	}
	if err == nil {
		err = wrong
	}
	return err
}

// answers builds the test for a kind of processor, runs it by a command and returns what both print.
func answers(dir string, flags []string, arch string, by ...string) ([]byte, error) {
	program := filepath.Join(dir, "agent."+arch+".test")
	build := command("go", append(append([]string{"test", "-c", "-o", program}, flags...), "./agent")...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch, "GOARM=7")
	if err := build.run(); err != nil {
		return nil, err
	}
	args := append(by, program, "-test.run="+test)
	answer := exec.Command(args[0], args[1:]...)
	answer.Dir = "agent"
	answer.Env = append(os.Environ(), all, "GODEBUG=asyncpreemptoff=1", "NMOS_MINT_KEYS="+dir)
	text, err := answer.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, text)
	}
	return text, nil
}

type cmd struct{ *exec.Cmd }

func command(name string, args ...string) cmd { return cmd{exec.Command(name, args...)} }

func (c cmd) run() error {
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(c.Args, " "), err, out)
	}
	return nil
}

// parse reads what the test says that it answers, and the plugin's counts, which are in the same order.
func parse(text []byte) (curves []growth.Curve, err error) {
	var counts []int
	for line := range strings.Lines(string(text)) {
		var n int
		var linear bool
		if _, err := fmt.Sscanf(line, "counted %d", &n); err == nil {
			counts = append(counts, n)
			continue
		}
		if _, err := fmt.Sscanf(line, "point %d %t", &n, &linear); err != nil {
			continue
		}
		name := strings.TrimSpace(strings.SplitN(line, " ", 4)[3])
		if last := len(curves) - 1; last < 0 || curves[last].Name != name {
			curves = append(curves, growth.Curve{Name: name, Linear: linear})
		}
		c := &curves[len(curves)-1]
		c.Points = append(c.Points, n)
	}
	for i := range curves {
		n := len(curves[i].Points)
		if len(counts) < n {
			return nil, fmt.Errorf("got too few counts, want %d more", n-len(counts))
		}
		curves[i].Counts, counts = counts[:n], counts[n:]
	}
	if len(counts) > 0 || len(curves) == 0 {
		return nil, fmt.Errorf("got %d counts more than wanted, of %d curves", len(counts), len(curves))
	}
	return curves, nil
}
