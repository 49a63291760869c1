// Command size prints what each binary takes of a device's flash: as a file, and as a compressed file system holds it.
// For each it reports whether it is static; with -code it also lists the ten dependencies with the most machine code.
// It fails if a binary for arm64 is over its budget. "make size" and "make cross" run it.
package main

import (
	"bytes"
	"cmp"
	"debug/buildinfo"
	"debug/elf"
	"debug/gosym"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Budgets of the arm64 binary, in bytes: agent/ARCHITECTURE.md has the others.
const (
	fileBudget = 9_500_000
	xzBudget   = 2_800_000 // under xz -9, as squashfs compresses
)

func main() {
	code := flag.Bool("code", false, "list the dependencies with the most machine code")
	flag.Parse()
	failed := flag.NArg() == 0
	for _, path := range flag.Args() {
		if err := report(os.Stdout, path, *code); err != nil {
			fmt.Fprintf(os.Stderr, "size: %s: %v\n", path, err)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

// report prints one binary's figures. It returns an error if they cannot be had or break a rule.
func report(w io.Writer, path string, code bool) error {
	file, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	binary, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return err
	}
	packed, err := compressed(path)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%9d bytes  %9d under xz -9  %s\n", len(file), packed, path)
	if code {
		if err := largest(w, path, binary); err != nil {
			return err
		}
	}
	return check(binary, len(file), packed)
}

// check returns what is wrong with a binary of these sizes.
func check(binary *elf.File, file, packed int) error {
	for _, p := range binary.Progs {
		if p.Type == elf.PT_INTERP { // the kernel starts a static binary without a loader
			return fmt.Errorf("not static: it asks for a dynamic loader")
		}
	}
	if binary.Machine == elf.EM_AARCH64 && (file > fileBudget || packed > xzBudget) {
		return fmt.Errorf("over the budget of %d bytes, %d under xz -9", fileBudget, xzBudget)
	}
	return nil
}

// compressed returns the file's size under xz -9.
func compressed(path string) (int, error) {
	xz := exec.Command("xz", "-9", "-c", path)
	xz.Stderr = os.Stderr
	out, err := xz.Output()
	if err != nil {
		return 0, fmt.Errorf("xz -9 (Debian package xz-utils): %w", err)
	}
	return len(out), nil
}

// largest prints the ten dependencies with the most machine code. The table of functions that the runtime needs for
// stack traces says which there are, in a stripped binary too.
func largest(w io.Writer, path string, binary *elf.File) error {
	section := func(name string) (*elf.Section, []byte, error) {
		s := binary.Section(name)
		if s == nil {
			return nil, nil, fmt.Errorf("no section %s: is it a Go program?", name)
		}
		data, err := s.Data()
		return s, data, err
	}
	text, _, err := section(".text")
	if err != nil {
		return err
	}
	_, lines, err := section(".gopclntab")
	if err != nil {
		return err
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(lines, text.Addr))
	if err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return err
	}
	modules := []string{info.Main.Path}
	for _, m := range info.Deps {
		modules = append(modules, m.Path)
	}
	bytesOf := map[string]uint64{}
	for i := range table.Funcs {
		f := &table.Funcs[i]
		bytesOf[dependency(f.Sym.PackageName(), modules)] += f.End - f.Entry
	}
	names := slices.SortedFunc(maps.Keys(bytesOf), func(a, b string) int {
		return cmp.Or(cmp.Compare(bytesOf[b], bytesOf[a]), strings.Compare(a, b))
	})
	for _, name := range names[:min(10, len(names))] {
		fmt.Fprintf(w, "%9d bytes of code  %s\n", bytesOf[name], name)
	}
	return nil
}

// dependency returns the module that a package belongs to; for the standard library its first two elements, as in
// crypto/internal.
func dependency(pkg string, modules []string) string {
	if pkg == "main" {
		return modules[0]
	}
	for _, m := range modules {
		if pkg == m || strings.HasPrefix(pkg, m+"/") {
			return m
		}
	}
	parts := strings.SplitN(strings.TrimPrefix(pkg, "vendor/"), "/", 3)
	if parts[0] == "" {
		return "(compiler and linker)"
	}
	return strings.Join(parts[:min(2, len(parts))], "/")
}
