package devicemodel

import (
	"slices"
)

// object is a JSON object.
type object = map[string]any

// property is one of a class, as MS-05-02 and the feature sets have it. Its kind is the name of its data type.
type property struct {
	ID
	name     string
	kind     string
	writable bool
	nullable bool
	sequence bool
}

// method is one of a class. It runs with the lock held.
type method struct {
	ID
	name string
	run  func(m *Model, o *Object, arguments []byte) (Result, error)
}

// class is one of the model's classes, without what its ancestors have.
type class struct {
	id         []int
	name       string
	fixedRole  any
	properties []property
	methods    []method
}

// Ids of methods and properties.
var (
	MethodGet     = ID{1, 1} // of every object
	MethodSet     = ID{1, 2}
	GetBulk       = ID{3, 1} // of the bulk properties manager
	ValidateBulk  = ID{3, 2}
	SetBulk       = ID{3, 3}
	PropertyGain  = ID{3, 1} // of a gain, in dB
	PropertyLevel = ID{3, 1} // of a meter, in dBFS
)

// The classes. Gain and meter are a vendor's, since NMOS has none: their key, 0, does not count as a level (CTL-4).
var (
	classObject, classBlock, classWorker, classManager           *class
	classDeviceManager, classClassManager                        *class
	classBulkPropertiesManager                                   *class
	classStatusMonitor, classReceiverMonitor, classSenderMonitor *class
	classGain, classMeter                                        *class
	classes                                                      []*class
)

func init() { // not above: the methods of the class manager list the classes
	classObject = &class{[]int{1}, "NcObject", nil, []property{
		{ID{1, 1}, "classId", "NcClassId", false, false, false}, {ID{1, 2}, "oid", "NcOid", false, false, false},
		{ID{1, 3}, "constantOid", "NcBoolean", false, false, false}, {ID{1, 4}, "owner", "NcOid", false, true, false},
		{ID{1, 5}, "role", "NcString", false, false, false}, {ID{1, 6}, "userLabel", "NcString", true, true, false},
		{ID{1, 7}, "touchpoints", "NcTouchpoint", false, true, true},
		{ID{1, 8}, "runtimePropertyConstraints", "NcPropertyConstraints", false, true, true},
	}, []method{
		{MethodGet, "Get", get}, {MethodSet, "Set", set}, {ID{1, 3}, "GetSequenceItem", getItem},
		{ID{1, 4}, "SetSequenceItem", setItem}, {ID{1, 5}, "AddSequenceItem", addItem},
		{ID{1, 6}, "RemoveSequenceItem", removeItem}, {ID{1, 7}, "GetSequenceLength", getLength},
	}}
	classBlock = &class{[]int{1, 1}, "NcBlock", nil, []property{
		{ID{2, 1}, "enabled", "NcBoolean", false, false, false},
		{ID{2, 2}, "members", "NcBlockMemberDescriptor", false, false, true},
	}, []method{
		{ID{2, 1}, "GetMemberDescriptors", getMembers}, {ID{2, 2}, "FindMembersByPath", findByPath},
		{ID{2, 3}, "FindMembersByRole", findByRole}, {ID{2, 4}, "FindMembersByClassId", findByClass},
	}}
	classWorker = &class{[]int{1, 2}, "NcWorker", nil,
		[]property{{ID{2, 1}, "enabled", "NcBoolean", true, false, false}}, nil}
	classManager = &class{[]int{1, 3}, "NcManager", nil, nil, nil}
	classDeviceManager = &class{[]int{1, 3, 1}, "NcDeviceManager", "DeviceManager", []property{
		{ID{3, 1}, "ncVersion", "NcVersionCode", false, false, false},
		{ID{3, 2}, "manufacturer", "NcManufacturer", false, false, false},
		{ID{3, 3}, "product", "NcProduct", false, false, false}, {ID{3, 4}, "serialNumber",
			"NcString", false, false, false},
		{ID{3, 5}, "userInventoryCode", "NcString", true, true, false},
		{ID{3, 6}, "deviceName", "NcString", true, true, false},
		{ID{3, 7}, "deviceRole", "NcString", true, true, false},
		{ID{3, 8}, "operationalState", "NcDeviceOperationalState", false, false, false},
		{ID{3, 9}, "resetCause", "NcResetCause", false, false, false}, {ID{3, 10}, "message",
			"NcString", false, true, false},
	}, nil}
	classClassManager = &class{[]int{1, 3, 2}, "NcClassManager", "ClassManager", []property{
		{ID{3, 1}, "controlClasses", "NcClassDescriptor", false, false, true},
		{ID{3, 2}, "datatypes", "NcDatatypeDescriptor", false, false, true},
	}, []method{{ID{3, 1}, "GetControlClass", getClass}, {ID{3, 2}, "GetDatatype", getDatatype}}}
	classBulkPropertiesManager = &class{[]int{1, 3, 3}, "NcBulkPropertiesManager",
		"BulkPropertiesManager", nil, []method{
			{GetBulk, "GetPropertiesByPath", getBulk}, {ValidateBulk, "ValidateSetPropertiesByPath", validateBulk},
			{SetBulk, "SetPropertiesByPath", setBulk},
		}}
	classStatusMonitor = &class{[]int{1, 2, 2}, "NcStatusMonitor", nil, []property{
		{ID{3, 1}, "overallStatus", "NcOverallStatus", false, false, false},
		{ID{3, 2}, "overallStatusMessage", "NcString", false, true, false},
		{ID{3, 3}, "statusReportingDelay", "NcUint32", true, false, false},
	}, nil}
	classReceiverMonitor = monitor([]int{1, 2, 2, 1}, "NcReceiverMonitor", []method{
		{ID{4, 1}, "GetLostPacketCounters", getCounters}, {ID{4, 2}, "GetLatePacketCounters", getCounters},
		{ID{4, 3}, "ResetCountersAndMessages", resetCounters},
	}, "link", "connection", "externalSynchronization", "stream")
	classSenderMonitor = monitor([]int{1, 2, 2, 2}, "NcSenderMonitor", []method{
		{ID{4, 1}, "GetTransmissionErrorCounters", getCounters}, {ID{4, 2}, "ResetCountersAndMessages", resetCounters},
	}, "link", "transmission", "externalSynchronization", "essence")
	classGain = &class{[]int{1, 2, 0, 1}, "StageBoxGain", nil, []property{
		{PropertyGain, "gain", "NcFloat32", true, false, false}, {ID{3, 2}, "mute", "NcBoolean", true, false, false},
		{ID{3, 3}, "presets", "NcFloat32", true, false, true},
	}, nil}
	classMeter = &class{[]int{1, 2, 0, 2}, "StageBoxMeter", nil,
		[]property{{PropertyLevel, "level", "NcFloat32", false, false, false}}, nil}
	classes = []*class{
		classObject, classBlock, classWorker, classManager, classDeviceManager, classClassManager,
		classBulkPropertiesManager, classStatusMonitor, classReceiverMonitor, classSenderMonitor, classGain, classMeter,
	}
}

