package firmware

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"nmosauthd/tinytest/devicemodel"
)

// configurationAPI is the path of IS-14's API.
const configurationAPI = "/x-nmos/configuration/v1.0"

// httpStatus is the HTTP status of a method's.
func httpStatus(s devicemodel.Status) int {
	switch s {
	case devicemodel.ParameterError, devicemodel.IndexOutOfBounds:
		return http.StatusBadRequest
	case devicemodel.PropertyNotImplemented, devicemodel.MethodNotImplemented:
		return http.StatusNotFound
	}
	return int(s)
}

func writeResult(w http.ResponseWriter, result devicemodel.Result) {
	writeJSON(w, httpStatus(result.Status), result)
}

// configure serves IS-14's API, of which the request itself was asked about already.
func (d *Device) configure(w http.ResponseWriter, r *http.Request, target, path string) {
	parts := strings.Split(strings.Trim(strings.TrimPrefix(path, configurationAPI), "/"), "/")
	reading := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case strings.TrimSuffix(path, "/") == configurationAPI[:strings.LastIndexByte(configurationAPI, '/')]:
		d.route(w, r, path)
		return
	case !strings.HasPrefix(path+"/", configurationAPI+"/"):
		failMethod(w, http.StatusNotFound, "there is no such version of this API")
		return
	case parts[0] == "" && reading:
		writeJSON(w, http.StatusOK, []string{"rolePaths/"})
		return
	case parts[0] != "rolePaths":
		failMethod(w, http.StatusNotFound, "there is no such resource in this API")
		return
	case len(parts) == 1 && reading:
		var paths []string
		for _, o := range d.objects.Objects() {
			paths = append(paths, o.Path+"/")
		}
		slices.Sort(paths)
		writeJSON(w, http.StatusOK, paths)
		return
	case len(parts) == 1:
		notAllowed(w)
		return
	}
	o := d.objects.FindPath(unescape(parts[1]))
	if o == nil {
		failMethod(w, http.StatusNotFound, "there is no such object")
		return
	}
	if result, ok := d.readObject(o, target, parts[2:]); ok && reading {
		if list, isList := result.([]string); isList {
			writeJSON(w, http.StatusOK, list)
		} else {
			writeResult(w, result.(devicemodel.Result))
		}
		return
	} else if reading {
		failMethod(w, http.StatusNotFound, "there is no such resource of this object")
		return
	}
	d.writeObject(w, r, o, parts[2:])
}

// unescape decodes a role path (CTL-17). The normalised path has what is reserved escaped.
func unescape(segment string) string {
	role, err := url.PathUnescape(segment)
	if err != nil {
		return ""
	}
	return role
}

func notAllowed(w http.ResponseWriter) {
	w.Header().Set("Allow", methods)
	failMethod(w, http.StatusMethodNotAllowed, "this resource does not have that method")
}

func value(v any) devicemodel.Result {
	return devicemodel.Result{Status: devicemodel.OK, Value: v, HasValue: true}
}

// readObject is what a GET below an object's role path answers.
func (d *Device) readObject(o *devicemodel.Object, target string, parts []string) (any, bool) {
	switch where := strings.Join(parts, "/"); {
	case where == "":
		return []string{"bulkProperties/", "descriptor/", "methods/", "properties/"}, true
	case where == "descriptor":
		return value(d.objects.Describe(o)), true
	case where == "methods":
		var list []string
		for _, id := range d.objects.Methods(o) {
			list = append(list, id.Method()+"/")
		}
		return list, true
	case where == "properties":
		var list []string
		for _, id := range d.objects.Properties(o) {
			list = append(list, id.Property()+"/")
		}
		return list, true
	case where == "bulkProperties":
		_, query, _ := strings.Cut(target, "?")
		asked, err := url.ParseQuery(query)
		if err != nil {
			return nil, false
		}
		arguments, err := devicemodel.Bulk(o, map[string]json.RawMessage{
			"recurse":            flag(asked.Get("recurse") != "false"),
			"includeDescriptors": flag(asked.Get("includeDescriptors") == "true"),
		})
		if err != nil {
			return nil, false
		}
		return d.objects.Invoke(d.bulkManager(), devicemodel.GetBulk, arguments), true
	case len(parts) > 1 && parts[0] == "properties":
		id, ok := devicemodel.ParseProperty(parts[1])
		described := d.objects.DescribeProperty(o, id)
		switch {
		case !ok || described == nil || len(parts) > 3:
			return nil, false
		case len(parts) == 2:
			return []string{"descriptor/", "value/"}, true
		case parts[2] == "descriptor":
			return value(described), true
		case parts[2] == "value":
			arguments, err := json.Marshal(object{"id": id})
			return d.objects.Invoke(o, devicemodel.MethodGet, arguments), err == nil
		}
	}
	return nil, false
}

