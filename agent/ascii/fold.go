package ascii

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// Width returns how many columns text takes on a terminal, at most: what is not of the Latin script may take two.
func Width(text []byte) (columns int) {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if columns++; r >= 0x300 && (r < 0x2000 || r >= 0x2100) { // in between is punctuation
			columns++
		}
		text = text[n:]
	}
	return columns
}

// Fold appends a line of text, without its end, in lines of at most width columns. It breaks between words, and goes on
// in the column in which the text of the line began, behind what stands in columns of its own. What is there to be
// copied stays whole: a word that is wider than the terminal, such as a URL, has a line to itself, and so has JSON.
func Fold(dst, line []byte, width int) []byte {
	indent := column(line, width)
	at := 0 // columns in this line so far
	for len(line) > 0 {
		word := bytes.TrimLeft(line, " ")
		gap := len(line) - len(word)
		end := bytes.IndexByte(word, ' ')
		if end < 0 || bytes.HasPrefix(word, []byte(`{"`)) ||
			at == 0 && len(word) > 0 && strings.IndexByte(`"{}[]`, word[0]) >= 0 {
			end = len(word)
		}
		word, line = word[:end], word[end:]
		wide := Width(word)
		if at > 0 && at+gap+wide > width {
			if end == 0 {
				break // blanks at the end
			}
			dst = append(dst, '\n')
			at, gap = 0, max(0, min(indent, width-wide))
		}
		for range gap {
			dst = append(dst, ' ')
		}
		dst = append(dst, word...)
		at += gap + wide
	}
	return dst
}

// column returns where the text of a line begins: behind its indentation, and behind the columns of a table.
func column(line []byte, width int) int {
	const table = 18 // the last column of a table begins here, at most
	at := len(line) - len(bytes.TrimLeft(line, " "))
	for i := at; i+2 < len(line) && i <= table; i++ {
		if line[i] == ' ' && line[i+1] == ' ' && line[i+2] != ' ' {
			at = i + 2
		}
	}
	return min(at, width/2)
}
