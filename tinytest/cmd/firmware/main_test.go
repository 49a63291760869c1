package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestServe(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	read, write := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		code := run(ctx, []string{"--socket", filepath.Join(t.TempDir(), "nobody.sock"), "--quiet"}, write, io.Discard)
		_ = write.Close()
		ended <- code
	}()
	out := bufio.NewScanner(read)
	var lines []string
	for len(lines) < 5 && out.Scan() {
		lines = append(lines, out.Text())
	}
	if len(lines) < 5 || !strings.HasPrefix(lines[0], "url=http://127.0.0.1:") ||
		!strings.HasPrefix(lines[3], "meter=") || !strings.HasPrefix(lines[4], "panel=127.0.0.1:") {
		t.Fatalf("got the lines %q, want url, meter and panel", lines)
	}
	response, err := http.Get(strings.TrimPrefix(lines[0], "url="))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable { // nobody can be asked
		t.Errorf("got %s, want 503", response.Status)
	}
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("exit %d", code)
	}
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		code int
		args []string
	}{{0, []string{"--help"}}, {2, []string{"--nonsense"}}, {2, []string{"extra"}},
		{1, []string{"--addr", "127.0.0.1:99999"}},
		{1, []string{"--admin", "/no/such/socket"}}, {1, []string{"--inventory", "/no/such/folder/file"}}} {
		if code := run(context.Background(), c.args, io.Discard, io.Discard); code != c.code {
			t.Errorf("%q: exit %d", c.args, code)
		}
	}
}
