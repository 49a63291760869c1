package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// chainBytes are kept of each SHA-256. Who wants another line with the same ones has to try 2^128 times: the line holds
// a time and stands behind a line that nobody knew before, so that pairs made beforehand (2^64) are useless. Sixteen
// bytes more a line would wear the flash for nothing.
const chainBytes = 16

// chain is the state of a stream behind one of its lines.
type chain struct {
	head [2 * chainBytes]byte // hex digits of the last line; zero bytes: there is none
	line uint64               // its number, from 1
}

// A line ends with its number and the chain:  ,"line":12,"chain":"0123…"}
var (
	linePart  = []byte(`,"line":`)
	chainPart = []byte(`,"chain":"`)
	lineEnd   = []byte("\"}\n")
)

const chainSize = len(`,"chain":"`) + 2*chainBytes + len("\"}\n")

// none is written for the chain before the first line.
var none = [2 * chainBytes]byte(bytes.Repeat([]byte("0"), 2*chainBytes))

func (c *chain) previous() []byte {
	if c.line == 0 {
		return none[:]
	}
	return c.head[:]
}

// append appends the line with this body to dst, and returns the state behind it.
func (c chain) append(dst, body []byte) ([]byte, chain) {
	start := len(dst)
	dst = append(dst, body...)
	dst = append(dst, linePart...)
	dst = strconv.AppendUint(dst, c.line+1, 10)
	after := chain{head: c.hash(dst[start:]), line: c.line + 1}
	dst = append(dst, chainPart...)
	dst = append(dst, after.head[:]...)
	return append(dst, lineEnd...), after
}

// hash returns what follows c for a line of which these are the bytes before its chain.
func (c *chain) hash(line []byte) (digits [2 * chainBytes]byte) {
	h := sha256.New()
	h.Write(c.previous())
	h.Write(line)
	var sum [sha256.Size]byte
	hex.Encode(digits[:], h.Sum(sum[:0])[:chainBytes])
	return digits
}

// parseChain reads what a line, with its line feed, says of its place in the chain; hashed is the part that the chain
// covers.
func parseChain(line []byte) (c chain, hashed []byte, ok bool) {
	at := len(line) - chainSize
	if at < 0 || !bytes.HasPrefix(line, lineStart) || !bytes.HasPrefix(line[at:], chainPart) ||
		!bytes.HasSuffix(line, lineEnd) {
		return c, nil, false
	}
	hashed = line[:at]
	copy(c.head[:], line[at+len(chainPart):])
	for _, d := range c.head {
		if (d < '0' || d > '9') && (d < 'a' || d > 'f') {
			return c, nil, false
		}
	}
	i := bytes.LastIndex(hashed, linePart)
	if i < 0 {
		return c, nil, false
	}
	digits := string(hashed[i+len(linePart):])
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != digits {
		return c, nil, false
	}
	c.line = n
	return c, hashed, true
}

// follows reports whether the line parsed as next comes right behind c.
func (c *chain) follows(next chain, hashed []byte) bool {
	return next.line == c.line+1 && next.head == c.hash(hashed)
}

// field returns the value of a member of a line of ours, without quotes; "" if it has none. Quotes inside texts are
// escaped, so that no text can look like the name of a member.
func field(line []byte, name string) string {
	_, rest, found := bytes.Cut(line, []byte(`"`+name+`":`))
	if !found || len(rest) == 0 {
		return ""
	}
	if rest[0] == '"' {
		value, _, _ := bytes.Cut(rest[1:], []byte(`"`))
		return string(value)
	}
	end := bytes.IndexAny(rest, ",}")
	if end < 0 {
		return ""
	}
	return string(rest[:end])
}

func number(line []byte, name string) uint64 {
	n, _ := strconv.ParseUint(field(line, name), 10, 64)
	return n
}

// seed returns the state before an "open" line, as that line says it.
func seed(line []byte, c chain) (before chain, ok bool) {
	if field(line, "event") != eventOpen {
		return before, false
	}
	before.line = c.line - 1
	previous := field(line, "previous")
	if len(previous) != 2*chainBytes {
		return before, false
	}
	copy(before.head[:], previous)
	return before, true
}
