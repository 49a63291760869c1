package decide

// API is an API as [enforce] of the configuration names it. The zero value is that of whatever has no name of its own.
type API uint8

// Other stands for paths and APIs without a name of their own. APIs is the number of names.
const (
	Other API = 0
	APIs      = len(apiNames)

	control       API = 5
	configuration API = 6
)

var apiNames = [...]string{
	"other", "node", "connection", "channelmapping", "events", "control", "configuration", "streamcompatibility",
	"query", "registration",
}

// String returns the name.
func (a API) String() string { return apiNames[a] }

// Belongs returns the API that a place belongs to: that of IS-12 for its sockets and for objects that the device's
// inventory names, too.
func (p *Place) Belongs() API {
	switch p.Kind {
	case Control, ModelObject:
		return control
	case Base, Resource, Everything, RolePaths, RolePath:
		if string(p.API) == "ncp" {
			return control
		}
		for i, name := range apiNames {
			if string(p.API) == name && API(i) != control { // there is no API of that name
				return API(i)
			}
		}
	}
	return Other
}

// Stage returns by which key of [enforce] an access is enforced or observed, and whether it counts as writing. Opening
// a control socket does, unless each command is asked about (PATH-15).
//
//go:noinline // for flash
func (r *Rules) Stage(access Access, place Place) (api API, writes bool) {
	return place.Belongs(), access != Read || place.Kind == Control && !r.Controls.Asked
}

// Observes reports whether a denial of this access is recorded and not enforced (OPS-3).
func (r *Rules) Observes(access Access, place Place) bool {
	api, writes := r.Stage(access, place)
	stage := r.Observed[api]
	return stage[0] && (stage[1] || !writes)
}
