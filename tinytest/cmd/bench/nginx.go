//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/load"
	"nmosauthd/tinytest/rows"
)

// throughNginx compares nginx that asks the daemon, by the shipped files, with nginx that does not. What it serves is a
// small file, from a server of its own in the same nginx.
func (b *bench) throughNginx(d *daemon.Daemon, processors int, compare comparer) error {
	if _, err := exec.LookPath("nginx"); err != nil {
		fmt.Println("\nSKIP nginx: it is not installed (apt-get install nginx-light)")
		return nil
	}
	dir := filepath.Join(b.dir, fmt.Sprintf("nginx-%d", processors))
	bare, asking, behind := freePort(), freePort(), filepath.Join(dir, "device.sock")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var files strings.Builder
	for _, name := range []string{"nmos-authd-http.conf", "nmos-authd.conf", "server.conf"} {
		raw, err := os.ReadFile(filepath.Join("configs/nginx", name))
		if err != nil {
			return err
		}
		text := strings.NewReplacer(
			"unix:/run/nmos-authd/http.sock", "unix:"+d.HTTP(), "/var/log/nginx/", dir+"/", "listen 80 ",
			"listen "+asking+" ", "127.0.0.1:8080", "unix:"+behind, "include snippets/nmos-authd.conf",
			"include "+dir+"/nmos-authd.conf", "access_log "+"/var/log/nginx/nmos-authd.access.log nmos;",
			"access_log off;",
		).Replace(string(raw))
		if err = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	as := ""
	if os.Getuid() == 0 {
		as = "user root " + groupOf("root") + ";\n"
	}
	fmt.Fprintf(&files, `%sdaemon off;
worker_processes %d;
pid %[3]s/nginx.pid;
error_log %[3]s/error.log;
events { worker_connections 1024; }
http {
	access_log off;
	keepalive_requests 100000000;
	client_body_temp_path %[3]s/body;
	proxy_temp_path %[3]s/proxy;
	fastcgi_temp_path %[3]s/fastcgi;
	uwsgi_temp_path %[3]s/uwsgi;
	scgi_temp_path %[3]s/scgi;
	include %[3]s/nmos-authd-http.conf;
	include %[3]s/server.conf;
	server { # the device
		listen unix:%[4]s;
		location / { return 200 "[]\n"; }
	}
	server { # the same without the daemon
		listen %[5]s;
		location / {
			proxy_pass http://nmos_device;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
		}
	}
}
`, as, processors, dir, behind, bare)
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, []byte(files.String()), 0o644); err != nil {
		return err
	}
	nginx := exec.Command("nginx", "-e", filepath.Join(dir, "error.log"), "-p", dir, "-c", conf)
	nginx.Stderr = os.Stderr
	nginx.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := nginx.Start(); err != nil {
		return err
	}
	defer func() {
		nginx.Process.Signal(syscall.SIGTERM)
		nginx.Wait()
	}()
	var workers []int
	for end := time.Now().Add(patience); len(workers) < processors || !answers(bare) || !answers(asking); {
		if workers = childrenOf(nginx.Process.Pid); time.Now().After(end) {
			return fmt.Errorf("nginx does not listen: see %s", dir)
		}
		time.Sleep(10 * time.Millisecond)
	}
	request := "GET " + rows.Senders +
		" HTTP/1.1\r\nHost: node-1.example.com\r\nAuthorization: Bearer " + b.tokens[0] + "\r\n\r\n"
	target := func(name, addr string, processes []int) load.Target {
		return load.Target{
			Name: name, Network: "tcp", Address: addr, HTTP: true, Questions: []string{request}, Want: "HTTP/1.1 200 ",
			Processes: processes,
		}
	}
	return compare("nginx", []int{1, 4, 16},
		target("nginx alone", bare, workers), target("nginx that asks", asking, append(workers, d.PID())))
}

// freePort is an address of the loopback interface at which nobody listens.
func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0" // nginx says what is wrong
	}
	defer l.Close()
	return l.Addr().String()
}

func answers(addr string) bool {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// groupOf is the name of a user's group.
func groupOf(name string) string {
	if u, err := user.Lookup(name); err == nil {
		if g, err := user.LookupGroupId(u.Gid); err == nil {
			return g.Name
		}
	}
	return ""
}

// childrenOf are the processes that another one started.
func childrenOf(parent int) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(text), ") ") // behind the name
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
