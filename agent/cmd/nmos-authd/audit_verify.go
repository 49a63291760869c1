package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"nmosauthd/agent/audit"
)

func runAudit(args []string) int {
	if len(args) == 1 && slices.Contains([]string{"-h", "-help", "--help"}, args[0]) {
		args = []string{"verify", args[0]} // the only subcommand
	}
	if len(args) == 0 || args[0] != "verify" {
		complain(errors.New("usage: nmos-authd audit verify [flags] FILE... (each file of the stream)"))
		return exitFail
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
	if status, done := parse(set, args[1:], 1, 10000); done {
		return status
	}
	v := audit.Verifier{Mixed: *mixed, Known: *head}
	files := oldestFirst(set.Args())
	for _, file := range files {
		if err := verifyFile(&v, file); err != nil {
			complain(err)
			return exitFail
		}
	}
	r := v.Report()
	if r.Lines == 0 && r.Good() {
		complain(fmt.Errorf("%s: no records found", strings.Join(files, ", ")))
		return exitFail
	}
	fmt.Print(&r)
	if !r.Complete() {
		fmt.Printf("missing    %q: cut off, or of another stream\n", *head)
	}
	if !r.Good() || !r.Complete() {
		return exitDeny
	}
	return exitOK
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
