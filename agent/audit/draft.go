package audit

// Draft is where one who tells of decisions one after another keeps the record of the last, for Log.AppendBy. Of a
// decision with the same texts, as a controller that asks again has, only the rest is new: that takes a third off
// what a record costs, and most of it is done before the Log's lock is taken. The zero value is ready. It belongs to
// one goroutine and to one Log.
type Draft struct {
	record Record
	raw    []byte        // the texts of the decision, as they came
	lens   [texts]uint16 // of each
	kept   bool          // raw has the texts that record has

	joined Record // what is left of record if it is joined with others
	by     Joined // so; Alone if joined is not made of this record's texts
	hash   uint64 // of the texts of joined
	place  int    // where the last was counted that was joined; joined may be elsewhere by now
}

// set makes the record of one decision.
func (w *Draft) set(d *Decision) {
	var all [texts][]byte
	d.texts(&all)
	if w.kept && !d.lists() && w.same(&all) {
		w.record.head(0, d)
		return
	}
	w.record.Set(0, d)
	w.by = Alone
	w.keep(d, &all)
}

// keep notes the texts, unless they are many.
func (w *Draft) keep(d *Decision, all *[texts][]byte) {
	n := 0
	for _, text := range all {
		n += len(text)
	}
	if w.kept = !d.lists() && n <= maxTexts; !w.kept {
		return
	}
	w.raw = w.raw[:0]
	for t, text := range all {
		w.raw = append(w.raw, text...)
		w.lens[t] = uint16(len(text))
	}
}

// same reports whether these are the texts that are kept.
func (w *Draft) same(all *[texts][]byte) bool {
	rest := w.raw
	for t := range all {
		n := len(all[t])
		if n != int(w.lens[t]) {
			return false
		}
		if n > 0 {
			if string(rest[:n]) != string(all[t]) {
				return false
			}
			rest = rest[n:]
		}
	}
	return true
}

// join returns what is left of the record if it is joined with others, and its hash in into.
func (w *Draft) join(by Joined, into *repeats) (j *Record, hash uint64) {
	if j = &w.joined; w.by == by {
		ends, text, cut := j.ends, j.text, j.cut
		*j = w.record
		j.ends, j.text, j.cut = ends, text, cut
		j.joinedBy(by)
	} else {
		j.join(&w.record, by)
		w.by, w.hash = by, into.hashTexts(j)
	}
	return j, into.hash(j, w.hash)
}

// texts fills in the texts of a decision, but for those that are made of lists.
func (d *Decision) texts(all *[texts][]byte) {
	all[Method], all[Path], all[Kind], all[Name], all[Access] = d.Method, d.Path, d.Kind, d.Name, d.Access
	all[Resource], all[Issuer], all[Subject], all[Client] = d.Resource, d.Issuer, d.Subject, d.Client
	all[Claimed], all[JTI], all[KeyID] = d.Claimed, d.JTI, d.KeyID
}

// lists reports whether some of the decision's texts are made of lists.
func (d *Decision) lists() bool { return len(d.Answers) > 0 || len(d.Verdicts) > 0 }
