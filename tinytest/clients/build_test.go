// Package clients_test asks through every client: TestEveryClient has the table, in which each is one entry. The C
// client of platform/cclient, which others are made of, is compiled with the address and undefined-behaviour
// sanitizers, and run against a daemon that misbehaves on demand, too.
//
// It needs a C compiler (CC, else cc) with those sanitizers; without a compiler the tests are skipped and say so.
package clients_test

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	live "nmosauthd/tinytest/daemon"
)

const (
	clientDir = "../../platform/cclient"
	probeFile = "testdata/probe.c"
)

var (
	warnings   = []string{"-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wconversion"}
	sanitizers = []string{"-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"}
)

// buildDir holds what the tests compile.
var buildDir string

func TestMain(m *testing.M) {
	os.Exit(live.Main(m, func(dir string) error {
		buildDir = dir
		return nil
	}))
}

// compiler returns the path of a compiler, or skips the test and says why.
func compiler(t *testing.T, variable, fallback string) string {
	t.Helper()
	name := os.Getenv(variable)
	if name == "" {
		name = fallback
	}
	path, err := exec.LookPath(name)
	if err != nil {
		fmt.Printf("%s skipped: no compiler: %v\n", t.Name(), err)
		t.Skip(err)
	}
	return path
}

// output runs a program to its end and returns what it printed; the test fails if the program does.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // a compiler on a machine that does much else
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out)
}

// join makes one command line out of several lists of arguments.
func join(lists ...[]string) []string {
	var all []string
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// compile builds name from C sources, once for all tests that want it, and returns its path.
func compile(t *testing.T, name string, args ...string) string {
	t.Helper()
	cc := compiler(t, "CC", "cc")
	path := filepath.Join(buildDir, name)
	compiled.Lock()
	defer compiled.Unlock()
	if _, err := os.Stat(path); err == nil {
		return path
	}
	output(t, cc, join(warnings, args, []string{"-I" + clientDir, "-pthread", "-o", path})...)
	return path
}

var compiled sync.Mutex

// probe returns the path of the sanitized test program.
func probeProgram(t *testing.T) string {
	t.Helper()
	return compile(t, "probe", join(sanitizers, []string{probeFile, clientDir + "/nmos_authz.c"})...)
}

func TestHeaderIsCPlusPlus(t *testing.T) {
	source := filepath.Join(t.TempDir(), "stack.cpp")
	program := `#include "nmos_authz.h"
int main()
{
	static nmos_authz authz;
	nmos_authz_request request = nmos_authz_request();
	nmos_authz_reply reply;
	request.method = nmos_authz_string("GET");
	nmos_authz_init(&authz, "/run/nmos-authd/authz.sock", 100);
	if (nmos_authz_resource(&authz, nmos_authz_string("meter"), nmos_authz_string(nullptr), NMOS_AUTHZ_READ,
	                        request.authorization, &reply) != NMOS_AUTHZ_DENY)
		return 1;
	return nmos_authz_decide(&authz, &request, &reply) == NMOS_AUTHZ_DENY ? 0 : 1;
}
`
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	object := compile(t, "linked.o", "-c", clientDir+"/nmos_authz.c")
	for _, cxx := range []string{compiler(t, "CXX", "g++"), "clang++"} {
		t.Run(filepath.Base(cxx), func(t *testing.T) {
			cxx := compiler(t, "", cxx)
			for _, standard := range []string{"-std=c++11", "-std=c++20"} {
				stack := filepath.Join(t.TempDir(), "stack")
				output(t, cxx, standard, "-pedantic", "-Wall", "-Wextra", "-Werror", "-Wold-style-cast", "-Wconversion",
					"-Wshadow", "-I"+clientDir, "-o", stack, source, object)
				output(t, stack) // a name and a target are missing, so it denies without a daemon
			}
		})
	}
}

// Other compilers warn of other things, and so does the optimiser.
func TestCompilers(t *testing.T) {
	for _, cc := range []string{compiler(t, "CC", "cc"), "clang"} {
		t.Run(filepath.Base(cc), func(t *testing.T) {
			cc := compiler(t, "", cc)
			for _, flags := range [][]string{{"-O0"}, {"-O2"}, {"-Os", "-std=c11"}, {"-O3", "-std=gnu17"}} {
				for _, source := range []string{"nmos_authz.c", "example.c"} {
					output(t, cc, join(warnings, []string{"-Wcast-qual", "-Wwrite-strings", "-Wstrict-prototypes",
						"-Wmissing-prototypes", "-Wvla"}, flags,
						[]string{"-c", "-o", filepath.Join(t.TempDir(), "o"), clientDir + "/" + source})...)
				}
			}
		})
	}
}

// What the README tells people to write compiles as it stands.
func TestReadmeCompiles(t *testing.T) {
	readme, err := os.ReadFile(clientDir + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```c\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	if len(blocks) != 4 {
		t.Fatalf("the README has %d C blocks; want 4", len(blocks))
	}
	code := ""
	for _, b := range blocks {
		code += b[1]
	}
	source := filepath.Join(t.TempDir(), "readme.c")
	if err := os.WriteFile(source, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	compile(t, "readme.o", "-include", "testdata/stack.h", "-c", source)
}

// A call must not allocate: firmware counts on it.
func TestObjectNeedsNoAllocator(t *testing.T) {
	object, err := elf.Open(compile(t, "plain.o", "-O2", "-c", clientDir+"/nmos_authz.c"))
	if err != nil {
		t.Fatal(err)
	}
	defer object.Close()
	symbols, err := object.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range symbols {
		if s.Section == elf.SHN_UNDEF {
			seen[s.Name] = true
		}
	}
	if !seen["recv"] {
		t.Fatalf("recv is not among the symbols that the object needs: %v", seen)
	}
	for _, name := range []string{"malloc", "calloc", "realloc", "free", "strdup", "printf",
		"syslog", "sleep", "exit", "abort"} {
		if seen[name] {
			t.Errorf("the client calls %s", name)
		}
	}
}

func TestMakeInstall(t *testing.T) {
	compiler(t, "CC", "cc")
	root := t.TempDir()
	output(t, "make", "-C", clientDir, "install", "BUILD="+filepath.Join(root, "build"), "DESTDIR="+root, "PREFIX=/opt",
		"PACKET_MAX=4096", "CFLAGS=-O1 -Werror")
	for _, name := range []string{"include/nmos_authz.h", "lib/libnmos_authz.a", "lib/pkgconfig/nmos-authz.pc"} {
		if _, err := os.Stat(filepath.Join(root, "opt", name)); err != nil {
			t.Error(err)
		}
	}
	pc, err := os.ReadFile(filepath.Join(root, "opt/lib/pkgconfig/nmos-authz.pc"))
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`VERSION "([0-9.]+)"`).FindStringSubmatch(header(t))[1]
	for _, want := range []string{"prefix=/opt\n", "Version: " + version + "\n", "-DNMOS_AUTHZ_PACKET_MAX=4096\n"} {
		if !strings.Contains(string(pc), want) {
			t.Errorf("the pkg-config file lacks %q:\n%s", want, pc)
		}
	}
}
