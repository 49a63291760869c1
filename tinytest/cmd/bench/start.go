//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nmosauthd/tinytest/daemon"
)

// starts compares the time from exec to the first answer with that of a program that does nothing else: of the daemon
// with the keys that it kept, while its server is gone.
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
	var ours, hello []float64
	for range 2*b.rounds + 1 {
		took, err := firstAnswer(exec.Command(b.program, "run", "--config", dir.ConfigFile()), dir.Authz(), question(b.tokens[0]))
		if err != nil {
			return err
		}
		ours = append(ours, took)
		path := filepath.Join(b.dir, "hello")
		if took, err = firstAnswer(exec.Command(b.hello, path), path, "hello"); err != nil {
			return err
		}
		hello = append(hello, took)
	}
	times := make([]float64, len(ours))
	for i := range ours {
		times[i] = ours[i] / hello[i]
	}
	median := func(values []float64) float64 { slices.Sort(values); return values[len(values)/2] }
	fmt.Printf("\n%-52s %12s %14s\n%-52s %12.1f %14.2f\n%-52s %12.1f %14.2f\n", "from exec to the first answer", "ms", "× the first",
		"a Go program that opens a socket", median(hello), 1.0, "the daemon, by the keys it kept", median(ours), median(times))
	return nil
}

// firstAnswer runs a program until it has answered a question with "allow", and returns how many milliseconds that took.
func firstAnswer(command *exec.Cmd, path, question string) (ms float64, err error) {
	os.Remove(path)
	var log strings.Builder
	command.Stderr = &log
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	began := time.Now()
	if err = command.Start(); err != nil {
		return 0, err
	}
	defer func() {
		command.Process.Kill()
		command.Wait()
	}()
	reply := make([]byte, 4096)
	for ctx.Err() == nil {
		conn, err := net.Dial("unixpacket", path)
		if err != nil {
			time.Sleep(50 * time.Microsecond)
			continue
		}
		_, err = io.WriteString(conn, question)
		n := 0
		if err == nil {
			n, err = conn.Read(reply)
		}
		passed := time.Since(began)
		conn.Close()
		if err != nil || !strings.HasPrefix(string(reply[:n]), "allow 200\n") {
			return 0, fmt.Errorf("%s answered %q, %v", command.Path, reply[:n], err)
		}
		return float64(passed) / float64(time.Millisecond), nil
	}
	return 0, fmt.Errorf("%s does not answer at %s", command.Path, path)
}
