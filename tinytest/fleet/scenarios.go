package fleet

import "time"

const (
	first  = "https://first.example.com"
	second = "https://second.example.com"
	ever   = 1000 * time.Hour
)

// Span is how long a run takes: an hour in which servers may be dead, and those after it, in which waves would show.
const Span = 4 * time.Hour

// Scenarios are those of the table, devices that hold keys first.
var Scenarios = []Scenario{
	{
		Name: "keys held, server well", Held: []string{first},
		Servers: []Server{{Issuer: first}},
	},
	{
		Name: "keys held, first of two servers dead", Held: []string{first},
		Servers: []Server{{Issuer: first, Dead: ever}, {Issuer: second}},
	},
	{
		Name: "keys of the second held, the first dead", Held: []string{second},
		Servers: []Server{{Issuer: first, Dead: ever}, {Issuer: second}},
	},
	{
		Name: "keys held, server dead for an hour", Held: []string{first},
		Servers: []Server{{Issuer: first, Dead: time.Hour}},
	},
	{
		Name: "keys held, both servers dead for an hour", Held: []string{first},
		Servers: []Server{{Issuer: first, Dead: time.Hour}, {Issuer: second, Dead: time.Hour}},
	},
	{
		// Whose clock is wrong finds no certificate valid.
		Name: "keys held, clocks set after half an hour", Held: []string{first}, ClockSet: 30 * time.Minute,
		Servers: []Server{{Issuer: first, Dead: 30 * time.Minute}},
	},
	{
		Name:    "no keys, server well",
		Servers: []Server{{Issuer: first}},
	},
	{
		Name:    "no keys, server answers 100 a second",
		Servers: []Server{{Issuer: first, PerSecond: 100}},
	},
	{
		Name:    "no keys, first of two servers dead",
		Servers: []Server{{Issuer: first, Dead: ever}, {Issuer: second}},
	},
	{
		Name:    "no keys, server dead for an hour",
		Servers: []Server{{Issuer: first, Dead: time.Hour}},
	},
	{
		Name: "keys held, all see a new key at 2:30 h", Held: []string{first}, NewKey: 150 * time.Minute,
		Servers: []Server{{Issuer: first}},
	},
}
