package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"nmosauthd/agent/config"
)

const configHead = `.\" Made from configs/nmos-authd.toml by "go run ./scripts/manual". Edit that file.
.TH NMOS\-AUTHD.TOML 5 2026-11-22 nmos\-authd "File Formats"
.SH NAME
nmos\-authd.toml \- configuration of nmos\-authd
.SH SYNOPSIS
.I /etc/nmos\-authd/nmos\-authd.toml
.SH DESCRIPTION
The file is TOML, at most 256 KiB long; a list holds at most 256 entries. Each key stands below with its default, which one that is
left out has.
.PP
`

const configFoot = `.SH FILES
.TP
.I /etc/nmos\-authd/nmos\-authd.toml
The configuration, unless
.B \-\-config
names another file.
.SH SEE ALSO
.BR nmos\-authd (1)
`

var (
	configKey     = regexp.MustCompile(`^[a-z_]+ = `)
	configSection = regexp.MustCompile(`^\[[a-z]+\]$`)
)

// configPage makes the page of section 5 from the example of a configuration, whose comments say what each key is for.
// It knows no more TOML than that file has, and refuses a line that is neither a comment, a section nor a key of one
// line.
func configPage(example string) ([]byte, error) {
	var b strings.Builder
	b.WriteString(configHead)
	var comment []string
	introduced, keyBefore, restart := false, false, false
	section := ""
	for i, line := range strings.Split(example, "\n") {
		text, isComment := strings.CutPrefix(line, "#")
		switch {
		case isComment:
			comment = append(comment, strings.TrimPrefix(text, " "))
		case configKey.MatchString(line):
			if !keyBefore {
				b.WriteString(".TP\n")
			} else {
				b.WriteString(".TQ\n")
			}
			name, value, _ := strings.Cut(line, " = ")
			fmt.Fprintf(&b, "\\fB%s\\fR = %s\n", roff(name), roff(value))
			restart = needsRestart(section, name)
		case configSection.MatchString(line):
			fmt.Fprintf(&b, ".SS %s\n", line)
			section = strings.Trim(line, "[]")
		case line != "":
			return nil, fmt.Errorf("line %d of the example: %q is not understood", i+1, line)
		case !introduced: // the comment that opens the file
			writeText(&b, comment, ".PP\n")
			b.WriteString(".SH KEYS\n.SS \"Above all sections\"\n")
			comment, introduced = nil, true
		case keyBefore:
			if len(comment) == 0 {
				return nil, fmt.Errorf("line %d of the example: the key has no comment", i)
			}
			writeText(&b, comment, ".IP\n")
			if restart {
				b.WriteString("A change takes effect after a restart.\n")
			}
			comment = nil
		case len(comment) > 0:
			return nil, fmt.Errorf("line %d of the example: the comment stands above no key", i)
		}
		keyBefore = configKey.MatchString(line)
	}
	b.WriteString(configFoot)
	return []byte(b.String()), nil
}

// needsRestart reports whether a change of a key takes effect after a restart.
func needsRestart(section, name string) bool {
	return slices.ContainsFunc(config.Keys(config.Default()), func(k config.Key) bool {
		return k.Section == section && k.Name == name && k.Traits&config.Restart != 0
	})
}

// term opens the description of one value: "drop: records are left out".
var term = regexp.MustCompile(`^( *)([a-z]+): +(.*)$`)

// writeText writes a comment: paragraphs, descriptions of values, whose further lines are indented, and commands, which
// are indented and stand in a paragraph of their own. Between paragraphs stands the macro.
func writeText(b *strings.Builder, lines []string, paragraph string) {
	inTerms, fresh := false, true
	endTerms := func() {
		if inTerms {
			b.WriteString(".RE\n")
		}
		inTerms = false
	}
	for _, line := range lines {
		t := term.FindStringSubmatch(line)
		switch {
		case line == "":
			endTerms()
			fresh = false
			continue
		case t != nil:
			if !inTerms {
				b.WriteString(".RS\n")
			}
			inTerms = true
			fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(t[2]), roff(t[3]))
		case strings.HasPrefix(line, "    ") && !inTerms:
			fmt.Fprintf(b, ".PP\n.RS 4\n.nf\n%s\n.fi\n.RE\n", roff(strings.TrimSpace(line)))
		default:
			if inTerms && !strings.HasPrefix(line, " ") {
				endTerms()
				fresh = false
			}
			if !fresh {
				b.WriteString(paragraph)
			}
			b.WriteString(roff(strings.TrimSpace(line)) + "\n")
		}
		fresh = true
	}
	endTerms()
}

// roff writes a text so that it means itself.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
