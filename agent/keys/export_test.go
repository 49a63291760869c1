package keys

// Sealed returns a line with its checksum, as Encode writes it.
func Sealed(line []byte) []byte { return append(append(line, '\n'), checksum(line)...) }
