package tinytest

import (
	"regexp"
	"strings"
	"testing"
)

// gluedRule finds a test whose name holds a rule's identifier, as in TestSplit_TOK1.
var gluedRule = regexp.MustCompile(`(?m)^func (?:Test|Fuzz)\w*_[A-Z]+[0-9]+\w*\(`)

// The rules that a test checks are told by spec.Rules, not by its name, which would say little else.
func TestNamesHoldNoRules(t *testing.T) {
	for name, text := range trackedTexts(t) {
		if strings.HasSuffix(name, "_test.go") {
			for _, test := range gluedRule.FindAllString(text, -1) {
				t.Errorf("%s: %s…: name its rules by spec.Rules", name, test)
			}
		}
	}
	if !gluedRule.MatchString("func TestSplit_TOK1(t *testing.T) {") {
		t.Error("a rule in a name is not found")
	}
}