func flag(on bool) json.RawMessage {
	if on {
		return json.RawMessage("true")
	}
	return json.RawMessage("false")
}

func (d *Device) bulkManager() *devicemodel.Object {
	return d.objects.FindPath("root.BulkPropertiesManager")
}

// writeObject serves what changes something, or might. What reaches other objects than the one of the URL, by a body
// that the daemon does not see, is asked about object by object (CTL-65).
func (d *Device) writeObject(w http.ResponseWriter, r *http.Request, o *devicemodel.Object, parts []string) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, messageLimit))
	var body struct {
		Value     json.RawMessage
		Arguments map[string]json.RawMessage
	}
	if err == nil {
		err = json.Unmarshal(text, &body)
	}
	if err != nil {
		failMethod(w, http.StatusBadRequest, "the body cannot be read: it is not a JSON object, or too long")
		return
	}
	on, target := o, o
	var id devicemodel.ID
	var arguments json.RawMessage
	last := parts[max(0, len(parts)-1):]
	switch {
	case r.Method == http.MethodPut && len(parts) == 3 && parts[0] == "properties" && last[0] == "value":
		property, ok := devicemodel.ParseProperty(parts[1])
		if !ok {
			failMethod(w, http.StatusNotFound, "there is no such property")
			return
		}
		id = devicemodel.MethodSet
		arguments, err = json.Marshal(object{"id": property, "value": body.Value})
	case r.Method == http.MethodPatch && len(parts) == 2 && parts[0] == "methods":
		method, ok := devicemodel.ParseMethod(parts[1])
		if !ok {
			failMethod(w, http.StatusNotFound, "there is no such method")
			return
		}
		id = method
		arguments, err = json.Marshal(body.Arguments)
	case len(parts) == 1 && parts[0] == "bulkProperties" &&
		(r.Method == http.MethodPut || r.Method == http.MethodPatch):
		on, id = d.bulkManager(), devicemodel.SetBulk
		if r.Method == http.MethodPatch {
			id = devicemodel.ValidateBulk
		}
		arguments, err = devicemodel.Bulk(o, body.Arguments)
	default:
		notAllowed(w)
		return
	}
	if err != nil {
		failMethod(w, http.StatusBadRequest, "the body cannot be read")
		return
	}
	if reach := d.objects.Reach(on, id, arguments); len(reach) > 1 || reach[0] != target {
		answers, reply := d.permit("configuration", header(r), []request{{on.ClassID(), id, reach}})
		if answers[0] != devicemodel.OK {
			d.refuse(w, r, reply)
			return
		}
	}
	writeResult(w, d.objects.Invoke(on, id, arguments))
}

// header is the token of a request, as it came.
func header(r *http.Request) string {
	for _, line := range credentials(r) {
		if authorization, ok := strings.CutPrefix(line, "authorization="); ok {
			return authorization
		}
	}
	return ""
}

// refuse answers a request whose objects were asked about as the daemon says.
func (d *Device) refuse(w http.ResponseWriter, r *http.Request, reply Reply) {
	var err error
	if reply.Reason == "" {
		err = errors.New("no answer")
	}
	d.settle(w, r, reply, err)
}