// monitor makes a class of BCP-008, whose statuses each have a message and a counter.
func monitor(id []int, name string, methods []method, statuses ...string) *class {
	var all []property
	add := func(name, kind string, writable, nullable bool) {
		all = append(all, property{ID{4, len(all) + 1}, name, kind, writable, nullable, false})
	}
	for i, status := range statuses {
		if i == 3 { // BCP-008 puts the synchronisation's source behind its status
			add("synchronizationSourceId", "NcString", false, true)
		}
		add(status+"Status", "NcStatus", false, false)
		add(status+"StatusMessage", "NcString", false, true)
		add(status+"StatusTransitionCounter", "NcUint64", false, true)
	}
	add("autoResetCountersAndMessages", "NcBoolean", true, false)
	return &class{id, name, nil, all, methods}
}

// ancestors are the classes of an object, its own last.
func ancestors(id []int) (all []*class) {
	for _, c := range classes {
		if len(c.id) <= len(id) && slices.Equal(c.id, id[:len(c.id)]) {
			all = append(all, c)
		}
	}
	return all
}

func isA(o *Object, c *class) bool { return slices.Contains(ancestors(o.Class), c) }

func properties(o *Object) (all []property) {
	for _, c := range ancestors(o.Class) {
		all = append(all, c.properties...)
	}
	return all
}

func methods(o *Object) (all []method) {
	for _, c := range ancestors(o.Class) {
		all = append(all, c.methods...)
	}
	return all
}

func findProperty(o *Object, id ID) (property, error) {
	all := properties(o)
	if i := slices.IndexFunc(all, func(p property) bool { return p.ID == id }); i >= 0 {
		return all[i], nil
	}
	return property{}, fault(PropertyNotImplemented, "%s has no property %s", o.Path, id.Property())
}

func (p property) descriptor() object {
	return object{
		"description": nil, "id": p.ID, "name": p.name, "typeName": p.kind, "isReadOnly": !p.writable,
		"isNullable": p.nullable, "isSequence": p.sequence, "isDeprecated": false, "constraints": nil,
	}
}

// descriptor is the class's NcClassDescriptor; with inherited, what its ancestors have is in it.
func (c *class) descriptor(inherited bool) object {
	own := []*class{c}
	if inherited {
		own = ancestors(c.id)
	}
	described, called := []object{}, []object{}
	for _, of := range own {
		for _, p := range of.properties {
			described = append(described, p.descriptor())
		}
		for _, m := range of.methods {
			called = append(called, object{
				"description": nil, "id": m.ID, "name": m.name, "resultDatatype": "NcMethodResult",
				"parameters": []any{}, "isDeprecated": false,
			})
		}
	}
	return object{
		"description": nil, "classId": c.id, "name": c.name, "fixedRole": c.fixedRole, "properties": described,
		"methods": called, "events": []any{},
	}
}

// members are the descriptors of a block's members.
func members(list []*Object) []any {
	all := []any{}
	for _, o := range list {
		all = append(all, object{
			"description": nil, "role": o.Role, "oid": o.OID, "constantOid": true, "classId": o.Class,
			"userLabel": o.values[ID{1, 6}], "owner": o.owner.OID,
		})
	}
	return all
}
