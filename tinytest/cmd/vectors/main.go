// Command vectors writes the test vectors of tinytest/vectors: the files, and names.txt, from which no name may go.
//
// With -issuer they are signed for another authorization server and written elsewhere, for servers that read their keys
// only from where the token says.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"nmosauthd/tinytest/vectors"
)

func main() {
	out := flag.String("out", "tinytest/vectors", "the `folder` to write to")
	issuer := flag.String("issuer", "", "the `URL` of the authorization server; default: that of the committed files")
	flag.Parse()
	n, err := write(*out, *issuer)
	if err != nil || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "vectors:", err, strings.Join(flag.Args(), " "))
		os.Exit(1)
	}
	fmt.Printf("%d cases\n", n)
}

func write(dir, issuer string) (cases int, err error) {
	files, err := vectors.Generate(issuer)
	if err != nil {
		return 0, err
	}
	names := vectors.Names(files)
	list := filepath.Join(dir, "names.txt")
	before, err := os.ReadFile(list)
	if err != nil && !os.IsNotExist(err) {
		return 0, err
	}
	for _, name := range strings.Fields(string(before)) {
		if _, there := slices.BinarySearch(names, name); !there {
			return 0, fmt.Errorf("%s is in %s and no case has it: others know it by this name", name, list)
		}
	}
	for _, f := range files {
		text, err := f.Text()
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, f.Name+".json"), text, 0o644)
		}
		if err != nil {
			return 0, err
		}
	}
	return len(names), os.WriteFile(list, []byte(strings.Join(names, "\n")+"\n"), 0o644)
}
