// Package spec has tests name the rules that they check, which scripts/conformance/rules.txt lists.
package spec

import (
	"strings"
	"testing"
)

// Rules logs which rules a test checks, such as "TOK-1". By that line "make test" finds the rules that no test checks,
// and "make test TABLE=1" prints who checks which. It comes first in a test, and counts for its subtests, too.
func Rules(t testing.TB, ids ...string) {
	t.Helper()
	t.Log("checks " + strings.Join(ids, " "))
}
