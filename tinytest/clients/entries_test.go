package clients_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	live "nmosauthd/tinytest/daemon"
)

// entry is a client. A further one is a further entry, and a program in testdata that does what probe.c does.
type entry struct {
	name string
	// the program, less the socket and the timeout in ms; skips if it cannot be made
	command func(*testing.T) []string
	// it asks at http.sock, where there are no tokens and no standing questions
	http bool
	// its buffer is too small for the longest reply to control 1: it says so before it asks
	small  bool
	body   bool                                      // its program prints the error body
	readme func(t *testing.T, lines string) []string // the program that is the README's lines in testdata/readme.*
}

var entries = []entry{
	{name: "c", small: true, command: func(t *testing.T) []string { return []string{probeProgram(t)} }},
	{name: "cpp", small: true, body: true, command: cppProbe, readme: cppReadme},
	{name: "python", body: true, command: pythonProbe, readme: pythonReadme},
	{name: "rust", body: true, command: rustProbe, readme: rustReadme},
	{name: "node", http: true, body: true, command: nodeProbe, readme: nodeReadme},
}

var clientsDir = func() string {
	dir, err := filepath.Abs("../../platform/clients")
	if err != nil {
		panic(err)
	}
	return dir
}()

// tool returns the path of a compiler or an interpreter, or skips the test and says why.
func tool(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	fmt.Printf("%s skipped: no %s\n", t.Name(), strings.Join(names, " or "))
	t.Skipf("no %s", strings.Join(names, " or "))
	return ""
}

var cppWarnings = []string{"-std=c++17", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Wold-style-cast", "-Wconversion",
	"-Wshadow", "-I" + clientDir, "-I" + clientsDir + "/cpp", "-pthread"}

// compileCpp compiles a program, once for all that want it.
func compileCpp(t *testing.T, source, program string) string {
	t.Helper()
	cxx, object := compiler(t, "CXX", "g++"), compile(t, "linked.o", "-c", clientDir+"/nmos_authz.c")
	compiled.Lock()
	defer compiled.Unlock()
	if _, err := os.Stat(program); err != nil {
		output(t, cxx, join(cppWarnings, []string{"-o", program, source, object})...)
	}
	return program
}

func cppProbe(t *testing.T) []string {
	return []string{compileCpp(t, "testdata/probe.cpp", filepath.Join(buildDir, "probecpp"))}
}

func pythonProbe(t *testing.T) []string { return []string{tool(t, "python3"), "testdata/probe.py"} }

func nodeProbe(t *testing.T) []string {
	return []string{tool(t, "node", "nodejs"), "testdata/probe.cjs"}
}

func compileRust(t *testing.T, source, program string) string {
	t.Helper()
	rustc, crate := tool(t, "rustc"), filepath.Join(buildDir, "libnmos_authz.rlib")
	compiled.Lock()
	defer compiled.Unlock()
	flags := []string{"--edition=2021", "-D", "warnings", "-C", "opt-level=1"}
	if _, err := os.Stat(crate); err != nil {
		output(t, rustc, join(flags, []string{"--crate-type=rlib", "--crate-name=nmos_authz", "-o", crate,
			clientsDir + "/rust/nmos_authz.rs"})...)
	}
	if _, err := os.Stat(program); err != nil {
		output(t, rustc, join(flags, []string{"--extern", "nmos_authz=" + crate, "-o", program, source})...)
	}
	return program
}

// The README and Cargo.toml promise a Rust as old as Debian 12 has it. Its compiler is not the one in PATH if that is
// newer.
func TestRustOldest(t *testing.T) {
	rustc := compiler(t, "RUSTC_OLDEST", "/usr/bin/rustc")
	cargo, err := os.ReadFile(clientsDir + "/rust/Cargo.toml")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(clientsDir + "/rust/README.md")
	if err != nil {
		t.Fatal(err)
	}
	promised := regexp.MustCompile(`rust-version = "([0-9.]+)"`).FindSubmatch(cargo)
	if promised == nil || !strings.Contains(string(readme), "Rust "+string(promised[1])+" or later") {
		t.Errorf("Cargo.toml promises %q; want what the README does", promised)
	}
	t.Log(output(t, rustc, "--version"))
	dir := t.TempDir()
	flags := []string{"--edition=2021", "-D", "warnings", "--emit=metadata", "--out-dir", dir}
	output(t, rustc,
		join(flags, []string{"--crate-type=rlib", "--crate-name=nmos_authz", clientsDir + "/rust/nmos_authz.rs"})...)
	output(t, rustc,
		join(flags, []string{"--extern", "nmos_authz=" + dir + "/libnmos_authz.rmeta", "testdata/probe.rs"})...)
}

func rustProbe(t *testing.T) []string {
	return []string{compileRust(t, "testdata/probe.rs", filepath.Join(buildDir, "proberust"))}
}

// socket is where a client asks.
func (e *entry) socket(dir live.Dir) string {
	if e.http {
		return dir.HTTP()
	}
	return dir.Authz()
}
