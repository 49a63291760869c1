package main

import (
	"debug/elf"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	static := []*elf.Prog{{ProgHeader: elf.ProgHeader{Type: elf.PT_LOAD}}}
	dynamic := append(static, &elf.Prog{ProgHeader: elf.ProgHeader{Type: elf.PT_INTERP}})
	for _, c := range []struct {
		name         string
		machine      elf.Machine
		progs        []*elf.Prog
		file, packed int
		want         string // part of the error; "" if there is none
	}{
		{"within", elf.EM_AARCH64, static, fileBudget, xzBudget, ""},
		{"file too large", elf.EM_AARCH64, static, fileBudget + 1, xzBudget, "over the budget"},
		{"compressed too large", elf.EM_AARCH64, static, fileBudget, xzBudget + 1, "over the budget"},
		{"no budget", elf.EM_X86_64, static, 2 * fileBudget, 2 * xzBudget, ""},
		{"dynamic", elf.EM_X86_64, dynamic, 1, 1, "not static"},
	} {
		err := check(&elf.File{FileHeader: elf.FileHeader{Machine: c.machine}, Progs: c.progs}, c.file, c.packed)
		if got := err; (got == nil) != (c.want == "") || got != nil && !strings.Contains(got.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.name, got, c.want)
		}
	}
}

func TestDependency(t *testing.T) {
	modules := []string{"nmosauthd", "github.com/miekg/dns"}
	for pkg, want := range map[string]string{
		"nmosauthd/agent/decide":      "nmosauthd",
		"main":                        "nmosauthd",
		"github.com/miekg/dns":        "github.com/miekg/dns",
		"github.com/miekg/dnsx":       "github.com/miekg",
		"crypto/internal/fips140/rsa": "crypto/internal",
		"vendor/golang.org/x/net":     "golang.org/x",
		"runtime":                     "runtime",
		"":                            "(compiler and linker)",
	} {
		if got := dependency(pkg, modules); got != want {
			t.Errorf("dependency(%q): got %q, want %q", pkg, got, want)
		}
	}
}
