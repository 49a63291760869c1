package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/mint"
)

// next reads one name=value line from the command's output.
func next(t *testing.T, from *bufio.Scanner, name string) string {
	t.Helper()
	if !from.Scan() {
		t.Fatalf("the output ends before %s", name)
	}
	value, ok := strings.CutPrefix(from.Text(), name+"=")
	if !ok {
		t.Fatalf("%q instead of %s", from.Text(), name)
	}
	return value
}

func TestServe(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	dir, rotate := filepath.Join(t.TempDir(), "auth"), make(chan os.Signal, 1)
	read, write := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		code := run(ctx, []string{"--dir", dir, "--issuer-path", "/a", "--client", "c=s", "--quiet"},
			rotate, write, io.Discard)
		_ = write.Close()
		ended <- code
	}()
	out := bufio.NewScanner(read)
	issuer, ca, key := next(t, out, "issuer"), next(t, out, "ca"), next(t, out, "key")
	metadata := next(t, out, "metadata")
	if !strings.HasSuffix(issuer, "/a") || key != filepath.Join(dir, "key-1.pem") ||
		!strings.HasSuffix(metadata, "authorization-server/a") {
		t.Errorf("%s %s %s", issuer, key, metadata)
	}
	text, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatal("no certificate in ca.pem")
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool},
		DisableKeepAlives: true}}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"c"}, "client_secret": {"s"}}
	response, err := client.PostForm(strings.TrimSuffix(issuer, "/a")+authserver.PathToken, form)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 200 {
		t.Errorf("got %s, want 200", response.Status)
	}

	rotate <- syscall.SIGUSR1
	if got := next(t, out, "key"); got != filepath.Join(dir, "key-2.pem") {
		t.Errorf("got the key %s, want key-2.pem", got)
	}
	text, err = os.ReadFile(filepath.Join(dir, "key-2.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mint.ParseKey("key-2", text); err != nil {
		t.Error(err)
	}
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("exit %d", code)
	}
}

func TestCommandLine(t *testing.T) {
	done, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		code int
		args []string
	}{
		{0, []string{"--help"}}, {2, []string{"--nonsense"}}, {2, []string{"extra"}},
		{2, []string{"--client", "nosecret"}},
		{1, []string{"--addr", "127.0.0.1:99999", "--dir", t.TempDir()}}, {1, []string{"--dir", os.DevNull}},
	} {
		if code := run(done, c.args, nil, io.Discard, io.Discard); code != c.code {
			t.Errorf("%q: exit %d", c.args, code)
		}
	}
	var out bytes.Buffer
	if code := run(done, []string{"--list-faults"}, nil, &out, io.Discard); code != 0 ||
		strings.Count(out.String(), "\n") !=
			len(authserver.Faults)+len(authserver.ClientFaults) {
		t.Errorf("exit %d, %s", code, out.String())
	}
}
