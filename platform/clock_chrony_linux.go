package platform

import (
	"encoding/binary"
	"errors"
	"net"
	"time"
)

// chronyAddress is where chronyd answers programs of this machine (cmdport in chrony.conf(5)). Only root can take such
// a port.
const chronyAddress = "127.0.0.1:323"

// Of chrony's protocol for commands, version 6 (candm.h): the sizes and places of what is asked and answered here.
const (
	chronyVersion  = 6
	chronyRequest  = 1 // kinds of packet
	chronyReply    = 2
	chronyTracking = 33 // a command
	trackingReply  = 5  // the format of its answer

	chronyLength   = 104 // of the answer, and so of the question, which must not be shorter
	replyHead      = 28
	trackingRefID  = replyHead
	trackingLeap   = replyHead + 4 + 20 + 2 // after the address, of 20 bytes, and the stratum
	trackingTime   = trackingLeap + 2
	leapUnknown    = 3          // it is not synchronised
	localReference = 0x7f7f0101 // it serves its own clock, whatever that shows
	noHighSeconds  = 0x7fffffff
)

// chronyVouches asks chronyd whether it keeps the clock right, for one that does not tell the kernel; there is false if
// none answers.
func chronyVouches(address string) (v voucher, there bool) {
	if address == "" {
		address = chronyAddress
	}
	answer, err := askChrony(address)
	if err != nil {
		return voucher{}, false
	}
	v = voucher{name: "chrony"}
	reference, leap := binary.BigEndian.Uint32(answer[trackingRefID:]), binary.BigEndian.Uint16(answer[trackingLeap:])
	high, low := binary.BigEndian.Uint32(answer[trackingTime:]), binary.BigEndian.Uint32(answer[trackingTime+4:])
	if high == noHighSeconds {
		high = 0
	}
	v.at = time.Unix(int64(high)<<32|int64(low), int64(binary.BigEndian.Uint32(answer[trackingTime+8:])))
	switch {
	case leap >= leapUnknown || reference == 0:
		v.text = "chrony is not synchronised"
	case reference == localReference:
		v.text = "chrony has no source but this clock"
	default:
		v.text, v.ok = "chrony says so", true
	}
	return v, true
}

var errChrony = errors.New("not an answer of chrony's")

// askChrony returns chronyd's answer to the command tracking.
func askChrony(address string) ([]byte, error) {
	const patience = 200 * time.Millisecond // on this machine
	conn, err := net.DialTimeout("udp", address, patience)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	var packet [chronyLength + 1]byte
	question := packet[:chronyLength]
	question[0], question[1] = chronyVersion, chronyRequest
	binary.BigEndian.PutUint16(question[4:], chronyTracking)
	sequence := uint32(time.Now().UnixNano())
	binary.BigEndian.PutUint32(question[8:], sequence)
	if _, err := conn.Write(question); err != nil {
		return nil, err
	}
	n, err := conn.Read(packet[:])
	if err != nil {
		return nil, err
	}
	a := packet[:n]
	if n != chronyLength || a[0] != chronyVersion || a[1] != chronyReply ||
		binary.BigEndian.Uint16(a[4:]) != chronyTracking ||
		binary.BigEndian.Uint16(a[6:]) != trackingReply || binary.BigEndian.Uint16(a[8:]) != 0 ||
		binary.BigEndian.Uint32(a[16:]) != sequence {
		return nil, errChrony
	}
	return a, nil
}
