package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"nmosauthd/agent/audit"
)

func runAudit(args []string) error {
	if len(args) == 1 && isHelp(args[0]) {
		args = []string{"verify", args[0]} // the only subcommand
	}
	if len(args) == 0 || args[0] != "verify" {
		return errors.New("usage: nmos-authd audit verify [flags] FILE... (each file of the stream)")
	}
	set, _ := flags("audit verify", "FILE ...")
	mixed := set.Bool("log", false,
		"the records are mixed with other lines, as those of the sink \"log\" are in the journal")
	head := set.String(
		"head",
		"",
		"`chain` of a record that must be there, from \"nmos-authd status\" or a syslog server: "+
			"without it, records cut off the end are not noticed",
	)
	if err := parse(set, args[1:], 1, 10000); err != nil {
		return err
	}
	v := audit.Verifier{Mixed: *mixed, Known: *head}
	files := oldestFirst(set.Args())
	for _, file := range files {
		if err := verifyFile(&v, file); err != nil {
			return err
		}
	}
	r := v.Report()
	if r.Lines == 0 && r.Good() {
		return errors.New(strings.Join(files, ", ") + ": no records found")
	}
	fmt.Print(&r)
	if !r.Complete() {
		fmt.Printf("missing    %q: cut off, or of another stream\n", *head)
	}
	if !r.Good() || !r.Complete() {
		return exitDeny
	}
	return nil
}

func verifyFile(v *audit.Verifier, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return v.Read(file, f)
}

// oldestFirst sorts rotated files, FILE.2 before FILE.1 before FILE. Others keep their order.
func oldestFirst(files []string) []string {
	age := func(file string) int {
		n, _ := strconv.Atoi(strings.TrimPrefix(filepath.Ext(file), "."))
		return n
	}
	sort.SliceStable(files, func(i, j int) bool { return age(files[i]) > age(files[j]) })
	return files
}
