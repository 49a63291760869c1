package fleet

import (
	"sync"
	"time"
)

// Record is what the servers of one run saw.
type Record struct {
	Scenario Scenario
	Devices  int

	start time.Time
	each  time.Duration // between two fetches of a device when nothing is wrong
	bound float64       // how many times the steady rate a server may get
	what  string        // that is counted

	mu       sync.Mutex
	answered [][]int // fetches, by server and second
	failed   [][]int
	deciding int           // devices that can decide
	longest  time.Duration // that one of them took
}

func newRecord(s Scenario, devices int, span time.Duration) *Record {
	r := &Record{Scenario: s, Devices: devices, start: time.Now(), each: refresh, bound: bound, what: "fetches"}
	for range s.Servers {
		r.answered = append(r.answered, make([]int, span/time.Second))
		r.failed = append(r.failed, make([]int, span/time.Second))
	}
	return r
}

// answers counts a fetch from the server of this number, and reports whether it is answered.
func (r *Record) answers(server int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, since := r.Scenario.Servers[server], time.Since(r.start)
	second := min(int(since/time.Second), len(r.answered[server])-1)
	if since < s.Dead || s.PerSecond > 0 && r.answered[server][second] >= s.PerSecond {
		r.failed[server][second]++
		return false
	}
	r.answered[server][second]++
	return true
}

// decides counts a device that can decide, so long after its start.
func (r *Record) decides(after time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deciding++
	r.longest = max(r.longest, after)
}

// LastDecides returns how long after its start the last device can decide, and whether all can.
func (r *Record) LastDecides() (after time.Duration, all bool) {
	return r.longest, r.deciding == r.Devices
}

// Steady is the rate, per second, to which the fleet comes at a server when nothing is wrong: a fetch a device and
// interval.
func (r *Record) Steady() float64 { return float64(r.Devices) / r.each.Seconds() }

// Window is the time over which a rate is taken: that of 167 steady fetches, a minute for 10,000 devices. By chance
// alone their number varies by 8 % (one standard deviation); in a shorter time the highest of many windows would tell
// of chance more than of the schedule.
func (r *Record) Window() time.Duration {
	return max(time.Minute, time.Duration(float64(600_000*time.Second/time.Duration(r.Devices))*r.each.Hours()))
}

// Answered and Failed return the fetches in each second at one server.
func (r *Record) Answered(server int) []int { return r.answered[server] }
func (r *Record) Failed(server int) []int   { return r.failed[server] }

// At returns all fetches in each second at one server.
func (r *Record) At(server int) []int { return sum(r.answered[server], r.failed[server]) }

// All returns the fetches in each second at all servers together.
func (r *Record) All() []int { return sum(append(append([][]int{}, r.answered...), r.failed...)...) }

func sum(rows ...[]int) []int {
	total := make([]int, len(rows[0]))
	for _, row := range rows {
		for second, n := range row {
			total[second] += n
		}
	}
	return total
}

// Busiest returns the rate, per second, in the busiest window of these seconds, wherever it begins.
func Busiest(seconds []int, window time.Duration) float64 {
	length := int(window / time.Second)
	now, most := 0, 0
	for i, n := range seconds {
		now += n
		if i >= length {
			now -= seconds[i-length]
		}
		most = max(most, now)
	}
	return float64(most) / window.Seconds()
}

// Mean returns the rate, per second, over all these seconds.
func Mean(seconds []int) float64 { return float64(sumOf(seconds)) / float64(len(seconds)) }

func sumOf(seconds []int) (total int) {
	for _, n := range seconds {
		total += n
	}
	return total
}

// between returns the seconds between two moments.
func between(seconds []int, from, to time.Duration) []int {
	return seconds[(from+time.Second-1)/time.Second : to/time.Second]
}
