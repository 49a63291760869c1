package main

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

//go:embed rules.txt
var rulesText string

// rule is one line of rules.txt.
type rule struct {
	id       string
	required bool // a passing test must name it
	summary  string
}

func parseRules(text string) ([]rule, error) {
	var rules []rule
	n := 0
	for line := range strings.Lines(text) {
		n++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		known := func(r rule) bool { return r.id == fields[0] }
		if len(fields) < 3 || !slices.Equal(named(fields[0]), fields[:1]) || slices.ContainsFunc(rules, known) {
			return nil, fmt.Errorf("rules, line %d: %q is not a rule, or is a duplicate", n, fields[0])
		}
		if fields[1] != "required" && fields[1] != "later" {
			return nil, fmt.Errorf("rules, line %d: %q is neither required nor later", n, fields[1])
		}
		rules = append(rules, rule{fields[0], fields[1] == "required", strings.Join(fields[2:], " ")})
	}
	return rules, nil
}

var ruleName = regexp.MustCompile(`(TOK|CLM|PATH|ANS|KEY|DIS|OPS|CLI|CTL|CERT)-([0-9]+)`)

// named returns the rules in a text, each once. A letter or digit on either side makes it another word.
func named(text string) []string {
	var ids []string
	for _, m := range ruleName.FindAllStringSubmatchIndex(text, -1) {
		if m[0] > 0 && isWord(text[m[0]-1]) || m[1] < len(text) && isWord(text[m[1]]) {
			continue
		}
		if id := text[m[0]:m[1]]; !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func isWord(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
}
