//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"nmosauthd/tinytest/daemon"
)

// starts compares what is spent from exec to the first answer with what a program spends that does nothing else: by the
// daemon with the keys that it kept, while its server is gone.
func (b *bench) starts() error {
	if _, err := os.Stat(b.hello); err != nil {
		fmt.Printf("\nSKIP the start: there is no %s (make bench builds it)\n", b.hello)
		return nil
	}
	dir, err := daemon.NewDir()
	if err != nil {
		return err
	}
	defer dir.Remove()
	state := dir.File("state")
	c := daemon.Config{CAPEM: b.server.CAPEM(), Servers: []string{b.server.Issuer()}, State: state}
	if err = errors.Join(os.Mkdir(state, 0o700), dir.Write(c)); err != nil {
		return err
	}
	d, err := b.startIn(b.program, dir) // it fetches the keys, and keeps them
	if err != nil {
		return err
	}
	if err = d.Stop(); err != nil {
		return err
	}
	hello := filepath.Join(b.dir, "hello")
	programs := []starter{
		{"a Go program that opens a socket", []string{b.hello, hello}, hello, "hello", nil},
		{"the daemon, by the keys it kept", []string{b.program, "run", "--config", dir.ConfigFile()}, dir.Authz(),
			question(b.tokens[0]), nil},
	}
	if b.before != "" {
		programs = append(programs, programs[1])
		programs[2].name, programs[2].args = "the daemon before", append([]string{b.before}, programs[1].args[1:]...)
	}
	fmt.Println()
	if err = b.compareStarts(programs, "ms", 2*b.rounds+1, starter.milliseconds); err != nil {
		return err
	}
	if err = b.compareStarts(programs, "page faults", b.rounds, starter.faults); err != nil {
		return err
	}
	counter, why := newCounter(b.dir)
	if why != nil {
		fmt.Printf("SKIP the instructions of the start: %v\n", why)
		return nil
	}
	if err = b.compareStarts(programs, "instructions", b.rounds, counter.instructions); err != nil {
		return err
	}
	// Of those above some are not for the answer: what the daemon does as soon as it listens, beside the first answer.
	return b.compareStarts(programs, "of them", b.rounds, counter.untilSocket)
}

// starter is a program that answers a question with "allow".
type starter struct {
	name           string
	args           []string
	path, question string
	connected      func() error // nil, or is called before it is asked
}

// compareStarts starts programs in turn and prints medians of what measure returns.
func (b *bench) compareStarts(programs []starter, unit string, rounds int,
	measure func(starter) (float64, error)) error {
	values := make([][]float64, len(programs))
	times := make([][]float64, len(programs))
	for round := range rounds {
		for i, p := range programs {
			v, err := measure(p)
			if err != nil {
				return err
			}
			values[i] = append(values[i], v)
			times[i] = append(times[i], v/values[0][round])
		}
	}
	median := func(values []float64) float64 { slices.Sort(values); return values[len(values)/2] }
	title := "from exec to the first answer"
	if unit == "of them" {
		title = "until its socket is there"
	}
	fmt.Printf("%-52s %12s %14s\n", title, unit, "× the first")
	for i, p := range programs {
		decimals := 0
		if unit == "ms" {
			decimals = 1
		}
		fmt.Printf("%-52s %12.*f %14.2f\n", p.name, decimals, median(values[i]), median(times[i]))
	}
	return nil
}

func (s starter) milliseconds() (float64, error) {
	passed := 0.0
	err := s.firstAnswer(s.args, func(_ int, took time.Duration) error {
		passed = float64(took) / float64(time.Millisecond)
		return nil
	})
	return passed, err
}

// faults is how many pages the kernel had to give, or to map, by the first answer.
func (s starter) faults() (n float64, err error) {
	err = s.firstAnswer(s.args, func(pid int, _ time.Duration) error {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return err
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')'):]))
		for _, field := range []int{8, 10} { // minflt and majflt of proc_pid_stat(5), counted from the name
			one, err := strconv.Atoi(fields[field])
			if err != nil {
				return err
			}
			n += float64(one)
		}
		return nil
	})
	return n, err
}

// counter counts instructions, by qemu-user with the plugin of tinytest/cmd/growth.
type counter struct{ qemu, plugin, counts string }

func newCounter(dir string) (counter, error) {
	machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64", "arm": "arm"}[runtime.GOARCH]
	c := counter{plugin: filepath.Join(dir, "count.so"), counts: filepath.Join(dir, "counts")}
	var err error
	if c.qemu, err = exec.LookPath("qemu-" + machine); err != nil {
		return c, fmt.Errorf("%w (apt-get install qemu-user)", err)
	}
	out, err := exec.Command("cc", "-O2", "-shared", "-fPIC", "-o", c.plugin,
		"tinytest/cmd/growth/plugin/count.c").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w %s", err, out)
	}
	return c, err
}

// instructions is how many all threads of the program have run by the first answer.
func (c counter) instructions(s starter) (n float64, err error) {
	err = s.firstAnswer(c.command(s), func(int, time.Duration) error {
		n, err = c.sum()
		return err
	})
	return n, err
}

// untilSocket is how many they have run by the time that somebody can connect.
func (c counter) untilSocket(s starter) (n float64, err error) {
	s.connected = func() error {
		n, err = c.sum()
		return err
	}
	err = s.firstAnswer(c.command(s), func(int, time.Duration) error { return nil })
	return n, err
}

func (c counter) command(s starter) []string {
	return append([]string{c.qemu, "-plugin", c.plugin + ",into=" + c.counts}, s.args...)
}

func (c counter) sum() (n float64, err error) {
	counts, err := os.ReadFile(c.counts)
	for ; len(counts) >= 8; counts = counts[8:] {
		n += float64(binary.NativeEndian.Uint64(counts))
	}
	return n, err
}

// firstAnswer runs a program until it has answered, and measures it then.
func (s starter) firstAnswer(args []string, measure func(pid int, took time.Duration) error) (err error) {
	os.Remove(s.path)
	command := exec.Command(args[0], args[1:]...)
	var log strings.Builder
	command.Stderr = &log
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	began := time.Now()
	if err = command.Start(); err != nil {
		return err
	}
	defer func() {
		command.Process.Kill()
		command.Wait()
	}()
	reply := make([]byte, 4096)
	for ctx.Err() == nil {
		conn, err := net.Dial("unixpacket", s.path)
		if err != nil {
			time.Sleep(50 * time.Microsecond)
			continue
		}
		if s.connected != nil {
			if err = s.connected(); err != nil {
				return err
			}
		}
		_, err = io.WriteString(conn, s.question)
		n := 0
		if err == nil {
			n, err = conn.Read(reply)
		}
		took := time.Since(began)
		if err == nil {
			err = measure(command.Process.Pid, took)
		}
		conn.Close()
		if err != nil || !strings.HasPrefix(string(reply[:n]), "allow 200\n") {
			return fmt.Errorf("%s answered %q, %v", s.args[0], reply[:n], err)
		}
		return nil
	}
	return fmt.Errorf("%s does not answer at %s", s.args[0], s.path)
}
